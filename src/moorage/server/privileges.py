"""Root's rights, and how to be without them.

Started as root with `run_as`, the server binds its addresses and reads its keys as root, and everything that faces the
network or touches the volume runs as that user. What root alone could still do is then the parent's, which only starts
and stops processes, and the process that hands renewed keys over (`server/handover.py`).
"""

from __future__ import annotations

import ctypes
import grp
import logging
import os
import pwd
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage.errors import StartRefused

_log = logging.getLogger("moorage.server")

# Bits of /proc/PID/status, CapEff (capabilities(7)).
_NEEDED: Final = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7}
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_PROGRESS_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Account:
    """Whom to be."""

    uid: int
    gid: int


def find_account(text: str) -> Account:
    """The account that *text* names: a user, USER:GROUP, or numbers in place of either. Raises StartRefused."""
    user, colon, group = text.partition(":")
    try:
        known = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        known = None
    if known is None and not user.isdigit():
        raise StartRefused(f"run_as: there is no user {user} on this machine; make one (useradd --system {user})")
    uid = known.pw_uid if known else int(user)
    if colon:
        return Account(uid, _find_group(group))
    return Account(uid, known.pw_gid if known else uid)


def _find_group(text: str) -> int:
    try:
        return int(text) if text.isdigit() else grp.getgrnam(text).gr_gid
    except KeyError:
        raise StartRefused(f"run_as: there is no group {text} on this machine") from None


def lacking(status: str | None = None) -> tuple[str, ...]:
    """The capabilities that this process would need to let others run as somebody else, and does not have.

    *status* is the text of /proc/self/status.
    """
    text = Path("/proc/self/status").read_text("ascii", "replace") if status is None else status
    found = re.search(r"(?m)^CapEff:\s*([0-9a-f]+)$", text)
    held = int(found[1], 16) if found else 0
    return tuple(name for name, bit in _NEEDED.items() if not held >> bit & 1)


def become(account: Account) -> None:
    """Be *account* from here on, for good: no right comes back, and none can be had by running another program."""
    parent = os.getppid()
    os.setgroups([account.gid])
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # The kernel forgets this one when a process becomes somebody else.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def take_over(folder: Path, account: Account, *, again: bool, deep: bool = True) -> int:
    """Give *folder* with everything in it, unless not *deep*, to *account*; how many things were given.

    The folder itself is given last, so that one that belongs to *account* is done, unless *again*. Links are not
    followed. Raises StartRefused where the file system knows no owners, or refuses.
    """
    wanted = account.uid, account.gid
    if not again and _owner(folder) == wanted:
        return 0
    given, told = 0, time.monotonic()
    try:
        for path in _inside_out(folder) if deep else [os.fspath(folder)]:
            if _owner(path) == wanted:
                continue
            os.chown(path, *wanted, follow_symlinks=False)
            given += 1
            now = time.monotonic()
            if now - told >= _PROGRESS_SECONDS:
                told = now
                _log.info("giving the volume to user %d: %d files and folders so far", account.uid, given)
    except FileNotFoundError:
        return given + take_over(folder, account, again=True, deep=deep)  # Somebody tidies up beside us; once more.
    except OSError as error:
        raise StartRefused(
            f"{error.filename or folder} cannot be given to user {account.uid}: {error.strerror}; start the server as"
            " the user to whom the volume belongs, or without run_as"
        ) from None
    return given


def _owner(path: str | Path) -> tuple[int, int]:
    found = os.stat(path, follow_symlinks=False)
    return found.st_uid, found.st_gid


def _inside_out(folder: str | Path) -> Iterator[str]:
    """Everything below *folder*, and it, each folder after what is in it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _inside_out(entry.path)
            else:
                yield entry.path
    yield os.fspath(folder)
