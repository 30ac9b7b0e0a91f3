"""One Markdown table with ratios, and everything that was measured as JSON."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import Sample, Scale
from bench.registries import ROOT, Registry
from bench.runner import Results


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


def as_json(results: Results, registries: Sequence[Registry], scale: Scale) -> dict[str, object]:
    """Every sample."""
    return {
        "machine": machine(),
        "scale": asdict(scale),
        "registries": [
            {"name": one.name, "version": one.version(), "settings": one.settings(), "durability": one.durability}
            for one in registries
        ],
        "rows": [
            {
                **asdict(row),
                "samples": {name: [asdict(one) for one in some] for name, some in results.samples[row.name].items()},
            }
            for row in results.rows
        ],
        "failures": results.failures,
    }


def as_markdown(results: Results, registries: Sequence[Registry], scale: Scale) -> str:
    """The report; ratios say how many times better the first registry is, by the median of the rounds' ratios."""
    first, *others = registries
    facts = machine()
    lines = [
        f"# {first.name} beside {', '.join(other.name for other in others) or 'nobody'}",
        "",
        f"{facts['date']}, commit {facts['commit']}, {facts['processor']}, {facts['memory']}, Linux {facts['kernel']},",
        f"Python {facts['python']}. {scale.rounds} rounds, interleaved; medians, in brackets the least and the most.",
        "Servers and drivers share the processors, unpinned. Small requests: `wrk -t1 -c16`. Processor time is that of",
        "the server's whole process tree, with what a push leaves to be done behind its answer.",
        "",
        *_registry_lines(registries),
        "",
        _noise(results),
        "",
        *_table(results, first, others),
        "",
        *_cpu_table(results, first, others),
    ]
    if results.failures:
        lines += ["", "Failed: " + "; ".join(results.failures)]
    return "\n".join(lines) + "\n"


def _registry_lines(registries: Sequence[Registry]) -> list[str]:
    lines = ["| registry | settings | when a push is answered |", "|---|---|---|"]
    return lines + [f"| {one.version()} | {one.settings()} | {one.durability} |" for one in registries]


def _noise(results: Results) -> str:
    usages = [
        sample.usage
        for by_registry in results.samples.values()
        for samples in by_registry.values()
        for sample in samples
        if sample.usage is not None
    ]
    if not usages:
        return "Noise was not measured."
    busy = sorted(usage.others for usage in usages)
    stolen = max(usage.stolen for usage in usages)
    return (
        f"Noise: other programs used {statistics.median(busy):.2f} processors in the median sample and {busy[-1]:.2f} "
        f"in the worst; the host took away at most {stolen:.2f}."
        + (" **Rates are not to be trusted; processor time is.**" if statistics.median(busy) > 0.2 else "")
    )


def _table(results: Results, first: Registry, others: Sequence[Registry]) -> list[str]:
    head = ["case", "unit", first.name]
    for other in others:
        head += [other.name, "times better"]
    head.append("target")
    lines = [_line(head), _line(["---", "---", *["--:"] * (len(head) - 2)])]
    for row in results.rows:
        ours = results.samples[row.name].get(first.name, [])
        cells = [row.name, row.unit, _cell([sample.value for sample in ours], _marks(ours))]
        for other in others:
            theirs = results.samples[row.name].get(other.name, [])
            cells.append(_cell([sample.value for sample in theirs], _marks(theirs)))
            cells.append(_ratio(row.better, [sample.value for sample in ours], [sample.value for sample in theirs]))
        cells.append(_target(row.wanted))
        lines.append(_line(cells))
    return lines


def _cpu_table(results: Results, first: Registry, others: Sequence[Registry]) -> list[str]:
    head = ["processor time for each", "unit", first.name]
    for other in others:
        head += [other.name, "times less"]
    head.append("target")
    lines = [_line(head), _line(["---", "---", *["--:"] * (len(head) - 2)])]
    for row in results.rows:
        if not row.cpu_unit:
            continue
        ours = _cpu(results.samples[row.name].get(first.name, []))
        cells = [row.name, row.cpu_unit, _cell(ours)]
        for other in others:
            theirs = _cpu(results.samples[row.name].get(other.name, []))
            cells += [_cell(theirs), _ratio("less", ours, theirs)]
        cells.append(_target(row.wanted_cpu))
        lines.append(_line(cells))
    return lines


def _cpu(samples: Iterable[Sample]) -> list[float]:
    return [sample.cpu for sample in samples if sample.cpu is not None]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _marks(samples: Sequence[Sample]) -> str:
    count = sum(sample.unexpected for sample in samples)
    return f" ({count} wrong answers)" if count else ""


def _cell(values: Sequence[float], marks: str = "") -> str:
    if not values:
        return "-"
    middle = _number(statistics.median(values))
    spread = f" ({_number(min(values))}-{_number(max(values))})" if len(values) > 1 else ""
    return middle + spread + marks


def _ratio(better: str, ours: Sequence[float], theirs: Sequence[float]) -> str:
    pairs = [(mine, other) for mine, other in zip(ours, theirs, strict=False) if mine > 0 and other > 0]
    if not pairs:
        return "-"
    ratios = [mine / other if better == "more" else other / mine for mine, other in pairs]
    return f"**{_number(statistics.median(ratios))}**"


def _target(wanted: float | None) -> str:
    return "" if wanted is None else f"{wanted:g}"


def _number(value: float) -> str:
    """Three digits that say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
