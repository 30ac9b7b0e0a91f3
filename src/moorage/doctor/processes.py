"""The processes of this machine as /proc shows them (proc(5)): who holds a lock, who listens where, as which user."""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"
"""TCP_LISTEN, include/net/tcp_states.h."""
_SOCKET: Final = re.compile(r"socket:\[([0-9]+)\]")
_LONGEST_COMMAND: Final = 160
# Options whose value is a secret; a command line is shown without it.
_SECRET: Final = re.compile(
    r"(--?[A-Za-z_-]*(?:pass|secret|token|key|auth)[A-Za-z_-]*)(?:=|\s+)\S+|(://[^/\s:@]*:)[^@\s]+@"
)


@dataclass(frozen=True, slots=True)
class Process:
    """*command* is its arguments, *uid* its effective user."""

    pid: int
    name: str
    command: tuple[str, ...]
    uid: int

    @property
    def line(self) -> str:
        """Its command line for a person, cut where it is long, without the values of secret options."""
        text = " ".join(self.command) or f"[{self.name}]"
        text = _SECRET.sub(lambda match: f"{match[1]} ****" if match[1] else f"{match[2]}****@", text)
        return text if len(text) <= _LONGEST_COMMAND else text[: _LONGEST_COMMAND - 3] + "..."

    @property
    def user(self) -> str:
        """The name of its user."""
        return user_name(self.uid)

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user}: {self.line}"


@dataclass(frozen=True, slots=True)
class Listening:
    """A TCP socket that listens; *uid* is whoever made it, *inode* finds the processes that have it open."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    uid: int
    inode: int

    @property
    def everywhere(self) -> bool:
        """Whether it listens on every address of its kind."""
        return self.address.is_unspecified

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def user_name(uid: int) -> str:
    """The user's name, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def process(pid: int) -> Process | None:
    """The process, or None where it is gone or not to be seen."""
    folder = _PROC / str(pid)
    try:
        command = tuple(
            word.decode("utf-8", "replace") for word in (folder / "cmdline").read_bytes().split(b"\0") if word
        )
        status = (folder / "status").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    if fields.get("State", "Z").startswith(("Z", "X")):
        return None
    return Process(pid, fields.get("Name", "?"), command, int(fields.get("Uid", "0 0").split()[1]))


def processes() -> Iterator[Process]:
    """Every process that can be seen."""
    for entry in os.listdir(_PROC):
        if entry.isdigit() and (found := process(int(entry))) is not None:
            yield found


def started(pid: int) -> float | None:
    """When the process was started, in seconds since the epoch; None where that cannot be seen."""
    try:
        ticks = int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
        boot = next(line for line in (_PROC / "stat").read_text().splitlines() if line.startswith("btime "))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


def environment(pid: int) -> dict[str, str] | None:
    """The variables that the process was started with; None where they are not ours to see."""
    try:
        data = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    pairs = (entry.decode("utf-8", "replace").partition("=") for entry in data.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}


def family(pid: int) -> set[int]:
    """The process and everything that descends from it."""
    parents: dict[int, int] = {}
    for entry in os.listdir(_PROC):
        if entry.isdigit():
            try:
                parents[int(entry)] = int((_PROC / entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
    members = {pid}
    while more := {child for child, parent in parents.items() if parent in members} - members:
        members |= more
    return members


def lock_holder(path: Path) -> int | None:
    """The process that holds an flock(2) on the file *path*; None where there is none or it is not in our view.

    /proc/locks names device and inode, and the process in the reader's own numbering, also where the file's text was
    written in a container's.
    """
    try:
        found = os.stat(path)
        text = (_PROC / "locks").read_text()
    except OSError:
        return None
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[3] == "WRITE" and fields[5] == place:
            return int(fields[4]) if int(fields[4]) > 0 else None
    return None


def listening(proc: Path = _PROC) -> list[Listening]:
    """Every TCP socket that listens in this network namespace; none where /proc is not to be read."""
    found: list[Listening] = []
    for name in ("tcp", "tcp6"):
        try:
            text = (proc / "net" / name).read_text("ascii", "replace")
        except OSError:
            continue
        found.extend(parse_listening(text))
    return found


def parse_listening(text: str) -> Iterator[Listening]:
    """The listening sockets in the text of /proc/net/tcp or tcp6."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTENING:
            continue
        address, _, port = fields[1].partition(":")
        yield Listening(_address(address), int(port, 16), int(fields[7]), int(fields[9]))


def owners(sockets: Iterable[Listening]) -> dict[int, list[Process]]:
    """The processes that have each socket open, by its inode; those of other users are seen by root alone."""
    wanted = {socket.inode for socket in sockets}
    found: dict[int, list[Process]] = {inode: [] for inode in wanted}
    for entry in os.listdir(_PROC) if wanted else ():
        if not entry.isdigit():
            continue
        for inode in _sockets_of(int(entry)) & wanted:
            if (known := process(int(entry))) is not None:
                found[inode].append(known)
    return found


def _sockets_of(pid: int) -> set[int]:
    inodes = set()
    try:
        with os.scandir(_PROC / str(pid) / "fd") as entries:
            for entry in entries:
                try:
                    match = _SOCKET.fullmatch(os.readlink(entry.path))
                except OSError:
                    continue
                if match:
                    inodes.add(int(match[1]))
    except OSError:
        pass
    return inodes


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as the kernel writes it: words of 32 bits in the machine's own order."""
    words = [int(text[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8)]
    packed = b"".join(words)
    return ipaddress.IPv4Address(packed) if len(packed) == 4 else ipaddress.IPv6Address(packed)
