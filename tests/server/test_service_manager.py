from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.server.heartbeat import Heartbeats
from moorage.server.notify import Notifier
from moorage.server.watch import Watch
from tests.servers import COMMAND, Moorage, answers, free_port, group_members
from tests.service_manager import SECONDS, Service, ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    """One that listens."""
    with ServiceManager(tmp_path / "manager") as made:
        yield made


def listening(port: int) -> socket.socket:
    """A socket as a socket unit's."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    made.listen()
    return made


def worker_of(service: Moorage) -> int:
    """A process that accepts connections: the first child."""
    return min(pid for pid in group_members(service.pid) if pid != service.pid)


def end_of(service: Moorage) -> int:
    """The exit code of a server that ends by itself."""
    with service.log.open("ab") as log:
        process = subprocess.run(
            service.command(),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], **service.environment},
            timeout=SECONDS,
        )
    return process.returncode


@pytest.mark.parametrize("abstract", [False, True])
def test_it_says_that_it_is_ready_once_it_serves(tmp_path: Path, *, abstract: bool) -> None:
    """By a file's or an abstract socket's address; whoever waited for it is answered at once."""
    with ServiceManager(tmp_path / "manager", abstract=abstract) as manager:
        service = Service(manager, tmp_path / "server", port=free_port())
        with service:
            ready = manager.wait_for("READY")
            answered = answers("127.0.0.1", service.port, "http")
            service.stop()

        assert answered
        assert ready == {"READY": "1", "STATUS": f"serving on 127.0.0.1:{service.port} with 2 workers"}
        assert manager.messages[0] == {"STATUS": "starting"}
        assert manager.messages[-1]["STOPPING"] == "1"
        assert manager.count("WATCHDOG") == 0


def test_a_reload_is_answered(manager: ServiceManager, tmp_path: Path) -> None:
    """SIGHUP changes nothing, and whoever waits for it to be done need not wait."""
    with Service(manager, tmp_path / "server", port=free_port()) as service:
        manager.wait_for("READY")
        os.kill(service.pid, signal.SIGHUP)
        manager.wait_for("READY", times=2)

        order = [key for message in manager.messages for key in message if key in {"READY", "RELOADING"}]
        answered = answers("127.0.0.1", service.port, "http")

    assert order == ["READY", "RELOADING", "READY"]
    assert answered


def test_the_watchdog_hears_of_it_only_while_all_workers_turn(manager: ServiceManager, tmp_path: Path) -> None:
    """A worker that hangs silences the parent, and one that goes on again lets it speak."""
    with Service(manager, tmp_path / "server", watchdog=6, port=free_port()) as service:
        manager.wait_for("WATCHDOG")
        hung = worker_of(service)
        os.kill(hung, signal.SIGSTOP)
        deadline = time.monotonic() + SECONDS
        while "event loop has not turned" not in service.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        silent = manager.count("WATCHDOG")
        # Each second it looks whether the worker turns again; it does not.
        time.sleep(2.5)
        still_silent = manager.count("WATCHDOG")
        os.kill(hung, signal.SIGCONT)
        manager.wait_for("WATCHDOG", times=silent + 1)

    assert still_silent == silent


def test_a_worker_that_is_replaced_is_waited_for(tmp_path: Path) -> None:
    """Its predecessor's beats do not count for it, neither for readiness nor for the watchdog."""
    beats = Heartbeats(2)
    with ServiceManager(tmp_path / "manager") as manager:
        watch = Watch(Notifier(manager.address, 0.002), beats, "serving")
        beats.beat(0)
        watch.look()
        assert manager.count("READY") == 0
        beats.beat(1)
        watch.begins("worker 0")
        watch.begins("jobs")
        watch.look()
        assert manager.count("READY") == 0
        beats.beat(0)
        watch.look()
        manager.wait_for("READY")


@pytest.mark.parametrize(
    ("variables", "heard", "watchdog"),
    [
        ({}, False, None),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "60000000"}, True, 60.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, True, 60.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, True, None),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "0"}, True, None),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "-1"}, True, None),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, False, None),
        ({"WATCHDOG_USEC": "60000000"}, False, None),
    ],
)
def test_the_manager_is_found_in_the_environment(
    variables: dict[str, str], *, heard: bool, watchdog: float | None
) -> None:
    """And its variables are taken out of it, so that no program that is started believes that they are meant for it."""
    environment = {**variables, "HOME": "/"}

    notifier = Notifier.of(environment)

    assert (notifier.heard, notifier.watchdog) == (heard, watchdog)
    assert environment == {"HOME": "/"}


