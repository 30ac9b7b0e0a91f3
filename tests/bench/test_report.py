from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from bench import documentation
from bench.picture import picture
from bench.report import as_markdown
from tests.bench.kept import OTHER, REFERENCE, US, row, run

SVG = "{http://www.w3.org/2000/svg}"
KEPT = run(
    row("pulls", {US: [100], REFERENCE: [50], OTHER: [200]}, wanted=3, wanted_best=1),
    row("pushes <small> & many", {US: [9000], REFERENCE: [1]}, wanted=2, cannot={OTHER: "has no such thing"}),
    row("of no target", {US: [5], REFERENCE: [4]}),
)


def test_report_holds_all_that_was_found() -> None:
    """The report has every row, what was asked for, what a peer cannot do and why, and what failed."""
    text = as_markdown(KEPT)

    for wanted in (
        "| pulls | req/s | 100 | 50 | **2x** | 200 | **0.5x** |",
        " | **2x of the 3x asked** | **0.5x of the 1x asked** (zot) |",
        "| pushes <small> & many | req/s | 9,000 | 1 | **9,000x** | cannot |  | 2x: met |",
        "| of no target |",
        "- zot: has no such thing (pushes <small> & many)",
        "- a case, zot: broke",
        "| a case | 50 | - | 40 |",
    ):
        assert wanted in text


def test_picture_shows_every_row_with_a_target() -> None:
    """The picture is well-formed and shows each row that has a target, with a bar and its ratio for both columns."""
    tree = ET.fromstring(picture(KEPT))

    said = [text.text for text in tree.iter(f"{SVG}text")]
    bars = [title.text for title in tree.iter(f"{SVG}title")]
    assert {"pulls", "pushes <small> & many"} <= set(said)
    assert "of no target" not in said
    assert bars == [
        "2x against distribution 3.1.1",
        "0.5x against zot",
        "9,000x against distribution 3.1.1",
        "9,000x against distribution 3.1.1",
    ]


def test_picture_stays_inside() -> None:
    """No bar leaves the picture, however large or small a ratio is."""
    far = run(*(row(f"row {n}", {US: [10.0**n], REFERENCE: [1.0]}, wanted=1) for n in (-5, 0, 6)))

    tree = ET.fromstring(picture(far))

    bars = list(tree.iter(f"{SVG}rect"))
    assert all(float(bar.get("x", 0)) >= 0 for bar in bars)
    width = float(tree.get("width", 0))
    assert all(float(bar.get("x", 0)) + float(bar.get("width", 0)) <= width for bar in bars)


def test_picture_of_rows_without_targets() -> None:
    """Where no row has a target, all rows are shown."""
    assert ">plain<" in picture(run(row("plain", {US: [2], REFERENCE: [1]})))


def test_section_says_where_we_lose() -> None:
    """The documentation's section names what was not reached, and each row in which another is ahead."""
    text = documentation.section(KEPT)

    assert "| pulls, req/s | 100 | 50 | 2x | zot: 200 | 0.5x |" in text
    assert "Targets: 1 met, 2 not reached" in text
    assert "- pulls: 2x of the 3x asked against distribution 3" in text
    assert "Where another is ahead: pulls (0.5x, zot)." in text


def test_page_without_its_marks() -> None:
    """A page that has lost a mark is not written over."""
    with pytest.raises(ValueError, match="has lost the line <!-- end"):
        documentation.renewed(f"# Page\n{documentation.BEGIN}\n", KEPT)
