"""Clients that send a wrong password with every request, until killed: `python -m bench.guess PORT CLIENTS PATH`."""

from __future__ import annotations

import itertools
import os
import selectors
import socket
import sys

from bench.registries import ACCEPT, authorization


def main(port: int, clients: int, path: str) -> None:
    """Say one byte on standard output once all have begun."""
    guesses = itertools.count()
    selector = selectors.DefaultSelector()

    def guess(stream: socket.socket) -> None:
        password = authorization(f"wrong-{os.getpid()}-{next(guesses)}")
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {ACCEPT}\r\nAuthorization: {password}\r\n\r\n"
        stream.sendall(head.encode())

    def begin() -> None:
        stream = socket.create_connection(("127.0.0.1", port))
        selector.register(stream, selectors.EVENT_READ)
        guess(stream)

    for _ in range(clients):
        begin()
    sys.stdout.write("\n")
    sys.stdout.flush()
    while True:
        for key, _ in selector.select():
            stream = key.fileobj
            assert isinstance(stream, socket.socket)
            # An answer of 401 comes in one piece on loopback, and nothing depends on it if it does not.
            if stream.recv(65536):
                guess(stream)
            else:
                selector.unregister(stream)
                stream.close()
                begin()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
