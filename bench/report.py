"""Everything that was measured as JSON, and from that the Markdown report and the tables of the documentation."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.compare import Line, Ratio, lines, number, spread, times, verdict
from bench.measure import Sample, Scale
from bench.registries import ROOT, Registry
from bench.runner import Results

Kept = Mapping[str, Any]


def machine() -> dict[str, str]:
    """What it ran on."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    memory = Path("/proc/meminfo").read_text().split(None, 2)[1]
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": subprocess.run(git, check=False, capture_output=True).stdout.decode().strip(),
        "processor": f"{os.cpu_count()} x {model.partition(': ')[2]}",
        "memory": f"{int(memory) / 2**20:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def place(kept: Kept) -> str:
    """When, of what and where a run was."""
    facts = kept["machine"]
    return (
        f"{facts['date']}, commit {facts['commit']}, {facts['processor']}, {facts['memory']}, "
        f"Linux {facts['kernel']}, Python {facts['python']}"
    )


def as_json(results: Results, registries: Sequence[Registry], scale: Scale) -> dict[str, Any]:
    """Every sample."""
    return {
        "machine": machine(),
        "scale": asdict(scale),
        "minutes": round(results.seconds / 60, 1),
        "registries": [
            {"name": one.name, "version": one.version(), "settings": one.settings(), "durability": one.durability}
            for one in registries
        ],
        "rows": [
            {
                **asdict(row),
                "samples": {name: [_short(one) for one in some] for name, some in results.samples[row.name].items()},
                "cannot": results.cannot.get(row.name, {}),
            }
            for row in results.rows
        ],
        "memory": {case: {name: round(mb, 1) for name, mb in of.items()} for case, of in results.memory.items()},
        "failures": results.failures,
    }


def _short(sample: Sample) -> dict[str, Any]:
    """Five digits of each: the rest is noise, and the file is kept."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: cut(one) for name, one in value.items() if one is not None}
        return float(f"{value:.5g}") if isinstance(value, float) else value

    return {"value": cut(sample.value), "cpu": cut(sample.cpu), **cut(asdict(sample))}


def as_markdown(kept: Kept) -> str:
    """The report; a ratio says how many times better the first registry is."""
    first, *others = (registry["name"] for registry in kept["registries"])
    scale = kept["scale"]
    parts = [
        f"# {first} beside {', '.join(others) or 'nobody'}",
        f"{place(kept)}; {kept['minutes']:g} minutes.",
        (
            f"At most {scale['rounds']} rounds, interleaved; medians, in brackets the quartiles (fewer than five "
            "rounds: the least and the most). A ratio is the median of the rounds' ratios: how many times better we "
            "are, so that below 1 the other wins. Servers and drivers share the processors, unpinned. Processor time "
            "is that of the server's whole process tree, with what a push leaves to be done behind its answer."
        ),
        noise(kept),
        settings_table(kept),
        "## What clients see",
        _table(lines(kept, cpu=False), others),
        "## Processor time",
        _table(lines(kept, cpu=True), others),
        *_cannot(kept),
        "## Memory after each case, MB (PSS of the whole process tree)",
        _memory(kept),
    ]
    if kept["failures"]:
        parts += ["## Failed", "\n".join(f"- {failure}" for failure in kept["failures"])]
    return "\n\n".join(parts) + "\n"


def noise(kept: Kept) -> str:
    """How busy the machine was with something else: what the figures are worth."""
    usages = [
        sample["usage"]
        for row in kept["rows"]
        for samples in row["samples"].values()
        for sample in samples
        if sample.get("usage")
    ]
    if not usages:
        return "How busy the machine was with other things was not measured."
    busy = sorted(usage["others"] for usage in usages)
    stolen = max(usage["stolen"] for usage in usages)
    text = (
        f"Other programs used {statistics.median(busy):.2f} processors in the median sample and {busy[-1]:.2f} "
        f"in the worst; the host took away at most {stolen:.2f}."
    )
    if statistics.median(busy) > 0.2:
        text += " **Rates are not to be trusted; processor time and ratios are.**"
    return text


def settings_table(kept: Kept) -> str:
    """Which settings for durability, logs and authentication were in force."""
    rows = [(one["version"], one["settings"], one["durability"]) for one in kept["registries"]]
    return table(["registry", "settings", "when a push is answered"], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 99) -> str:
    """A Markdown table whose first *left* columns are text."""
    rule = ["---" if place < left else "--:" for place in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def _table(of: Sequence[Line], others: Sequence[str]) -> str:
    if not of:
        return "Nothing."
    head = ["case", "unit", of[0].first]
    for other in others:
        head += [other, "ratio"]
    head += ["target against distribution 3", "target against the best peer"]
    return table(head, [_row(line, others) for line in of], 2)


def _row(line: Line, others: Sequence[str]) -> list[str]:
    cells = [line.name, line.unit, _cell(line, line.first)]
    for other in others:
        cells += [_cell(line, other), ratio_cell(line.ratio(other))]
    best = line.best
    against = f" ({best.peer})" if best and best.wanted is not None and len(line.peers) > 1 else ""
    return [*cells, verdict(line.reference), verdict(best) + against]


def _cell(line: Line, name: str) -> str:
    values = line.values.get(name)
    if not values:
        return "cannot" if name in line.cannot else "-"
    of = spread(values)
    text = number(of.middle)
    if of.count > 1:
        text += f" ({number(of.low)}-{number(of.high)})"
    if near := [value for value in line.beside.get(name, ()) if value is not None]:
        text += f", us {number(statistics.median(near))}"
    if line.wrong.get(name):
        text += f" ({line.wrong[name]} wrong answers)"
    return text


def ratio_cell(ratio: Ratio | None) -> str:
    """A ratio with its spread."""
    if ratio is None:
        return ""
    around = f" ({times(ratio.times.low)}-{times(ratio.times.high)})" if ratio.times.count > 1 else ""
    return f"**{times(ratio.times.middle)}**{around}"


def _cannot(kept: Kept) -> list[str]:
    said: dict[tuple[str, str], list[str]] = {}
    for row in kept["rows"]:
        for name, reason in row.get("cannot", {}).items():
            said.setdefault((name, reason), []).append(row["name"])
    if not said:
        return []
    return ["## Cannot", "\n".join(f"- {who}: {why} ({', '.join(what)})" for (who, why), what in said.items())]


def _memory(kept: Kept) -> str:
    names = [registry["name"] for registry in kept["registries"]]
    rows = [[case, *(number(of[name]) if name in of else "-" for name in names)] for case, of in kept["memory"].items()]
    return table(["case", *names], rows, 1) if rows else "Nothing."
