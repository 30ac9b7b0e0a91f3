"""The table of limits, `limits.toml`: what is held against it, and how its figures are renewed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("limits.toml")

Figures = Mapping[str, int]
"""Counters of one case, by name."""

_LINE = re.compile(r'(?m)^"(?P<case>[^"]+)" = \{[^}]*\}(?P<why>[ \t]*#.*)?\n')
_ADVICE = """
If the growth is meant, change the figure in tests/guards/limits.toml, with a word why behind it.
`.venv/bin/python -m tests.guards.renew` counts everything anew, writes the table and keeps its words."""


class Table:
    """The limits, by section and case. With *renewing* nothing is judged: `write` then puts what was counted there."""

    def __init__(self, path: Path = PATH, *, renewing: bool = False) -> None:
        self._path = path
        self._sections: dict[str, dict[str, Any]] = tomllib.loads(path.read_text("utf-8"))
        self._renewing = renewing
        self._counted: dict[str, dict[str, Figures]] = {}

    def has(self, section: str) -> bool:
        """Whether there is anything to check against; anything is, while it is renewed."""
        return self._renewing or section in self._sections

    def check(self, section: str, counted: Mapping[str, Figures], evidence: Mapping[str, str] | None = None) -> None:
        """AssertionError where a case of the section exceeds its limit, has none, or was not counted.

        *evidence* is what was counted, by case, for the message. Fewer than the limit is no failure.
        """
        if self._renewing:
            self._counted[section] = dict(counted)
            return
        limits = dict(self._sections.get(section, {}))
        slack = limits.pop("slack", {})
        wrong = [f"{case}: no figure in the section [{section}]" for case in counted if case not in limits]
        wrong += [f"{case}: nothing counts this any more" for case in limits if case not in counted]
        for case, figures in counted.items():
            over = _excess(figures, limits.get(case, {}), slack)
            proof = (evidence or {}).get(case, "")
            wrong += [f"{case}: {line}" for line in over] + ([proof] if over and proof else [])
        assert not wrong, f"[{section}]\n" + "\n".join(wrong) + _ADVICE

    def write(self) -> list[str]:
        """Put what was counted into the file and return a line for each change."""
        changes: list[str] = []
        parts = re.split(r"(?m)^(?=\[)", self._path.read_text("utf-8"))
        parts += [f'\n["{section}"]\n' for section in self._counted.keys() - self._sections.keys()]
        for place, part in enumerate(parts):
            section = part.partition("]")[0].strip('\n["')
            if section in self._counted:
                parts[place], changed = _renewed(part, self._counted[section])
                changes += [f"[{section}] {line}" for line in changed]
        self._path.write_text("".join(parts), "utf-8")
        return changes


def _renewed(part: str, counted: Mapping[str, Figures]) -> tuple[str, list[str]]:
    """A section's text with new figures, and what changed; new cases follow the last of the old ones."""
    left, changes = dict(counted), []

    def renew(found: re.Match[str]) -> str:
        figures = left.pop(found["case"], None)
        fresh = "" if figures is None else _line(found["case"], figures, found["why"] or "")
        if fresh != found[0].rstrip("\n"):
            changes.append(f"{found[0].rstrip()}  ->  {fresh or 'gone'}")
        return fresh and fresh + "\n"

    text = _LINE.sub(renew, part)
    # A comment at the end belongs to the section that follows.
    tail = re.search(r"(\n+#[^\n]*)*\n*\Z", text)
    assert tail is not None
    body, rest = text[: tail.start()], text[tail.start() :]
    more = [_line(case, figures) for case, figures in left.items()]
    return "\n".join([body, *more]) + rest, changes + more


def _excess(figures: Figures, limits: Figures, slack: Mapping[str, float]) -> list[str]:
    over = []
    for counter, limit in limits.items():
        most = int(limit * (1 + slack.get(counter, 0)))
        if figures.get(counter, 0) > most:
            room = f" (and {slack[counter]:.0%} more)" if counter in slack else ""
            over.append(f"{figures[counter]:,} {counter}, the limit is {limit:,}{room}")
    over += [f"{figures[counter]:,} {counter}, for which there is no limit" for counter in figures.keys() - limits]
    return over


def _line(case: str, figures: Figures, why: str = "") -> str:
    # A trailing zero counter is as telling as any other: no file opened is the point of some of them.
    inner = ", ".join(f"{counter} = {figure}" for counter, figure in figures.items())
    return f'"{case}" = {{ {inner} }}{why}'
