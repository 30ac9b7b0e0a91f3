"""Reads as much of a Markdown page as the documentation's tests ask about: headings, code blocks, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The tutorial's blocks have words after the language, which tests/tutorial reads.
_FENCE = re.compile(r"^```(?P<language>[^\s`]*)(?: [^\n`]*)?\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^(?P<level>#{1,6}) (?P<text>.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^()\s]+)\)")
_CODE = re.compile(r"`[^`\n]+`")


@dataclass(frozen=True)
class Page:
    """One page: its *text*, and the same without its code blocks."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @property
    def prose(self) -> str:
        return _FENCE.sub("", self.text)

    @property
    def code_blocks(self) -> list[tuple[str, str]]:
        """Language and code of each block, in order."""
        return _FENCE.findall(self.text)

    @property
    def fences(self) -> list[str]:
        """Each block as it stands, with the line above it that names its language, and each comment, in order."""
        return [found[0] for found in re.finditer(rf"{_FENCE.pattern}|^<!-- .+? -->$", self.text, _FENCE.flags)]

    @property
    def heading_levels(self) -> list[int]:
        return [len(heading["level"]) for heading in _HEADING.finditer(self.prose)]

    @property
    def anchors(self) -> set[str]:
        """What a link to a heading of this page may say after `#`, by GitHub's rule."""
        return {
            re.sub(r"[^\w\- ]", "", heading["text"].lower()).replace(" ", "-")
            for heading in _HEADING.finditer(self.prose)
        }

    @property
    def links(self) -> list[str]:
        """Every target, in order; code is no link."""
        return [link["target"] for link in _LINK.finditer(_CODE.sub("", self.prose))]


def pages() -> list[Page]:
    """Every page of the repository: those in its root and all below docs/."""
    return [Page(path) for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])]


def name(page: Page) -> str:
    """The page's path from the root, for the names of tests."""
    return str(page.path.relative_to(ROOT))
