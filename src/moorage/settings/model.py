"""Every setting of Moorage: its name, type, default and meaning.

A setting's dotted path is its name everywhere: `http.drain_timeout` in a file and in messages,
`MOORAGE_HTTP_DRAIN_TIMEOUT` in the environment. A field marked with `option()` is also an option of `moorage serve`,
`--http-drain-timeout` by the same rule unless it names its own; a field marked with `secret()` is never shown. The
description of each field is the text of the reference page: units and effect, not how it is done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from moorage.settings.listen import parse_address
from moorage.settings.units import Bytes, Seconds

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
"""RFC 9110, 5.6.2: a token."""
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]{0,8190}[\x21-\x7e])?)?")
"""RFC 9110, 5.5, without obs-text; 8 KiB is arbitrary."""
_SERVERS_OWN_HEADERS = frozenset(
    ("connection", "content-length", "date", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
_PREFIX = re.compile(r"/(?:[A-Za-z0-9._~-]{1,100}/){0,10}")
_DATABASE = re.compile(r"(?:sqlite:///|postgres(?:ql)?://)[^\s]{1,4000}")
_QUOTED_TEXT = re.compile(r'[^\x00-\x1f\x7f"\\]{1,200}')


def option(flag: str | None = None) -> dict[str, Any]:
    """Marks a field as a command-line option of `moorage serve`; *flag* where it is not the dotted path's own."""
    return {"option": flag or True}


def secret() -> dict[str, Any]:
    """Marks a field whose value is shown nowhere; a URL keeps everything but its password."""
    return {"secret": True}


def _matching(pattern: re.Pattern[str], sentence: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(sentence)
        return text

    return AfterValidator(check)


def _address(text: str) -> str:
    return str(parse_address(text))


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


def parse_external_url(text: str) -> str:
    """The URL without a path. Raises ValueError."""
    parts = urlsplit(text)
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain or parts.path not in ("", "/"):
        raise ValueError("an external URL is written https://registry.example.com, with a port or without, and no path")
    return f"{parts.scheme}://{parts.netloc}"


def _path(value: object) -> object:
    if isinstance(value, str) and (not value or "\0" in value):
        raise ValueError("a path is not empty and has no NUL in it")
    return value


def _peer(value: object) -> object:
    if isinstance(value, IPv4Network | IPv6Network) or value == "unix":
        return value
    try:
        return ip_network(str(value))
    except ValueError:
        raise ValueError("a network is written 10.0.0.0/8, fd00::/8, 192.0.2.7 or unix") from None


def _level(value: object) -> object:
    return {"warn": "warning"}.get(value.lower(), value.lower()) if isinstance(value, str) else value


def _values(headers: object) -> object:
    if not isinstance(headers, Mapping):
        return headers
    return {name: (value,) if isinstance(value, str) else value for name, value in headers.items()}


def _headers(headers: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    for name, values in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        if name.lower() in _SERVERS_OWN_HEADERS:
            raise ValueError(f"{name} is the server's own business and cannot be set")
        if not all(_HEADER_VALUE.fullmatch(value) for value in values):
            raise ValueError(f"the value of {name} has characters that a header cannot carry")
    return headers


FilePath = Annotated[Path, BeforeValidator(_path)]
ListenAddress = Annotated[str, AfterValidator(_address)]
Pattern = Annotated[str, Field(max_length=2000), AfterValidator(_pattern)]
ExternalUrl = Annotated[str, AfterValidator(parse_external_url)]
Headers = Annotated[Mapping[str, tuple[str, ...]], BeforeValidator(_values), AfterValidator(_headers)]
TrustedPeer = Annotated[IPv4Network | IPv6Network | Literal["unix"], BeforeValidator(_peer)]
Positive = Annotated[Seconds, Field(gt=0)]
Text = Annotated[str, _matching(_QUOTED_TEXT, "1 to 200 characters without quotes, backslashes and control characters")]
Prefix = Annotated[str, _matching(_PREFIX, "a prefix is / or a path with a slash at both ends, as in /registry/")]
Database = Annotated[
    str, _matching(_DATABASE, "a database is written sqlite:///path or postgresql://user:password@host/name")
]
Level = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)]


class Section(BaseModel):
    """What all sections share: values never change after they are read, and a name that is not a setting is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, hide_input_in_errors=True)


class Auth(Section):
    """Who may use the registry."""

    kind: Literal["users", "htpasswd", "none"] = Field(
        default="users",
        description="Where users and passwords live: `users` is the database, filled by `moorage user`; `htpasswd` is"
        " the file that `auth.htpasswd` names; `none` lets everyone do everything. In a file"
        " `auth: htpasswd` is short for the kind alone.",
        json_schema_extra=option("--auth"),
    )
    htpasswd: FilePath | None = Field(
        default=None,
        description="The file of users for `auth.kind: htpasswd`, with bcrypt passwords as `moorage htpasswd -B` writes"
        " them; naming it chooses that kind. It is read again within a second of a change.",
        json_schema_extra=option("--htpasswd"),
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
        return self


class Tls(Section):
    """TLS on every TCP address that `listen` names."""

    certificate: FilePath | None = Field(
        default=None,
        description="The PEM file with the server's certificate and its chain. With `tls.key` it switches HTTPS on;"
        " both are loaded again within a second of a change.",
        json_schema_extra=option(),
    )
    key: FilePath | None = Field(
        default=None, description="The PEM file with the certificate's private key.", json_schema_extra=option()
    )
    client_cas: tuple[FilePath, ...] = Field(
        default=(),
        description="PEM files with the authorities whose client certificates are accepted; none: not asked for.",
    )
    client_auth: Literal["require-and-verify", "verify-if-given"] = Field(
        default="require-and-verify",
        description="Once `tls.client_cas` is set: whether every client has to show a certificate, or only the"
        " certificates that are shown have to be good.",
    )
    minimum: Literal["tls1.2", "tls1.3"] = Field(
        default="tls1.2", description="The oldest version of TLS that is spoken."
    )
    ciphers: tuple[Text, ...] = Field(
        default=(),
        description="The cipher suites of TLS 1.2 by their OpenSSL names, as in `ECDHE-RSA-AES128-GCM-SHA256`; none: a"
        " modern choice with forward secrecy. TLS 1.3 has its own, which are always on.",
    )

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            missing = "tls.key" if self.key is None else "tls.certificate"
            raise ValueError(f"a certificate needs its key: {missing} is not set")
        if self.client_cas and self.certificate is None:
            raise ValueError("tls.client_cas needs tls.certificate and tls.key: without TLS nobody shows a certificate")
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
        description="Where to listen: `host:port`, `[::1]:port`, `:port` for every address, `unix:/path`; any number.",
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
    allow_plaintext: bool = Field(
        default=False,
        description="Listens off loopback without TLS although passwords then travel in the clear; for a server behind"
        " a proxy that speaks TLS.",
        json_schema_extra=option(),
    )
    auth: Auth = Auth()
    tls: Tls = Tls()
    http: Http = Http()
    storage: Storage = Storage()
    listing: Listing = Listing()
    validation: Validation = Validation()
    log: Log = Log()
