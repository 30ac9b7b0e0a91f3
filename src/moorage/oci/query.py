"""Percent-encoding, strictly, in both directions."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from moorage.errors import BadRequest

MOST_FIELDS: Final = 1000
"""Fields in one query string (arbitrary; the length of the request line is limited elsewhere)."""

_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_VISIBLE: Final = re.compile(r"[!-~]*")
_PATH_SAFE: Final = "/:@!$&'()*+,;="
"""RFC 3986, 3.3: what a path may hold unescaped beside letters, digits and `-._~`."""


def parse_query(raw: str) -> dict[str, list[str]]:
    """Return the fields of a query string (without `?`) and their values, in the order sent.

    `&` separates, `+` is a space (as the field's clients write it), a field without `=` has the value "".
    Raises BadRequest for a broken escape, escapes that are not UTF-8, a NUL, raw spaces, control or non-ASCII
    characters, and more than MOST_FIELDS fields.
    """
    fields: dict[str, list[str]] = {}
    if not raw:
        return fields
    if raw.count("&") >= MOST_FIELDS:
        raise BadRequest(400, f"more than {MOST_FIELDS} query parameters")
    for pair in raw.replace("+", "%20").split("&"):
        if pair:
            name, _, value = pair.partition("=")
            fields.setdefault(decode_component(name), []).append(decode_component(value))
    return fields


def decode_component(raw: str) -> str:
    """Return one percent-decoded component of a path or query; `+` stays. Raises BadRequest as `parse_query` does."""
    if _VISIBLE.fullmatch(raw) is None:
        raise BadRequest(400, "a raw space, control or non-ASCII character in the request target")
    if "%" not in raw:
        return raw
    if _BROKEN_ESCAPE.search(raw):
        raise BadRequest(400, "a broken percent escape in the request target")
    try:
        text = unquote(raw, encoding="utf-8", errors="strict")
    except UnicodeDecodeError:
        raise BadRequest(400, "percent escapes in the request target that are not UTF-8") from None
    if "\0" in text:
        raise BadRequest(400, "a NUL in the request target")
    return text


def encode_component(text: str) -> str:
    """Return *text* for the query of a Link or Location, as a name or a value: only `-._~` and alphanumerics stay."""
    return quote(text, safe="")


def encode_path(text: str) -> str:
    """Return *text* for use as the path of a Link or Location; slashes and a digest's colon stay."""
    return quote(text, safe=_PATH_SAFE)
