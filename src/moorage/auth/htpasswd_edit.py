"""Changing the text of an htpasswd file, as pure functions."""

from __future__ import annotations

import re
from typing import Final

from moorage.auth.htpasswd_format import split

MOST_USER_BYTES: Final = 255
"""As in Apache's tool."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def illegal(user: str) -> str | None:
    """Why *user* cannot stand in a file, or None: it would be another user there, a comment, or not UTF-8."""
    if not user:
        return "the user name is empty"
    if ":" in user:
        return "the user name has a colon, which ends a user name"
    if user.startswith("#"):
        return "the user name begins with '#', which begins a comment"
    if _CONTROL.search(user) or user != user.strip():
        return "the user name has control characters, or white space at an end"
    try:
        user.encode()
    except UnicodeEncodeError:
        return "the user name is not UTF-8"
    return None


def set_hash(data: bytes, user: str, stored: str, source: str) -> tuple[bytes, bool]:
    """Return *data* with *stored* as the user's hash, and whether the user was there; every line of the user changes.

    All else stays as it is, and CR LF stays CR LF. Raises ConfigurationError, with the line, for what is not an
    htpasswd file.
    """
    lines = []
    found = False
    entry = f"{user}:{stored}".encode()
    ending = b"\n"
    for line in split(data, source):
        if line.raw.endswith(b"\n"):
            ending = b"\r\n" if line.raw.endswith(b"\r\n") else b"\n"
        mine = line.entry is not None and line.entry[0] == user
        found = found or mine
        lines.append(entry + ending if mine else line.raw)
    if not found:
        if lines and not lines[-1].endswith(b"\n"):
            lines[-1] += ending
        lines.append(entry + ending)
    return b"".join(lines), found


def remove_user(data: bytes, user: str, source: str) -> tuple[bytes, bool]:
    """Return *data* without the user's lines, and whether there were any. Raises as `set_hash` does."""
    lines = list(split(data, source))
    kept = [line.raw for line in lines if line.entry is None or line.entry[0] != user]
    return b"".join(kept), len(kept) < len(lines)


def stored_hash(data: bytes, user: str, source: str) -> str | None:
    """The user's hash in force, or None. Raises as `set_hash` does."""
    entries = dict(line.entry for line in split(data, source) if line.entry is not None)
    return entries.get(user)
