"""Findings as people read them: aligned lines, in colour where there is a terminal, plain ASCII beside the words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from moorage.doctor.finding import Finding, Verdict
from moorage.doctor.walk import tally

_WORDS: Final = {Verdict.OK: "ok", Verdict.SKIPPED: "-", Verdict.WARNING: "warning", Verdict.WRONG: "WRONG"}
_COLOURS: Final = {Verdict.OK: "32", Verdict.SKIPPED: "2", Verdict.WARNING: "33", Verdict.WRONG: "1;31"}
_GAP: Final = "  "
_LEAST_COLUMNS: Final = 40
_MOST_COLUMNS: Final = 110
"""Longer lines are hard to read (arbitrary)."""


@dataclass(frozen=True, slots=True)
class Style:
    """How lines are written: in colour or not, at most so many columns wide; *names* are the steps' (for aligning)."""

    names: tuple[str, ...]
    colour: bool = False
    columns: int = 100

    def lines(self, finding: Finding) -> Iterator[str]:
        """The finding; what it means and the remedy stand below it, each line of the remedy whole, to be copied."""
        word_width = max(map(len, _WORDS.values()))
        name_width = max(map(len, (*self.names, finding.step)))
        margin = " " * (word_width + name_width + 2 * len(_GAP))
        width = max(_LEAST_COLUMNS, min(self.columns, _MOST_COLUMNS) - len(margin))
        word = self._paint(_WORDS[finding.verdict].ljust(word_width), _COLOURS[finding.verdict])
        head = f"{word}{_GAP}{finding.step.ljust(name_width)}{_GAP}"
        for line in _wrapped(finding.what, width):
            yield head + line
            head = margin
        for line in _wrapped(finding.meaning, width):
            yield margin + line
        for line in finding.remedy:
            yield f"{margin}{self._paint('>', '1')} {line}"

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colour else text


def summary(findings: Sequence[Finding]) -> str:
    """The last line: what it all comes to."""
    count = tally(findings)
    left_out = _not_looked_at(findings)
    if not count[Verdict.WRONG] and not count[Verdict.WARNING]:
        return f"all is well: {_number(count[Verdict.OK], 'thing', 'things')} looked at{left_out}"
    parts = []
    if count[Verdict.WRONG]:
        parts.append(_number(count[Verdict.WRONG], "thing is wrong", "things are wrong"))
    if count[Verdict.WARNING]:
        parts.append(_number(count[Verdict.WARNING], "warning", "warnings"))
    return f"{', '.join(parts)}, {count[Verdict.OK]} well{left_out}"


def _not_looked_at(findings: Sequence[Finding]) -> str:
    """Steps of which nothing at all was looked at."""
    seen = {finding.step for finding in findings if finding.verdict is not Verdict.SKIPPED}
    names = dict.fromkeys(finding.step for finding in findings if finding.step not in seen)
    return f"; not looked at: {', '.join(names)}" if names else ""


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _wrapped(text: str, width: int) -> list[str]:
    """Long words, such as URLs and digests, stay whole."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
