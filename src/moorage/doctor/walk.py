"""Takes the steps of a diagnosis in their order, and leaves out those whose ground is missing."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from moorage.doctor.finding import Finding, Verdict, skipped, wrong
from moorage.errors import MoorageError

_log = logging.getLogger("moorage.doctor")

Look = Callable[[], AsyncIterator[Finding]]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its *name* (one word, for people and programs), what it does, and the earlier steps it *needs*.

    *look* yields its findings as it makes them. It raises OSError or MoorageError only for what it did not expect to
    fail; that becomes a finding too, and steps that need this one are left out.
    """

    name: str
    look: Look
    needs: tuple[str, ...] = ()


async def walk(steps: Sequence[Step]) -> AsyncIterator[Finding]:
    """The findings of all *steps*, each as soon as it is made; one `skipped` for each step whose ground is missing.

    A step that was left out is missing for those that need it, too. No error of a step ends the walk.
    """
    missing: dict[str, str] = {}
    for step in steps:
        reason = next((missing[name] for name in step.needs if name in missing), None)
        if reason is not None:
            missing[step.name] = reason
            yield replace(skipped(reason), step=step.name)
            continue
        async for finding in _guarded(step):
            if finding.blocks:
                missing.setdefault(step.name, _reason(step.name, finding))
            yield replace(finding, step=step.name)


def _reason(name: str, finding: Finding) -> str:
    """Why a step is left out that needs step *name*."""
    if finding.verdict is Verdict.SKIPPED:
        return finding.what
    return f"not looked at, because of what is wrong with {name}"


async def _guarded(step: Step) -> AsyncIterator[Finding]:
    try:
        async for finding in step.look():
            yield finding
    except (OSError, MoorageError) as error:
        yield wrong(f"this step broke off: {error}", "What comes after it in this step was not looked at.", blocks=True)
    except Exception as error:  # noqa: BLE001 - a fault in one step must not hide what the others find
        _log.debug("step %s", step.name, exc_info=error)
        yield wrong(
            f"this step broke off by a fault of the doctor itself: {error!r}",
            "What comes after it in this step was not looked at; the fault is worth a report.",
            blocks=True,
        )


def tally(findings: Sequence[Finding]) -> dict[Verdict, int]:
    """How many findings of each verdict there are."""
    return {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
