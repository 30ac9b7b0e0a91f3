"""What becomes of every key of distribution's configuration, versions 2 and 3.

Source: distribution's configuration reference and its `configuration.Configuration`, from which the names of the
environment variables derive: STRUCT_NAMES has those that differ from the file's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache

from moorage.settings.document import Mapping as MappingNode
from moorage.settings.document import Node, Scalar, Sequence


class Fate(Enum):
    """What happens to a key; the value is the reference page's word for it."""

    EFFECT = "effect"
    COVERED = "not needed"
    DIFFERENTLY = "otherwise"
    NOT_YET = "no effect"
    REFUSED = "refused"


Condition = Callable[[Node], bool]


def given(node: Node) -> bool:
    """Whether the key has any value."""
    if isinstance(node, Scalar):
        return not node.null and bool(node.text)
    return bool(node.items if isinstance(node, Sequence) else node.entries)


def always(_node: Node) -> bool:
    """A storage driver and a kind of authentication are chosen by their name alone."""
    return True


def never(_node: Node) -> bool:
    """The translation itself decides, together with other keys."""
    return False


def switched_on(node: Node) -> bool:
    """Whether the value is true."""
    return isinstance(node, Scalar) and node.text.lower() in ("true", "yes", "on", "y")


def switched_off(node: Node) -> bool:
    """Whether the value is false."""
    return isinstance(node, Scalar) and node.text.lower() in ("false", "no", "off", "n")


def any_enabled(node: Node) -> bool:
    """Whether a list of maps has one that is not `disabled: true`."""
    items = node.items if isinstance(node, Sequence) else ()
    return any(isinstance(item, MappingNode) and not switched_on(item.entries.get("disabled", item)) for item in items)


@dataclass(frozen=True, slots=True)
class Key:
    """One row: *path* with `[]` after a list and braces around alternatives.

    *to* is the setting that takes the value over as it is; *note* says what we do, and what to use instead.
    A fate other than EFFECT and COVERED is told at start when *when* holds. Below an *open* key anything may stand.
    """

    path: str
    fate: Fate
    note: str = ""
    to: str | None = None
    when: Condition = given
    open: bool = False


_S3 = (
    "storage.s3.{accesskey,secretkey,region,regionendpoint,redirectendpoint,forcepathstyle,bucket,encrypt,keyid,secure,"
    "skipverify,v4auth,chunksize,multipartcopychunksize,multipartcopymaxconcurrency,multipartcopythresholdsize,"
    "rootdirectory,storageclass,useragent,usedualstack,accelerate,usefipsendpoint,objectacl,loglevel}"
)
_REDIS = (
    "redis.{addr,addrs,password,db,dialtimeout,readtimeout,writetimeout,pool.maxidle,pool.maxactive,pool.idletimeout,"
    "tls.enabled,tls.certificate,tls.key,tls.rootcas[],username,sentinelusername,sentinelpassword,mastername,clientname,"
    "protocol,maxretries,minretrybackoff,maxretrybackoff,contexttimeoutenabled,poolfifo,poolsize,pooltimeout,"
    "minidleconns,maxidleconns,maxactiveconns,connmaxidletime,connmaxlifetime,maxredirects,readonly,routebylatency,"
    "routerandomly,disableidentity,identitysuffix,unstableresp3}"
)
_ENDPOINT = (
    "notifications.endpoints[].{name,disabled,url,timeout,threshold,backoff,ignoredmediatypes[],ignore.mediatypes[],"
    "ignore.actions[]}"
)
_ONLY_FILESYSTEM = "only the filesystem driver is here: use storage.filesystem.rootdirectory"
_E, _C, _D, _N, _R = Fate.EFFECT, Fate.COVERED, Fate.DIFFERENTLY, Fate.NOT_YET, Fate.REFUSED

