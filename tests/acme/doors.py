"""What a running server does for an authority, in a few lines: answers the store's challenges on two ports."""

from __future__ import annotations

import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from moorage.tls.store import CertificateStore

_PREFIX = "/.well-known/acme-challenge/"


class Doors:
    """Answers http-01 on *http_port* and tls-alpn-01 on *tls_port*, from *store*; 0: that door is closed.

    *asked* is what was asked for: the tokens by http, the server names by TLS.
    """

    def __init__(self, store: CertificateStore, http_port: int = 0, tls_port: int = 0) -> None:
        self.asked: list[str] = []
        self._threads: list[threading.Thread] = []
        self._http = self._listen_http(store, http_port) if http_port else None
        self._tls = self._listen_tls(store, tls_port) if tls_port else None

    def _listen_http(self, store: CertificateStore, port: int) -> ThreadingHTTPServer:
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                token = self.path.removeprefix(_PREFIX)
                asked.append(token)
                body = store.http_answer(token) if self.path.startswith(_PREFIX) else None
                self.send_response(200 if body else 404)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._start(server.serve_forever, 0.05)
        return server

    def _listen_tls(self, store: CertificateStore, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        self._start(self._accept, store, listener)
        return listener

    def _accept(self, store: CertificateStore, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                try:
                    self._show(store, connection)
                except OSError:
                    pass

    def _show(self, store: CertificateStore, connection: socket.socket) -> None:
        def choose(tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
            self.asked.append(name or "")
            for wanted, pair in store.alpn_answers():
                if wanted == name:
                    chosen = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    chosen.set_alpn_protocols(["acme-tls/1"])
                    chosen.load_cert_chain(pair.chain, pair.key)
                    tls.context = chosen
                    return None
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["acme-tls/1"])
        context.sni_callback = choose
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(1)

    def _start(self, work: Any, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)

    def close(self) -> None:
        """Closes both."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
        if self._tls is not None:
            self._tls.shutdown(socket.SHUT_RDWR)
            self._tls.close()
        for thread in self._threads:
            thread.join(20)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
