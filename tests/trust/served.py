"""A server that answers `/ca.crt` with whatever a test wants, over TLS or plain."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moorage.trust.place import Place
from tests.certificates import Pair


class Answer:
    """What is answered next; a test may change it."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.body = body
        self.status = status


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses a certificate is what some tests are about."""


@contextmanager
def served(answer: Answer, pair: Pair | None) -> Iterator[Place]:
    """Serves *answer* on loopback, over TLS with *pair*; where it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here = self.path == "/ca.crt"
            self.send_response(answer.status if here else 404)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base's name)
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Place("127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