KEYS: tuple[Key, ...] = (
    Key("version", _E, "Has to be 0.1."),
    Key("log.level", _E, "error, warn, info or debug.", to="log.level"),
    Key("loglevel", _E, "The old name of log.level.", when=never),
    Key("log.formatter", _E, "text or json. logstash becomes json, and start says so."),
    Key("log.fields", _E, to="log.fields", open=True),
    Key("log.accesslog.disabled", _E, "The opposite of log.access."),
    Key("log.reportcaller", _C, "Lines name the part of the server that wrote them."),
    Key("log.hooks[]", _N, "mails are not sent; let what collects the log send them", when=any_enabled),
    Key("log.hooks[].{disabled,type,levels[]}", _N, when=never),
    Key("log.hooks[].options.{from,to[]}", _N, when=never),
    Key("log.hooks[].options.smtp.{addr,username,password,insecure}", _N, when=never),
    Key("storage.filesystem.rootdirectory", _E, "The volume is used as it is.", to="data"),
    Key("storage.filesystem.maxthreads", _C, "Threads are not what limits access to the disk."),
    Key("storage.s3", _R, _ONLY_FILESYSTEM, when=always, open=True),
    Key(_S3, _R, when=never),
    Key("storage.azure", _R, _ONLY_FILESYSTEM, when=always, open=True),
    Key("storage.azure.{accountname,accountkey,container,rootdirectory,realm,max_retries,retry_delay}", _R, when=never),
    Key("storage.azure.credentials.{type,clientid,tenantid,secret}", _R, when=never),
    Key("storage.gcs", _R, _ONLY_FILESYSTEM, when=always, open=True),
    Key("storage.gcs.{bucket,keyfile,credentials,rootdirectory,chunksize}", _R, when=never, open=True),
    Key("storage.{swift,oss}", _R, _ONLY_FILESYSTEM, when=always, open=True),
    Key(
        "storage.inmemory",
        _R,
        "everything would be lost at the next stop; use storage.filesystem.rootdirectory, on a tmpfs if that is wanted",
        when=always,
        open=True,
    ),
    Key("storage.tag.concurrencylimit", _C, "A tag is one look-up in the database."),
    Key("storage.delete.enabled", _E, "Off unless switched on, as there.", to="storage.delete_enabled"),
    Key("storage.redirect.disable", _C, "Blobs come from the registry itself; nothing is redirected."),
    Key(
        "storage.cache.{blobdescriptor,layerinfo,blobdescriptorsize}", _C, "Sizes are in the database; no cache to set."
    ),
    Key("storage.maintenance.uploadpurging.enabled", _E, to="storage.upload_purge.enabled"),
    Key("storage.maintenance.uploadpurging.age", _E, to="storage.upload_purge.age"),
    Key("storage.maintenance.uploadpurging.interval", _E, to="storage.upload_purge.interval"),
    Key("storage.maintenance.uploadpurging.dryrun", _E, to="storage.upload_purge.dry_run"),
    Key("storage.maintenance.readonly.enabled", _E, to="storage.read_only"),
    Key("auth.htpasswd.realm", _E, to="auth.realm"),
    Key(
        "auth.htpasswd.path",
        _E,
        "A file that is missing is not created with a password in the log, as there: start says how to make it.",
        to="auth.htpasswd",
    ),
    Key("auth.none", _E, "Everyone may do everything; start says so.", open=True),
    Key(
        "auth.token",
        _R,
        "tokens of another server are not accepted yet, and without them everyone or nobody would get in; use htpasswd",
        when=always,
        open=True,
    ),
    Key("auth.token.{realm,service,issuer,rootcertbundle,jwks,signingalgorithms}", _R, when=never, open=True),
    Key("auth.token.{autoredirect,autoredirectpath}", _R, when=never),
    Key("auth.silly", _R, "it lets everyone in who sends any password at all; use htpasswd", when=always, open=True),
    Key("auth.silly.{realm,service}", _R, when=never),
    Key("middleware.storage[]", _N, "blobs come from the registry itself", when=any_enabled),
    Key("middleware.{registry,repository}[]", _N, "there are no such plug-ins", when=any_enabled),
    Key("middleware.{registry,repository,storage}[].{name,disabled}", _N, when=never),
    Key("middleware.{registry,repository,storage}[].options", _N, when=never, open=True),
    Key("catalog.maxentries", _E, "0 and less mean 1000, as there."),
    Key("tags.maxtags", _E, "0 means the default, which here is 10000."),
    Key("http.addr", _E, "Joined with http.net; without it, :5000."),
    Key("http.net", _E, "tcp or unix."),
    Key("http.prefix", _E, to="http.prefix"),
    Key("http.host", _E, "Only for what is shown to people: Location and Link stay relative whatever it says."),
    Key("http.secret", _C, "What it protected in a URL is in the database; replicas need no shared secret."),
    Key(
        "http.relativeurls",
        _D,
        "Location and Link are always relative, which every client resolves and no proxy can break; the key can go",
        when=switched_off,
    ),
    Key("http.draintimeout", _E, "60 s unless given; there it is 0.", to="http.drain_timeout"),
    Key("http.headers", _E, to="http.headers", open=True),
    Key("http.http2.disabled", _C, "HTTP/1.1 is what is spoken."),
    Key("http.h2c.enabled", _D, "HTTP/1.1 is what is spoken; let the proxy in front use it", when=switched_on),
    Key("http.tls.certificate", _E, "Loaded again when it changes, without a restart.", to="tls.certificate"),
    Key("http.tls.key", _E, to="tls.key"),
    Key("http.tls.clientcas[]", _E, to="tls.client_cas"),
    Key(
        "http.tls.clientauth",
        _E,
        "request-client-cert acts as verify-client-cert-if-given, and require-any-client-cert as"
        " require-and-verify-client-cert: a certificate that nobody verifies proves nothing. Start says so.",
    ),
    Key("http.tls.minimumtls", _E, "tls1.2 or tls1.3; the older ones become tls1.2, and start says so."),
    Key("http.tls.ciphersuites[]", _E, "By Go's names; RC4 and 3DES are refused."),
    Key(
        "http.tls.letsencrypt.cachefile",
        _E,
        "Switches it on, as there; no file is written, since account and certificates are kept beside the content.",
    ),
    Key(
        "http.tls.letsencrypt.hosts[]",
        _E,
        "Becomes `tls.domains`. Without it nothing is fetched, where there every name is that is asked for.",
    ),
    Key("http.tls.letsencrypt.{email,directoryurl}", _E, "Become `acme.email` and `acme.directory`."),
    Key("http.debug.addr", _E, "Answers `/debug/health`, and figures for Prometheus; no profiles."),
    Key("http.debug.prometheus.enabled", _E, "Off unless switched on, as there."),
    Key("http.debug.prometheus.path", _E, "`/metrics` unless given.", to="metrics.path"),
    Key("notifications.endpoints[]", _N, "events are not sent yet; nobody will be told of pushes", when=any_enabled),
    Key(_ENDPOINT, _N, when=never),
    Key("notifications.endpoints[].headers", _N, when=never, open=True),
    Key("notifications.events.includereferences", _N, when=never),
    Key("redis", _D, "Redis is not used: what it cached is in the database; the section can go"),
    Key(_REDIS, _D, when=never),
    Key(
        "health.storagedriver.{enabled,interval,threshold}", _C, "A request that the disk fails is answered 503 or 507."
    ),
    Key("health.file[]", _N, "only the server's own health is known"),
    Key("health.file[].{file,interval,threshold}", _N, when=never),
    Key("health.http[]", _N, "only the server's own health is known"),
    Key("health.http[].{uri,statuscode,timeout,interval,threshold}", _N, when=never),
    Key("health.http[].headers", _N, when=never, open=True),
    Key("health.tcp[]", _N, "only the server's own health is known"),
    Key("health.tcp[].{addr,timeout,interval,threshold}", _N, when=never),
    Key(
        "proxy.remoteurl",
        _R,
        "this is no pull-through cache yet, and pulls that it should answer would fail; keep the old registry for that",
    ),
    Key("proxy.{username,password,ttl,cachewritetimeout}", _N, when=never),
    Key("proxy.exec.{command,lifetime}", _N, when=never),
    Key("validation.enabled", _C, "Validation is on unless validation.disabled is true, as there."),
    Key(
        "validation.disabled",
        _E,
        "When true, images of an index may be missing, and any http and https URL may stand in a manifest.",
    ),
    Key(
        "validation.manifests.urls.allow[]",
        _E,
        "Without it any http and https URL may stand in a manifest; there, none.",
    ),
    Key("validation.manifests.urls.deny[]", _E),
    Key("validation.manifests.indexes.platforms", _E, "all, none or list."),
    Key("validation.manifests.indexes.platformlist[].{architecture,os}", _E, "For platforms: list."),
    Key("policy.repository.classes[]", _N, "artifacts of every class are taken"),
    Key(
        "compatibility.schema1.enabled",
        _D,
        "manifests of Docker schema 1 are refused; push such images again with a Docker of this decade",
        when=switched_on,
    ),
    Key("compatibility.schema1.signingkeyfile", _N, when=never),
    Key("reporting", _N, "nothing is reported to bugsnag or newrelic; the log has it"),
    Key("reporting.bugsnag.{apikey,releasestage,endpoint}", _N, when=never),
    Key("reporting.newrelic.{licensekey,name,verbose}", _N, when=never),
)


