"""JSON as RFC 8259 and I-JSON (RFC 7493) write it; Python's own reader takes much more."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

MOST_DEPTH: Final = 64
"""Containers within containers; manifests need 5 (arbitrary)."""

MOST_CONTAINERS: Final = 200_000
"""Arrays and objects in one document: 4 MiB of `{},` would take 100 MB; 10,000 descriptors need 40,000 (arbitrary)."""

MOST_INTEGER: Final = 2**53 - 1
"""RFC 7493, 2.2: beyond it, readers disagree about the value."""

_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_STRING: Final = re.compile(rb'"[^"]*"?')
_ROUND: Final = bytes.maketrans(b"[]{}", b"()()")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


class JsonInvalid(ValueError):
    """The text is not JSON that all readers understand alike; the message says where or why."""


def parse_json(body: bytes) -> object:
    """Return the value of *body* as dict, list, str, int, float, bool or None.

    Raises JsonInvalid for anything but UTF-8 without a byte order mark, NaN and infinities (`1e999` too), repeated
    members, integers beyond 2^53-1, lone surrogates, and more than MOST_DEPTH levels or MOST_CONTAINERS containers.
    """
    if body.count(b"{") + body.count(b"[") > MOST_DEPTH:
        _measure(body)
    try:
        text = body.decode("utf-8")
        value = _DECODER.decode(text)
        if "\\u" in text:
            # Only an escape can have made a lone surrogate, and only a lone surrogate cannot be encoded.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonInvalid(f"not UTF-8 at byte {error.start}") from None
    except UnicodeEncodeError:
        raise JsonInvalid("a lone surrogate in a string") from None
    except json.JSONDecodeError as error:
        raise JsonInvalid(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise JsonInvalid("nested too deeply") from None
    return value


def _measure(body: bytes) -> None:
    """Refuse a document that is too deep or has too many containers, before anything is built from it."""
    brackets = _STRING.sub(b"", _ESCAPE.sub(b"", body)).translate(_ROUND, _NOT_BRACKETS)
    if len(brackets) > 2 * MOST_CONTAINERS:
        raise JsonInvalid(f"more than {MOST_CONTAINERS} arrays and objects")
    for _ in range(MOST_DEPTH):
        brackets = brackets.replace(b"()", b"")  # the innermost level
    if brackets:
        raise JsonInvalid(f"unbalanced, or nested deeper than {MOST_DEPTH}")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JsonInvalid("a repeated member")
    return members


def _integer(text: str) -> int:
    if len(text) < 16:  # 15 digits, or fewer and a sign, are always small enough
        return int(text)
    if len(text) > 17 or abs(value := int(text)) > MOST_INTEGER:
        raise JsonInvalid("an integer beyond 2^53-1")
    return value


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise JsonInvalid("a number that is too large")
    return value


def _constant(text: str) -> NoReturn:
    raise JsonInvalid(f"{text} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
