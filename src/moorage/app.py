"""The composition root: settings in, one face and its chores out. Builds everything, decides nothing."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.auth.authenticator import Authenticator, DatabaseAuthenticator, HtpasswdAuthenticator
from moorage.auth.certificates import ClientCertificates
from moorage.auth.htpasswd import HtpasswdFile
from moorage.auth.policy import Rules
from moorage.auth.verifier import PasswordVerifier
from moorage.certificates import certificate_chores
from moorage.clock import Clock, SystemClock
from moorage.jobs.lease import Chore, Leased, holder_name
from moorage.jobs.outbox import LinkWriter
from moorage.jobs.purge import UploadPurge
from moorage.jobs.tree import TreeKeeper
from moorage.message import Face, Request, Response, header_lines
from moorage.metadata import link_tree, users
from moorage.metadata.database import Database, Reader
from moorage.metadata.open import open_database
from moorage.public.face import Public
from moorage.registry.adopt.intake import Intake
from moorage.registry.adopt.volume import Comparison, Volume
from moorage.registry.browse import Browse
from moorage.registry.check.part import Counts, Progress, Subject
from moorage.registry.delete import Delete
from moorage.registry.gates import Gates, Limits
from moorage.registry.pull import Pull
from moorage.registry.push import Push
from moorage.registry.recent import RecentBytes
from moorage.registry.registry import Registry
from moorage.registry.uploads import Uploads
from moorage.registry.validation import Validation
from moorage.settings.model import Settings
from moorage.storage.blobs import BlobStore
from moorage.storage.filesystem import FilesystemBlobStore
from moorage.storage.links import ClassicLinks
from moorage.storage.tree import ClassicTree
from moorage.tls.client_ca import RevokedClients, clients_file
from moorage.tls.store import CertificateStore
from moorage.v2.answers import Answers, with_nosniff
from moorage.v2.call import Shared
from moorage.v2.face import V2

# Every config blob, empty layer and signature of an ordinary registry; per worker.
_RECENT_BYTES = 64 * 1024 * 1024
_SMALL_BLOB_BYTES = 64 * 1024
_LINKS_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Folders:
    """Where things lie in the data folder: the classic tree, and beside it everything that is only ours."""

    data: Path

    @property
    def tree(self) -> Path:
        """distribution's layout: blobs and links."""
        return self.data / "docker" / "registry" / "v2"

    @property
    def ours(self) -> Path:
        """Database, locks, staged uploads."""
        return self.data / "moorage"

    @property
    def uploads(self) -> Path:
        """Staged uploads; on the same file system as the tree, so that a commit is a rename."""
        return self.ours / "uploads"

    @property
    def tls(self) -> Path:
        """Certificates, their keys, and what belongs to getting them (`moorage.tls.store`)."""
        return self.ours / "tls"

    @property
    def handed(self) -> Path:
        """Copies of files that only root can read, for a server that runs as somebody else."""
        return self.ours / "handed"

    @property
    def lock(self) -> Path:
        """Held by the server that works on this folder."""
        return self.ours / "lock"

    @property
    def initial_password(self) -> Path:
        """The first password, where there was no terminal to show it on."""
        return self.ours / "initial-password"


