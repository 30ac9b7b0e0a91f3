"""What setting up a service consists of: each step knows whether it is needed, shows itself, and is done."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from moorage.durable import write_file
from moorage.errors import UserError


class Step(Protocol):
    """One thing that is there afterwards.

    `state` is what happens if it is done, as "written", or the empty string where nothing is to do; `name` is what it
    is about, `show` everything that it does, for a person to read.
    """

    @property
    def name(self) -> str: ...

    def state(self) -> str: ...

    def show(self) -> str: ...

    def do(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Account:
    """A system user *user* with a group of its own; nobody can log in as it."""

    user: str
    home: Path

    @property
    def name(self) -> str:
        """The user."""
        return f"user {self.user}"

    def state(self) -> str:
        """Needed unless there is one."""
        try:
            pwd.getpwnam(self.user)
        except KeyError:
            return "made"
        return ""

    def show(self) -> str:
        """The command."""
        return shlex.join(self._command())

    def do(self) -> None:
        """Make it."""
        run(self._command())

    def _command(self) -> list[str]:
        shape = ["--system", "--user-group", "--no-create-home", "--home-dir", str(self.home)]
        return ["useradd", *shape, "--shell", "/usr/sbin/nologin", self.user]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of *owner* and the group of the user *group*; one that is there stays as it is."""

    path: Path
    mode: int
    owner: str
    group: str

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def state(self) -> str:
        """Needed unless there is one."""
        return "" if self.path.is_dir() else "made"

    def show(self) -> str:
        """As a command."""
        return f"install -d -m {self.mode:04o} -o {self.owner} -g {self.group} {shlex.quote(str(self.path))}"

    def do(self) -> None:
        """Make it."""
        self.path.mkdir(parents=True)
        _give(self.path, self.mode, self.owner, self.group)


@dataclass(frozen=True, slots=True)
class File:
    """A file of root's, and of the group of the user *group*, with *text*.

    *lasting*: one that is there stays as it is.
    """

    path: Path
    text: str
    mode: int
    group: str = "root"
    lasting: bool = False

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def state(self) -> str:
        """Needed unless it is there, or has that text."""
        if not self.path.exists():
            return "written"
        if self.lasting or self.path.read_bytes() == self.text.encode():
            return ""
        return "changed"

    def show(self) -> str:
        """Its whole text, as a command."""
        path = shlex.quote(str(self.path))
        return f"install -m {self.mode:04o} -o root -g {self.group} /dev/stdin {path} <<'EOF'\n{self.text}EOF"

    def do(self) -> None:
        """Write it."""
        write_file(self.path, self.text.encode(), 0o600)
        _give(self.path, self.mode, "root", self.group)


@dataclass(frozen=True, slots=True)
class Link:
    """*path* leads to *target*."""

    path: Path
    target: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def state(self) -> str:
        """Needed unless it does."""
        if self.path.is_symlink() and os.readlink(self.path) == str(self.target):
            return ""
        return "changed" if self.path.is_symlink() else "made"

    def show(self) -> str:
        """As a command."""
        return shlex.join(["ln", "-sfn", str(self.target), str(self.path)])

    def do(self) -> None:
        """Make it, in place of a link that leads elsewhere."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(self.target)


@dataclass(frozen=True, slots=True)
class Command:
    """A command that is run if it is *needed*, which says what it does then."""

    words: Sequence[str]
    needed: Callable[[], str]

    @property
    def name(self) -> str:
        """The command itself."""
        return shlex.join(self.words)

    def state(self) -> str:
        """What its condition says."""
        return self.needed()

    def show(self) -> str:
        """The command."""
        return self.name

    def do(self) -> None:
        """Run it."""
        run(self.words)


def run(words: Sequence[str]) -> None:
    """Run a program to its end. Raises UserError with what it said if it fails, or is not there."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"{words[0]} is not on this machine, and is needed for: {shlex.join(words)}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise UserError(f"{shlex.join(words)}: {said}")


def succeeds(*words: str) -> bool:
    """Whether a program is there and ends with 0."""
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _give(path: Path, mode: int, owner: str, group: str) -> None:
    os.chown(path, pwd.getpwnam(owner).pw_uid, pwd.getpwnam(group).pw_gid)
    path.chmod(mode)
