"""The server that works on the data folder now, and the user that it runs as."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage.app import Folders
from moorage.doctor.accounts import Account, account, account_of_owner, me
from moorage.doctor.finding import Finding, ok, skipped, warning
from moorage.doctor.processes import Process, family, lock_holder, process, processes, started
from moorage.durable import is_locked
from moorage.settings.model import Settings
from moorage.settings.origin import Loaded

_COARSE: Final = 2.0
"""Seconds by which the start of a process and the time of a file may be off: the kernel tells the first to a second."""


@dataclass(frozen=True, slots=True)
class Running:
    """*held* is whether a server holds the folder, None where that cannot be seen; *process* is its root."""

    held: bool | None
    process: Process | None = None

    @property
    def pids(self) -> set[int]:
        """All processes of its tree; none where they cannot be seen."""
        return family(self.process.pid) if self.process else set()


def find_running(folders: Folders) -> Running:
    """The server on these folders."""
    try:
        held = is_locked(folders.lock)
    except OSError:
        return Running(None)
    if not held:
        return Running(False)
    pid = lock_holder(folders.lock)
    if pid is None:
        with suppress(OSError, ValueError):
            pid = int(folders.lock.read_text("ascii"))
    return Running(True, process(pid) if pid else None)


def server_user(folders: Folders, running: Running) -> Account:
    """Whom the server runs as: the user of its process, else whoever the folder belongs to, else who asks.

    Root is believed to run the server itself only where the folder is root's. With `run_as` it is the user of the
    processes that root has started.
    """
    if running.process is not None:
        members = [process(pid) for pid in running.pids] if running.process.uid == 0 else []
        others = {member.uid for member in members if member is not None} - {0}
        return account(others.pop() if len(others) == 1 else running.process.uid)
    if os.geteuid() == 0 or running.held is None:
        for folder in (folders.ours, folders.data):
            if (owner := account_of_owner(folder)) is not None:
                return owner
    return me()


def starter(settings: Settings, running: Running, user: Account) -> Account:
    """Who binds the addresses and reads keys and password files: root where `run_as` is set, else *user* himself."""
    if running.process is not None:
        return account(running.process.uid)
    return me() if settings.run_as is not None and os.geteuid() == 0 else user


def look_at_running(running: Running, folders: Folders, loaded: Loaded) -> Iterator[Finding]:
    """Whether a server runs, with which settings it was started, and whether it is the one that is meant."""
    if running.held:
        who = (
            f"process {running.process.pid} of {running.process.user}"
            if running.process
            else "another machine or container"
        )
        yield ok(f"a server works on {folders.data} ({who})", pid=running.process.pid if running.process else None)
        yield from _changed_since(running, loaded)
        return
    others = [found for found in processes() if is_server(found)]
    if running.held is None:
        yield skipped(
            f"whether a server works on {folders.data} cannot be seen by this user",
            "Give the command as the server's user, or as root: sudo moorage doctor",
        )
        return
    if not others:
        yield skipped(
            f"no server works on {folders.data}",
            "What only a running server shows was not looked at. If it should run: systemctl status moorage, or docker"
            " ps -a and docker logs, say why it does not.",
        )
        return
    one = min(others, key=lambda found: found.pid)
    where = _working_folder(one.pid)
    yield skipped(
        f"no server works on {folders.data}, but one runs on this machine: {one}{where}",
        "Give doctor the options and variables with which that server was started, and it looks at the same things.",
        pid=one.pid,
    )


def is_server(found: Process) -> bool:
    """Whether it is the root of a tree of `moorage serve`, or of the command by distribution's name."""
    words = [os.path.basename(word) for word in found.command[:4]]
    for name in ("moorage", "registry"):
        if name in words and "serve" in found.command[words.index(name) + 1 : words.index(name) + 2]:
            parent = process(_parent(found.pid))
            return parent is None or parent.command != found.command
    return False


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _working_folder(pid: int) -> str:
    try:
        return f", in {os.readlink(f'/proc/{pid}/cwd')}"
    except OSError:
        return ""


def _changed_since(running: Running, loaded: Loaded) -> Iterator[Finding]:
    begun = started(running.process.pid) if running.process else None
    if begun is None:
        return
    for source in dict.fromkeys(origin.source for origin in loaded.origins.values() if origin.line is not None):
        try:
            changed = os.stat(source).st_mtime
        except OSError:
            continue
        if begun + _COARSE < changed < time.time() + _COARSE:
            yield warning(
                f"{source} was changed after the server was started",
                "Settings are read at the start alone: what was changed is not in force.",
                f"moorage config --config {shlex.quote(source)}    # shows what will be",
                "sudo systemctl restart moorage",
                path=source,
            )
