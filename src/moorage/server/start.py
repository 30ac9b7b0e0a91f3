"""From settings to running processes: everything that is checked, made and said before the first request."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import sys
from collections.abc import Callable, Sequence
from functools import partial

from moorage.app import Application, Folders
from moorage.clock import SystemClock
from moorage.durable import FolderLock
from moorage.errors import StartRefused
from moorage.metadata.migrate import bring_up_to_date
from moorage.observe.logs import set_up
from moorage.observe.repeats import Repeats
from moorage.server import background, worker
from moorage.server.addresses import external_host, listen_everywhere, name_of, port_of
from moorage.server.announcement import announce
from moorage.server.faces import Surroundings, open_faces
from moorage.server.first_start import greet
from moorage.server.handover import Handover
from moorage.server.heartbeat import Heartbeats
from moorage.server.identity import Identity, given_identity, https_port, made_identity, own_clients
from moorage.server.inherited import Inherited, place_of
from moorage.server.notify import Notifier
from moorage.server.privileges import Account, become, find_account, lacking, take_over
from moorage.server.refusals import look_at_file_systems, look_at_plaintext, make_folders
from moorage.server.serving import Limits
from moorage.server.supervisor import Supervisor
from moorage.server.watch import Watch
from moorage.server.worker import Listener, Work
from moorage.settings.model import Settings
from moorage.settings.origin import DEFAULT, Loaded

_log = logging.getLogger("moorage.server")

_USES = {"plain": "for challenges and the way to https", "metrics": "for metrics and health"}


class Start:
    """A server about to start.

    *terminal* tells whether a person reads standard output, *log_terminal* the same of standard error. *notifier* is
    told when it serves; the variables by which a service manager passes sockets on are read from the environment.
    """

    def __init__(
        self, loaded: Loaded, *, terminal: bool, log_terminal: bool = False, notifier: Notifier | None = None
    ) -> None:
        self._loaded = loaded
        self._notifier = notifier or Notifier(None)
        self._settings: Settings = loaded.settings
        self._terminal = terminal
        self._folders = Folders(loaded.settings.data)
        self._account: Account | None = None
        self._handover: Handover | None = None
        unsaid = loaded.origins["log.format"] == DEFAULT
        self._log_text = loaded.settings.log.format == "text" or (unsaid and log_terminal)

    def run(self) -> int:
        """Serve until told to stop; the exit code. Raises StartRefused and ConfigurationError."""
        settings = self._settings
        self._set_up_log()
        for warning in self._loaded.warnings:
            _log.warning("%s", warning)
        look_at_plaintext(self._loaded)
        self._notifier.status("starting")
        inherited = Inherited.of(os.environ)
        self._account = self._find_account()
        look_at_file_systems(settings.data, settings.database)
        # What is wrong with given files is said before anything is made.
        identity = given_identity(settings, self._folders) if settings.certificates_from == "files" else None
        make_folders(self._folders)
        with FolderLock(self._folders.lock):
            asyncio.run(bring_up_to_date(settings.database, settings.data))
            if settings.certificates_from in {"acme", "private"}:
                identity = made_identity(settings, self._folders)
            elif identity is not None and settings.tls.own_clients:
                identity = given_identity(settings, self._folders, clients=own_clients(self._folders))
            listeners = listen_everywhere(self._loaded, inherited, self._notifier.release)
            self._notifier.keep(inherited.own)
            if self._account is not None:
                identity = self._hand_over(self._account, identity)
            if identity is not None:
                announce(identity, settings, listeners[0], terminal=self._terminal)
            asyncio.run(self._try_out(listeners, identity))
            _raise_file_limit()
            if self._account is not None:
                self._give_away(self._account)
            return self._supervise(listeners, identity)

    def _find_account(self) -> Account | None:
        """Whom the workers are to be; None for whoever this process is."""
        chosen = self._settings.run_as
        if chosen is None:
            return None
        account = find_account(chosen)
        if os.geteuid() != 0:
            if os.geteuid() != account.uid:
                _log.warning("run_as has no effect: the server was not started as root, but as user %d", os.geteuid())
            return None
        if account.uid == 0:
            return None
        if missing := lacking():
            raise StartRefused(
                f"run_as needs {', '.join(missing)}: give root these capabilities (docker run --cap-add"
                f" {missing[0].removeprefix('CAP_')} ...), or start the server as that user without run_as"
            )
        return account

    def _hand_over(self, account: Account, identity: Identity | None) -> Identity | None:
        """Copy what only root may read, and let everything from here on look at the copies."""
        settings = self._settings
        self._handover = Handover(settings, self._folders.handed, account)
        self._handover.copy()
        self._settings = self._handover.settings
        if settings.certificates_from != "files":
            return identity
        clients = own_clients(self._folders) if settings.tls.own_clients else ()
        return given_identity(self._settings, self._folders, clients=clients, shown_as=settings.tls.certificate)

    def _give_away(self, account: Account) -> None:
        folders = self._folders
        given = take_over(folders.ours, account, again=True) + take_over(folders.tree, account, again=False)
        # What lies beside them is somebody else's; these two are only the way to them.
        for folder in (folders.tree.parent, folders.tree.parent.parent, folders.data):
            given += take_over(folder, account, again=True, deep=False)
        if given:
            _log.info("%d files and folders of the volume now belong to user %d", given, account.uid)

    def _set_up_log(self) -> None:
        log = self._settings.log
        set_up(log.level, text=self._log_text, fields=dict(log.fields))
        # It tells of its own parts; what it finds wrong it raises.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        repeats = Repeats()
        for name in ("moorage.auth", "moorage.tls"):
            logging.getLogger(name).addFilter(repeats)

    async def _try_out(self, listeners: list[Listener], identity: Identity | None) -> None:
        """Build once what each worker will build, so that what is wrong is said once, and greet a new operator."""
        application = Application(self._settings)
        try:
            application.authenticator()
            if self._settings.auth.kind == "users":
                host = external_host(self._settings, listeners[0], identity)
                await greet(application, self._loaded, host, terminal=self._terminal)
        finally:
            await application.database.close()

    def _supervise(self, listeners: list[Listener], identity: Identity | None) -> int:
        settings = self._settings
        work = self._work(listeners, identity)
        count = settings.workers or len(os.sched_getaffinity(0))
        beats = Heartbeats(count) if self._notifier.heard else None
        roles: dict[str, Callable[[], None]] = {
            f"worker {number}": partial(worker.run, work, None if beats is None else partial(beats.beat, number))
            for number in range(count)
        }
        roles["jobs"] = partial(background.run, self._as_opened(listeners), listeners)
        if self._account is not None:
            roles = {name: partial(_as_somebody, self._account, role) for name, role in roles.items()}
            roles["keys"] = self._watch_keys(listeners)
        for listener in listeners:
            scheme = "https" if listener.secure else "http"
            if listener.use == "registry":
                _log.info("listening on %s as %s, %d workers", name_of(listener), scheme, count)
            else:
                _log.info("listening on %s as %s, %s", name_of(listener), scheme, _USES[listener.use])

        def close() -> None:
            for listener in listeners:
                listener.socket.close()

        watch = None if beats is None else Watch(self._notifier, beats, _serving(listeners, count))
        return Supervisor(roles, settings.http.drain_timeout, before_stop=close, watch=watch).run()

    def _watch_keys(self, listeners: list[Listener]) -> Callable[[], None]:
        def watch() -> None:
            for listener in listeners:
                listener.socket.close()
            assert self._handover is not None
            self._handover.watch()

        return watch

    def _as_opened(self, listeners: list[Listener]) -> Settings:
        """The settings without an address of plain HTTP that could not be had: no challenge is answered there."""
        settings = self._settings
        if any(listener.use == "plain" for listener in listeners):
            return settings
        return settings.model_copy(update={"tls": settings.tls.model_copy(update={"plain_listen": ()})})

    def _surroundings(self, listeners: list[Listener], identity: Identity | None) -> Surroundings:
        return Surroundings(
            names=() if identity is None else identity.names,
            port=https_port(self._settings, port_of(listeners[0])),
            plain_ports=frozenset(port_of(listener) for listener in listeners if listener.use == "plain") | {80},
            started=SystemClock().now(),
        )

    def _work(self, listeners: list[Listener], identity: Identity | None) -> Work:
        settings = self._settings
        limits, timeouts = settings.http.limits, settings.http.timeouts
        return Work(
            listeners=listeners,
            contexts=None if identity is None else identity.contexts,
            open_faces=partial(open_faces, settings, self._surroundings(listeners, identity)),
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
            trusted=settings.http.trusted_proxies,
            log_descriptor=sys.stderr.fileno() if settings.log.access else None,
            log_text=self._log_text,
            log_fields=dict(settings.log.fields),
        )


def _serving(listeners: Sequence[Listener], workers: int) -> str:
    """What a service manager shows of a server that serves."""
    places = ", ".join(place_of(listener.socket) for listener in listeners)
    return f"serving on {places} with {workers} worker{'s' if workers > 1 else ''}"


def _as_somebody(account: Account, role: Callable[[], None]) -> None:
    become(account)
    role()


def _raise_file_limit() -> None:
    """As many descriptors as the system lets this user have: a connection is one, a blob being sent another."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
