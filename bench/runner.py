"""Runs cases over registries in interleaved rounds: A B, B A, A B ..., so that a slow minute hits all of them.

A run fits its time: every case has a share of what is left, does as many rounds as fit in, and one that hangs is
given up. What fails, and what a registry cannot do, is written down; the rest goes on.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.measure import Cannot, Case, Row, Sample, Scale
from bench.registries import MODES, Mode, Registry
from bench.seeding import Unequal, fill
from bench.tree import pss_bytes, settle, wait_for_quiet

# A sample may take this long whatever its case's share of the time is.
_LEAST_SECONDS = 30.0


class Overtime(Exception):
    """A sample took longer than its case may."""


@dataclass
class Results:
    """Samples by row name and registry name, a list in the order of the rounds; and what went wrong.

    *memory* is that of a registry's process tree after a case, in MB. *cannot* and *failures* are sentences.
    """

    rows: list[Row] = field(default_factory=list)
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    cannot: dict[str, dict[str, str]] = field(default_factory=dict)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0

    def open(self, row: Row) -> None:
        """A line of the table, even if nothing comes of it."""
        if row.name not in self.samples:
            self.rows.append(row)
            self.samples[row.name] = {}

    def add(self, row: Row, registry: str, sample: Sample) -> None:
        self.samples[row.name].setdefault(registry, []).append(sample)

    def refuse(self, case: Case, registry: str, reason: str) -> None:
        for row in case.rows:
            self.open(row)
            self.cannot.setdefault(row.name, {})[registry] = reason

    def fail(self, what: str, registry: str, reason: str) -> None:
        self.failures.append(f"{what}, {registry}: {reason}")
        _say(f"{registry:24} {what}: FAILED, {reason}")


class Schedule:
    """Deals out *seconds* among cases by their weight; without *seconds* every case has all the time it wants."""

    def __init__(self, cases: Sequence[Case], seconds: float | None) -> None:
        self._left = sum(case.weight for case in cases)
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def share(self, case: Case) -> float | None:
        """What *case* may take, which counts as dealt with from now on; 0 when the time is up."""
        left, self._left = self._left, self._left - case.weight
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic()) * case.weight / left

    def left(self) -> str:
        """For people."""
        return (
            "" if self._deadline is None else f", about {max(0.0, self._deadline - time.monotonic()) / 60:.0f} min left"
        )


def run(
    cases: Sequence[Case],
    registries: Sequence[Registry],
    scale: Scale,
    patience: float = 0,
    seconds: float | None = None,
) -> Results:
    """Fill every registry, then run the cases, grouped by mode.

    Before each sample wait up to *patience* seconds for a quiet machine. *seconds* is for all of it.
    """
    results, began = Results(), time.monotonic()
    ready = _fill(registries, scale, results)
    for registry in ready:
        registry.first = ready[0]
    ordered = [case for mode in MODES for case in cases if case.mode == mode]
    schedule = Schedule(ordered, None if seconds is None else seconds - (time.monotonic() - began))
    done = 0
    for mode in MODES:
        chosen = [case for case in ordered if case.mode == mode]
        if not chosen:
            continue
        _say(f"-- {mode.name}")
        started = _start(ready, mode, chosen, results)
        try:
            for case in chosen:
                done += 1
                _say(f"case {done} of {len(ordered)}{schedule.left()}: {case.name}")
                _run_case(case, started, scale, results, patience, schedule.share(case))
        finally:
            for registry in started:
                registry.stop()
    results.seconds = time.monotonic() - began
    return results


def _fill(registries: Sequence[Registry], scale: Scale, results: Results) -> list[Registry]:
    """Those that hold the same as the first. Raises whatever stops the first: there is nothing to compare with then."""
    ready: list[Registry] = []
    for registry in registries:
        began = time.monotonic()
        _say(f"filling {registry.name}")
        try:
            fill(registry, scale, ready[0].facts["fingerprint"] if ready else None)
        except Exception as error:
            if not ready:
                raise
            what = "refused" if isinstance(error, Unequal) else "filling"
            results.fail(what, registry.name, _reason(error))
            continue
        finally:
            registry.stop()
        _say(f"{registry.name:24} filled in {time.monotonic() - began:.0f} s")
        ready.append(registry)
    return ready


def _start(registries: Sequence[Registry], mode: Mode, cases: Sequence[Case], results: Results) -> list[Registry]:
    started = []
    for registry in registries:
        try:
            if reason := registry.cannot(mode):
                raise Cannot(reason)
            registry.start(mode)
            settle(registry.pid, 15)  # what a start leaves to be done belongs to no case
        except (RuntimeError, OSError, Cannot) as error:
            for case in cases:
                results.refuse(case, registry.name, _reason(error))
            if not isinstance(error, Cannot):
                results.fail(mode.name, registry.name, _reason(error))
            continue
        started.append(registry)
    return started


def _run_case(
    case: Case, registries: Sequence[Registry], scale: Scale, results: Results, patience: float, share: float | None
) -> None:
    for row in case.rows:
        results.open(row)
    if share is not None and share <= 0:
        results.failures.append(f"{case.name}: left out, the time was up")
        return
    taking = [one for one in registries if case.durable or not one.flushes_only]
    limit = None if share is None else max(_LEAST_SECONDS, 2 * share)
    taking = [one for one in taking if _prepare(case, one, scale, results, limit)]
    began = longest = 0.0
    began = time.monotonic()
    for number in range(min(scale.rounds, case.rounds or scale.rounds)):
        round_began = time.monotonic()
        if number and share is not None and round_began - began + longest > share:
            break
        for registry in _turned(taking, number):
            wait_for_quiet(patience)
            if not _sample(case, registry, number, scale, results, limit):
                taking.remove(registry)
        longest = max(longest, time.monotonic() - round_began)
    results.memory[case.name] = {one.name: pss_bytes(one.pid) / 1e6 for one in taking}


def _turned(registries: Sequence[Registry], number: int) -> list[Registry]:
    return [registries[(place + number) % len(registries)] for place in range(len(registries))]


def _prepare(case: Case, registry: Registry, scale: Scale, results: Results, limit: float | None) -> bool:
    if case.prepare is None:
        return True
    try:
        with _no_longer_than(limit):
            case.prepare(registry, scale)
    except Exception as error:  # noqa: BLE001 - as in _sample
        _give_up(case, registry, results, error)
        return False
    return True


def _sample(case: Case, registry: Registry, number: int, scale: Scale, results: Results, limit: float | None) -> bool:
    """Run the case once; False when this registry takes no further part in it."""
    try:
        with _no_longer_than(limit):
            samples = case.run(registry, number, scale)
    except Exception as error:  # noqa: BLE001 - whatever a case meets, the other cases are still to be measured
        _give_up(case, registry, results, error)
        return False
    for row in case.rows:
        sample = samples[row.name]
        results.add(row, registry.name, sample)
        cpu = "" if sample.cpu is None else f"  {sample.cpu:9.1f} {row.cpu_unit} CPU"
        noise = "" if sample.usage is None else f"  others {sample.usage.others:.2f}"
        _say(f"{registry.name:24} {row.name:40} {sample.value:10.4g} {row.unit:9}{cpu}{noise}")
    return True


def _give_up(case: Case, registry: Registry, results: Results, error: Exception) -> None:
    if isinstance(error, Cannot):
        results.refuse(case, registry.name, str(error))
        _say(f"{registry.name:24} {case.name}: cannot, {error}")
        return
    if isinstance(error, Overtime) and registry is not registry.first:
        results.refuse(case, registry.name, str(error))
        _say(f"{registry.name:24} {case.name}: {error}")
    else:
        results.fail(case.name, registry.name, _reason(error))
    registry.stop()  # whatever it is still busy with belongs to nobody's measurement
    try:
        registry.start(registry.mode)
    except RuntimeError as gone:
        results.fail("starting again", registry.name, _reason(gone))


@contextmanager
def _no_longer_than(seconds: float | None) -> Iterator[None]:
    """Raises Overtime out of whatever is being waited for."""

    def ring(signum: int, frame: object) -> None:
        raise Overtime(f"took longer than {seconds:.0f} s")

    if seconds is None:
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _reason(error: Exception) -> str:
    if isinstance(error, Cannot):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
