"""Listening sockets that were open before this process was: systemd's (sd_listen_fds(3)).

They come from a socket unit, or from the server before this one, which gave them to systemd to keep. What connects
while nobody accepts waits in them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections.abc import Callable, Iterable, MutableMapping, Sequence

from moorage.errors import RefusedForNow, StartRefused
from moorage.server.listening import BACKLOG, Binding, bindings, listen_at
from moorage.server.notify import KEPT
from moorage.settings.listen import Address

_log = logging.getLogger("moorage.server")

_FIRST = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
MOST = 64
"""How many systemd is asked to keep (arbitrary: a server has a handful)."""


class Inherited:
    """The sockets that were passed on, each to be taken once by the address where it listens.

    *units* are those of socket units, with the names that they were passed by; *kept* are our own of an earlier start.
    """

    def __init__(self, units: Sequence[tuple[str, socket.socket]] = (), kept: Sequence[socket.socket] = ()) -> None:
        self._units = list(units)
        self._kept = list(kept)
        self._own: list[socket.socket] = []

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> Inherited:
        """What *environ* says was passed to this process. Its variables are taken out, for they are nobody else's.

        Raises StartRefused for what is no listening socket of a stream.
        """
        process, number, names = (environ.pop(name, "") for name in _VARIABLES)
        if process != str(os.getpid()) or not re.fullmatch(r"[0-9]{1,4}", number):
            return cls()
        called = names.split(":") if names else []
        called += ["unknown"] * (int(number) - len(called))
        passed = [(name, _opened(_FIRST + place, name)) for place, name in enumerate(called[: int(number)])]
        return cls([(name, one) for name, one in passed if name != KEPT], [one for name, one in passed if name == KEPT])

    def only(self, addresses: Iterable[Address], release: Callable[[], None]) -> None:
        """Close what was kept and belongs to none of *addresses*; *release* has the other side let go of it too.

        It comes before the first `listen`, for it might be in the way of an address.
        """
        wanted: list[Binding] = []
        for address in addresses:
            with contextlib.suppress(RefusedForNow):
                wanted += bindings(address)
        others = [one for one in self._kept if not any(binding.is_of(one) for binding in wanted)]
        for one in others:
            _log.info("no longer listening on %s", place_of(one))
            self._kept.remove(one)
            one.close()
        if others:
            release()

    def listen(self, address: Address, option: str = "--listen") -> list[socket.socket]:
        """As `listening.listen`, with the sockets that are there already. Raises StartRefused."""
        return [self._find(binding) or self._make(binding, address, option) for binding in bindings(address)]

    @property
    def own(self) -> list[socket.socket]:
        """What is to be kept for the next start: everything in use that no socket unit keeps anyway."""
        return self._own

    def finish(self) -> None:
        """Raises StartRefused for a socket unit's socket that nobody has taken."""
        if self._units:
            name, one = self._units[0]
            raise StartRefused(
                f"{name} passes a socket that listens on {place_of(one)}, which is none of the addresses in listen:"
                ' make ListenStream= in the socket unit and listen the same (ListenStream=443 is listen: [":443"])'
            )

    def _make(self, binding: Binding, address: Address, option: str) -> socket.socket:
        made = listen_at(binding, address, option)
        self._own.append(made)
        return made

    def _find(self, binding: Binding) -> socket.socket | None:
        for one in self._kept:
            if binding.is_of(one):
                self._kept.remove(one)
                self._own.append(one)
                return one
        for pair in self._units:
            if binding.is_of(pair[1], strict=False):
                self._units.remove(pair)
                return pair[1]
        return None


def place_of(listening: socket.socket) -> str:
    """Its address as text."""
    name = listening.getsockname()
    if isinstance(name, tuple):
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
    return f"unix:{os.fsdecode(name)}"


def _opened(descriptor: int, name: str) -> socket.socket:
    try:
        one = socket.socket(fileno=descriptor)
        fits = one.type == socket.SOCK_STREAM and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        fits = False
    if not fits or one.family not in {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX}:
        raise StartRefused(
            f"{name} passes a descriptor that is no listening socket: a socket unit for this server has ListenStream="
            " lines, and Accept=no"
        )
    one.set_inheritable(False)
    one.setblocking(False)
    one.listen(BACKLOG)
    return one
