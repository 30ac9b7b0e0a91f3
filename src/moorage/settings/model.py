"""Every setting of Moorage: its name, type, default and meaning.

A setting's dotted path is its name everywhere: `http.drain_timeout` in a file and in messages,
`MOORAGE_HTTP_DRAIN_TIMEOUT` in the environment. A field marked with `option()` is also an option of `moorage serve`,
`--http-drain-timeout` by the same rule unless it names its own; a field marked with `secret()` is never shown. The
description of each field is the text of the reference page: units and effect, not how it is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from moorage.settings.certificates import Acme, Tls
from moorage.settings.fields import (
    Database,
    ExternalUrl,
    FilePath,
    HeaderName,
    Headers,
    Level,
    ListenAddress,
    PagePath,
    Pattern,
    Positive,
    Prefix,
    Section,
    Text,
    TrustedPeer,
    option,
    secret,
)
from moorage.settings.listen import parse_address
from moorage.settings.units import Bytes, Seconds


class Auth(Section):
    """Who may use the registry."""

    kind: Literal["users", "htpasswd", "proxy", "none"] = Field(
        default="users",
        description="Where users and passwords live: `users` is the database, filled by `moorage user`; `htpasswd` is"
        " the file that `auth.htpasswd` names; `proxy` believes the proxy in front, which asks for the password and"
        " names the user in `auth.proxy_header`; `none` lets everyone do everything. In a file `auth: htpasswd` is"
        " short for the kind alone.",
        json_schema_extra=option("--auth"),
    )
    htpasswd: FilePath | None = Field(
        default=None,
        description="The file of users for `auth.kind: htpasswd`, with bcrypt passwords as `moorage htpasswd -B` writes"
        " them; naming it chooses that kind. It is read again within a second of a change.",
        json_schema_extra=option("--htpasswd"),
    )
    proxy_header: HeaderName | None = Field(
        default=None,
        description="The header in which a proxy names the user, as in `X-Remote-User`. It counts only from a peer in"
        " `http.trusted_proxies`; from everybody else it is as if it were not there.",
    )
    realm: Text = Field(default="Moorage", description="The name that clients show when they ask for a password.")
    anonymous_pull: bool = Field(
        default=False,
        description="Lets everyone pull without a password. `/v2/` still asks for one, so that `docker login` and"
        " pushes work; Docker's classic engine (up to version 28) asks only there, and so cannot pull without"
        " logging in.",
        json_schema_extra=option("--anonymous-pull"),
    )

    @model_validator(mode="after")
    def _file_and_kind_agree(self) -> Self:
        if self.kind == "htpasswd" and self.htpasswd is None:
            raise ValueError("auth.kind is htpasswd, and auth.htpasswd does not name the file")
        if self.kind != "htpasswd" and self.htpasswd is not None:
            raise ValueError(f"auth.htpasswd names a file, and auth.kind is {self.kind}; set auth.kind: htpasswd")
        if (self.kind == "proxy") != (self.proxy_header is not None):
            raise ValueError("auth.kind: proxy and auth.proxy_header are given together")
        return self


class Timeouts(Section):
    """How long a peer may be silent."""

    header: Positive = Field(
        default=20.0, description="From the first byte of a connection or request to the end of its headers."
    )
    body_idle: Positive = Field(default=60.0, description="Without a byte of a request's body that is due.")
    keep_alive: Positive = Field(
        default=120.0,
        description="Between two requests; longer than the 90 s after which Go clients drop an idle connection.",
    )
    write_idle: Positive = Field(default=120.0, description="Without the peer taking a byte of a response.")


class Limits(Section):
    """How much a peer may ask for."""

    header_bytes: Annotated[Bytes, Field(ge=1024, le=1 << 20)] = Field(
        default=32 << 10, description="Request line and headers together; more is answered 431."
    )
    header_count: Annotated[int, Field(ge=10, le=10000)] = Field(
        default=100, description="Number of headers in a request; more is answered 431."
    )
    manifest_bytes: Annotated[Bytes, Field(ge=1024, le=1 << 26)] = Field(
        default=4 << 20,
        description="A manifest's size; more is answered 413. The specification asks for at least 4 MiB.",
    )
    blob_bytes: Annotated[Bytes, Field(ge=1)] | None = Field(
        default=None, description="A blob's size; more is answered 413. Not set: as much as the disk holds."
    )
    connections: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Open connections of each worker; more have to wait. Not set: as many as the system allows.",
    )


class Http(Section):
    """The HTTP side of the server."""

    external_url: ExternalUrl | None = Field(
        default=None,
        description="The address under which people reach the registry, for the lines that `moorage serve` prints."
        " Answers never need it: their `Location` and `Link` are always relative.",
    )
    prefix: Prefix = Field(
        default="/",
        description="The path before `v2/` when the registry is not at the root, with a slash at both ends. `/v2/`"
        " itself works too, since clients cannot be told of a path.",
    )
    headers: Headers = Field(
        default={}, description="Headers added to every response: a map of a name to the list of its values."
    )
    trusted_proxies: tuple[TrustedPeer, ...] = Field(
        default=(),
        description="Networks (CIDR) whose `Forwarded` and `X-Forwarded-*` headers count; `unix` stands for whoever"
        " connects to a unix socket. Everybody else's are ignored.",
    )
    accel_redirect: Prefix | None = Field(
        default=None,
        description="The path of an internal location of nginx whose `alias` is the folder `docker/registry/v2` in"
        " `data`, as in `/moorage-blobs/`: nginx then sends blobs itself (`X-Accel-Redirect`). Only for requests that"
        " come from a peer in `http.trusted_proxies`.",
    )
    drain_timeout: Seconds = Field(
        default=60.0, description="After SIGTERM, how long running requests may take to finish before they are cut off."
    )
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()


class UploadPurge(Section):
    """The sweep of uploads that nobody finished."""

    enabled: bool = Field(default=True, description="Removes uploads that nobody goes on with.")
    age: Positive = Field(default=168 * 3600.0, description="How long an upload may rest before it is removed.")
    interval: Positive = Field(default=24 * 3600.0, description="The time between two sweeps.")
    dry_run: bool = Field(default=False, description="Only logs what would be removed.")


class Storage(Section):
    """What may be done to the content."""

    delete_enabled: bool = Field(
        default=True, description="Allows to delete tags, manifests and blobs; off, DELETE is answered 405."
    )
    read_only: bool = Field(default=False, description="Refuses everything that writes with 405, for maintenance.")
    upload_purge: UploadPurge = UploadPurge()


class Listing(Section):
    """The pages of lists."""

    catalog_max_entries: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1000, description="The largest page of `/v2/_catalog`; a larger `n` is answered 400."
    )
    tags_max_entries: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000,
        description="The largest page of a tag list; a larger `n` gets this many and a `Link` to the rest.",
    )


class Platform(Section):
    """One platform of an image index."""

    os: Text = Field(description="The operating system, as in `linux`.")
    architecture: Text = Field(description="The architecture, as in `amd64`.")


class Validation(Section):
    """What a manifest has to satisfy beyond the specification."""

    sparse: bool = Field(
        default=False,
        description="Accepts manifests that name content the repository does not have, as a mirror of some platforms"
        " only does; off, they are answered 400 `MANIFEST_BLOB_UNKNOWN`.",
    )
    urls_allow: tuple[Pattern, ...] = Field(
        default=(),
        description="Regular expressions, one of which has to be found in every URL that a manifest's layer names."
        " None: any `http` and `https` URL. The registry itself never fetches them.",
    )
    urls_deny: tuple[Pattern, ...] = Field(
        default=(),
        description="Regular expressions, none of which may be found in a URL that a manifest's layer names.",
    )
    index_platforms: Literal["all", "none", "list"] = Field(
        default="all",
        description="Which images of a pushed index have to be in the repository already: all, none, or those of the"
        " platforms in `validation.platforms`.",
    )
    platforms: tuple[Platform, ...] = Field(
        default=(), description="The platforms for `validation.index_platforms: list`."
    )

    @model_validator(mode="after")
    def _list_has_platforms(self) -> Self:
        if (self.index_platforms == "list") != bool(self.platforms):
            raise ValueError("validation.platforms is given exactly when validation.index_platforms is list")
        return self


class Metrics(Section):
    """Figures for Prometheus."""

    listen: tuple[ListenAddress, ...] = Field(
        default=(),
        description="Where `/metrics` is answered, without a password: an address that only your monitoring reaches."
        " None: nowhere.",
        json_schema_extra=option(),
    )
    path: PagePath | None = Field(
        default="/metrics",
        description="The path of the figures at `metrics.listen`. Not set: there is only `/debug/health`, which answers"
        " 200 in any case.",
    )


class Log(Section):
    """The log, on standard error."""

    level: Level = Field(
        default="info", description="The least important messages that are logged.", json_schema_extra=option()
    )
    format: Literal["json", "text"] = Field(
        default="json", description="One JSON object a line, or text for people.", json_schema_extra=option()
    )
    access: bool = Field(default=True, description="Logs a line for every request.")
    fields: Mapping[Text, str] = Field(
        default={}, description="Fields added to every line: a map of a name to its text."
    )


class Settings(Section):
    """All settings, as the server and every command see them; relative paths start at the working directory."""

    data: FilePath = Field(
        default=Path("data"),
        description="The folder with everything that the registry keeps.",
        json_schema_extra=option(),
    )
    listen: Annotated[tuple[ListenAddress, ...], Field(min_length=1)] = Field(
        default=("127.0.0.1:5000",),
        description="Where to listen: `host:port`, `[::1]:port`, `:port` for every address, `unix:/path`; any number."
        " With `tls.domains` it is `:443` unless it is set.",
        json_schema_extra=option(),
    )
    workers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None,
        description="Processes that answer requests. Not set: one for each core.",
        json_schema_extra=option(),
    )
    database: Database | None = Field(
        default=None,
        description="Where the metadata live: `sqlite:///relative/path`, `sqlite:////absolute/path` or"
        " `postgresql://user:password@host/name`. Not set: a SQLite file in the data folder.",
        repr=False,
        json_schema_extra=option() | secret(),
    )
    run_as: Text | None = Field(
        default=None,
        description="Started as root: the user, as `name`, `uid` or `uid:gid`, as whom everything runs that faces the"
        " network or touches the data folder, which is given to that user. Root only binds the addresses, reads the"
        " keys and hands them over, also when they change. Not set: everything runs as the user that starts it.",
        json_schema_extra=option(),
    )
    allow_plaintext: bool = Field(
        default=False,
        description="Listens off loopback without TLS although passwords then travel in the clear; for a server behind"
        " a proxy that speaks TLS. Without this, a server that has no certificate and is reached from other machines"
        " gets one from its own private authority.",
        json_schema_extra=option(),
    )
    auth: Auth = Auth()
    tls: Tls = Tls()
    acme: Acme = Acme()
    http: Http = Http()
    storage: Storage = Storage()
    listing: Listing = Listing()
    validation: Validation = Validation()
    metrics: Metrics = Metrics()
    log: Log = Log()

    @field_validator("tls")
    @classmethod
    def _clients_find_tls(cls, tls: Tls, info: ValidationInfo) -> Tls:
        """Here, and not after all is there, so that the complaint has a place; what it needs is above."""
        known = info.data
        if tls.asks_clients and not (tls.certificate or tls.domains or tls.names) and "auth" in known:
            exposed = _exposed(known.get("listen", ()))
            if not exposed or known["auth"].kind == "none" or known.get("allow_plaintext"):
                raise ValueError(
                    f"{'tls.client_cas' if tls.client_cas else 'tls.own_clients'} needs tls.certificate and tls.key,"
                    " tls.domains or tls.names: without TLS nobody shows a certificate"
                )
        return tls

    @model_validator(mode="after")
    def _proxies_are_known(self) -> Self:
        if not self.http.trusted_proxies:
            for name, value in (
                ("auth.proxy_header", self.auth.proxy_header),
                ("http.accel_redirect", self.http.accel_redirect),
            ):
                if value is not None:
                    raise ValueError(f"{name} counts only from http.trusted_proxies, which names nobody")
        return self

    @property
    def certificates_from(self) -> Literal["files", "acme", "private"] | None:
        """Where the server's certificate comes from; None where no address speaks TLS.

        The private authority steps in where a name for it is given, or where passwords would cross a network in the
        clear and nobody has said that they may.
        """
        if self.tls.certificate is not None:
            return "files"
        if self.tls.domains:
            return "acme"
        if self.tls.names or (self.exposed and self.auth.kind != "none" and not self.allow_plaintext):
            return "private"
        return None

    @property
    def exposed(self) -> tuple[str, ...]:
        """The addresses in `listen` that other machines may reach."""
        return _exposed(self.listen)


def _exposed(listen: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text for text in listen if not parse_address(text).loopback)
