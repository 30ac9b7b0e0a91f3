"""What the diagnosis says: one finding for each thing that was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """How one thing is."""

    OK = "ok"
    SKIPPED = "skipped"  # not looked at; *what* says why
    WARNING = "warning"  # it works, but not for everybody, not for long or not safely
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    - *what*: one sentence, without a full stop, that names what was looked at and how it is.
    - *meaning*: what follows from it, where that is not plain, with the words in which clients complain of it.
    - *remedy*: what to type or to write into a configuration, each line as it is to be copied.
    - *facts*: the same for programs; values are what JSON knows.
    - *blocks*: steps that need this one are not taken.
    - *step*: the name of the step; `walk` fills it in.

    No field may hold a secret.
    """

    verdict: Verdict
    what: str
    meaning: str = ""
    remedy: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    blocks: bool = False
    step: str = ""


def ok(what: str, **facts: object) -> Finding:
    """All is well with it."""
    return Finding(Verdict.OK, what, facts=facts)


def skipped(what: str, meaning: str = "", *, blocks: bool = False, **facts: object) -> Finding:
    """It was not looked at, and why. With *blocks* steps that need this one are not taken either, for that reason."""
    return Finding(Verdict.SKIPPED, what, meaning, facts=facts, blocks=blocks)


def warning(what: str, meaning: str, *remedy: str, **facts: object) -> Finding:
    """It works, but somebody should see to it."""
    return Finding(Verdict.WARNING, what, meaning, remedy, facts)


def wrong(what: str, meaning: str, *remedy: str, blocks: bool = False, **facts: object) -> Finding:
    """It does not work. With *blocks* steps that need this one are not taken."""
    return Finding(Verdict.WRONG, what, meaning, remedy, facts, blocks=blocks)


def as_json(finding: Finding) -> dict[str, object]:
    """The finding for programs."""
    return {
        "step": finding.step,
        "verdict": finding.verdict.value,
        "what": finding.what,
        "meaning": finding.meaning or None,
        "remedy": list(finding.remedy),
        "facts": dict(finding.facts),
    }
