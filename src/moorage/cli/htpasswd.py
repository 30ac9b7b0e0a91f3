"""`moorage htpasswd`: Apache's tool of that name, for the part of it that a registry can use."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, NoReturn

import click

from moorage.auth import passwords
from moorage.auth.htpasswd_edit import MOST_USER_BYTES, illegal, remove_user, set_hash, stored_hash
from moorage.durable import write_all, write_file
from moorage.errors import ConfigurationError

# A new file: its hashes are nobody's business, and the server may run as another user of the group.
_MODE: Final = 0o640

_MOST_STDIN: Final = 4096


class ExitCode(IntEnum):
    """As the manual page htpasswd(1) lists them."""

    FILE = 1
    USAGE = 2
    PASSWORD = 3
    INTERRUPTED = 4
    TOO_LONG = 5
    ILLEGAL = 6
    NOT_HTPASSWD = 7


class _Refused(Exception):
    """The command cannot be done, for the reason that it says."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the password comes from: *argument* (-b), else standard input (-i), else the terminal."""

    argument: str | None
    stdin: bool

    def read(self, *, twice: bool) -> str:
        """The password; raises _Refused with PASSWORD where the second time differs from the first."""
        if self.argument is not None:
            return self.argument
        if self.stdin:
            return _from_stdin()
        if not twice:
            return _ask("Enter password: ")
        first = _ask("New password: ")
        if _ask("Re-type new password: ") != first:
            raise _Refused(ExitCode.PASSWORD, "the two passwords differ; nothing is changed")
        return first


_EPILOG = """\b
Examples:
  moorage htpasswd -Bc auth/htpasswd alice
  moorage htpasswd -Bbn alice PASSWORD > auth/htpasswd
  pass show registry | moorage htpasswd -Bi auth/htpasswd alice

Exit codes: 0 done, 1 the file cannot be read or written, 2 wrong usage, 3 the passwords differ, 4 interrupted,
5 the user name or the password is too long, 6 it has illegal characters, or -v does not find the user,
7 the file is not an htpasswd file.
"""


@click.command(
    "htpasswd",
    # Options end at the first argument, as with Apache's tool: a password may begin with "-".
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)
@click.option("-B", is_flag=True, expose_value=False, help="bcrypt; needless, as there is nothing else, and accepted.")
@click.option("-b", "batch", is_flag=True, help="Take the password from the command line, where other users see it.")
@click.option("-i", "stdin", is_flag=True, help="Read the password from standard input, once.")
@click.option("-n", "display", is_flag=True, help="Print the line instead of changing a file.")
@click.option("-c", "create", is_flag=True, help="Create the file; one that is there is emptied first.")
@click.option("-D", "delete", is_flag=True, help="Delete the user.")
@click.option("-v", "check", is_flag=True, help="Verify the user's password.")
@click.option(
    "-C",
    "cost",
    type=click.IntRange(passwords.BCRYPT_COSTS[0], passwords.BCRYPT_COSTS[-1]),
    default=passwords.BCRYPT_COST,
    show_default=True,
    help="Cost of bcrypt; each step doubles the time of a guess.",
)
@click.option("-m", "-d", "-s", "-p", "-2", "-5", "other_hash", is_flag=True, hidden=True)
@click.argument("arguments", nargs=-1, metavar="[FILE] USER [PASSWORD]")
def htpasswd(  # noqa: PLR0913  one for each option
    *,
    batch: bool,
    stdin: bool,
    display: bool,
    create: bool,
    delete: bool,
    check: bool,
    cost: int,
    other_hash: bool,
    arguments: tuple[str, ...],
) -> None:
    """Add, change, verify or delete a user of an htpasswd file.

    Options combine as with Apache's htpasswd. A running registry notices the change within a second. The file is
    replaced, not rewritten: a container has to mount its folder, since a file mounted by itself stays the old one.
    """
    if other_hash:
        raise click.UsageError("a registry takes bcrypt only; leave -m, -d, -s, -p, -2 and -5 out")
    if display + create + delete + check > 1:
        raise click.UsageError("only one of -c, -n, -v and -D may be given")
    if batch and stdin:
        raise click.UsageError("only one of -b and -i may be given")
    if len(arguments) != 1 + (not display) + batch:
        raise click.UsageError("give " + ("" if display else "FILE ") + "USER" + (" PASSWORD" if batch else ""))
    path = None if display else Path(arguments[0])
    user = arguments[0 if display else 1]
    source = _Source(arguments[-1] if batch else None, stdin)
    try:
        _check_user(user)
        if path is None:
            click.echo(f"{user}:{_new_hash(source, cost)}\n")
        elif delete:
            _delete(path, user)
        elif check:
            _verify(path, user, source)
        else:
            _set(path, user, source, cost, create=create)
    except (KeyboardInterrupt, click.Abort):
        _end(ExitCode.INTERRUPTED, "interrupted; nothing is changed")
    except ConfigurationError as error:
        _end(ExitCode.NOT_HTPASSWD, str(error))
    except _Refused as error:
        _end(error.code, str(error))


