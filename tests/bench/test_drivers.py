from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from bench import registries
from bench.cases import CASES
from bench.cases.seed import push_image
from bench.cases.storm import pull, zipf
from bench.content import Image, small_image
from bench.drivers import Unexpected
from bench.lookups import look
from bench.registries import ANONYMOUS, Registry
from bench.scripts import run_scripts
from bench.wrk import read_wrk, wrk
from tests.programs import need

IMAGE = small_image("test")
MANIFEST = "/v2/test/image/manifests/latest"


class _Short(BaseHTTPRequestHandler):
    """Answers everything at once with 200 and two bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class names it
        """Says nothing."""


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A real registry with one image."""
    registry = registries.Moorage(tmp_path_factory.mktemp("honest") / "registry", access=False)
    registry.start(ANONYMOUS)
    try:
        run_scripts(registry, [push_image(registry, "test/image", IMAGE, "latest")])
        yield registry
    finally:
        registry.stop()


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[Registry]:
    """A server that is quick, and has nothing."""
    registry = Registry(tmp_path / "liar")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Short) as server:
        registry.port = server.server_port
        Thread(target=server.serve_forever, daemon=True).start()
        yield registry
        server.shutdown()


def test_right_answers_are_counted_as_such(honest: Registry) -> None:
    """What a registry answers rightly is not held against it: whole manifests, and errors that were asked for."""
    need("wrk")

    whole = wrk(honest, MANIFEST, seconds=1, connections=2, size=len(IMAGE.manifest.data))
    missing = wrk(honest, MANIFEST + "-not", seconds=1, connections=2, good=False)
    run_scripts(honest, [pull(honest, "test/image", IMAGE, "latest")])

    assert whole.requests > 0
    assert whole.unexpected == 0
    assert missing.requests > 0
    assert missing.unexpected == 0


def test_quick_errors_are_no_win(honest: Registry) -> None:
    """A status that was not asked for makes every answer a wrong one, whichever way round."""
    need("wrk")

    missing = wrk(honest, MANIFEST + "-not", seconds=1, connections=2)
    there = wrk(honest, MANIFEST, seconds=1, connections=2, good=False)

    assert missing.unexpected == missing.requests > 0
    assert there.unexpected == there.requests > 0


def test_short_answers_are_no_win(liar: Registry) -> None:
    """A server that says 200 and sends less than the whole is found out by every driver."""
    need("wrk")

    short = wrk(liar, MANIFEST, seconds=1, connections=2, size=10_000)

    assert short.unexpected == short.requests > 0
    with pytest.raises(Unexpected, match="2 bytes"):
        look(liar, MANIFEST).expect(200, len(IMAGE.manifest.data))
    with pytest.raises(Unexpected, match="2 bytes"):
        run_scripts(liar, [pull(liar, "test/image", Image(IMAGE.blobs, IMAGE.manifest), "latest")])


@pytest.mark.parametrize(
    ("text", "expected", "size", "unexpected"),
    [
        ("  1000 requests in 1.00s, 1.00MB read", "success", 1000, 0),
        ("  1000 requests in 1.00s, 1.00MB read", "success", 2000, 1000),
        ("  1000 requests in 1.00s, 1.00MB read\n  Non-2xx or 3xx responses: 7", "success", 0, 7),
        ("  1000 requests in 1.00s, 1.00MB read\n  Non-2xx or 3xx responses: 7", "refusal", 0, 993),
        (
            "  1000 requests in 1.00s, 1.00MB read\n  Socket errors: connect 1, read 2, write 3, timeout 4",
            "success",
            0,
            10,
        ),
    ],
)
def test_report_of_wrk(text: str, expected: str, size: int, unexpected: int) -> None:
    """Wrong statuses, missing bytes and broken connections are read from wrk's report."""
    load = read_wrk(text, good=expected == "success", size=size)

    assert (load.requests, load.unexpected, load.seconds) == (1000, unexpected, 1.0)


def test_nothing_answered_is_no_measurement() -> None:
    """A run in which nothing was answered raises, and gives no figure."""
    with pytest.raises(Unexpected, match="no answer"):
        read_wrk("  0 requests in 3.00s, 0.00B read", good=True, size=0)


def test_zipf_order() -> None:
    """The first image comes up twice as often as the second and ten times as often as the tenth, in a fixed order."""
    order = zipf(100_000, 100, "seed")

    counted = Counter(order)

    assert order == zipf(100_000, 100, "seed")
    assert order != zipf(100_000, 100, "another")
    assert set(order) <= set(range(100))
    for number in (1, 2, 9):
        assert counted[0] / counted[number] == pytest.approx(number + 1, rel=0.15)


@pytest.mark.parametrize(
    "text",
    [
        *("/v2/", "manifest GET by tag", "manifest GET by digest", "manifest HEAD", "manifest 304", "manifest 404"),
        *("blob 404", "401", "htpasswd cost 5", "htpasswd cost 10", "p99 at 70 %"),
        *("blob GET 4 KiB", "blob GET 50 KiB", "blob GET 1 MiB", "blob GET 100 MiB", "blob GET 512 MiB"),
        *("blob GET 1 GiB", "ranges", "blob GET 512 MiB, TLS"),
        *("push 1 KiB", "push 1 MiB", "push 512 MiB, POST", "chunked PATCH", "eight streams"),
        *("small images pushed", "large image pushed", "mounted", "tag PUT"),
        *("tags page of 100, middle", "all tags", "catalog page of 100, first", "catalog page of 100, last"),
        *("delete of a manifest", "all referrers", "referrers of one type"),
        *("per stalled reader", "storm", "idle memory", "start to first answer", "that guess", "after many requests"),
        *("docker 29 pull", "docker 29 push", "docker 20.10 pull", "crane pull"),
    ],
)
def test_list_of_cases(text: str) -> None:
    """The bench has a row for everything that it says it compares."""
    rows = [row.name for case in CASES for row in case.rows]

    found = [name for name in rows if text in name]

    assert found
    assert len(set(rows)) == len(rows)