class Application:
    """A registry, built from settings; made after a fork, since threads and connections do not outlive one."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.folders = Folders(settings.data)
        self.clock = clock or SystemClock()
        self._holder = holder_name()
        self.database: Database = open_database(settings.database, settings.data)
        self.store: BlobStore = FilesystemBlobStore(self.folders.tree, self.folders.uploads)
        self.gates = Gates(
            read_only=settings.storage.read_only,
            delete_enabled=settings.storage.delete_enabled,
        )
        self.limits = Limits(
            manifest_bytes=settings.http.limits.manifest_bytes,
            blob_bytes=settings.http.limits.blob_bytes,
            tags_page=settings.listing.tags_max_entries,
            catalog_page=settings.listing.catalog_max_entries,
        )

    def registry(self) -> Registry:
        """What the faces are given."""
        database, clock, gates, limits = self.database, self.clock, self.gates, self.limits
        return Registry(
            intake=Intake(self.volume()),
            pull=Pull(database, self.store, RecentBytes(_RECENT_BYTES, _SMALL_BLOB_BYTES)),
            push=Push(database, clock, gates, limits, self.validation()),
            uploads=Uploads(database, self.store, clock, gates, limits, boot_id()),
            browse=Browse(database),
            delete=Delete(database, clock, gates),
            limits=limits,
        )

    def validation(self) -> Validation:
        """What pushed manifests have to satisfy."""
        chosen = self.settings.validation
        listed = frozenset((platform.os, platform.architecture) for platform in chosen.platforms)
        return Validation(
            sparse=chosen.sparse,
            platforms=None if chosen.index_platforms == "all" else listed,
            urls_allow=tuple(re.compile(pattern) for pattern in chosen.urls_allow),
            urls_deny=tuple(re.compile(pattern) for pattern in chosen.urls_deny),
        )

    def authenticator(self) -> Authenticator:
        """Who checks passwords. Raises ConfigurationError for an htpasswd file that cannot be used."""
        verifier = PasswordVerifier()
        if self.settings.auth.htpasswd is not None:
            return HtpasswdAuthenticator(HtpasswdFile(self.settings.auth.htpasswd), verifier)
        return DatabaseAuthenticator(lambda name: users.find(self.database, name), verifier)

    def client_certificates(self) -> ClientCertificates | None:
        """Who clients are by their certificates. Raises ConfigurationError for a list of them that cannot be used."""
        tls = self.settings.tls
        if not tls.asks_clients:
            return None
        return ClientCertificates(
            tls.client_principal, RevokedClients(clients_file(CertificateStore(self.folders.tls)))
        )

    def face(self, public: Public) -> Face:
        """Everything that is served on the registry's addresses; *public* is what everybody may read there."""
        http = self.settings.http
        extra = [(name, value) for name, values in http.headers.items() for value in values]
        prefix = http.prefix.rstrip("/")
        rules = Rules(anonymous_pull=self.settings.auth.anonymous_pull, open=self.settings.auth.kind == "none")
        answers = Answers(self.settings.auth.realm, extra)
        shared = Shared(
            self.registry(),
            rules,
            answers,
            prefix,
            proxy_header=(self.settings.auth.proxy_header or "").lower().encode("ascii"),
            accel=http.accel_redirect or "",
            clients=self.client_certificates(),
        )
        return Front(V2(shared, self.authenticator()), prefix, extra, public)

    def chores(self) -> list[Chore]:
        """The background work."""
        purge = self.settings.storage.upload_purge

        def leased(name: str, chore: Callable[[], Awaitable[bool]], interval: float) -> Leased:
            return Leased(name, chore, interval=interval, database=self.database, clock=self.clock, holder=self._holder)

        def compare(asked: bool) -> Comparison:  # noqa: FBT001 - called by place
            return Comparison(self.volume(), thorough=asked)

        keeper = TreeKeeper(self.database, self.links(), self.clock, compare)
        chores: list[Chore] = [leased("links", keeper.work, _LINKS_SECONDS)]
        if purge.enabled:
            sweep = UploadPurge(self.database, self.store, self.clock, age=purge.age, dry_run=purge.dry_run).sweep
            chores.append(leased("uploads", sweep, purge.interval))
        store = CertificateStore(self.folders.tls)
        return chores + certificate_chores(self.settings, store, self.database, self.clock, self._holder)

    def links(self) -> LinkWriter:
        """What keeps the classic link tree up to date."""

        def written(transaction: Reader) -> Awaitable[None]:
            return link_tree.advance(transaction, self._holder, self.clock.now())

        return LinkWriter(self.database, ClassicLinks(self.folders.tree), written)

    def subject(self, progress: Progress, counts: Counts) -> Subject:
        """What a check or a sweep looks at; *progress* watches, *counts* is filled."""
        links = ClassicLinks(self.folders.tree)
        return Subject(self.database, self.store, links, self.validation(), self.clock, progress, counts)

    def volume(self) -> Volume:
        """The classic tree as others left it, and the database that it is held against."""
        tree = ClassicTree(self.folders.tree)
        return Volume(self.database, tree, self.clock, self._holder, self.limits.manifest_bytes)


class Front:
    """Sends `/v2/` to the protocol; answers `/` with an empty 200, as load balancers expect of a registry.

    With a prefix, `/v2/` without it works too: clients cannot be told of one. What everybody may read is *public*.
    """

    def __init__(self, v2: V2, prefix: str, extra: list[tuple[str, str]], public: Public) -> None:
        self._v2 = v2
        self._public = public
        self._at_root = V2(v2.shared._replace(prefix=""), v2.authenticator)
        self._top = f"{prefix}/v2"
        self._below = f"{prefix}/v2/"
        self._home = (prefix + "/", "/")
        headers = header_lines(*with_nosniff(extra))
        self._headers = headers + header_lines(("Cache-Control", "no-cache"))
        self._not_found = headers + header_lines(("Content-Type", "text/plain; charset=utf-8"))

    def __call__(self, request: Request) -> Coroutine[Any, Any, Response]:
        """Answer *request*; no coroutine of its own stands between the server and the protocol."""
        path = request.path
        if path.startswith(self._below) or path == self._top:
            return self._v2(request)
        if path.startswith("/v2/") or path == "/v2":
            return self._at_root(request)
        return self._beside(request, path)

    async def _beside(self, request: Request, path: str) -> Response:
        if path not in self._home:
            return self._public.answer(request) or Response(
                404, self._not_found, b"not here: the registry's API is at /v2/\n"
            )
        if request.method not in {"GET", "HEAD"}:
            return Response(
                405, header_lines(("Allow", "GET, HEAD")) + self._not_found, b"this path can only be read\n"
            )
        return Response(200, self._headers)


def boot_id() -> str:
    """Names the time since the machine was started; what was not fsynced before it is not to be trusted."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"
