from __future__ import annotations

import os
import subprocess
import sys

from bench.tree import Meter, cpu_ticks, members, pss_bytes

BURN = "import time\nwhile time.process_time() < 0.5: pass\n"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {BURN!r} + "print(flush=True); input()"], stdin=subprocess.PIPE)
sys.stdin.read()
child.communicate(b"")
"""


def test_children_count() -> None:
    """A tree's processor time and memory are those of its children too, and not only of its first process."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert parent.stdout is not None
        parent.stdout.readline()  # the child has used its half second

        tree = members(parent.pid)

        assert len(tree) == 2
        assert cpu_ticks(parent.pid) >= 0.45 * os.sysconf("SC_CLK_TCK")
        assert pss_bytes(parent.pid) > max(pss_bytes(process) for process in tree[1:])
    finally:
        parent.communicate()


def test_ended_children_count() -> None:
    """What a child used counts after its end, and what the meter's own process used is nobody else's."""
    meter = Meter(os.getpid())

    subprocess.run([sys.executable, "-c", BURN], check=True)

    assert meter.read().cpu_seconds >= 0.45
