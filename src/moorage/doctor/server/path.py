"""The whole of a server's ground, step by step, and then the way of its own client."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial

from moorage.app import Folders
from moorage.clock import Clock, SystemClock
from moorage.doctor.accounts import Account
from moorage.doctor.client.names import NameServer, SystemNames
from moorage.doctor.engines.steps import engine_steps
from moorage.doctor.finding import Finding, ok
from moorage.doctor.mounts import in_container, read_mounts
from moorage.doctor.server import data_folder, ports, room
from moorage.doctor.server.acme import ask_authority, challenge_of
from moorage.doctor.server.certificate_files import Surroundings
from moorage.doctor.server.certificates import look_at_certificates
from moorage.doctor.server.data_folder import Ground
from moorage.doctor.server.database import look_at_database, look_at_initial_password
from moorage.doctor.server.dns_challenge import look_at_writer
from moorage.doctor.server.firewall import look_at_firewall
from moorage.doctor.server.htpasswd import look_at_htpasswd
from moorage.doctor.server.machine import look_at_clock, look_at_limits, look_at_programs
from moorage.doctor.server.own_target import OwnTarget, own_target
from moorage.doctor.server.prospects import Outlook, look_at_domain
from moorage.doctor.server.running import Running, find_running, look_at_running, server_user, starter
from moorage.doctor.server.settings import look_at_settings, refused
from moorage.doctor.walk import Look, Step
from moorage.errors import MoorageError
from moorage.settings.listen import TcpAddress, parse_address
from moorage.settings.origin import Loaded
from moorage.tls.store import CertificateStore

ClientSteps = Callable[[OwnTarget], Sequence[Step]]


def server_steps(
    loaded: Loaded | MoorageError,
    client: ClientSteps,
    *,
    resolvers: Sequence[NameServer] = (),
    timeout: float = 10.0,
    clock: Clock | None = None,
) -> list[Step]:
    """Everything that can be looked at where the server runs, or is to run.

    *loaded* are its settings, or why there are none: then that is all there is to say. *client* makes the steps of a
    client, which are taken where a server runs; *resolvers* are asked for the names of `tls.domains`, too.
    """
    if isinstance(loaded, MoorageError):
        return [Step("settings", _steady(lambda: iter([refused(loaded)])))]
    visit = _Visit(loaded, clock or SystemClock(), tuple(resolvers), timeout)
    steps = [
        Step("settings", _steady(lambda: look_at_settings(loaded))),
        Step("server", _steady(lambda: look_at_running(visit.running, visit.folders, loaded))),
        Step("folder", _steady(visit.folder)),
        Step("database", visit.database, needs=("folder",)),
        Step("users", _steady(visit.users)),
        Step("certificates", visit.certificates),
        Step("ports", _steady(visit.ports)),
        Step("machine", _steady(visit.machine)),
    ]
    if loaded.settings.certificates_from == "acme":
        steps.insert(6, Step("renewal", visit.renewal))
    own = own_target(loaded.settings, visit.starter)
    if own is not None:
        steps += engine_steps(own.target, timeout=timeout)
        if visit.running.held:
            steps += client(own)
    return steps


class _Visit:
    """One look at one server's ground."""

    def __init__(self, loaded: Loaded, clock: Clock, resolvers: Sequence[NameServer], timeout: float) -> None:
        self.loaded, self.settings, self.clock = loaded, loaded.settings, clock
        self.resolvers, self.timeout = resolvers, timeout
        self.folders = Folders(self.settings.data)
        self.running: Running = find_running(self.folders)
        self.user: Account = server_user(self.folders, self.running)
        self.starter: Account = starter(self.settings, self.running, self.user)
        self.mounts = read_mounts()
        self.container = in_container(self.mounts)

    @property
    def around(self) -> Surroundings:
        given = self.settings.certificates_from == "files"
        user = self.starter if given else self.user
        return Surroundings(user, self.clock.now(), self.mounts, self.container)

    def folder(self) -> Iterator[Finding]:
        ground = Ground(self.folders, self.user, self.mounts, self.container)
        blocked = False
        for finding in data_folder.look_at_place(ground):
            blocked = blocked or finding.blocks
            yield finding
        yield from data_folder.look_at_mount(ground)
        if blocked:
            return
        if os.path.isdir(self.settings.data):
            yield from room.look_at_room(self.settings.data)
            yield from data_folder.look_at_links(ground)
            yield from data_folder.look_at_owner(ground)
            yield from data_folder.look_at_writing(ground)
        yield from room.look_for_another_tree(self.settings.data)

    async def database(self) -> AsyncIterator[Finding]:
        blocked = False
        async for finding in look_at_database(self.settings, self.user):
            blocked = blocked or finding.blocks
            yield finding
        if not blocked:
            async for finding in look_at_initial_password(self.settings, self.folders, self.user):
                yield finding

    def users(self) -> Iterator[Finding]:
        if self.settings.auth.htpasswd is not None:
            yield from look_at_htpasswd(self.settings.auth.htpasswd, self.starter)
        elif self.settings.auth.kind == "users":
            yield ok("users and passwords are in the database; moorage user list shows them")
        else:
            yield ok("nobody is asked for a password")

    async def certificates(self) -> AsyncIterator[Finding]:
        async for finding in look_at_certificates(
            self.settings, self.clock, self.around, served=bool(self.running.held)
        ):
            yield finding

    async def renewal(self) -> AsyncIterator[Finding]:
        authority, findings = await ask_authority(self.settings, self.clock.now())
        for finding in findings:
            yield finding
        if challenge_of(self.settings) == "dns-01":
            for finding in look_at_writer(self.settings.acme.dns, self.user):
                yield finding
        outlook = Outlook(
            self.settings,
            CertificateStore(self.folders.tls),
            self.around,
            SystemNames(),
            self.resolvers,
            authority,
            bool(self.running.held),
            min(self.timeout, 5.0),
        )
        for domain in self.settings.tls.domains:
            async for finding in look_at_domain(domain, outlook):
                yield finding

    def ports(self) -> Iterator[Finding]:
        yield from ports.look_at_ports(
            self.loaded, self.running, self.starter, ports.find_sockets(self.loaded, self.running)
        )
        exposed = [address for text in self.settings.exposed if isinstance(address := parse_address(text), TcpAddress)]
        yield from look_at_firewall(list(dict.fromkeys(address.port for address in exposed)))

    def machine(self) -> Iterator[Finding]:
        yield from look_at_clock([self.folders.lock, self.folders.ours / "moorage.db", self.folders.tree])
        yield from look_at_limits(self.running)
        yield from look_at_programs()


def _steady(look: Callable[[], Iterable[Finding]]) -> Look:
    """A look that waits for nothing, as `walk` takes it."""

    async def findings() -> AsyncIterator[Finding]:
        for finding in look():
            yield finding

    return partial(findings)
