"""Runs cases over registries in interleaved rounds: A B, B A, A B ..., so that a slow minute hits all of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.cases.seed import seed
from bench.drivers import Unexpected
from bench.measure import Case, Row, Sample, Scale
from bench.registries import ANONYMOUS, MODES, Registry
from bench.tree import wait_for_quiet


@dataclass
class Results:
    """Samples by row name and registry name, a list in the order of the rounds; and what went wrong."""

    rows: list[Row] = field(default_factory=list)
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, row: Row, registry: str, sample: Sample) -> None:
        if row.name not in self.samples:
            self.rows.append(row)
        self.samples.setdefault(row.name, {}).setdefault(registry, []).append(sample)


def run(cases: Sequence[Case], registries: Sequence[Registry], scale: Scale, patience: float = 0) -> Results:
    """Seed every registry, then run the cases, grouped by mode.

    Before each sample wait up to *patience* seconds for a quiet machine.
    """
    results = Results()
    for registry in registries:
        _say(f"seeding {registry.name}")
        registry.start(ANONYMOUS)
        try:
            seed(registry, scale)
        finally:
            registry.stop()
    for mode in MODES:
        chosen = [case for case in cases if case.mode == mode]
        if not chosen:
            continue
        _say(f"-- {mode.name}")
        try:
            for registry in registries:
                registry.start(mode)
            for case in chosen:
                _run_case(case, registries, scale, results, patience)
        finally:
            for registry in registries:
                registry.stop()
    return results


def _run_case(case: Case, registries: Sequence[Registry], scale: Scale, results: Results, patience: float) -> None:
    failed: set[str] = set()
    for number in range(min(scale.rounds, case.rounds or scale.rounds)):
        for place in range(len(registries)):
            registry = registries[(place + number) % len(registries)]
            if registry.name in failed:
                continue
            wait_for_quiet(patience)
            try:
                samples = case.run(registry, number, scale)
            except (Unexpected, OSError) as error:
                failed.add(registry.name)
                results.failures.append(f"{case.name}, {registry.name}: {error}")
                _say(f"{registry.name:24} {case.name}: FAILED, {error}")
                continue
            for row in case.rows:
                sample = samples[row.name]
                results.add(row, registry.name, sample)
                cpu = "" if sample.cpu is None else f"  {sample.cpu:9.1f} {row.cpu_unit} CPU"
                noise = "" if sample.usage is None else f"  others {sample.usage.others:.2f}"
                _say(f"{registry.name:24} {row.name:40} {sample.value:10.1f} {row.unit:9}{cpu}{noise}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
