"""Clients that leave at the worst moment: nothing stays behind, and nothing is worth a word in the log."""

from __future__ import annotations

import random
import time

import pytest

from tests.content import OCTETS, digest_of, noise
from tests.raw_http import head
from tests.wire.served import LARGE, Served, descriptors, eventually, lines_of

FIRST_WRITE = 10
"""Descriptors that the workers open once, with their first write to the database."""


@pytest.mark.parametrize("how", ["close", "reset"])
def test_leaving_in_mid_download(served: Served, how: str) -> None:
    """Fifty clients that leave in the middle of a blob leave no descriptor open."""
    choice = random.Random(41)
    before = descriptors(served.server)
    for _ in range(50):
        with served.line() as line:
            line.send(served.blob(LARGE))
            line.socket.recv(choice.randrange(1, 300_000))
            if how == "reset":
                line.reset()

    assert eventually(lambda: descriptors(served.server) <= before + FIRST_WRITE)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
def test_leaving_in_mid_upload(served: Served, method: str, how: str) -> None:
    """Clients that leave in the middle of a push leave no descriptor, and no blob that is half there."""
    choice = random.Random(42)
    data = noise(400_000, seed=43)
    before = descriptors(served.server)
    for _ in range(30):
        if method == "POST":
            path = f"/v2/wire/half/blobs/uploads/?digest={digest_of(data)}"
        else:
            path = served.alice.begin_upload("wire/half") + (f"?digest={digest_of(data)}" if method == "PUT" else "")
        headers = {**served.alice.headers, "Content-Type": OCTETS, "Content-Length": str(len(data))}
        with served.line() as line:
            line.send(head(method, path, headers) + data[: choice.randrange(len(data))])
            if how == "reset":
                line.reset()

    assert eventually(lambda: descriptors(served.server) <= before + FIRST_WRITE)
    assert served.alice.ask("HEAD", f"/v2/wire/half/blobs/{digest_of(data)}").status == 404


def test_leaving_before_the_answer(served: Served) -> None:
    """Clients that ask and are gone before the answer leave nothing, whatever they asked for."""
    before = descriptors(served.server)
    for raw in (served.get("manifests/v1"), served.blob(LARGE), served.get("manifests/v1") * 200):
        for _ in range(20):
            with served.line() as line:
                line.send(raw)
                line.reset()

    assert eventually(lambda: descriptors(served.server) <= before + FIRST_WRITE)


def test_leaving_is_no_error(served: Served) -> None:
    """The log has a line for what was begun, and no word about who left."""
    with served.line() as line:
        line.send(served.blob(LARGE))
        line.socket.recv(1000)
        line.reset()
    time.sleep(0.5)

    lines = lines_of(served.server)

    assert {line["level"] for line in lines} <= {"info"}
    assert not [line for line in lines if line["event"] == "request" and line["status"] in {500, 503}]


def test_connections_that_ask_nothing(served: Served) -> None:
    """Hundreds of connections, opened and closed without a request, leave nothing."""
    before = descriptors(served.server)
    for _ in range(300):
        with served.line():
            pass

    assert eventually(lambda: descriptors(served.server) <= before + FIRST_WRITE)