def test_a_manager_that_is_gone_is_no_reason_to_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and nothing is raised."""
    Notifier(str(tmp_path / "nobody")).ready("serving")

    assert "the service manager cannot be told READY=1: No such file or directory" in caplog.text


def test_no_connection_is_refused_while_it_is_started_again(manager: ServiceManager, tmp_path: Path) -> None:
    """What the first server listened on is kept open for the second: who connects in between waits, and is answered."""
    service = Service(manager, tmp_path / "server", port=free_port())
    service.start()
    manager.wait_for("READY")
    done = threading.Event()
    asked, failed = [0], [0]

    def ask() -> None:
        while not done.is_set():
            asked[0] += 1
            failed[0] += not answers_within_reason(service.port)

    client = threading.Thread(target=ask)
    client.start()
    for times in (2, 3):
        before = asked[0]
        service.stop()
        # Nobody listens now but the kernel, for whoever keeps the socket.
        with socket.create_connection(("127.0.0.1", service.port), SECONDS):
            pass
        service.start()
        manager.wait_for("READY", times)
        while asked[0] < before + 20:
            done.wait(0.01)
    done.set()
    client.join(SECONDS)
    service.stop()

    assert asked[0] >= 40
    assert failed == [0]
    assert len(manager.kept) == 1


def answers_within_reason(port: int) -> bool:
    """Whether a request there is answered, however long it has to wait."""
    request = b"GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as stream:
            stream.sendall(request)
            return stream.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False


def test_what_is_no_longer_listened_at_is_let_go(manager: ServiceManager, tmp_path: Path) -> None:
    """Also where it would be in the way: one socket for both kinds of addresses, then one for IPv4 alone."""
    port, other = free_port(), free_port()
    both = Service(manager, tmp_path / "server", "--listen", f":{port}", "--allow-plaintext", port=other)
    both.start()
    manager.wait_for("READY")
    both.stop()
    kept_before = len(manager.kept)
    ipv4 = Service(manager, tmp_path / "server", "--listen", f"0.0.0.0:{port}", "--allow-plaintext", port=free_port())

    with ipv4:
        manager.wait_for("READY", times=2)
        answered = answers("127.0.0.1", port, "http")
        closed = not answers("127.0.0.1", other, "http")

    assert (kept_before, len(manager.kept)) == (2, 2)
    assert answered
    assert closed
    assert f"no longer listening on 127.0.0.1:{other}" in ipv4.log.read_text()


def test_a_socket_units_sockets_are_used(manager: ServiceManager, tmp_path: Path) -> None:
    """The very one that was passed is accepted on, and not given back to be kept twice."""
    port = free_port()
    unit = listening(port)
    manager.units.append(("moorage.socket", unit))

    with Service(manager, tmp_path / "server", port=port) as service:
        manager.wait_for("READY")
        service.stop()
        # Bound a second time it would have been refused; still open, it takes connections without a server.
        with socket.create_connection(("127.0.0.1", port), SECONDS):
            pass

    assert manager.kept == []


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (
            socket.SOCK_STREAM,
            "moorage.socket passes a socket that listens on 127.0.0.1:{passed}, which is none of the addresses",
        ),
        (socket.SOCK_DGRAM, "moorage.socket passes a descriptor that is no listening socket"),
    ],
)
def test_a_socket_unit_that_does_not_fit_is_a_sentence(
    manager: ServiceManager, tmp_path: Path, kind: socket.SocketKind, says: str
) -> None:
    """It is not ignored, and what the manager shows and the log say the same; 78 keeps it from trying again."""
    port = free_port()
    if kind == socket.SOCK_STREAM:
        unit = listening(port)
    else:
        unit = socket.socket(type=kind)
    manager.units.append(("moorage.socket", unit))
    service = Service(manager, tmp_path / "server", port=free_port())

    code = end_of(service)

    assert code == 78
    assert f"moorage: {says.format(passed=port)}" in service.log.read_text()
    manager.wait(lambda messages: says.format(passed=port) in messages[-1].get("STATUS", ""))


def test_sockets_for_another_process_are_not_touched(tmp_path: Path) -> None:
    """As sd_listen_fds(3) has it: LISTEN_PID says whose they are."""
    strange = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}

    with Moorage(tmp_path, users={}, environment=strange) as server:
        assert answers("127.0.0.1", server.port, "http")


def test_what_is_useless_to_repeat_ends_with_78(manager: ServiceManager, tmp_path: Path) -> None:
    """And only for systemd; what may pass keeps its own code there too, and is tried again."""
    wrong = Service(manager, tmp_path / "a", "--log-level", "loud", port=free_port())
    with listening(free_port()) as taken:
        occupied = Service(manager, tmp_path / "b", port=taken.getsockname()[1])
        codes = [end_of(wrong), end_of(occupied)]
    command = [str(COMMAND), "serve", "--listen", "nonsense"]
    outside = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)

    assert codes == [78, 4]
    assert "moorage: --log-level" in wrong.log.read_text()
    assert "is in use" in occupied.log.read_text()
    assert (outside.returncode, outside.stderr.count("\n")) == (3, 1)
