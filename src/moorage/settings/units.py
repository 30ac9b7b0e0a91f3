"""Durations and sizes as people write them, and back."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

_DURATION_UNITS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
    "w": Decimal(604800),
}
_NUMBER = r"(?:[0-9]{1,19}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})"
_DURATION_PART = re.compile(rf"({_NUMBER})(ns|us|µs|μs|ms|s|m|h|d|w)")
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ns|us|µs|μs|ms|s|m|h|d|w)){{1,10}}")
_PLAIN_NUMBER = re.compile(_NUMBER)

_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kib": 1 << 10,
    "m": 1 << 20,
    "mib": 1 << 20,
    "g": 1 << 30,
    "gib": 1 << 30,
    "t": 1 << 40,
    "tib": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_SIZE = re.compile(rf"({_NUMBER}) ?([a-z]{{0,3}})", re.IGNORECASE)

_LONGEST_SECONDS = Decimal(100 * 365 * 86400)
"""A century; arbitrary, keeps every duration within the range of `timedelta` and of a float's microseconds."""


def parse_duration(value: object, bare_unit: str = "s") -> float:
    """Seconds of "90", "20s", "1m30s", "168h", "7d"; a bare number counts *bare_unit* (Go's own is "ns").

    Raises ValueError. The grammar is that of Go's `time.ParseDuration` without a sign, and days and weeks beside it.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    text = str(value).strip()
    if isinstance(value, bool) or not text:
        raise ValueError("a duration is written like 20s, 1m30s or 168h")
    if _PLAIN_NUMBER.fullmatch(text):
        seconds = Decimal(text) * _DURATION_UNITS[bare_unit]
    elif _DURATION.fullmatch(text):
        seconds = sum(
            (Decimal(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(text)), Decimal(0)
        )
    else:
        raise ValueError("a duration is written like 20s, 1m30s or 168h")
    if seconds > _LONGEST_SECONDS:
        raise ValueError("a duration of more than a hundred years")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """Seconds as `parse_duration` reads them: "1m30s", "168h", "0s"."""
    rest = Decimal(repr(seconds))
    parts = []
    for unit in ("h", "m"):
        count, rest = divmod(rest, _DURATION_UNITS[unit])
        if count:
            parts.append(f"{count:f}{unit}")
    if rest or not parts:
        parts.append(f"{rest.normalize():f}s")
    return "".join(parts)


def parse_size(value: object) -> int:
    """Bytes of "4194304", "4MiB", "32 KiB", "1.5GB"; K, M, G and T alone are powers of 1024. Raises ValueError."""
    match = None if isinstance(value, bool) else _SIZE.fullmatch(str(value).strip())
    if match is None or match[2].lower() not in _SIZE_UNITS:
        raise ValueError("a size is written like 4MiB, 32KiB or 1GB")
    size = Decimal(match[1]) * _SIZE_UNITS[match[2].lower()]
    if size != int(size):
        raise ValueError("a size is a whole number of bytes")
    if size >= 1 << 63:
        raise ValueError("a size of more than 8 EiB")
    return int(size)


def format_size(size: int) -> str:
    """Bytes as `parse_size` reads them, in the largest binary unit that divides them: "4MiB", "1000"."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZE_UNITS[unit.lower()] == 0:
            return f"{size // _SIZE_UNITS[unit.lower()]}{unit}"
    return str(size)


Seconds = Annotated[float, BeforeValidator(parse_duration)]
Bytes = Annotated[int, BeforeValidator(parse_size)]