def _end(code: ExitCode, message: str) -> NoReturn:
    click.echo(f"moorage htpasswd: {message}", err=True)
    raise click.exceptions.Exit(code)


def _set(path: Path, user: str, source: _Source, cost: int, *, create: bool) -> None:
    data = b"" if create else _read(path)
    # Before anybody types a password for a file that cannot take it.
    stored_hash(data, user, str(path))
    data, found = set_hash(data, user, _new_hash(source, cost), str(path))
    _write(path, data)
    click.echo(f"{'Updating' if found else 'Adding'} password for user {user}", err=True)


def _delete(path: Path, user: str) -> None:
    data, found = remove_user(_read(path), user, str(path))
    if found:
        _write(path, data)
    click.echo(f"Deleting password for user {user}" if found else f"User {user} not found", err=True)


def _verify(path: Path, user: str, source: _Source) -> None:
    stored = stored_hash(_read(path), user, str(path))
    if stored is None:
        raise _Refused(ExitCode.ILLEGAL, f"user {user} not found")
    if passwords.bcrypt_cost(stored) is None:
        raise _Refused(ExitCode.PASSWORD, f"user {user} has no bcrypt hash: {passwords.hash_kind(stored)}")
    if not passwords.verify(stored, source.read(twice=False)):
        raise _Refused(ExitCode.PASSWORD, "password verification failed")
    click.echo(f"Password for user {user} correct.", err=True)


def _check_user(user: str) -> None:
    if not user:
        raise click.UsageError("the user name is empty")
    if reason := illegal(user):
        raise _Refused(ExitCode.ILLEGAL, reason)
    if len(user.encode()) > MOST_USER_BYTES:
        raise _Refused(ExitCode.TOO_LONG, f"the user name is longer than {MOST_USER_BYTES} bytes")


def _new_hash(source: _Source, cost: int) -> str:
    password = source.read(twice=True)
    if not password:
        raise click.UsageError("the password is empty")
    if reason := passwords.unusable(password):
        raise _Refused(ExitCode.ILLEGAL, reason)
    if len(password.encode()) > passwords.MOST_BCRYPT_BYTES:
        raise _Refused(ExitCode.TOO_LONG, f"bcrypt takes at most {passwords.MOST_BCRYPT_BYTES} bytes of a password")
    return passwords.hash_bcrypt(password, cost)


def _ask(prompt: str) -> str:
    # An empty default is what lets an empty line through, to be refused as such.
    answer: str = click.prompt(prompt, prompt_suffix="", hide_input=True, default="", show_default=False, err=True)
    return answer


def _from_stdin() -> str:
    raw = sys.stdin.buffer.read(_MOST_STDIN)
    try:
        return raw.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise _Refused(ExitCode.ILLEGAL, "the password is not UTF-8") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise _Refused(ExitCode.FILE, f"there is no {path}; -c creates it") from None
    except OSError as error:
        raise _Refused(ExitCode.FILE, f"{path}: {error.strerror}") from None


def _write(path: Path, data: bytes) -> None:
    """Replace the file behind *path*, with the mode and the owner it had.

    It is rewritten in place where the owner could not be kept, the folder is not ours to write, or the file is a mount
    of its own.
    """
    target = path.resolve()
    try:
        if not target.exists():
            write_file(target, data, _MODE)
            return
        status = target.stat()
        owner_and_group = os.geteuid() == status.st_uid and status.st_gid in {os.getegid(), *os.getgroups()}
        if not owner_and_group and os.geteuid() != 0:
            _rewrite(target, data)
            return
        try:
            write_file(target, data, status.st_mode & 0o7777)
            os.chown(target, status.st_uid, status.st_gid)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EPERM, errno.EBUSY}:
                raise
            _rewrite(target, data)
    except OSError as error:
        raise _Refused(ExitCode.FILE, f"{path}: {error.strerror}") from None


def _rewrite(target: Path, data: bytes) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
