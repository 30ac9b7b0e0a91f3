"""What the service manager is told, and given to keep (sd_notify(3)); without one nothing happens.

systemd names a datagram socket in NOTIFY_SOCKET. What is sent there are lines of `KEY=value`, and with `FDSTORE=1`
descriptors, which it keeps while the service is started again and then passes on.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from collections.abc import MutableMapping, Sequence

_log = logging.getLogger("moorage.server")

KEPT = "moorage"
"""The name of the descriptors that systemd keeps for us (FDNAME)."""
_SEND_SECONDS = 2


class Notifier:
    """Tells the socket at *address*, abstract if it begins with `@`; None: nobody listens, and nothing is sent.

    *watchdog* is the time in seconds within which `alive` has to be called again and again; None: nobody waits for it.
    Nothing here raises: whoever does not get through to the manager goes on serving, and the log says so once.
    """

    def __init__(self, address: str | None, watchdog: float | None = None) -> None:
        self._address = address
        self.watchdog = watchdog if address else None

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> Notifier:
        """The one that *environ* names to this process. Its variables are taken out, for they are nobody else's."""
        address = environ.pop("NOTIFY_SOCKET", "")
        period, process = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = process in {"", str(os.getpid())} and period.isdecimal() and int(period) > 0
        return cls(address if address[:1] in {"/", "@"} else None, int(period) / 1e6 if ours else None)

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return self._address is not None

    def status(self, text: str) -> None:
        """One line for people, as `systemctl status` shows it."""
        self._send(_status(text))

    def ready(self, text: str) -> None:
        """What was started, or read again, serves."""
        self._send("READY=1", _status(text))

    def reloading(self) -> None:
        """Files are read again; `ready` follows."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, text: str) -> None:
        """The end has begun."""
        self._send("STOPPING=1", _status(text))

    def alive(self) -> None:
        """The watchdog may wait once more."""
        self._send("WATCHDOG=1")

    def keep(self, sockets: Sequence[socket.socket]) -> None:
        """Have these kept in the place of those that were: whoever is started next finds them open."""
        self._send("FDSTOREREMOVE=1", f"FDNAME={KEPT}")
        for one in sockets:
            self._send("FDSTORE=1", f"FDNAME={KEPT}", descriptors=[one.fileno()])

    def release(self) -> None:
        """Have what is kept closed, and return once it is."""
        self._send("FDSTOREREMOVE=1", f"FDNAME={KEPT}")
        ours, theirs = os.pipe()
        try:
            self._send("BARRIER=1", descriptors=[theirs])
        finally:
            os.close(theirs)
        # systemd closes its end when it has come so far.
        select.select([ours], [], [], _SEND_SECONDS)
        os.close(ours)

    def _send(self, *lines: str, descriptors: Sequence[int] = ()) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_SEND_SECONDS)
                sender.connect(address)
                socket.send_fds(sender, ["\n".join(lines).encode()], descriptors)
        except OSError as error:
            _log.warning("the service manager cannot be told %s: %s", lines[0], error.strerror or error)


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())
