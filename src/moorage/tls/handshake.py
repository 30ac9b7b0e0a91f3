"""Telling a client why its handshake failed."""

from __future__ import annotations

import logging
import ssl

_log = logging.getLogger("moorage.tls")


class TellingSslObject(ssl.SSLObject):
    """The server's side of a connection, for `SSLContext.sslobject_class`.

    When a handshake fails, the loop throws away what OpenSSL has to say about it, and the client sees its connection
    end without a reason. So a failure first looks as if more were to come: then the loop sends what there is, which is
    the alert ("certificate required", "protocol version"). It is raised when the client sends something after that;
    mostly it just leaves.
    """

    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """See `ssl.SSLObject.do_handshake`."""
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self._failure = error
            _log.info("a client was refused in the TLS handshake: %s", error.reason or error)
            raise ssl.SSLWantReadError from error
