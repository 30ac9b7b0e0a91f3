"""The user that the server runs as, and looking at files with that user's eyes."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from moorage.doctor.processes import process, user_name


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine: its number, and those of its groups with its own first."""

    uid: int
    groups: tuple[int, ...]

    @property
    def name(self) -> str:
        """The user's name, or the number where it has none."""
        return user_name(self.uid)

    @property
    def owner(self) -> str:
        """`user:group`, as chown takes it."""
        return f"{self.name}:{group_name(self.groups[0])}"

    @property
    def is_me(self) -> bool:
        """Whether this process runs as this user."""
        return self.uid == os.geteuid()

    @property
    def can_be_tried(self) -> bool:
        """Whether this process sees what this user sees: it is that user, or root, who can become anybody."""
        return self.is_me or os.geteuid() == 0


def me() -> Account:
    """The user of this process."""
    own = os.getegid()
    return Account(os.geteuid(), (own, *(group for group in os.getgroups() if group != own)))


def account(uid: int) -> Account:
    """The user of that number, with the groups that the machine's files of users give it."""
    if uid == os.geteuid():
        return me()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(uid, (uid,))
    return Account(uid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def account_of_process(pid: int) -> Account | None:
    """The user that the process runs as; None where it cannot be seen."""
    found = process(pid)
    return account(found.uid) if found else None


def account_of_owner(path: Path) -> Account | None:
    """The user that *path* belongs to; None where it cannot be seen."""
    try:
        return account(os.stat(path).st_uid)
    except OSError:
        return None


def group_name(gid: int) -> str:
    """The group's name, or the number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


@contextmanager
def acting_as(user: Account) -> Iterator[None]:
    """What happens within happens with *user*'s rights, as far as this process may take them.

    Root becomes that user and takes its own rights back at the end; whoever is not root stays who he is. It is the
    whole process that changes, so nothing may wait or be yielded within, nor anything be imported, which may lie where
    that user cannot come: only files are read, written and looked at.
    """
    if user.is_me or os.geteuid() != 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    try:
        os.setgroups(user.groups)
        os.setegid(user.groups[0])
        os.seteuid(user.uid)
    except OSError:  # numbers that this user namespace does not know
        os.setegid(group)
        os.setgroups(groups)
        yield
        return
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def readable(path: Path, user: Account) -> OSError | None:
    """Why *user* cannot read the file or list the folder, or None."""
    with acting_as(user):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            return error
        os.close(descriptor)
        return None


def open_to_others(path: Path) -> bool:
    """Whether any user of this machine can read the file: its own mode, and that every folder above lets in."""
    real = Path(os.path.realpath(path))
    try:
        if not os.stat(real).st_mode & 0o004:
            return False
        return all(os.stat(folder).st_mode & 0o001 for folder in real.parents)
    except OSError:
        return False
