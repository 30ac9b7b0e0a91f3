from __future__ import annotations

import json

from bench import documentation
from bench.picture import picture
from bench.report import as_markdown


def test_page_shows_the_kept_run() -> None:
    """docs/design/performance.md shows what bench/results/latest.json holds: no figure is written there by hand."""
    page, kept = documentation.PAGE.read_text(), json.loads(documentation.LATEST.read_text())

    assert documentation.renewed(page, kept) == page, "run `python -m bench.documentation`"


def test_kept_files_are_of_one_run() -> None:
    """The kept report and the kept picture are made of the kept JSON."""
    kept = json.loads(documentation.LATEST.read_text())

    assert documentation.LATEST.with_suffix(".md").read_text() == as_markdown(kept)
    assert documentation.LATEST.with_suffix(".svg").read_text() == picture(kept)
