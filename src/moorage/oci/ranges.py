"""`Range` of a blob that is read, `Content-Range` of a chunk that is pushed."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from moorage.errors import RangeInvalid
from moorage.oci.excerpt import excerpt
from moorage.oci.numbers import parse_decimal

MOST_RANGES: Final = 64
"""More are not served one by one (arbitrary; lazy-pulling snapshotters ask for a few at a time)."""

MOST_OFFSET: Final = 2**63 - 1

_SPEC: Final = re.compile(r"([0-9]*)-([0-9]*)")
_CHUNK: Final = re.compile(r"(?:bytes[ =])?([0-9]+)-([0-9]+)(?:/(?:([0-9]+)|\*))?")


def parse_range(header: str, size: int) -> list[tuple[int, int]] | None:
    """Return the half-open `[start, end)` ranges that a Range header selects of *size* bytes, in the order asked for.

    None means: ignore the header and send everything. That is the answer to another unit, a malformed header, more than
    MOST_RANGES ranges, ranges that overlap (RFC 9110, 14.2 allows it; they multiply the work) and an empty blob.

    Raises RangeInvalid, with the Content-Range header of RFC 9110, 15.5.17, if no range can be satisfied or one can
    never be: backwards (`500-0`) or the last nothing (`-0`).
    """
    unit, equals, specs = header.partition("=")
    if not equals or unit.strip(" \t").lower() != "bytes" or specs.count(",") >= MOST_RANGES:
        return None
    matches = [_SPEC.fullmatch(spec.strip(" \t")) for spec in specs.split(",") if spec.strip(" \t")]
    ranges: list[tuple[int, int]] = []
    for match in matches:
        if match is None or match[0] == "-":
            return None
        selected = _select(match[1], match[2], size)
        if selected[0] < selected[1]:
            ranges.append(selected)
    if not matches or size == 0:
        return None
    if not ranges:
        raise _unsatisfiable(size)
    return None if _overlap(ranges) else ranges


def _select(first: str, last: str, size: int) -> tuple[int, int]:
    """Return one range, clipped to the blob; it is empty (start >= end) if the blob ends before it."""
    if not first:
        length = _offset(last)
        if length == 0:
            raise _unsatisfiable(size)
        return max(0, size - length), size
    start = _offset(first)
    if not last:
        return start, size
    end = _offset(last)
    if end < start:
        raise _unsatisfiable(size)
    return start, min(end + 1, size)


def _offset(digits: str) -> int:
    """Return the number, or something beyond every blob: a grammatical offset may have any number of digits."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= 19 else MOST_OFFSET


def _overlap(ranges: list[tuple[int, int]]) -> bool:
    ordered = sorted(ranges)
    return any(after[0] < before[1] for before, after in pairwise(ordered))


def _unsatisfiable(size: int) -> RangeInvalid:
    return RangeInvalid(f"the content has {size} bytes", headers=(("Content-Range", f"bytes */{size}"),))


def parse_content_range(header: str) -> tuple[int, int]:
    """Return the first and the last offset, inclusive, of a pushed chunk.

    The protocol writes `first-last` (distribution-spec, "Pushing a blob in chunks"); `bytes first-last/total` of
    RFC 9110, 14.4 is understood too. Raises RangeInvalid for anything else, backwards, or beyond 2^63-1.
    """
    match = _CHUNK.fullmatch(header)
    try:
        if match is None:
            raise ValueError("not first-last")
        first, last = (parse_decimal(match[group], MOST_OFFSET) for group in (1, 2))
        if last < first or (match[3] is not None and parse_decimal(match[3], MOST_OFFSET) <= last):
            raise ValueError("backwards, or beyond its own total")
    except ValueError as error:
        raise RangeInvalid(f"invalid Content-Range {excerpt(header)}: {error}") from None
    return first, last
