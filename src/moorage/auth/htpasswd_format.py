"""What an htpasswd file says.

One `user:hash` a line, in UTF-8; blank lines and lines that begin with "#" do not count, nor does white space around a
line, nor anything behind a second colon. Lines may end in CR LF. As in registry:2 the last of several lines for one
user counts, and only bcrypt lets anybody in.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from moorage.auth.passwords import BCRYPT_COST, bcrypt_cost, decoy_bcrypt, hash_kind
from moorage.auth.principal import Account, Principal
from moorage.errors import ConfigurationError
from moorage.oci.excerpt import excerpt

SLOW_COST: Final = 15
"""From here on a check takes seconds, and a wrong password is as dear as a right one."""

_UTF8_MARK: Final = b"\xef\xbb\xbf"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Note(NamedTuple):
    """Something that is not as the file's author thinks; *line* counts from 1, None is the whole file."""

    line: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Content:
    """What a file says: accounts by user name, the account of everybody else, and notes for the administrator."""

    accounts: Mapping[str, Account]
    nobody: Account
    notes: tuple[Note, ...]


class Line(NamedTuple):
    """One line of a file: *user* and *stored* of an entry, or None for a comment or a blank line."""

    number: int
    raw: bytes
    entry: tuple[str, str] | None


def parse(data: bytes, source: str) -> Content:
    """Return what *data*, read from the file *source*, says; users without a bcrypt hash are in it but cannot log in.

    Raises ConfigurationError, with the line, for what is not an htpasswd file from end to end.
    """
    entries = list(_entries(data, source))
    notes = list(_repeated(entries))
    if data.startswith(_UTF8_MARK):
        notes.append(Note(1, "the file begins with a byte order mark; registry:2 would not know the first user"))
    in_force = {user: (number, stored) for number, user, stored in entries}
    costs = {user: bcrypt_cost(stored) for user, (_, stored) in in_force.items()}
    nobody = Account(None, decoy_bcrypt(_usual(cost for cost in costs.values() if cost is not None)))
    accounts = {}
    for user, (number, stored) in in_force.items():
        cost = costs[user]
        accounts[user] = nobody if cost is None else Account(Principal("htpasswd", user), stored)
        if cost is None:
            notes.append(Note(number, _unusable(user, stored, source)))
        elif cost >= SLOW_COST:
            notes.append(Note(number, f"the password of {excerpt(user)} has cost {cost}: each check takes seconds"))
    if all(cost is None for cost in costs.values()):
        notes.append(Note(None, f"nobody can log in; add a user: {command(source, 'USER')}"))
    return Content(accounts, nobody, tuple(notes))


def split(data: bytes, source: str) -> Iterator[Line]:
    """Yield every line with its ending, and without a byte order mark.

    Raises ConfigurationError for UTF-16, and for a line that is neither an entry nor a comment.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        raise ConfigurationError(
            "the file is not plain text but UTF-16, which PowerShell's > writes, or binary;"
            f" in PowerShell end the command with: | Set-Content -Encoding ASCII {shlex.quote(source)}",
            source,
            line=1,
        )
    for number, raw in enumerate(re.findall(rb"[^\n]*\n|[^\n]+", data.removeprefix(_UTF8_MARK)), 1):
        text = raw.strip()
        try:
            entry = None if not text or text.startswith(b"#") else _entry(text.decode())
        except ValueError as error:
            what = "the line is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise ConfigurationError(what, source, line=number) from None
        yield Line(number, raw, entry)


def command(source: str, user: str) -> str:
    """What to type to give *user* a password that works."""
    return f"moorage htpasswd -B {shlex.quote(source)} {shlex.quote(user)}"


def _entry(line: str) -> tuple[str, str]:
    user, colon, rest = line.partition(":")
    if not colon:
        raise ValueError("the line has no colon between user and password hash")
    if not user:
        raise ValueError("the line has no user before the colon")
    if _CONTROL.search(user):
        raise ValueError("the user has control characters")
    return user, rest.partition(":")[0]


def _entries(data: bytes, source: str) -> Iterator[tuple[int, str, str]]:
    for line in split(data, source):
        if line.entry is None:
            continue
        user, stored = line.entry
        # Without a newline it is the last line, and perhaps still being written.
        if not line.raw.endswith(b"\n") and stored[:2] in {"", "$", "$2"} and bcrypt_cost(stored) is None:
            raise ConfigurationError("the file ends within a password hash", source, line=line.number)
        yield line.number, user, stored


def _repeated(entries: Iterable[tuple[int, str, str]]) -> Iterator[Note]:
    seen: dict[str, int] = {}
    for number, user, _ in entries:
        if user in seen:
            yield Note(number, f"user {excerpt(user)} was on line {seen[user]} already; the later line counts")
        seen[user] = number


def _unusable(user: str, stored: str, source: str) -> str:
    # A name that would not survive a terminal is not put into a command to copy.
    how = command(source, user if user.isprintable() else "USER")
    return f"user {excerpt(user)} cannot log in: {hash_kind(stored)}, and only bcrypt counts; set a password: {how}"


def _usual(costs: Iterable[int]) -> int:
    """The commonest cost, the higher one of equals: unknown users shall take as long as most known ones."""
    counted = Counter(costs)
    return max(counted, key=lambda cost: (counted[cost], cost), default=BCRYPT_COST)
