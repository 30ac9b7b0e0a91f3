"""The htpasswd file, line by line: what the server would refuse as a whole, who is not let in, and why."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from moorage.auth.htpasswd import MOST_BYTES
from moorage.auth.htpasswd_format import SLOW_COST, command, split
from moorage.auth.passwords import BCRYPT_COST, bcrypt_cost, hash_kind
from moorage.doctor.accounts import Account, acting_as, open_to_others
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong
from moorage.errors import ConfigurationError
from moorage.oci.excerpt import excerpt

_UTF8_MARK: Final = b"\xef\xbb\xbf"
_LINE: Final = re.compile(rb"[^\n]*\n|[^\n]+")
_MOST_NAMED: Final = 5
"""Of lines with the same fault."""


@dataclass(slots=True)
class _Lines:
    """What was found: line numbers, with the user where there is one."""

    users: dict[str, tuple[int, str]] = field(default_factory=dict)
    refused: list[tuple[int, str]] = field(default_factory=list)
    repeated: list[tuple[int, str, int]] = field(default_factory=list)
    returns: list[int] = field(default_factory=list)
    blanks: list[int] = field(default_factory=list)
    padded: list[tuple[int, str]] = field(default_factory=list)


def look_at_htpasswd(path: Path, user: Account) -> Iterator[Finding]:
    """Everything about the file that *user*, the server's, reads its users from."""
    data = _read(path, user)
    if isinstance(data, Finding):
        yield data
        return
    yield from look_at_content(data, path)
    if open_to_others(path):
        quoted = shlex.quote(str(path))
        group = shlex.quote(user.owner.partition(":")[2])
        yield warning(
            f"{path} can be read by every user of this machine",
            "Whoever has the hashes can guess passwords at leisure.",
            f"sudo chgrp {group} {quoted} && sudo chmod 640 {quoted}",
            path=str(path),
        )


def look_at_content(data: bytes, path: Path) -> Iterator[Finding]:
    """Everything about what is in the file at *path*."""
    quoted = shlex.quote(str(path))
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        yield wrong(
            f"{path}:1: the file is UTF-16 or binary, and not plain text",
            "PowerShell's > writes UTF-16. The server does not start with it; a running one keeps the users it knew.",
            f"iconv -f UTF-16 -t UTF-8 {quoted} | tr -d '\\r' > {quoted}.new && mv {quoted}.new {quoted}",
            blocks=True,
        )
        return
    if data.startswith(_UTF8_MARK):
        yield warning(
            f"{path}:1: the file begins with a byte order mark",
            "An editor on Windows put it there. Moorage passes over it; registry:2, nginx and Apache take it for a part"
            " of the first user's name.",
            f"sed -i '1s/^\\xef\\xbb\\xbf//' {quoted}",
        )
    lines = _examine(data, str(path))
    yield from _judge_lines(lines, path)
    yield from _judge_users(lines, path)


def _read(path: Path, user: Account) -> bytes | Finding:
    with acting_as(user):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            return _unreadable(path, user, error)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                return _a_folder(path)
            if not stat.S_ISREG(found.st_mode):
                return wrong(f"{path} is no file", "The server does not start with it.", blocks=True)
            if found.st_size > MOST_BYTES:
                return wrong(
                    f"{path} is larger than {MOST_BYTES >> 20} MiB", "The server does not read it.", blocks=True
                )
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(MOST_BYTES)
        except OSError as error:
            return _unreadable(path, user, error)
        finally:
            os.close(descriptor)


def _a_folder(path: Path) -> Finding:
    place = shlex.quote(str(path))
    return wrong(
        f"{path} is a folder, and not a file",
        "Docker makes a folder where the file that -v names is missing on the host. Remove it, make the file, and make"
        " the container anew; in the container's view the folder stays until then.",
        f"sudo rmdir {place}    # on the host: the path before the colon of -v",
        command(str(path), "USER").replace(" -B ", " -Bc "),
        f'docker run -v "$PWD/{path.name}:{path}:ro" ...',
        blocks=True,
        path=str(path),
    )


def _unreadable(path: Path, user: Account, error: OSError) -> Finding:
    create = command(str(path), "USER").replace(" -B ", " -Bc ")
    if isinstance(error, FileNotFoundError):
        leads = f" (a link to {os.readlink(path)})" if path.is_symlink() else ""
        return wrong(
            f"{path} is missing{leads}",
            "The server does not start without the file that auth.htpasswd names; a running one keeps the users it"
            " knew.",
            create,
            blocks=True,
            path=str(path),
        )
    if isinstance(error, PermissionError) and not user.can_be_tried:
        return skipped(
            f"{path} can be read by {user.name} and root alone",
            f"Give the command as that user: sudo -u {user.name} moorage doctor",
        )
    group = shlex.quote(user.owner.partition(":")[2])
    quoted = shlex.quote(str(path))
    return wrong(
        f"{user.name}, the user of the server, cannot read {path}: {error.strerror}",
        "The server does not start with it; a running one keeps the users it knew.",
        f"sudo chgrp {group} {quoted} && sudo chmod 640 {quoted}",
        f"namei -l {quoted}",
        blocks=True,
        path=str(path),
    )


