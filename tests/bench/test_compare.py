from __future__ import annotations

from typing import Any

import pytest

from bench.compare import Line, Ratio, Spread, lines, number, spread, times, verdict
from tests.bench.kept import OTHER, REFERENCE, US, row, run, sample


def one_line(samples: dict[str, list[float]], **more: Any) -> Line:
    """The line of a run that has only this row."""
    (found,) = lines(run(row("a row", samples, **more)), cpu=False)
    return found


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([7.0], Spread(7, 7, 7, 1)),
        ([4.0, 1.0, 2.0], Spread(2, 1, 4, 3)),
        ([5.0, 1.0, 2.0, 3.0, 4.0], Spread(3, 2, 4, 5)),
    ],
)
def test_spread(values: list[float], wanted: Spread) -> None:
    """A spread is the median with the least and the most, and with the quartiles from five values on."""
    assert spread(values) == wanted


def test_ratio_is_of_pairs() -> None:
    """A ratio is the median of the rounds' ratios and not that of the medians: a slow minute hits both of a pair."""
    found = one_line({US: [100, 10, 40], REFERENCE: [50, 5, 10]}).ratio(REFERENCE)

    assert found is not None
    assert found.times == Spread(2, 2, 4, 3)


def test_less_may_be_better() -> None:
    """Where less is better the ratio is turned round, so that above 1 always means that we are ahead."""
    found = one_line({US: [2], REFERENCE: [8]}, better="less").ratio(REFERENCE)

    assert found is not None
    assert found.times.middle == 4


def test_what_was_beside_is_compared() -> None:
    """A peer that was measured at a rate of its own is compared with what we had at that rate."""
    kept = run(row("p99", {US: [9], REFERENCE: [8]}, better="less"))
    kept["rows"][0]["samples"][REFERENCE] = [sample(8, beside=2)]
    (found,) = lines(kept, cpu=False)

    ratio = found.ratio(REFERENCE)

    assert ratio is not None
    assert ratio.times.middle == 4


def test_best_peer() -> None:
    """The best peer of a row is the one that leaves us the smallest ratio, whichever that is."""
    found = one_line({US: [100], REFERENCE: [50], OTHER: [80]}, wanted=2, wanted_best=2)

    assert found.best == Ratio(OTHER, Spread(1.25, 1.25, 1.25, 1), 2)
    assert found.reference == Ratio(REFERENCE, Spread(2, 2, 2, 1), 2)


def test_nothing_to_compare() -> None:
    """Without a peer, or where a peer did nothing at all, there is no ratio."""
    alone, idle = one_line({US: [100]}), one_line({US: [100], REFERENCE: [0]})

    assert alone.best is None
    assert alone.reference is None
    assert idle.reference is None


@pytest.mark.parametrize(
    ("got", "wanted", "said"),
    [
        (2.1, 2, "2x: met"),
        (1.994, 2, "2x: met"),
        (1.4, 2, "**1.4x of the 2x asked**"),
        (0.3, 1, "**0.3x of the 1x asked**"),
        (5, None, ""),
    ],
)
def test_verdict(got: float, wanted: float | None, said: str) -> None:
    """A target is said to be met or, with what was reached of it, not."""
    assert verdict(Ratio(REFERENCE, Spread(got, got, got, 1), wanted)) == said


@pytest.mark.parametrize(("value", "text"), [(12345.6, "12,346"), (99.94, "99.9"), (0.01234, "0.0123")])
def test_number(value: float, text: str) -> None:
    """Figures have three digits that say something."""
    assert number(value) == text


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234x"), (9.96, "10x"), (0.456, "0.46x")])
def test_times(value: float, text: str) -> None:
    """Ratios have two digits below ten."""
    assert times(value) == text
