"""The arithmetic of a report: medians, spreads, ratios in pairs, the best of the peers, targets met or not.

All of it reads the kept JSON, so that what was measured once can be shown again.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The peer that the targets of the first column are about, whatever its patch release.
REFERENCE = "distribution 3."


@dataclass(frozen=True)
class Spread:
    """A median, and the range about it: quartiles from five values on, else the least and the most."""

    middle: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Ratio:
    """How many times better the first registry is than *peer*, and how often it was asked to be."""

    peer: str
    times: Spread
    wanted: float | None

    @property
    def met(self) -> bool | None:
        """None where nothing is asked. What rounds to the target has met it."""
        return None if self.wanted is None else self.times.middle >= 0.995 * self.wanted


@dataclass(frozen=True)
class Line:
    """One measure of one row, of every registry: *values* in the order of the rounds."""

    name: str
    unit: str
    better: str
    values: Mapping[str, Sequence[float]]
    beside: Mapping[str, Sequence[float | None]]
    wrong: Mapping[str, int]
    cannot: Mapping[str, str]
    first: str
    wanted: float | None
    wanted_best: float | None

    @property
    def peers(self) -> list[str]:
        return [name for name, values in self.values.items() if name != self.first and values]

    def ratio(self, peer: str, wanted: float | None = None) -> Ratio | None:
        """By the median of the rounds' ratios: what was measured in the same minute is compared."""
        ours, theirs = self.values.get(self.first, ()), self.values.get(peer, ())
        beside = self.beside.get(peer) or [None] * len(theirs)
        pairs = [
            (mine if near is None else near, other)
            for mine, near, other in zip(ours, beside, theirs, strict=False)
            if other > 0
        ]
        times = [_times(self.better, mine, other) for mine, other in pairs if mine > 0]
        return Ratio(peer, spread(times), wanted) if times else None

    @property
    def reference(self) -> Ratio | None:
        """Against the reference implementation."""
        return next((self.ratio(peer, self.wanted) for peer in self.peers if peer.startswith(REFERENCE)), None)

    @property
    def best(self) -> Ratio | None:
        """Against the peer that does best in this line."""
        ratios = [ratio for peer in self.peers if (ratio := self.ratio(peer, self.wanted_best))]
        return min(ratios, key=lambda ratio: ratio.times.middle, default=None)


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    ordered = sorted(values)
    if len(ordered) < 5:
        return Spread(statistics.median(ordered), ordered[0], ordered[-1], len(ordered))
    low, middle, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return Spread(middle, low, high, len(ordered))


def _times(better: str, mine: float, other: float) -> float:
    return mine / other if better == "more" else other / mine


def lines(kept: Mapping[str, Any], *, cpu: bool) -> list[Line]:
    """The rows of a kept run: what clients see, or with *cpu* the processor time for each."""
    names = [registry["name"] for registry in kept["registries"]]
    found = []
    for row in kept["rows"]:
        if cpu and not row["cpu_unit"]:
            continue
        samples = {name: row["samples"].get(name, []) for name in names}
        field = "cpu" if cpu else "value"
        found.append(
            Line(
                name=row["name"],
                unit=row["cpu_unit"] if cpu else row["unit"],
                better="less" if cpu else row["better"],
                values={name: [one[field] for one in some if one[field] is not None] for name, some in samples.items()},
                beside={} if cpu else {name: [one.get("beside") for one in some] for name, some in samples.items()},
                wrong={name: sum(one.get("unexpected", 0) for one in some) for name, some in samples.items()},
                cannot=row.get("cannot", {}),
                first=names[0],
                wanted=row["wanted_cpu" if cpu else "wanted"],
                wanted_best=row["wanted_best_cpu" if cpu else "wanted_best"],
            )
        )
    return [line for line in found if any(line.values.values()) or line.cannot]


def number(value: float) -> str:
    """Three digits that say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def times(value: float) -> str:
    """A ratio: two digits are all it is worth."""
    return f"{value:,.0f}x" if value >= 10 else f"{value:.2g}x"


def verdict(ratio: Ratio | None) -> str:
    """For the column of a target: `met` or `1.4x of the 2x asked`, nothing where nothing is asked."""
    if ratio is None or ratio.wanted is None:
        return ""
    if ratio.met:
        return f"{ratio.wanted:g}x: met"
    return f"**{times(ratio.times.middle)} of the {ratio.wanted:g}x asked**"