def _examine(data: bytes, source: str) -> _Lines:
    found = _Lines()
    for number, raw in enumerate(_LINE.findall(data.removeprefix(_UTF8_MARK)), 1):
        text = raw.rstrip(b"\n")
        if text.endswith(b"\r"):
            found.returns.append(number)
            text = text[:-1]
        try:
            entry = next(iter(split(raw, source))).entry
        except ConfigurationError as error:
            found.refused.append((number, error.message))
            continue
        if entry is None:
            continue
        name, stored = entry
        if text != text.strip():
            found.blanks.append(number)
        if name != name.strip():
            found.padded.append((number, name))
        if name in found.users:
            found.repeated.append((number, name, found.users[name][0]))
        found.users[name] = (number, stored)
    return found


def _judge_lines(lines: _Lines, path: Path) -> Iterator[Finding]:
    """What is wrong with lines as text."""
    quoted = shlex.quote(str(path))
    for number, why in lines.refused[:_MOST_NAMED]:
        yield wrong(
            f"{path}:{number}: {why}",
            "One such line and the server takes nothing from the file: it does not start, or keeps the users it knew.",
            f"sed -i '{number}d' {quoted}    # removes the line",
            line=number,
            path=str(path),
        )
    for number, name, before in lines.repeated[:_MOST_NAMED]:
        yield warning(
            f"{path}:{number}: user {excerpt(name)} stands on line {before} already",
            "The later line counts; nginx and Apache take the first, and so another password.",
            f"sed -i '{before}d' {quoted}    # removes the earlier line",
            line=number,
            path=str(path),
        )
    for number, name in lines.padded[:_MOST_NAMED]:
        yield warning(
            f"{path}:{number}: a blank stands between user {excerpt(name.strip())} and the colon",
            "The blank belongs to the name: whoever logs in without it gets `unauthorized`.",
            f"sed -i '{number}s/[[:space:]]*:/:/' {quoted}",
            line=number,
            path=str(path),
        )
    if lines.returns:
        yield warning(
            f"{_where(path, lines.returns)}: the line ends as on Windows (CR LF)",
            "Moorage passes over it. For registry:2, nginx and Apache the mark belongs to the hash, and no password is"
            " right.",
            f"sed -i 's/\\r$//' {quoted}",
            lines=lines.returns[:20],
            path=str(path),
        )
    if lines.blanks:
        yield warning(
            f"{_where(path, lines.blanks)}: blanks stand at an end of the line",
            "Moorage passes over them. For registry:2, nginx and Apache they belong to the name or the hash, and no"
            " password is right.",
            f"sed -i 's/^[[:blank:]]*//; s/[[:blank:]]*\\r\\?$//' {quoted}",
            lines=lines.blanks[:20],
            path=str(path),
        )


def _judge_users(lines: _Lines, path: Path) -> Iterator[Finding]:
    """Who can log in, and who cannot although he stands there."""
    costs = {name: bcrypt_cost(stored) for name, (_, stored) in lines.users.items()}
    for name in [name for name, cost in costs.items() if cost is None][:_MOST_NAMED]:
        number, stored = lines.users[name]
        yield wrong(
            f"{path}:{number}: user {excerpt(name)} cannot log in: {hash_kind(stored)}",
            "Only bcrypt counts, as in registry:2. A hash cannot be turned into another: the user needs a password.",
            command(str(path), name if name.isprintable() else "USER"),
            line=number,
            path=str(path),
        )
    if (unusable := sum(cost is None for cost in costs.values())) > _MOST_NAMED:
        yield wrong(f"{path}: {unusable - _MOST_NAMED} more users cannot log in for the same reason", "")
    known = {name: cost for name, cost in costs.items() if cost is not None}
    if not known:
        what = "holds no user" if not lines.users else "holds no user who can log in"
        yield wrong(
            f"{path} {what}",
            "Every login fails with `unauthorized: authentication required`.",
            command(str(path), "USER"),
            path=str(path),
        )
        return
    count = f"{len(known)} user{'s' if len(known) > 1 else ''}"
    if not lines.refused:
        yield ok(f"{path}: {count} can log in", users=len(known), path=str(path))
    yield from _judge_costs(lines, known, path)


def _judge_costs(lines: _Lines, known: dict[str, int], path: Path) -> Iterator[Finding]:
    high = [name for name, cost in known.items() if cost >= SLOW_COST]
    low = [name for name, cost in known.items() if cost < BCRYPT_COST]
    if high:
        yield warning(
            f"{_where(path, [lines.users[name][0] for name in high])}: bcrypt's cost is {max(known.values())}",
            "Each check of a password takes seconds of a core, also of a wrong one; clients give up meanwhile.",
            command(str(path), high[0] if high[0].isprintable() else "USER"),
            path=str(path),
        )
    if low:
        yield warning(
            f"{_where(path, [lines.users[name][0] for name in low])}: bcrypt's cost is only"
            f" {min(known[name] for name in low)}",
            "That is what Apache's htpasswd takes unless told otherwise: whoever gets the file tries hundreds of"
            f" passwords a second on each core. Moorage's takes {BCRYPT_COST}, and a password that was right once costs"
            " nothing more.",
            command(str(path), low[0] if low[0].isprintable() else "USER"),
            path=str(path),
        )


def _where(path: Path, numbers: Sequence[int]) -> str:
    """`file:3`, or `file:3 and 4 more lines`."""
    more = len(numbers) - 1
    return f"{path}:{numbers[0]}" + (f" and {more} more line{'s' if more > 1 else ''}" if more else "")
