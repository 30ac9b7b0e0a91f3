"""Clients that take nothing, and clients that guess passwords; and what a registry needs while nobody asks."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import ExitStack

from bench.cases.seed import REPOSITORY
from bench.drivers import request
from bench.measure import Case, Row, Sample, Samples, Scale
from bench.registries import ANONYMOUS, COST_10, ROOT, TLS, Mode, Registry
from bench.tree import pss_bytes
from bench.wrk import wrk

_IDLE, _START = "idle memory", "start to first answer"
_BESIDE, _KEPT = "logged-in client beside 32 that guess", "share of its throughput that it keeps"
_GUESSERS = 32


def _idle(registry: Registry, number: int, scale: Scale) -> Samples:
    """A fresh start on the data that is there."""
    registry.stop()
    seconds = registry.start(registry.mode)
    time.sleep(0.5)
    return {_IDLE: Sample(pss_bytes(registry.pid) / 1e6), _START: Sample(seconds * 1e3)}


def _stalled(name: str, mode: Mode) -> Case:
    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        """Clients that ask for the large blob and read nothing."""
        head = request(registry, "GET", f"/v2/{REPOSITORY}/blobs/{registry.facts['large']}")
        before = pss_bytes(registry.pid)
        readers: list[socket.socket] = []
        with ExitStack() as stack:
            for _ in range(scale.readers):
                readers.append(stack.enter_context(registry.connect(receive_buffer=4096)))
                readers[-1].sendall(head)
            time.sleep(1)
            used = pss_bytes(registry.pid) - before
            refused = sum(not reader.recv(12).endswith(b" 200") for reader in readers)
        time.sleep(0.2)
        return {name: Sample(max(used, 0) / 2**20 / scale.readers, None, refused)}

    return Case(name, (Row(name, "MiB", "less", wanted=10 if mode is ANONYMOUS else None),), run, mode=mode, rounds=1)


def _flood(registry: Registry, number: int, scale: Scale) -> Samples:
    path = f"/v2/{REPOSITORY}/manifests/latest"
    seconds = max(2.0, scale.seconds)
    alone = wrk(registry, path, seconds=seconds, connections=4)
    flood = [sys.executable, "-m", "bench.guess", str(registry.port), str(_GUESSERS), f"{path}"]
    process = subprocess.Popen(flood, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.read(1)  # every guesser has sent its first guess
        beside = wrk(registry, path, seconds=seconds, connections=4)
    finally:
        process.kill()
        process.communicate()
    bad = alone.unexpected + beside.unexpected
    slow, fast = beside.requests / beside.seconds, alone.requests / alone.seconds
    return {_BESIDE: Sample(slow, None, bad), _KEPT: Sample(100 * slow / fast, None, bad)}


IDLE = (Case(_IDLE, (Row(_IDLE, "MB", "less"), Row(_START, "ms", "less")), _idle, rounds=2),)
CASES = (
    _stalled("memory per stalled reader", ANONYMOUS),
    _stalled("memory per stalled reader, TLS", TLS),
    Case("flood", (Row(_BESIDE, "req/s"), Row(_KEPT, "%")), _flood, mode=COST_10, rounds=2),
)
