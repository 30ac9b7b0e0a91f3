from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from tests.content import MANIFEST, OCTETS, Client, digest_of, encode, image, noise
from tests.guards.composed import PASSWORD, USER, Registry, made_ready, settings_for
from tests.guards.hot_path import Case, HotPath, run
from tests.guards.table import Table
from tests.guards.workers import worker_of
from tests.raw_http import Line, basic, message
from tests.servers import Moorage

REQUESTS = 10_000
WARM = 6_000
MEASURED = 20_000


def _on_hot_path(
    folder: Path, measure: Callable[[HotPath, Case], dict[str, int]], *, access_log: bool = True
) -> dict[str, dict[str, int]]:
    figures: dict[str, dict[str, int]] = {}

    def work(path: HotPath, known: dict[str, Case]) -> None:
        for name, case in known.items():
            path.check(case)
            figures[name] = measure(path, case)

    asyncio.run(run(folder, work, access_log=access_log))
    return figures


def _left(path: HotPath, case: Case) -> dict[str, int]:
    """Blocks of memory that a hundred requests leave behind, counted over ten thousand."""
    path.ask(case.raw, 1000)
    gc.collect()
    before = sys.getallocatedblocks()
    path.ask(case.raw, REQUESTS)
    gc.collect()
    return {"blocks": max(0, sys.getallocatedblocks() - before) * 100 // REQUESTS}


def _taken(path: HotPath, case: Case) -> dict[str, int]:
    """Bytes that one request has allocated at most at a time."""
    tracemalloc.start()
    try:
        path.ask(case.raw, 10)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        path.ask(case.raw, 1)
        return {"peak": tracemalloc.get_traced_memory()[1] - before}
    finally:
        tracemalloc.stop()


def test_requests_leave_nothing_behind(tmp_path: Path, limits: Table) -> None:
    """After ten thousand requests there are as many blocks of memory as before."""
    figures = _on_hot_path(tmp_path, _left)

    limits.check("memory left behind", figures)


def test_no_small_request_takes_more_memory(tmp_path: Path, limits: Table) -> None:
    """A request allocates at most so many bytes at a time, which are those that it copies."""
    # A line of the log takes 8 KiB for a moment, beside which the rest would not be seen.
    figures = _on_hot_path(tmp_path, _taken, access_log=False)

    limits.check("memory taken", figures)


def test_large_blobs_are_never_in_memory(tmp_path: Path, limits: Table) -> None:
    """While 32 MiB are pushed and pulled, no more of it is in memory than the table says."""
    figures = asyncio.run(_move_large(tmp_path))

    limits.check("memory taken by 32 MiB", figures)


async def _move_large(folder: Path) -> dict[str, dict[str, int]]:
    settings = settings_for(folder)
    await made_ready(settings)
    data = noise(32 << 20, seed=1)
    headers = {"Authorization": basic(USER, PASSWORD), "Content-Type": OCTETS, "Content-Length": str(len(data))}
    push = message("POST", f"/v2/guard/large/blobs/uploads/?digest={digest_of(data)}", headers)
    pull = message("GET", f"/v2/guard/large/blobs/{digest_of(data)}")
    figures = {}
    async with Registry(settings) as registry:
        await registry.ask(message("GET", "/v2/", headers={"Authorization": headers["Authorization"]}))
        for name, status, work in (("push", 201, registry.ask(push, data)), ("pull", 200, registry.pass_by(pull))):
            tracemalloc.start()
            answer = await work
            figures[name] = {"MiB": -(-tracemalloc.get_traced_memory()[1] >> 20)}
            tracemalloc.stop()
            assert answer.status == status, answer
    return figures


def test_a_worker_does_not_grow(tmp_path: Path, limits: Table) -> None:
    """Twenty thousand requests more do not make the real worker larger."""
    with Moorage(tmp_path / "server", "--workers", "1", users={}) as server:
        Client(server).push_image("guard/pss", "v1", noise(3000, seed=1))
        worker = worker_of(server)
        body = encode(image(b"{}", noise(3000, seed=1)))
        paths = ["manifests/v1", f"manifests/{digest_of(body)}", f"blobs/{digest_of(b'{}')}", "tags/list"]
        burst = b"".join(message("GET", f"/v2/guard/pss/{path}", {"Accept": MANIFEST}) for path in paths)
        with Line(server) as line:
            _ask(line, burst, len(paths), WARM)
            before = _proportional_bytes(worker)
            _ask(line, burst, len(paths), MEASURED)
            grown = _proportional_bytes(worker) - before

    limits.check("memory of a worker", {f"grown by {MEASURED:,} requests": {"MiB": max(0, grown >> 20)}})


def _ask(line: Line, burst: bytes, size: int, times: int) -> None:
    for _ in range(times // size):
        line.send(burst)
        for _ in range(size):
            assert line.answer().status == 200


def _proportional_bytes(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    return next(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))
