"""From settings to running processes: everything that is checked, made and said before the first request."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from functools import partial

from moorage.app import Application, Folders
from moorage.durable import FolderLock, make_directory
from moorage.errors import StartRefused
from moorage.message import Face
from moorage.metadata.migrate import bring_up_to_date
from moorage.observe.logs import set_up
from moorage.server import background, worker
from moorage.server.first_start import greet
from moorage.server.listening import listen
from moorage.server.serving import Limits
from moorage.server.supervisor import Supervisor
from moorage.server.worker import Listener, Work
from moorage.settings.listen import Address, UnixAddress, parse_address
from moorage.settings.model import Settings
from moorage.settings.origin import Loaded
from moorage.tls.files import CertificateFiles, TlsPolicy

_log = logging.getLogger("moorage.server")


class Start:
    """A server about to start. *terminal* tells whether a person reads standard output."""

    def __init__(self, loaded: Loaded, *, terminal: bool) -> None:
        self._loaded = loaded
        self._settings: Settings = loaded.settings
        self._terminal = terminal
        self._folders = Folders(loaded.settings.data)

    def run(self) -> int:
        """Serve until told to stop; the exit code. Raises StartRefused and ConfigurationError."""
        settings = self._settings
        set_up(settings.log.level, text=settings.log.format == "text", fields=dict(settings.log.fields))
        for warning in self._loaded.warnings:
            _log.warning("%s", warning)
        addresses = [parse_address(text) for text in settings.listen]
        self._refuse_plaintext(addresses)
        certificates = self._certificates()
        self._make_folders()
        with FolderLock(self._folders.lock):
            asyncio.run(bring_up_to_date(settings.database, settings.data))
            listeners = self._listen(addresses)
            asyncio.run(self._greet(listeners))
            _raise_file_limit()
            return self._supervise(listeners, certificates)

    def _refuse_plaintext(self, addresses: list[Address]) -> None:
        settings = self._settings
        exposed = [address for address in addresses if not address.loopback]
        if exposed and settings.tls.certificate is None and settings.auth.kind != "none":
            if not settings.allow_plaintext:
                raise StartRefused(
                    f"listening on {exposed[0]} without TLS would send passwords in the clear. Three ways out: give a"
                    " certificate (--tls-certificate FILE --tls-key FILE); listen on 127.0.0.1 only, behind a proxy"
                    " that speaks TLS; or, if this network is trusted with every password, --allow-plaintext"
                )
            _log.warning("passwords travel in the clear on %s", exposed[0])
        if settings.auth.kind == "none":
            _log.warning("auth is none: everyone who can reach this registry may read, write and delete everything")

    def _certificates(self) -> CertificateFiles | None:
        tls = self._settings.tls
        if tls.certificate is None or tls.key is None:
            return None
        policy = TlsPolicy(tls.minimum, tls.ciphers, tls.client_cas, tls.client_auth)
        return CertificateFiles(tls.certificate, tls.key, policy)

    def _make_folders(self) -> None:
        """Raises StartRefused where this user cannot write."""
        folders = self._folders
        try:
            for folder in (folders.data, folders.tree, folders.ours, folders.uploads):
                make_directory(folder)
            os.chmod(folders.ours, 0o700)
        except OSError as error:
            raise StartRefused(
                f"the data folder {folders.data} cannot be written: {error.strerror} ({error.filename});"
                " choose another with --data, or give this one to the user that runs the server (chown)"
            ) from None

    def _listen(self, addresses: list[Address]) -> list[Listener]:
        secure = self._settings.tls.certificate is not None
        return [
            Listener(made, secure=secure and not isinstance(address, UnixAddress))
            for address in addresses
            for made in listen(address)
        ]

    async def _greet(self, listeners: list[Listener]) -> None:
        if self._settings.auth.kind != "users":
            return
        application = Application(self._settings)
        try:
            await greet(application, listeners[0], terminal=self._terminal)
        finally:
            await application.database.close()

    def _supervise(self, listeners: list[Listener], certificates: CertificateFiles | None) -> int:
        settings = self._settings
        work = self._work(listeners, certificates)
        count = settings.workers or len(os.sched_getaffinity(0))
        roles: dict[str, Callable[[], None]] = {
            f"worker {number}": partial(worker.run, work) for number in range(count)
        }
        roles["jobs"] = partial(background.run, settings, listeners)
        for listener in listeners:
            scheme = "https" if listener.secure else "http"
            _log.info("listening on %s as %s, %d workers", _name(listener), scheme, count)

        def close() -> None:
            for listener in listeners:
                listener.socket.close()

        return Supervisor(roles, settings.http.drain_timeout, before_stop=close).run()

    def _work(self, listeners: list[Listener], certificates: CertificateFiles | None) -> Work:
        settings = self._settings
        limits, timeouts = settings.http.limits, settings.http.timeouts
        return Work(
            listeners=listeners,
            certificates=certificates,
            open_face=partial(_open_face, settings),
            limits=Limits(
                header_bytes=limits.header_bytes,
                header_count=limits.header_count,
                header_timeout=timeouts.header,
                body_timeout=timeouts.body_idle,
                write_timeout=timeouts.write_idle,
                keep_alive=timeouts.keep_alive,
            ),
            drain_seconds=settings.http.drain_timeout,
            connections=limits.connections,
            log_descriptor=sys.stderr.fileno() if settings.log.access else None,
            log_text=settings.log.format == "text",
            log_fields=dict(settings.log.fields),
        )


async def _open_face(settings: Settings) -> tuple[Face, Callable[[], Awaitable[None]]]:
    application = Application(settings)
    return application.face(), application.database.close


def _name(listener: Listener) -> str:
    name = listener.socket.getsockname()
    return f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"


def _raise_file_limit() -> None:
    """As many descriptors as the system lets this user have: a connection is one, a blob being sent another."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
