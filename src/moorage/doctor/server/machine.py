"""The machine under the server: its clock, how much it may open and hold, and the programs below."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sqlite3
import ssl
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from moorage.doctor.finding import Finding, ok, warning, wrong
from moorage.doctor.mounts import in_container
from moorage.doctor.processes import processes
from moorage.doctor.server.room import amount
from moorage.doctor.server.running import Running

_UNSYNCHRONISED: Final = 0x0040
"""STA_UNSYNC, linux/timex.h."""
_STATUS_AT: Final = 5 * ctypes.sizeof(ctypes.c_long)
"""Of `status` in struct timex: behind `modes`, which is padded to a long, and four longs."""
_KEEPERS: Final = frozenset(
    {"chronyd", "ntpd", "openntpd", "ntpd-rs", "ntp-daemon", "systemd-timesyn", "systemd-timesyncd", "ptp4l", "phc2sys"}
)
_FUTURE: Final = 300.0
"""Seconds by which a file may be younger than now before the clock is doubted."""
_EARLIEST: Final = 1_735_689_600
"""2025-01-01: this program is younger, so an earlier clock is surely wrong."""
_FEW_FILES: Final = 4096
_LITTLE_MEMORY: Final = 200 << 20
"""A start with two workers takes about half of it. Both are arbitrary."""


def look_at_clock(witnesses: Iterable[Path]) -> Iterator[Finding]:
    """Whether the clock is right, as far as can be told; *witnesses* are files that were written before now."""
    now = time.time()
    if now < _EARLIEST:
        yield wrong(
            f"the clock says {_date(now)}",
            "That is before this program was written. No certificate is valid then, and none can be had.",
            "sudo timedatectl set-ntp true",
        )
        return
    newest = max(((_written(path), path) for path in witnesses), default=(0.0, Path()))
    if newest[0] > now + _FUTURE:
        yield warning(
            f"the clock says {_date(now)}, and {newest[1]} was written on {_date(newest[0])}",
            "Either the clock has gone back, or it was ahead then. Certificates, tokens and renewals go by it.",
            "sudo timedatectl set-ntp true",
        )
        return
    if _synchronised() is False and _should_be_kept():
        yield warning(
            "nothing keeps the clock right: the kernel says that it is not synchronised",
            "A clock that drifts makes certificates `expired or not yet valid`, first in the eyes of this server, and"
            " stops renewals.",
            "sudo timedatectl set-ntp true    # or: sudo apt install chrony",
        )
        return
    kept = "it is kept synchronised" if _synchronised() else "nothing contradicts it"
    yield ok(f"the clock says {_date(now)}; {kept}")


def _synchronised() -> bool | None:
    """What the kernel says (adjtimex(2)); None where it cannot be asked."""
    buffer = ctypes.create_string_buffer(512)
    try:
        if ctypes.CDLL(None).adjtimex(buffer) < 0:
            return None
    except (AttributeError, OSError):
        return None
    status = int.from_bytes(buffer.raw[_STATUS_AT : _STATUS_AT + 4], sys.byteorder)
    return not status & _UNSYNCHRONISED


def _should_be_kept() -> bool:
    """Whether this is a machine that has to see to its own clock, and no program does.

    A container has its host's, and a small virtual machine without an init system its hypervisor's.
    """
    if in_container() or not os.path.isdir("/run/systemd/system"):
        return False
    return not any(found.name in _KEEPERS for found in processes())


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def look_at_limits(running: Running) -> Iterator[Finding]:
    """Open files, memory and the folder for temporary files."""
    files = _most_files(running)
    if files is not None and files < _FEW_FILES:
        yield warning(
            f"the server may open {files} files at most",
            "Each connection is one, each blob on its way another; beyond that new clients wait until they give up.",
            "LimitNOFILE=65536    # in the [Service] section of the systemd unit",
            "docker run --ulimit nofile=65536 ...",
            files=files,
        )
    memory = available_memory()
    if memory is not None and memory < _LITTLE_MEMORY:
        yield warning(
            f"only {amount(memory)} of memory are left",
            "Each check of a password takes 19 MiB for a moment; the kernel ends processes when nothing is left.",
            "free -m; ps -eo rss,args --sort=-rss | head",
            bytes=memory,
        )
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        yield warning(
            "there is no folder for temporary files that can be written",
            "SQLite and others use one now and then. With `docker run --read-only` give the container one.",
            "docker run --tmpfs /tmp ...",
        )
    else:
        left = memory is None or memory >= _LITTLE_MEMORY
        if files is None or files >= _FEW_FILES:
            room = f", {amount(memory)} of memory are left" if memory is not None and left else ""
            yield ok(f"{files or 'any number of'} open files{room}, temporary files in {folder}")


def _most_files(running: Running) -> int | None:
    if running.process is not None:
        with suppress(OSError, ValueError, StopIteration):
            text = Path(f"/proc/{running.process.pid}/limits").read_text()
            line = next(line for line in text.splitlines() if line.startswith("Max open files"))
            hard = line.split()[4]
            return None if hard == "unlimited" else int(hard)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if most == resource.RLIM_INFINITY else most


def available_memory() -> int | None:
    """Bytes that programs can still have: the machine's, or the control group's where that is less."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024)
    for most, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):
            found.append(max(0, int(Path(most).read_text()) - int(Path(used).read_text())))
    return min(found, default=None)


def look_at_programs() -> Iterator[Finding]:
    """What a report of a fault should name."""
    yield ok(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {ssl.OPENSSL_VERSION},"
        f" {platform.system()} {platform.release()}"
    )
