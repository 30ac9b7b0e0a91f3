"""Figures in Prometheus' text format, version 0.0.4 ("Exposition formats" in its documentation)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure: *name* ends in its unit, *help* is one sentence; samples of one name differ in their *labels*."""

    name: str
    value: float
    labels: Mapping[str, str]
    help: str
    kind: Literal["gauge", "counter"] = "gauge"


def exposition(samples: Iterable[Sample]) -> bytes:
    """*samples* as text; those of one name stand together, with the first one's help and kind.

    Raises ValueError for a name or label that Prometheus would not take.
    """
    families: dict[str, list[Sample]] = {}
    for sample in samples:
        families.setdefault(sample.name, []).append(sample)
    return "".join(line for family in families.values() for line in _family(family)).encode("utf-8", "replace")


def _family(samples: Sequence[Sample]) -> Iterable[str]:
    first = samples[0]
    if not _NAME.fullmatch(first.name):
        raise ValueError(f"{first.name!r} is no name of a metric")
    yield f"# HELP {first.name} {_escaped(first.help)}\n"
    yield f"# TYPE {first.name} {first.kind}\n"
    for sample in samples:
        yield f"{sample.name}{_labels(sample.labels)} {_number(sample.value)}\n"


def _labels(labels: Mapping[str, str]) -> str:
    for name in labels:
        if not _LABEL.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a label")
    quoted = ",".join(f'{name}="{_escaped(value, quote=True)}"' for name, value in labels.items())
    return f"{{{quoted}}}" if quoted else ""


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)
