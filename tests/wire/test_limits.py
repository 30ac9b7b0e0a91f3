"""Servers at their limits: connections, descriptors, and a socket of the other family."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.raw_http import Line, message
from tests.servers import Moorage
from tests.wire.served import LARGE, USERS, Served, check_log, eventually, fill, lines_of


def test_connections_beyond_the_limit_wait(tmp_path: Path) -> None:
    """With as many connections as are allowed the next one waits, and is served once another has gone."""
    environment = {"MOORAGE_HTTP_LIMITS_CONNECTIONS": "4"}
    with Moorage(tmp_path / "server", "--workers", "1", users=USERS, environment=environment) as server:
        served = fill(server, None)
        with ExitStack() as stack:
            held = [stack.enter_context(served.line()) for _ in range(4)]
            for line in held:
                line.send(served.get("manifests/v1"))
                assert line.answer().status == 200
            late = stack.enter_context(served.line())
            late.send(served.get("manifests/v1"))
            waited = late.silent(0.7)
            held[0].socket.close()

            answer = late.answer()

        assert waited
        assert answer.body == served.manifest
        server.stop()
        check_log(server)


def test_server_without_descriptors_left(tmp_path: Path) -> None:
    """When descriptors run out, new connections wait, the log says why, and all is well when some are free again."""
    prefix = ("prlimit", "--nofile=64:64")
    with Moorage(tmp_path / "server", "--workers", "1", users=USERS, prefix=prefix) as server:
        served = fill(server, None)
        with ExitStack() as stack:
            lines = [stack.enter_context(served.line(receive_buffer=4096)) for _ in range(100)]
            for line in lines:
                line.send(served.blob(LARGE))
            assert eventually(
                lambda: any("no more connections" in str(line.get("message")) for line in lines_of(server))
            )
        recovered = eventually(lambda: _serves(served))
        lines_logged = lines_of(server)

        assert recovered
        assert not [line for line in lines_logged if "traceback" in line]
        assert {line.get("status") for line in lines_logged if line["event"] == "request"} <= {200, 201, 401, 503}


def _serves(served: Served) -> bool:
    try:
        with served.line(seconds=2) as line:
            line.send(served.blob(LARGE))
            return line.answer().body == LARGE
    except OSError:
        return False


@pytest.mark.parametrize("what", ["blob", "manifest"])
def test_unix_socket(tmp_path: Path, what: str) -> None:
    """A proxy on the same machine can speak through a socket file; large and small answers come whole."""
    path = tmp_path / "moorage.sock"
    with Moorage(tmp_path / "server", "--listen", f"unix:{path}", "--workers", "1", users=USERS) as server:
        served = fill(server, None)
        with Line(server) as line:
            line.socket.close()
            line.socket = socket.socket(socket.AF_UNIX)
            line.socket.settimeout(20)
            line.socket.connect(str(path))
            line.send(served.blob(LARGE) if what == "blob" else served.get("manifests/v1"))
            first = line.answer()
            line.send(message("GET", "/v2/"))
            second = line.answer()

        assert first.body == (LARGE if what == "blob" else served.manifest)
        assert second.status == 401
        server.stop()
        check_log(server)
