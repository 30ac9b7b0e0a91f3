"""The pages for readers: their links, the generated parts, the two READMEs."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from scripts.reference import REFERENCE, renewed
from tests.docs.markdown import ROOT, Page, name, pages


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Page) -> None:
    """A link inside the repository names a file that exists, and a heading that the file has."""
    broken = []

    for link in page.links:
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        if not path.is_relative_to(ROOT) or not path.exists() or (anchor and anchor not in Page(path).anchors):
            broken.append(link)

    assert broken == []


def test_every_page_is_reachable() -> None:
    """From README.md every page under docs/ can be reached by links."""
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]

    while waiting:
        path = waiting.pop()
        if path not in reached and path.suffix == ".md" and path.is_file():
            reached.add(path)
            waiting += [(path.parent / link.partition("#")[0]).resolve() for link in Page(path).links]

    assert {page.path for page in pages()} - reached == set()


@pytest.mark.parametrize("page", sorted(REFERENCE.glob("*.md")), ids=lambda path: path.name)
def test_generated_parts_are_current(page: Path) -> None:
    """What `make docs` writes into the reference is what stands there."""
    text = page.read_text("utf-8")

    assert renewed(text) == text


@pytest.mark.parametrize("page", pages(), ids=name)
def test_a_page_has_one_title_and_no_gap_between_levels(page: Page) -> None:
    """The first heading is the only one of level 1, and none skips a level."""
    levels = page.heading_levels

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


@pytest.mark.parametrize("name", ["README", "docs/tutorial"])
def test_both_languages_are_equal(name: str) -> None:
    """The English and the Chinese page have the same headings, code, links, tables and lists."""
    english, chinese = Page(ROOT / f"{name}.md"), Page(ROOT / f"{name}.zh-CN.md")

    assert chinese.heading_levels == english.heading_levels
    assert chinese.fences == english.fences
    assert _targets(chinese) == _targets(english)
    for mark in ("|", "- "):
        assert _lines(chinese, mark) == _lines(english, mark)
    assert re.findall(r"`[^`\n]+`", chinese.prose) == re.findall(r"`[^`\n]+`", english.prose)


def _targets(page: Page) -> list[str]:
    """Where its links lead, the language and the words of headings aside."""
    return [link.partition("#")[0].replace(".zh-CN.md", ".md") for link in page.links]


def _lines(page: Page, mark: str) -> int:
    return sum(line.startswith(mark) for line in page.prose.splitlines())


def test_the_readme_opens_with_the_two_commands() -> None:
    """The first thing in README.md after its title is how to run the registry and how to test it."""
    first = Page(ROOT / "README.md").code_blocks[0]

    assert first == ("sh", "make serve\nmake test\n")
    assert Page(ROOT / "README.md").text.startswith("# Moorage\n\n```sh\n")
