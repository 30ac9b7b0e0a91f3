"""The walk itself: order, what is left out and why, and faults in a step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from moorage.doctor.finding import Finding, Verdict, as_json, ok, skipped, warning, wrong
from moorage.doctor.report import Style, summary
from moorage.doctor.walk import Look, Step, walk
from moorage.errors import UserError


def says(*findings: Finding, error: Exception | None = None) -> Look:
    """A step's work that yields these findings, and then fails where there is an *error*."""

    async def look() -> AsyncIterator[Finding]:
        for finding in findings:
            yield finding
        if error is not None:
            raise error

    return look


def walked(steps: Sequence[Step]) -> list[tuple[str, Verdict, str]]:
    """Step, verdict and sentence of each finding."""

    async def all_of_them() -> list[Finding]:
        return [finding async for finding in walk(steps)]

    return [(finding.step, finding.verdict, finding.what) for finding in asyncio.run(all_of_them())]


def test_steps_are_taken_in_order_and_their_findings_carry_their_names() -> None:
    """Each finding comes with the name of the step that made it."""
    steps = [Step("one", says(ok("a"), warning("b", "c"))), Step("two", says(ok("d")), needs=("one",))]

    found = walked(steps)

    assert found == [("one", Verdict.OK, "a"), ("one", Verdict.WARNING, "b"), ("two", Verdict.OK, "d")]


def test_what_is_wrong_stops_only_the_steps_that_need_it() -> None:
    """Only a finding that blocks does so, also for what needs a step that was itself left out."""
    steps = [
        Step("one", says(wrong("a", "b", blocks=True), ok("c"))),
        Step("two", says(ok("d")), needs=("one",)),
        Step("three", says(wrong("e", "f"))),
        Step("four", says(ok("g")), needs=("three",)),
        Step("five", says(ok("h")), needs=("two",)),
    ]

    found = walked(steps)

    reason = "not looked at, because of what is wrong with one"
    assert [(step, verdict.value, what) for step, verdict, what in found] == [
        ("one", "wrong", "a"),
        ("one", "ok", "c"),
        ("two", "skipped", reason),
        ("three", "wrong", "e"),
        ("four", "ok", "g"),
        ("five", "skipped", reason),
    ]


def test_what_was_left_out_on_purpose_gives_its_reason_on() -> None:
    """A step that needs a skipped one is skipped for the same reason."""
    steps = [Step("one", says(skipped("no user", blocks=True))), Step("two", says(ok("a")), needs=("one",))]

    assert walked(steps) == [("one", Verdict.SKIPPED, "no user"), ("two", Verdict.SKIPPED, "no user")]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "broke off: [Errno 28] No space left on device"),
        (UserError("no such thing"), "broke off: no such thing"),
        (KeyError("x"), "fault of the doctor itself: KeyError('x')"),
    ],
)
def test_a_fault_in_a_step_ends_only_that_step(error: Exception, said: str) -> None:
    """What it found before stays, what needs it is left out, and the rest goes on."""
    steps = [
        Step("one", says(ok("a"), error=error)),
        Step("two", says(ok("b")), needs=("one",)),
        Step("three", says(ok("c"))),
    ]

    found = walked(steps)

    assert [(step, verdict.value) for step, verdict, _ in found] == [
        ("one", "ok"),
        ("one", "wrong"),
        ("two", "skipped"),
        ("three", "ok"),
    ]
    assert said in found[1][2]


def test_lines_are_aligned_and_remedies_whole() -> None:
    """Words and names stand in columns; text is wrapped below them, commands are not."""
    command = "moorage trust --fingerprint " + "ab:" * 40 + " registry.example.com"
    finding = wrong("it does not " + "work " * 20, "Because " + "so " * 40, command)

    lines = list(Style(("name", "certificate"), columns=60).lines(finding))

    assert lines[0].startswith("WRONG                 it does not work")
    assert lines[-1] == " " * 22 + "> " + command
    assert all(line.startswith(" " * 22) for line in lines[1:])
    assert all(len(line) <= 62 and line == line.rstrip() for line in lines[:-1])
    assert "".join(lines).isascii()


def test_colour_changes_nothing_but_colour() -> None:
    """Without the escape sequences the lines are the same."""
    finding = warning("a", "b", "c")

    plain, painted = (list(Style(("x",), colour=colour).lines(finding)) for colour in (False, True))

    assert plain != painted
    assert [line.replace("\x1b[33m", "").replace("\x1b[1m", "").replace("\x1b[0m", "") for line in painted] == plain


@pytest.mark.parametrize(
    ("findings", "line"),
    [
        ((ok("a"), ok("b")), "all is well: 2 things looked at"),
        ((ok("a"), skipped("b")), "all is well: 1 thing looked at"),
        ((skipped("a"), skipped("b")), "all is well: 0 things looked at; not looked at: s"),
        ((ok("a"), warning("b", "")), "1 warning, 1 well"),
        ((wrong("a", ""), wrong("b", ""), warning("c", "")), "2 things are wrong, 1 warning, 0 well"),
    ],
)
def test_the_summary_counts(findings: tuple[Finding, ...], line: str) -> None:
    """The last line says what it comes to, and what was left out."""
    named = [Finding(one.verdict, one.what, step="s") for one in findings]

    assert summary(named) == line


def test_programs_get_every_fact() -> None:
    """The JSON of a finding has what it says, and its facts as they are."""
    assert as_json(wrong("a", "", "b", days=3)) == {
        "step": "",
        "verdict": "wrong",
        "what": "a",
        "meaning": None,
        "remedy": ["b"],
        "facts": {"days": 3},
    }
