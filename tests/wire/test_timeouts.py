"""Patience: who is silent too long is let go, and who is only slow is not.

All connections of the scene run side by side on one server whose patience is a second or two; each test looks at what
became of one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from moorage.settings.model import Timeouts
from tests.certificates import Authority
from tests.content import OCTETS, digest_of, noise
from tests.raw_http import Answer, Ended, Line, head
from tests.servers import Moorage
from tests.wire.served import LARGE, REPOSITORY, USERS, Served, check_log, fill, lines_of, trusting

PATIENCE = {
    "MOORAGE_HTTP_TIMEOUTS_HEADER": "1",
    "MOORAGE_HTTP_TIMEOUTS_BODY_IDLE": "1",
    "MOORAGE_HTTP_TIMEOUTS_KEEP_ALIVE": "1.5",
    "MOORAGE_HTTP_TIMEOUTS_WRITE_IDLE": "2.5",
}
SCENE_SECONDS = 8
SLOW_UPLOAD = noise(60, seed=21)
MIDDLE = noise(60_000, seed=22)


@dataclass
class Scene:
    """What became of each connection: the answers it got, whether it was closed, and what else came."""

    served: Served
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    closed: dict[str, bool] = field(default_factory=dict)
    uploads: dict[str, str] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)

    def watch(self, name: str, line: Line) -> None:
        """Collect answers until the server closes or the scene ends."""
        self.answers[name] = []
        self.closed[name] = False
        try:
            while True:
                self.answers[name].append(line.answer())
        except Ended:
            self.closed[name] = True
        except TimeoutError:
            return

    def statuses(self, name: str) -> list[int]:
        """The statuses of the answers to the connection of that name."""
        return [answer.status for answer in self.answers[name]]


def _silent(raw: Callable[[Scene], bytes]) -> Callable[[Scene, str], None]:
    """A client that sends this and no more."""

    def act(scene: Scene, name: str) -> None:
        with scene.served.line(seconds=SCENE_SECONDS) as line:
            line.send(raw(scene))
            scene.watch(name, line)

    return act


def _trickling(raw: Callable[[Scene], bytes], pause: float) -> Callable[[Scene, str], None]:
    """A client that sends the beginning at once, and from its last 30 bytes one after another."""

    def act(scene: Scene, name: str) -> None:
        data = raw(scene)
        with scene.served.line(seconds=SCENE_SECONDS) as line:
            line.send(data[:-30])
            try:
                for byte in data[-30:]:
                    if not line.silent(pause):
                        break
                    line.send(bytes([byte]))
            except (OSError, Ended):
                pass
            scene.watch(name, line)

    return act


def _stalled(requests: Callable[[Scene], bytes]) -> Callable[[Scene, str], None]:
    """A client that reads nothing of the answers for most of the scene, and then everything that is left."""

    def act(scene: Scene, name: str) -> None:
        with scene.served.line(receive_buffer=4096) as line:
            line.send(requests(scene))
            time.sleep(SCENE_SECONDS)
            scene.taken[name] = len(line.rest())

    return act


def _slow_reader(scene: Scene, name: str) -> None:
    """A client that takes a few kilobytes a second, and later the rest at once."""
    with scene.served.line(receive_buffer=4096) as line:
        line.send(scene.served.blob(LARGE))
        deadline = time.monotonic() + SCENE_SECONDS
        while time.monotonic() < deadline:
            line.received += line.socket.recv(1500)
            time.sleep(0.15)
        scene.answers[name] = [line.answer()]


def _busy(scene: Scene, name: str) -> None:
    """A client that asks twice a second."""
    with scene.served.line() as line:
        scene.answers[name], scene.closed[name] = [], False
        deadline = time.monotonic() + SCENE_SECONDS
        while time.monotonic() < deadline:
            line.send(scene.served.get("manifests/v1"))
            scene.answers[name].append(line.answer())
            time.sleep(0.5)


def _upload(scene: Scene, name: str, length: str, body: bytes) -> bytes:
    scene.uploads[name] = scene.served.alice.begin_upload("wire/slow")
    headers = {**scene.served.alice.headers, "Content-Type": OCTETS}
    framing = {"Transfer-Encoding": "chunked"} if length == "chunked" else {"Content-Length": length}
    return head("PATCH", scene.uploads[name], {**headers, **framing}) + body


ACTORS: dict[str, Callable[[Scene, str], None]] = {
    "silent": _silent(lambda _: b""),
    "line ends only": _silent(lambda _: b"\r\n\r\n"),
    "half a line": _silent(lambda _: b"GET /v2/"),
    "half the headers": _silent(lambda scene: scene.served.get("manifests/v1")[:-2]),
    "trickled headers": _trickling(lambda scene: scene.served.get("manifests/v1"), 0.2),
    "idle": _silent(lambda scene: scene.served.get("manifests/v1")),
    "idle with half a request": _silent(lambda scene: scene.served.get("manifests/v1") + b"GET /v2/"),
    "no body": _silent(lambda scene: _upload(scene, "no body", "100", b"")),
    "half a body": _silent(lambda scene: _upload(scene, "half a body", "100", b"x" * 50)),
    "half a chunk": _silent(lambda scene: _upload(scene, "half a chunk", "chunked", b"64\r\n" + b"x" * 50)),
    "refused body, trickled": _trickling(
        lambda _: head("PUT", "/v2/a/manifests/t", {"Content-Length": "1000"}) + b"x" * 30, 0.2
    ),
    "slow sender": _trickling(lambda scene: _upload(scene, "slow sender", "60", SLOW_UPLOAD), 0.2),
    "slow reader": _slow_reader,
    "busy": _busy,
    "stalled reader": _stalled(lambda scene: scene.served.blob(LARGE)),
    "stalled reader of many": _stalled(lambda scene: scene.served.blob(MIDDLE) * 200),
}


@pytest.fixture(scope="module", params=["plain", "TLS"])
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Scene]:
    """Everything that happens, at once; the tests look at the end of it."""
    pair = authority.issue("127.0.0.1") if request.param == "TLS" else None
    folder = tmp_path_factory.mktemp("hasty") / "server"
    with Moorage(folder, users=USERS, pair=pair, environment=PATIENCE) as server:
        made = Scene(fill(server, trusting(authority) if pair else None))
        made.served.alice.push_blob(REPOSITORY, MIDDLE)
        threads = [threading.Thread(target=actor, args=(made, name)) for name, actor in ACTORS.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield made
        server.stop()
        check_log(server)


@pytest.mark.parametrize("name", ["silent", "line ends only"])
def test_client_that_never_asks(scene: Scene, name: str) -> None:
    """Who connects and asks nothing is let go without a word."""
    assert scene.closed[name]
    assert scene.statuses(name) == []


@pytest.mark.parametrize("name", ["half a line", "half the headers", "trickled headers"])
def test_headers_that_do_not_come(scene: Scene, name: str) -> None:
    """Headers that stop, or trickle so that every byte looks alive, end in 408."""
    assert scene.statuses(name) == [408]
    assert scene.closed[name]


def test_idle_connection(scene: Scene) -> None:
    """A connection with nothing more to ask is closed without a word."""
    assert scene.statuses("idle") == [200]
    assert scene.closed["idle"]


def test_half_a_request_behind_a_whole_one(scene: Scene) -> None:
    """Half a request behind an answered one ends as half a request."""
    assert scene.statuses("idle with half a request") == [200, 408]


@pytest.mark.parametrize("name", ["no body", "half a body", "half a chunk"])
def test_body_that_does_not_come(scene: Scene, name: str) -> None:
    """A body that stops ends in 408; the session keeps what came."""
    status = scene.served.alice.ask("GET", scene.uploads[name])

    assert scene.statuses(name) == [408]
    assert scene.closed[name]
    assert status.header("range") == ("0-0" if name == "no body" else "0-49")


def test_refused_body_cannot_keep_a_connection(scene: Scene) -> None:
    """The rest of a refused body, byte by byte, has only as long as headers have."""
    assert scene.statuses("refused body, trickled")[0] == 401
    assert scene.closed["refused body, trickled"]


def test_slow_sender_is_waited_for(scene: Scene) -> None:
    """A body that comes slowly but steadily is taken in whole, however long it takes."""
    location = scene.uploads["slow sender"]

    finished = scene.served.alice.ask("PUT", f"{location}?digest={digest_of(SLOW_UPLOAD)}", None, b"")

    assert scene.statuses("slow sender") == [202]
    assert finished.status == 201


def test_slow_reader_is_waited_for(scene: Scene) -> None:
    """A client that takes its answer slowly but steadily gets all of it."""
    assert scene.answers["slow reader"][0].body == LARGE


def test_stalled_reader_is_let_go(scene: Scene) -> None:
    """A client that takes nothing more of its answer is cut off."""
    assert 0 < scene.taken["stalled reader"] < len(LARGE)


def test_stalled_reader_of_many_is_let_go(scene: Scene) -> None:
    """The same for one who asks on and on and takes no answer."""
    assert 0 < scene.taken["stalled reader of many"] < 200 * len(MIDDLE)


def test_log_says_what_happened(scene: Scene) -> None:
    """Every 408 has its line, with a reason or a request."""
    lines = [line for line in lines_of(scene.served.server) if line.get("status") == 408]

    assert len([line for line in lines if line["event"] == "request"]) == 3
    assert {line["why"] for line in lines if line["event"] == "refused"} == {"the request took too long to come"}


def test_default_keep_alive_outlives_go_clients() -> None:
    """By default idle connections are kept longer than the 90 s after which Go's clients drop them."""
    assert Timeouts().keep_alive > 90


def test_busy_connection_is_not_idle(scene: Scene) -> None:
    """A connection in use is kept, however old it is."""
    assert set(scene.statuses("busy")) == {200}
    assert not scene.closed["busy"]
