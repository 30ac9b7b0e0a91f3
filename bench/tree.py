"""What a process tree uses, and what everything else on the machine uses meanwhile (proc(5))."""

from __future__ import annotations

import mmap
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Processors that may be busy with something else while the machine still counts as quiet (arbitrary).
_QUIET = 0.1


def members(root: int) -> list[int]:
    """The process ids of the tree below *root*, itself included."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting += children.get(process, [])
    return found


def _stat(process: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on, `[]` when the process is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def cpu_ticks(root: int) -> int:
    """Processor time of the tree so far, user and system, with what its ended children used."""
    return sum(sum(map(int, fields[11:15])) for process in members(root) if (fields := _stat(process)))


def pss_bytes(root: int) -> int:
    """Memory of the tree, pages that several processes share counted once (proportional set size)."""
    total = 0
    for process in members(root):
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
    return total


def settle(root: int, seconds: float = 10.0) -> None:
    """Wait until the tree rests: work done behind the answers belongs to what caused it."""
    deadline = time.monotonic() + seconds
    before, quiet = cpu_ticks(root), 0
    while quiet < 3 and time.monotonic() < deadline:
        time.sleep(0.25)
        now = cpu_ticks(root)
        quiet = quiet + 1 if now - before <= 1 else 0
        before = now


def _machine() -> tuple[float, float]:
    """Seconds that all processors together were busy, and that the host took away from them."""
    with Path("/proc/stat").open() as file:
        fields = [int(field) / TICKS_PER_SECOND for field in file.readline().split()[1:]]
    user, nice, system, _, _, irq, softirq, steal = fields[:8]
    return user + nice + system + irq + softirq, steal


def _own() -> float:
    """Processor seconds of this process and its ended children: the drivers."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def wait_for_quiet(seconds: float) -> None:
    """Wait until the machine has been idle for half a second, but no longer than *seconds*."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        busy, _ = _machine()
        time.sleep(0.5)
        if _machine()[0] - busy < 0.5 * _QUIET:
            return


def touch_memory(size: int) -> None:
    """Use *size* bytes of memory for a moment.

    A virtual machine gives free pages back to its host, and the first use of each afterwards costs as much as writing
    a file's page twice over. Whoever is measured next should not pay for that.
    """
    with mmap.mmap(-1, size) as memory:
        for start in range(0, size, mmap.PAGESIZE):
            memory[start] = 1


@dataclass(frozen=True)
class Usage:
    """What was used in a span of *seconds*: by the tree, and by processes that do not belong here.

    *others* and *stolen* are in processors: 0.5 is half of one.
    """

    seconds: float
    cpu_seconds: float
    others: float
    stolen: float


class Meter:
    """Reads what the tree below *root* uses from its making on."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._ticks = cpu_ticks(root)
        self._busy, self._stolen = _machine()
        self._mine = _own()
        self._started = time.monotonic()

    def read(self) -> Usage:
        """The usage since the making; drivers that are processes must have ended."""
        seconds = time.monotonic() - self._started
        used = (cpu_ticks(self._root) - self._ticks) / TICKS_PER_SECOND
        busy, stolen = _machine()
        others = busy - self._busy - used - (_own() - self._mine)
        return Usage(seconds, used, max(0.0, others / seconds), (stolen - self._stolen) / seconds)
