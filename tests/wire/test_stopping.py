"""SIGTERM: what runs is finished, what is idle is closed, nobody new is taken, and nothing acknowledged is lost."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.content import OCTETS, Client, digest_of, encode, image, noise
from tests.raw_http import Ended, Line, head, message
from tests.servers import Moorage
from tests.wire.served import USERS, Served, check_log, eventually, fill, lines_of, trusting

SIZE = 50 << 20
BULK = noise(SIZE, seed=51)


@pytest.fixture(params=["plain", "TLS"])
def stopping(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority) -> Iterator[Served]:
    """A server that the test stops."""
    pair = authority.issue("127.0.0.1") if request.param == "TLS" else None
    with Moorage(tmp_path / "server", users=USERS, pair=pair) as server:
        yield fill(server, trusting(authority) if pair else None)
        check_log(server)


def _refused(server: Moorage) -> bool:
    try:
        socket.create_connection((server.address, server.port), 5).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def test_running_transfers_are_finished(stopping: Served) -> None:
    """A download and an upload of 50 MB that are under way at SIGTERM end as if nothing were; new ones are refused."""
    server = stopping.server
    stopping.alice.push_blob("wire/base", BULK)
    fresh = BULK[1:]
    path = f"/v2/wire/bulk/blobs/uploads/?digest={digest_of(fresh)}"
    with stopping.line() as down, stopping.line() as up, stopping.line() as idle:
        idle.send(stopping.get("manifests/v1"))
        assert idle.answer().status == 200
        down.send(stopping.blob(BULK))
        down.received += down.socket.recv(100_000)
        up.send(
            head("POST", path, {**stopping.alice.headers, "Content-Type": OCTETS, "Content-Length": str(len(fresh))})
        )
        up.send(fresh[: SIZE // 2])

        server.process.terminate() if server.process else None
        assert eventually(lambda: _refused(server))
        assert idle.rest() == b""
        time.sleep(1.5)  # longer than anybody is waited for who has not begun
        up.send(fresh[SIZE // 2 :])
        pushed = up.answer()
        pulled = down.answer()
        code = server.process.wait(30) if server.process else None

    assert pushed.status == 201
    assert pushed.closes
    assert pulled.body == BULK
    assert code == 0
    with Moorage(server.folder, users=USERS, pair=server.pair, port=server.port):
        assert stopping.alice.ask("GET", f"/v2/wire/bulk/blobs/{digest_of(fresh)}").body == fresh


def test_begun_headers_are_waited_for(stopping: Served) -> None:
    """A request whose headers were on their way is answered, and told to go elsewhere with the next."""
    server = stopping.server
    raw = stopping.get("manifests/v1")
    with stopping.line() as begun, stopping.line() as fresh, stopping.line() as holder:
        holder.send(
            head(
                "POST",
                "/v2/wire/x/blobs/uploads/?digest=" + digest_of(b"abc"),
                {**stopping.alice.headers, "Content-Length": "3"},
            )
        )
        begun.send(raw[:40])
        time.sleep(0.2)
        server.process.terminate() if server.process else None
        assert eventually(lambda: _refused(server))
        begun.send(raw[40:])
        fresh.send(raw)
        answers = [begun.answer(), fresh.answer()]
        holder.send(b"abc")
        held = holder.answer()
        code = server.process.wait(30) if server.process else None

    assert [answer.status for answer in answers] == [200, 200]
    assert all(answer.closes for answer in [*answers, held])
    assert held.status == 201
    assert code == 0


def test_stop_is_quick_when_nothing_runs(stopping: Served) -> None:
    """A hundred idle connections do not keep a server from stopping."""
    lines = [stopping.line() for _ in range(100)]
    for line in lines[:50]:
        line.send(stopping.get("manifests/v1"))
        assert line.answer().status == 200

    code = stopping.server.stop(15)

    for line in lines:
        assert line.rest() == b""
        line.socket.close()
    assert code == 0


def test_drain_has_an_end(tmp_path: Path) -> None:
    """Clients that go on for ever are cut off after the drain timeout."""
    environment = {"MOORAGE_HTTP_DRAIN_TIMEOUT": "1"}
    with Moorage(tmp_path / "server", users=USERS, environment=environment) as server:
        served = fill(server, None)
        served.alice.push_blob("wire/base", BULK)
        with served.line(receive_buffer=4096) as stalled, served.line() as sender:
            stalled.send(served.blob(BULK))
            location = served.alice.begin_upload("wire/forever")
            sender.send(head("PATCH", location, {**served.alice.headers, "Content-Length": "1000"}) + b"x" * 10)
            time.sleep(0.3)

            code = server.stop(15)

        assert code == 0
        check_log(server)


class _Pusher(threading.Thread):
    """Pushes images until the server is gone, and remembers what was acknowledged."""

    def __init__(self, client: Client, number: int) -> None:
        super().__init__()
        self.client = client
        self.number = number
        self.blobs: list[tuple[str, bytes]] = []
        self.manifests: dict[str, bytes] = {}
        self.odd: list[int] = []

    def run(self) -> None:
        count = 0
        with Line(self.client.server, self.client.context) as line:
            try:
                while True:
                    count += 1
                    self._push(line, f"wire/stop-{self.number}", noise(20_000, self.number * 100_000 + count))
            except (Ended, OSError):
                return

    def _push(self, line: Line, repository: str, data: bytes) -> None:
        headers = {**self.client.headers, "Content-Type": OCTETS}
        for content in (data, b"{}"):
            path = f"/v2/{repository}/blobs/uploads/?digest={digest_of(content)}"
            if self._say(line, message("POST", path, headers, content)) == 201:
                self.blobs.append((f"/v2/{repository}/blobs/{digest_of(content)}", content))
        body = encode(image(b"{}", data))
        path = f"/v2/{repository}/manifests/t{len(self.manifests)}"
        document = {**self.client.headers, "Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        if self._say(line, message("PUT", path, document, body)) == 201:
            self.manifests[path] = body

    def _say(self, line: Line, raw: bytes) -> int:
        line.send(raw)
        answer = line.answer()
        if answer.status != 201:
            self.odd.append(answer.status)
        if answer.closes:
            raise Ended(b"") if answer.status != 201 else _Last(raw)
        return answer.status


class _Last(Ended):
    """The connection ends with an acknowledged push."""


@pytest.mark.parametrize("when", [signal.SIGTERM, signal.SIGINT])
def test_nothing_acknowledged_is_lost(tmp_path: Path, when: signal.Signals) -> None:
    """Pushes are under way at SIGTERM: each is acknowledged and kept, or its connection ends; none is an error."""
    with Moorage(tmp_path / "server", users=USERS) as server:
        pushers = [_Pusher(Client(server, "alice", USERS["alice"]), number) for number in range(6)]
        for pusher in pushers:
            pusher.start()
        assert eventually(lambda: sum(len(pusher.manifests) for pusher in pushers) > 20)
        assert server.process is not None
        server.process.send_signal(when)
        for pusher in pushers:
            pusher.join()
        code = server.process.wait(30)
        check_log(server)
    with Moorage(tmp_path / "server", users=USERS, port=server.port) as server:
        client = Client(server, "alice", USERS["alice"])
        lost = [
            path
            for pusher in pushers
            for path, content in [*pusher.blobs, *pusher.manifests.items()]
            if client.ask("GET", path).body != content
        ]

    assert code == 0
    assert lost == []
    assert [pusher.odd for pusher in pushers] == [[]] * len(pushers)


def test_connections_in_the_backlog_are_answered(tmp_path: Path) -> None:
    """Clients that had connected when the server was told to stop are served, although nobody had accepted them."""
    with Moorage(tmp_path / "server", "--workers", "1", users=USERS) as server:
        served = fill(server, None)
        assert server.process is not None
        lines = [served.line() for _ in range(40)]
        for line in lines:
            line.send(served.get("manifests/v1"))
        server.process.terminate()
        statuses = []
        for line in lines:
            with line:
                statuses.append(line.answer().status)
        code = server.process.wait(30)
        served_lines = [
            line for line in lines_of(server) if line.get("principal") == "alice" and line["method"] == "GET"
        ]

    assert statuses == [200] * 40
    assert code == 0
    assert len(served_lines) == 40
