from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median_low

import pytest

from tests.content import MANIFEST, OCTETS, Client, digest_of, encode, image, noise
from tests.guards.table import Table
from tests.guards.trace import Trace, count
from tests.guards.workers import worker_of
from tests.raw_http import Line, message
from tests.servers import Moorage

# The middle one of so many counts: the jobs process beside the worker may commit meanwhile, and every thousand pages
# SQLite carries its log over.
TIMES = 5
LARGEST = 64 << 20
SIZES = {"1 KiB": 1 << 10, "1 MiB": 1 << 20, "64 MiB": LARGEST}
SMALL, LARGE = noise(4 << 10, seed=1), noise(1 << 20, seed=2)
REPOSITORY = "guard/calls"


@dataclass(frozen=True)
class Step:
    """A request, and one that is sent before it and not counted."""

    raw: bytes
    status: int
    before: bytes | None = None


def pulls(body: bytes) -> Iterator[tuple[str, Step]]:
    """Reads, each once before it is counted."""
    by_tag = f"/v2/{REPOSITORY}/manifests/v1"
    known = {"If-None-Match": f'"{digest_of(body)}"'}
    reads = {
        "manifest GET by tag": ("GET", by_tag, {}, 200),
        "manifest HEAD by tag": ("HEAD", by_tag, {}, 200),
        "manifest 304 by tag": ("GET", by_tag, known, 304),
        "manifest 404 by tag": ("GET", f"{by_tag}-none", {}, 404),
        "blob GET, 4 KiB": ("GET", f"/v2/{REPOSITORY}/blobs/{digest_of(SMALL)}", {}, 200),
        "blob GET, 1 MiB": ("GET", f"/v2/{REPOSITORY}/blobs/{digest_of(LARGE)}", {}, 200),
        "blob HEAD": ("HEAD", f"/v2/{REPOSITORY}/blobs/{digest_of(LARGE)}", {}, 200),
    }
    for case, (method, target, headers, status) in reads.items():
        raw = message(method, target, headers)
        for _ in range(TIMES):
            yield case, Step(raw, status, before=raw)


def pushes() -> Iterator[tuple[str, Step]]:
    """Blobs in one request, and a manifest by a tag of its own, which then gets another."""
    for name, size in SIZES.items():
        for number in range(TIMES if size < LARGEST else 3):
            data = noise(size, seed=100 + number)
            target = f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(data)}"
            yield f"blob push, {name}", Step(message("POST", target, {"Content-Type": OCTETS}, data), 201)
    for number in range(TIMES):
        body = encode(image(b"{}", SMALL, LARGE, annotations={"number": str(number)}))
        for case, tag in (("manifest PUT", "first"), ("tag PUT", "second")):
            target = f"/v2/{REPOSITORY}/manifests/{tag}-{number}"
            yield case, Step(message("PUT", target, {"Content-Type": MANIFEST}, body), 201)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[dict[str, int]]]:
    """What each case took, each time."""
    folder = tmp_path_factory.mktemp("calls")
    with Moorage(folder / "server", "--workers", "1", users={}) as server:
        Client(server).push_image(REPOSITORY, "v1", SMALL, LARGE)
        steps = [*pulls(encode(image(b"{}", SMALL, LARGE))), *pushes()]
        with Trace(worker_of(server), folder / "trace") as trace, Line(server) as line:
            for number, (_, step) in enumerate(steps):
                _walk(line, step, number)
            _mark(line, f"/{len(steps)}/mark")
        found: dict[str, list[dict[str, int]]] = {}
        for number, (case, _) in enumerate(steps):
            calls = trace.between(f"/{number}/mark", f"/{number}/end")
            found.setdefault(case, []).append(count(calls, server.log))
        return found


def _walk(line: Line, step: Step, number: int) -> None:
    if step.before is not None:
        line.send(step.before)
        line.answer(step.before[:4].decode().strip())
    _mark(line, f"/{number}/mark")
    line.send(step.raw)
    answer = line.answer(step.raw[:4].decode().strip())
    assert answer.status == step.status, answer
    _mark(line, f"/{number}/end")


def _mark(line: Line, target: str) -> None:
    line.send(message("GET", target))
    assert line.answer().status == 404


def _middle(counts: list[dict[str, int]]) -> dict[str, int]:
    return {counter: median_low(one[counter] for one in counts) for counter in counts[0]}


def test_no_request_takes_more_system_calls(traced: Mapping[str, list[dict[str, int]]], limits: Table) -> None:
    """Every pull and push opens, flushes, renames, sends and receives at most as often as the table says."""
    counted = {case: _middle(counts) for case, counts in traced.items()}

    limits.check("system calls", counted)


@pytest.mark.parametrize("case", ["GET", "HEAD", "304", "404"])
def test_a_remembered_manifest_is_one_receive_and_one_send(
    traced: Mapping[str, list[dict[str, int]]], case: str
) -> None:
    """A manifest that was read since the last commit costs two system calls, and no file is opened."""
    best = min(traced[next(name for name in traced if name.startswith("manifest") and case in name)], key=sum_of)

    assert best["calls"] == best["receives"] + best["sends"] == 2


def sum_of(counts: Mapping[str, int]) -> int:
    """The calls of all kinds."""
    return counts["calls"]
