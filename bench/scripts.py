"""Many scripted clients in one thread, each on a connection of its own."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from bench.drivers import Answer, Body, Unexpected, parse
from bench.registries import Registry

Script = Generator[bytes, Answer, None]


@dataclass
class _Client:
    stream: socket.socket
    script: Script
    buffer: bytes = b""
    answer: Answer | None = None
    body: Body | None = None
    head_only: bool = False


def run_scripts(registry: Registry, scripts: Iterable[Script]) -> float:
    """Run every script on a connection of its own (plain HTTP), all at once; returns the seconds until the last ended.

    A script yields a request's bytes and is sent its answer.
    """
    selector = selectors.DefaultSelector()
    running = 0
    started = time.perf_counter()
    for script in scripts:
        client = _Client(registry.connect(), script)
        client.stream.setblocking(False)
        selector.register(client.stream, selectors.EVENT_READ, client)
        running += _advance(client, None)
    try:
        while running:
            ready = selector.select(120)
            if not ready:
                raise Unexpected("no answer within two minutes")
            for key, _ in ready:
                running -= not _receive(key.data)
    finally:
        for key in list(selector.get_map().values()):
            key.data.stream.close()
        selector.close()
    return time.perf_counter() - started


def _advance(client: _Client, answer: Answer | None) -> bool:
    """Send the script's next request; False at its end."""
    try:
        data = next(client.script) if answer is None else client.script.send(answer)
    except StopIteration:
        return False
    client.head_only = data.startswith(b"HEAD ")
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[client.stream.send(rest) :]
        except BlockingIOError:
            # Requests are small against the socket's buffer: this is rare, and short.
            client.stream.setblocking(True)
            client.stream.sendall(rest)
            client.stream.setblocking(False)
            break
    return True


def _receive(client: _Client) -> bool:
    """Take what has come; False once the script has ended."""
    try:
        data = client.stream.recv(262144)
    except BlockingIOError:
        return True
    if not data:
        raise Unexpected("the registry closed the connection")
    if client.body is None:
        client.buffer += data
        head, separator, data = client.buffer.partition(b"\r\n\r\n")
        if not separator:
            return True
        client.answer, client.buffer = parse(head), b""
        client.body = Body(client.answer, head=client.head_only)
    if not client.body.ends(data):
        return True
    client.body = None
    answer, client.answer = client.answer, None
    return _advance(client, answer)
