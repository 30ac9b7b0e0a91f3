"""A bounded, printable piece of what a client sent, for an error message."""

from __future__ import annotations


def excerpt(text: str, most: int = 64) -> str:
    """Return *text* quoted, in printable ASCII, cut after *most* characters.

    Messages reach terminals and logs: control characters, bidirectional marks and lone surrogates come out escaped.
    """
    return ascii(text) if len(text) <= most else f"{text[:most]!a}..."
