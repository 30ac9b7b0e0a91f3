"""A kept run in small, as `bench.report.as_json` gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

US, REFERENCE, OTHER = "moorage", "distribution 3.1.1", "zot"


def row(name: str, samples: Mapping[str, Sequence[float]], **more: Any) -> dict[str, Any]:
    """A row of values in requests a second; *more* replaces what else it says."""
    plain = {"name": name, "unit": "req/s", "better": "more", "cpu_unit": "", "cannot": {}}
    targets = dict.fromkeys(("wanted", "wanted_cpu", "wanted_best", "wanted_best_cpu"))
    held = {who: [sample(value) for value in values] for who, values in samples.items()}
    return {**plain, **targets, "samples": held, **more}


def sample(value: float, **more: Any) -> dict[str, Any]:
    """One measurement with nothing else about it."""
    return {"value": value, "cpu": None, "unexpected": 0, **more}


def run(*rows: dict[str, Any]) -> dict[str, Any]:
    """A run of three registries."""
    names = (US, REFERENCE, OTHER)
    facts = ("date", "commit", "processor", "memory", "kernel", "python")
    return {
        "machine": {fact: f"some {fact}" for fact in facts},
        "scale": {"rounds": 3},
        "minutes": 1.5,
        "registries": [{"name": n, "version": n, "settings": "its own", "durability": "fsync"} for n in names],
        "rows": list(rows),
        "memory": {"a case": {US: 50.0, OTHER: 40.0}},
        "failures": ["a case, zot: broke"],
    }