STRUCT_NAMES = {
    "log.hooks.options": "MAILOPTIONS",
    "notifications.events": "EVENTCONFIG",
    "health.file": "FILECHECKERS",
    "health.http": "HTTPCHECKERS",
    "health.tcp": "TCPCHECKERS",
    "compatibility.schema1.signingkeyfile": "TRUSTKEY",
}
"""Names that a key has in the environment beside its own."""


@dataclass(slots=True)
class Branch:
    """A place in the tree of all keys; *variables* are the names of its children in the environment, upper-cased."""

    path: str
    key: Key | None = None
    is_list: bool = False
    open: bool = False
    children: dict[str, Branch] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


def expanded(path: str) -> Iterator[str]:
    """The paths that *path* stands for, its braces resolved."""
    match = re.search(r"\{([^}]*)\}", path)
    if match is None:
        yield path
        return
    for word in match[1].split(","):
        yield from expanded(path[: match.start()] + word + path[match.end() :])


@cache
def tree() -> Branch:
    """All keys as a tree; children of a list's items are children of the list's branch."""
    root = Branch("")
    for key in KEYS:
        for path in expanded(key.path):
            _plant(root, path, key)
    return root


@cache
def variables() -> Mapping[str, str]:
    """The environment variable of every key, without indices, and the key."""
    return dict(_variables(tree(), "REGISTRY"))


def _plant(root: Branch, path: str, key: Key) -> None:
    branch = root
    for name in path.split("."):
        bare = name.removesuffix("[]")
        child = branch.children.setdefault(bare, Branch(f"{branch.path}.{bare}".lstrip(".")))
        child.is_list |= name.endswith("[]")
        branch.variables[bare.upper()] = bare
        if child.path in STRUCT_NAMES:
            branch.variables[STRUCT_NAMES[child.path]] = bare
        branch = child
    branch.key, branch.open = key, key.open


def _variables(branch: Branch, prefix: str) -> Iterator[tuple[str, str]]:
    for word, name in branch.variables.items():
        child = branch.children[name]
        yield f"{prefix}_{word}", child.path
        yield from _variables(child, f"{prefix}_{word}{'_0' if child.is_list and child.children else ''}")
