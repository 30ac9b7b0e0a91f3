"""The sending half of a connection, on a real loop and a real socket."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from moorage.message import Part
from moorage.server.sending import Gone, Sender
from tests.content import noise

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
CONTENT = noise(3_000_000, seed=81)


class FileOnDisk:
    """Content behind a descriptor."""

    def __init__(self, data: bytes) -> None:
        self._descriptor = os.memfd_create("content")
        os.write(self._descriptor, data)
        self.size = len(data)

    def fileno(self) -> int | None:
        return self._descriptor

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)

    def close(self) -> None:
        os.close(self._descriptor)


class InMemory(FileOnDisk):
    """Content that the kernel cannot send by itself."""

    def fileno(self) -> int | None:
        return None


class Wire(asyncio.Protocol):
    """The protocol between loop and sender."""

    sender: Sender

    def pause_writing(self) -> None:
        self.sender.pause()

    def resume_writing(self) -> None:
        self.sender.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self.sender.lose()


Scenario = Callable[[Sender, Any, socket.socket], Coroutine[Any, Any, bytes]]


def _run(scenario: Scenario) -> bytes:
    """Run *scenario* with a sender, its transport and the other end of the socket."""

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        transport, wire = await loop.connect_accepted_socket(Wire, near)
        wire.sender = Sender(loop, transport, near, plain=True)
        try:
            return await scenario(wire.sender, transport, far)
        finally:
            transport.abort()
            far.close()
            await asyncio.sleep(0)

    return uvloop.run(main())


async def _read(far: socket.socket, count: int, seed: int) -> bytes:
    choice = random.Random(seed)
    received = bytearray()
    loop = asyncio.get_running_loop()
    while len(received) < count:
        received += await asyncio.wait_for(loop.sock_recv(far, choice.randrange(1, 60_000)), 10)
        for _ in range(choice.randrange(4)):
            await asyncio.sleep(0)
    return bytes(received)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [100, 700_000])
@pytest.mark.parametrize("kind", [FileOnDisk, InMemory])
def test_nothing_overtakes_what_the_transport_holds(kind: type[FileOnDisk], size: int, seed: int) -> None:
    """What was written before, and has not reached the socket yet, arrives before head and content."""
    before = noise(size, seed=82)

    async def scenario(sender: Sender, transport: Any, far: socket.socket) -> bytes:
        content = kind(CONTENT)
        parts = (b"--first", Part(content, 1000, 2_000_000), b"--second", Part(content, 0, 5000), b"--end")
        reading = asyncio.create_task(_read(far, len(expected), seed))
        transport.write(before)
        await sender.send(HEAD, parts)
        content.close()
        return await reading

    expected = before + HEAD + b"--first" + CONTENT[1000:2_001_000] + b"--second" + CONTENT[:5000] + b"--end"
    assert _run(scenario) == expected


@pytest.mark.parametrize("kind", [FileOnDisk, InMemory])
def test_lost_client_ends_the_answer(kind: type[FileOnDisk]) -> None:
    """A client that leaves in the middle makes the sender stop, and say so."""

    async def scenario(sender: Sender, transport: Any, far: socket.socket) -> bytes:
        content = kind(CONTENT)
        sending = asyncio.create_task(sender.send(HEAD, (Part(content, 0, len(CONTENT)),)))
        await asyncio.sleep(0.01)
        assert not sending.done()
        far.close()
        with pytest.raises(Gone):
            await asyncio.wait_for(sending, 10)
        content.close()
        return b""

    assert _run(scenario) == b""


@pytest.mark.parametrize("kind", [FileOnDisk, InMemory])
def test_content_that_is_too_short(kind: type[FileOnDisk]) -> None:
    """Content with fewer bytes than announced cannot be sent; nobody waits for the rest."""

    async def scenario(sender: Sender, transport: Any, far: socket.socket) -> bytes:
        content = kind(b"short")
        with pytest.raises(Gone):
            await asyncio.wait_for(sender.send(HEAD, (Part(content, 0, 100),)), 10)
        content.close()
        return b""

    assert _run(scenario) == b""


def test_stalled_client_shows_no_progress() -> None:
    """Progress moves while the client takes bytes, and stands still when it does not."""

    async def scenario(sender: Sender, transport: Any, far: socket.socket) -> bytes:
        content = FileOnDisk(CONTENT)
        sending = asyncio.create_task(sender.send(HEAD, (Part(content, 0, len(CONTENT)),)))
        await asyncio.sleep(0.02)
        stalled = [sender.progress() for _ in range(2)]
        assert sender.pending()
        assert not sender.delivered()
        await asyncio.get_running_loop().sock_recv(far, 1_000_000)
        await asyncio.sleep(0.02)
        after = sender.progress()
        received = await _read(far, 1_500_000, 1)
        sending.cancel()
        content.close()
        assert stalled[0] == stalled[1] < after
        return received[:0]

    assert _run(scenario) == b""
