"""Handing files that only root can read to processes that are not root.

A key that certbot wrote can be read by root, and so can a password file that a container mounts. A process that is
still root copies them to a folder that belongs to the server's user, and again when they change; the workers look at
the copies as they would look at the files themselves. The copies are in the data folder, readable by that user alone.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from moorage.clock import SystemClock
from moorage.durable import make_directory, write_file
from moorage.errors import ConfigurationError
from moorage.server.privileges import Account, take_over
from moorage.settings.model import Settings
from moorage.tls.files import TlsPolicy, load_context, look_at, pair_at
from moorage.tls.store import CertificateStore

_log = logging.getLogger("moorage.server")

_LOOK_SECONDS: Final = 0.5
_PAIR: Final = "given"


class Handover:
    """The copies in *folder* of what *settings* name, for *account*.

    `settings` of this object name the copies in the place of the files. A file that cannot be used is not copied: the
    log says why, and what was there before stays.
    """

    def __init__(self, given: Settings, folder: Path, account: Account) -> None:
        self._folder = folder
        self._account = account
        self._store = CertificateStore(folder)
        self._copies: list[tuple[tuple[Path, ...], Callable[[], None]]] = []
        self.settings = given.model_copy(update={"tls": self._tls(given), "auth": self._auth(given)})
        self._seen: list[object] = [None] * len(self._copies)

    def copy(self) -> None:
        """Copy what is new. Raises ConfigurationError for the first file that cannot be used."""
        make_directory(self._folder)
        os.chmod(self._folder, 0o700)
        for number, (files, work) in enumerate(self._copies):
            facts = tuple(look_at(file) for file in files)
            if facts == self._seen[number]:
                continue
            self._seen[number] = facts
            work()
            take_over(self._folder, self._account, again=True)

    def watch(self) -> None:
        """Go on copying until SIGTERM; for a process of its own."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            time.sleep(_LOOK_SECONDS)
            try:
                self.copy()
            except ConfigurationError as error:
                _log.warning("what was there before stays in force: %s", error)
            except OSError as error:
                _log.warning("%s cannot be handed to the server's user: %s", error.filename, error.strerror)

    def _tls(self, given: Settings) -> object:
        tls = given.tls
        updates: dict[str, object] = {}
        if tls.certificate is not None:
            pair = pair_at(tls.certificate, tls.key)
            copied = self._store.pair(_PAIR)
            updates |= {"certificate": copied.chain, "key": copied.key}

            def put() -> None:
                load_context(pair, TlsPolicy())
                chain, key = pair.chain.read_bytes(), pair.key.read_bytes()
                self._store.put(_PAIR, chain, key, now=SystemClock().now())

            self._copies.append(((pair.chain, pair.key), put))
        if tls.client_cas:
            updates["client_cas"] = tuple(
                self._file(path, f"client-ca-{number}.pem") for number, path in enumerate(tls.client_cas)
            )
        return tls.model_copy(update=updates)

    def _auth(self, given: Settings) -> object:
        path = given.auth.htpasswd
        return given.auth if path is None else given.auth.model_copy(update={"htpasswd": self._file(path, "htpasswd")})

    def _file(self, path: Path, name: str) -> Path:
        target = self._folder / name

        def put() -> None:
            try:
                data = path.read_bytes()
            except OSError as error:
                raise ConfigurationError(error.strerror or "cannot be read", source=str(path)) from None
            write_file(target, data, 0o600)

        self._copies.append(((path,), put))
        return target
