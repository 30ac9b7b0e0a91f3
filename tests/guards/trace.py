"""System calls of one process, by strace(1), cut into what each request took."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.programs import lacking, need

SECONDS = 60.0
"""Patience with strace on a busy machine."""

# Waiting, waking, memory and time: how often depends on what else the machine does. What is left is the work.
_UNCOUNTED = (
    *("epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "io_uring_enter", "poll", "futex", "sched_yield"),
    *("restart_syscall", "rt_sigprocmask", "rt_sigreturn", "getpid", "gettid", "clock_gettime", "rseq"),
    *("mmap", "munmap", "mremap", "mprotect", "brk", "madvise", "clone", "clone3", "set_robust_list"),
)
_OPENS = {"open", "openat", "creat"}
_FLUSHES = {"fsync", "fdatasync", "syncfs", "sync"}
_RENAMES = {"rename", "renameat", "renameat2", "link", "linkat"}
_RECEIVES = {"read", "readv", "recvfrom", "recvmsg"}
_SENDS = {"write", "writev", "sendto", "sendmsg", "sendfile"}
_WRITES = {"write", "writev", "pwrite64", "pwritev", "copy_file_range"}
_LINE = re.compile(r"(?P<time>\d+\.\d+) (?P<name>\w+)\((?P<rest>.*)\) += (?P<result>-?\d+).*")
_DESCRIPTOR = re.compile(r"\d+<(?P<path>[^>]*)>")


class Call(NamedTuple):
    """One call: *path* is that of the descriptor it was given first, *text* the line of strace."""

    time: float
    name: str
    path: str
    result: int
    text: str

    @property
    def on_socket(self) -> bool:
        """Whether it sends or receives."""
        return self.path.startswith("socket:")

    @property
    def is_wake_up(self) -> bool:
        """Whether a thread calls the loop, which may take two at once."""
        return "eventfd" in self.path

    @property
    def is_cache_miss(self) -> bool:
        """Whether SQLite reads a page or looks at its files: how many it still has depends on who commits meanwhile."""
        return "/moorage.db" in self.path and self.name in {"pread64", "newfstatat", "fstat"}

    def counters(self, log: Path) -> Iterator[tuple[str, int]]:
        """What it adds to which counter; nothing for a line in *log*, which are written together."""
        if self.path == str(log) or self.is_wake_up or self.is_cache_miss:
            return
        yield "calls", 1
        if self.on_socket:
            if self.name in _RECEIVES:
                yield "receives", 1
            if self.name in _SENDS:
                yield "sends", 1
        elif self.name in _WRITES and self.result > 0:
            yield "written", self.result
        if self.name in _OPENS:
            yield "opens", 1
        elif self.name in _FLUSHES:
            yield "flushes", 1
        elif self.name in _RENAMES:
            yield "renames", 1


COUNTERS = ("calls", "receives", "sends", "opens", "flushes", "renames", "written")


def count(calls: list[Call], log: Path) -> dict[str, int]:
    """Every counter; bytes `written` are those to files."""
    found: Counter[str] = Counter()
    for call in calls:
        for counter, amount in call.counters(log):
            found[counter] += amount
    return {counter: found[counter] for counter in COUNTERS}


class Trace:
    """The calls of process *pid* in all its threads, while the context is entered; written into *folder*."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid = pid
        self._folder = folder

    def __enter__(self) -> Self:
        self._folder.mkdir()
        command = [need("strace"), "-ff", "-ttt", "-y", "-s", "64", "-e", f"trace=!{','.join(_UNCOUNTED)}"]
        self._errors = (self._folder / "errors").open("wb")
        self._process = subprocess.Popen(
            [*command, "-o", str(self._folder / "thread"), "-p", str(self._pid)],
            stdin=subprocess.DEVNULL,
            stderr=self._errors,
        )
        deadline = time.monotonic() + SECONDS
        while not self._attached():
            if self._process.poll() is not None:
                lacking(f"strace cannot look at another process here: {(self._folder / 'errors').read_text()}")
            assert time.monotonic() < deadline, "strace does not attach"
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(SECONDS)
        self._errors.close()

    def _attached(self) -> bool:
        states = [(task / "status").read_text() for task in Path(f"/proc/{self._pid}/task").iterdir()]
        return all(f"\nTracerPid:\t{self._process.pid}\n" in state for state in states)

    def between(self, mark: str, next_mark: str) -> list[Call]:
        """The calls after the answer to the request that names *mark*, until the one that names *next_mark* comes.

        After the context.
        """
        calls = sorted(call for file in self._folder.glob("thread.*") for call in _calls(file))
        start = _place(calls, mark, 0)
        while not (calls[start].on_socket and calls[start].name in _SENDS):
            start += 1
        return calls[start + 1 : _place(calls, next_mark, start)]


def _place(calls: list[Call], mark: str, start: int) -> int:
    for place in range(start, len(calls)):
        if calls[place].on_socket and calls[place].name in _RECEIVES and f"{mark} " in calls[place].text:
            return place
    raise AssertionError(f"no request for {mark} in the trace")


def _calls(file: Path) -> Iterator[Call]:
    for line in file.read_text("utf-8", "replace").splitlines():
        if found := _LINE.fullmatch(line):
            on = _DESCRIPTOR.match(found["rest"])
            path = "" if on is None else on["path"]
            yield Call(float(found["time"]), found["name"], path, int(found["result"]), line)
