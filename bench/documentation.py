"""The tables of docs/design/performance.md, written anew from the kept run: `python -m bench.documentation`."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bench.compare import Line, Ratio, lines, number, spread, times
from bench.registries import ROOT
from bench.report import Kept, noise, place, settings_table, table

PAGE = ROOT / "docs" / "design" / "performance.md"
RESULTS = ROOT / "bench" / "results"
LATEST = RESULTS / "latest.json"
BEGIN, END = "<!-- begin: the kept run -->", "<!-- end: the kept run -->"


def renewed(page: str, kept: Kept) -> str:
    """*page* with what stands between its two marks made from *kept*. Raises ValueError where a mark is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} has lost the line {BEGIN if not begin else END}")
    return f"{before}{BEGIN}\n{section(kept)}\n{END}{after}"


def section(kept: Kept) -> str:
    """The kept run for readers: medians, ratios, which targets are missed, where we lose."""
    seen, cpu = lines(kept, cpu=False), {line.name: line for line in lines(kept, cpu=True)}
    reference = next((line.reference.peer for line in seen if line.reference), "distribution 3")
    head = ["case", seen[0].first, reference, "times better", "best peer", "times better", "processor time, times less"]
    parts = [
        f"{place(kept)}. {noise(kept)}",
        settings_table(kept),
        table(head, [_row(line, cpu.get(line.name), reference) for line in seen], 1),
        *_asked([*seen, *cpu.values()], set(map(id, cpu.values()))),
        f"Where another is ahead: {'; '.join(_lost(seen)) or 'nowhere'}.",
    ]
    return "\n\n".join(parts)


def _row(line: Line, cpu: Line | None, reference: str) -> list[str]:
    best = line.best
    who = f"{best.peer}: {_median(line, best.peer)}" if best else ""
    return [
        f"{line.name}, {line.unit}",
        _median(line, line.first),
        _median(line, reference),
        _times(line.reference),
        who,
        _times(best),
        _times(cpu.reference) if cpu else "",
    ]


def _median(line: Line, name: str) -> str:
    values = line.values.get(name)
    if not values:
        return "cannot" if name in line.cannot else "-"
    near = [value for value in line.beside.get(name, ()) if value is not None]
    return number(spread(values).middle) + (f" (we, beside it: {number(spread(near).middle)})" if near else "")


def _times(ratio: Ratio | None) -> str:
    return "" if ratio is None else times(ratio.times.middle)


def _asked(all_lines: list[Line], cpu: set[int]) -> Iterator[str]:
    """Every target of the design, met or not."""
    met, missed = 0, []
    for line in all_lines:
        mark = ", processor time" if id(line) in cpu else ""
        for ratio, against in ((line.reference, "distribution 3"), (line.best, "the best peer")):
            if ratio is None or ratio.wanted is None:
                continue
            met += bool(ratio.met)
            if not ratio.met:
                got = times(ratio.times.middle)
                missed.append(f"- {line.name}{mark}: {got} of the {ratio.wanted:g}x asked against {against}")
    if met or missed:
        yield f"Targets: {met} met, {len(missed)} not reached" + (":" if missed else ".")
    if missed:
        yield "\n".join(missed)


def _lost(seen: list[Line]) -> Iterator[str]:
    for line in seen:
        if line.best is not None and line.best.times.middle < 0.95:
            yield f"{line.name} ({times(line.best.times.middle)}, {line.best.peer})"


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(renewed(PAGE.read_text(), json.loads(LATEST.read_text())))


if __name__ == "__main__":
    main()
