"""Facts as people read them: tables, sizes, times; and as programs do: JSON."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

import click

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_GAP = "  "


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """The rows under their *head*, aligned, each on a line; the columns numbered in *right* to the right."""
    widths = [max(_width(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [_pad(cell, widths[column], right=column in right) for column, cell in enumerate(row)]
        lines.append(_GAP.join(cells).rstrip())
    return "\n".join(lines)


def size(count: int) -> str:
    """*count* bytes in at most five characters and a unit: `999 B`, `1.5 KiB`, `20.0 GiB`."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{count} B"


def number(count: int, one: str, many: str | None = None) -> str:
    """*count* things: `1 tag`, `2,000 tags`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def moment(microseconds: int | None) -> str:
    """A time of the database to the minute, in UTC."""
    return "" if microseconds is None else f"{_datetime(microseconds):%Y-%m-%d %H:%M}"


def rfc3339(microseconds: int | None) -> str | None:
    """A time of the database for programs (RFC 3339), in UTC."""
    return None if microseconds is None else f"{_datetime(microseconds):%Y-%m-%dT%H:%M:%S.%fZ}"


def echo_json(value: object) -> None:
    """Print *value* as JSON for programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _datetime(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)


def _width(text: str) -> int:
    """Columns on a terminal: a Chinese character takes two, a combining one none."""
    wide = sum(unicodedata.east_asian_width(character) in {"W", "F"} for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) != 0 for character in text)


def _pad(text: str, width: int, *, right: bool) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if right else text + blanks
