"""What a case measures, and the values it may be given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.drivers import Load
from bench.registries import ANONYMOUS, Mode, Registry
from bench.tree import TICKS_PER_SECOND, Meter, Usage, settle

# The smallest run that has a case: `make bench-quick`, `make bench`, `make bench-full`.
QUICK, USUAL, FULL = range(3)


@dataclass(frozen=True)
class Scale:
    """How much a run does: samples of about *seconds* each, and how large the lists are.

    *tags* are put one by one; *listed_tags* and *repositories* are there before a case begins, put there without
    requests where a registry's files are simple enough to be written (`bench.bulk`). *requests* are made by the case
    that looks for growth, *clients* pull at once in a storm.
    """

    rounds: int
    seconds: float
    tags: int
    repositories: int
    readers: int
    large_bytes: int
    listed_tags: int = 10_000
    referrers: int = 10_000
    clients: int = 64
    requests: int = 4000


class Cannot(Exception):
    """A registry has not got what a case is about; the report gives the reason."""


@dataclass(frozen=True)
class Sample:
    """One measurement: *value* in the row's unit, *cpu* in its unit of processor time, None where it has none.

    *beside* is what the first registry had in the same minute at the same rate, where every peer is measured at a
    rate of its own.
    """

    value: float
    cpu: float | None = None
    unexpected: int = 0
    usage: Usage | None = None
    beside: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table.

    *wanted* and *wanted_cpu* are the design's targets: how many times better than distribution 3.1.1; *wanted_best*
    and *wanted_best_cpu*, than the best of all peers.
    """

    name: str
    unit: str
    better: Literal["more", "less"] = "more"
    cpu_unit: str = ""
    wanted: float | None = None
    wanted_cpu: float | None = None
    wanted_best: float | None = None
    wanted_best_cpu: float | None = None


Samples = Mapping[str, Sample]


@dataclass(frozen=True)
class Case:
    """Something that is done to each registry in turn, round after round.

    *run* gets the registry, the round's number and the scale, and returns a sample for each row by name; it raises
    Cannot for a registry that has not got what is asked. *prepare* is done once for each registry beforehand. *rounds*
    limits how often a slow case is repeated, *weight* is its share of the run's time, and *durable* says that the
    variants of peers that flush what they write take part too. *level* is the smallest run that has it, unless it is
    asked for by name.
    """

    name: str
    rows: tuple[Row, ...]
    run: Callable[[Registry, int, Scale], Samples]
    prepare: Callable[[Registry, Scale], None] | None = None
    mode: Mode = field(default=ANONYMOUS)
    rounds: int | None = None
    weight: float = 1
    durable: bool = False
    level: int = QUICK


def measured(registry: Registry, work: Callable[[], Load], *, behind: bool = False) -> tuple[Load, Usage]:
    """Do *work* and say what it used; with *behind*, also what the registry does once it has answered."""
    meter = Meter(registry.pid)
    load = work()
    if behind:
        settle(registry.pid)
    return load, meter.read()


def rate(load: Load, usage: Usage) -> Sample:
    """Requests a second, and CPU microseconds for each."""
    return Sample(load.requests / load.seconds, usage.cpu_seconds * 1e6 / max(1, load.requests), load.unexpected, usage)


def bandwidth(count: int, load: Load, usage: Usage, unit: float) -> Sample:
    """*count* bytes in units of *unit* a second, and CPU ticks for each GB."""
    ticks = usage.cpu_seconds * TICKS_PER_SECOND / (count / 1e9)
    return Sample(count / unit / load.seconds, ticks, load.unexpected, usage)
