"""Stands between a client and Pebble: sees every request, and lets a test answer for Pebble or change its answers."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.acme.pebble import Pebble

ERROR = "urn:ietf:params:acme:error:"


@dataclass
class Reply:
    """An answer; header names as they were sent."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def problem(kind: str, detail: str, status: int = 403, **more: Any) -> Reply:
    """A problem document (RFC 8555, 6.7)."""
    document = {"type": ERROR + kind, "detail": detail, "status": status, **more}
    return Reply(status, json.dumps(document).encode(), {"Content-Type": "application/problem+json"})


Before = Callable[[str, str], Reply | None]
After = Callable[[str, str, Reply], Reply | None]


class Between:
    """`directory` leads to Pebble through here, and so do all URLs in Pebble's answers.

    *before* may answer a request (method, path) itself; *after* may change what Pebble answered. Both may be set anew
    at any time. `seen` is what came, `passed` what Pebble answered, with its status.
    """

    def __init__(self, pebble: Pebble, before: Before | None = None, after: After | None = None) -> None:
        self.before, self.after = before, after
        self.seen: list[tuple[str, str]] = []
        self.passed: list[tuple[str, str, int]] = []
        self._pebble = pebble
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                between.handle(self)

            do_HEAD = do_POST = do_GET  # noqa: N815 - names of http.server

            def log_message(self, *arguments: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A killed client breaks its connections; that is the point."""

        self._server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = pebble._pair
        context.load_cert_chain(pair.certificate, pair.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.directory = f"https://localhost:{self._server.server_address[1]}/dir"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def count(self, path: str) -> int:
        """How many requests to *path* Pebble has answered with success."""
        return sum(seen.startswith(path) and 200 <= status < 300 for _, seen, status in self.passed)

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        self.seen.append((handler.command, handler.path))
        reply = self.before(handler.command, handler.path) if self.before is not None else None
        if reply is None:
            reply = self._forward(handler, body)
            self.passed.append((handler.command, handler.path, reply.status))
            changed = self.after(handler.command, handler.path, reply) if self.after is not None else None
            reply = changed or reply
        handler.send_response_only(reply.status)
        for name, value in reply.headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                handler.send_header(name, value)
        if handler.command != "HEAD" and reply.status != 204:
            handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(reply.body)

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> Reply:
        context = ssl.create_default_context(cafile=str(self._pebble.ca_file))
        connection = http.client.HTTPSConnection("localhost", self._pebble.port, timeout=30, context=context)
        try:
            # With the Host that the client named, so that Pebble's URLs lead here.
            connection.request(handler.command, handler.path, body or None, dict(handler.headers.items()))
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(), dict(answer.getheaders()))
        finally:
            connection.close()

    def close(self) -> None:
        """Stops it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(20)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
