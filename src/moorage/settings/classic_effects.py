"""From a classic configuration to settings: what has an effect, and what that effect is."""

from __future__ import annotations

import re

from moorage.errors import ConfigurationError
from moorage.settings.assemble import Given
from moorage.settings.classic_keys import KEYS, given
from moorage.settings.document import Mapping, Node, Scalar, Sequence, plain
from moorage.settings.fields import parse_external_url
from moorage.settings.names import leaves, suggestion
from moorage.settings.origin import Origin
from moorage.settings.units import parse_duration

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
_NOT_DRIVERS = ("maintenance", "cache", "delete", "redirect", "tag")

_CLIENT_AUTH = {
    "require-and-verify-client-cert": "require-and-verify",
    "require-any-client-cert": "require-and-verify",
    "verify-client-cert-if-given": "verify-if-given",
    "request-client-cert": "verify-if-given",
}
_CIPHERS = {
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
"""Go's names of suites (crypto/tls) by OpenSSL's."""
_CIPHERS_OF_TLS13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


def translate(root: Mapping) -> tuple[dict[str, Given], list[str]]:
    """The settings that *root* amounts to, and what to say at start. Raises ConfigurationError.

    *root* is examined already: every key in it is known, and none is refused.
    """
    reading = _Reading(root)
    for step in (_storage, _auth, _direct, _address, _debug, _host, _tls, _log, _listing, _validation):
        step(reading)
    return reading.values, reading.warnings


class _Reading:
    """The configuration on its way into settings."""

    def __init__(self, root: Mapping) -> None:
        self.root = root
        self.values: dict[str, Given] = {}
        self.warnings: list[str] = []

    def find(self, path: str) -> tuple[Node, Origin] | None:
        """The node at *path* with the origin of its key; None where it has no value."""
        node: Node = self.root
        origin = self.root.origin
        for name in path.split("."):
            if not isinstance(node, Mapping) or name not in node.entries:
                return None
            origin = node.keys[name]
            node = node.entries[name]
        return (node, Origin(origin.source, origin.line, path)) if given(node) else None

    def text(self, path: str) -> str | None:
        """The scalar at *path*. Raises ConfigurationError where a list or map stands."""
        found = self.find(path)
        if found is None:
            return None
        if not isinstance(found[0], Scalar):
            raise self.fault(path, "is a text; if it holds a colon, put it in quotes")
        return found[0].text

    def flag(self, path: str) -> bool:
        """The truth value at *path*, False where there is none."""
        text = (self.text(path) or "false").lower()
        if text not in ("true", "yes", "on", "y", "false", "no", "off", "n"):
            raise self.fault(path, f"is true or false; this is {text[:80]!r}")
        return text in ("true", "yes", "on", "y")

    def number(self, path: str) -> int | None:
        """The whole number at *path*."""
        text = self.text(path)
        if text is None:
            return None
        if not _WHOLE_NUMBER.fullmatch(text):
            raise self.fault(path, f"is a whole number; this is {text[:80]!r}")
        return int(text)

    def put(self, to: str, path: str, value: object) -> None:
        """Sets *to* to *value*, which comes from the key at *path*."""
        found = self.find(path)
        self.values[to] = Given(value, found[1] if found else Origin(self.root.origin.source, None, path))

    def warn(self, path: str, sentence: str) -> None:
        """Notes *sentence* about the key at *path*."""
        found = self.find(path)
        origin = found[1] if found else self.root.origin
        self.warnings.append(f"{Origin(origin.source, origin.line)}: {path}: {sentence}")

    def fault(self, path: str, sentence: str) -> ConfigurationError:
        """The error to raise about the key at *path*."""
        found = self.find(path)
        origin = found[1] if found else self.root.origin
        return ConfigurationError(sentence, origin.source, path, origin.line)


def _storage(reading: _Reading) -> None:
    if not _names(reading, "storage", _NOT_DRIVERS):
        raise reading.fault("storage", "names no driver; storage.filesystem.rootdirectory is where the content lies")


def _auth(reading: _Reading) -> None:
    kinds = _names(reading, "auth", ())
    if len(kinds) > 1:
        raise reading.fault("auth", f"names more than one kind: {', '.join(kinds)}")
    if kinds == ["htpasswd"]:
        if reading.find("auth.htpasswd.path") is None:
            raise reading.fault("auth", "auth.htpasswd.path is not set: the file of users")
        reading.put("auth.kind", "auth", "htpasswd")
    elif kinds:
        reading.put("auth.kind", "auth", "none")


def _names(reading: _Reading, section: str, except_for: tuple[str, ...]) -> list[str]:
    found = reading.find(section)
    return (
        [name for name in found[0].entries if name not in except_for] if found and isinstance(found[0], Mapping) else []
    )


def _direct(reading: _Reading) -> None:
    for key in KEYS:
        path = key.path.removesuffix("[]")
        found = reading.find(path) if key.to else None
        if found is None or key.to is None:
            continue
        node, origin = found
        leaf = leaves()[key.to]
        if leaf.shape == "scalar":
            value: object = reading.text(path)
            node = node if isinstance(node, Scalar) else Scalar("", origin)
        else:
            value = [node.text] if isinstance(node, Scalar) and leaf.shape == "list" else plain(node)
        if leaf.unit == "duration":
            try:
                value = parse_duration(value, "ns")
            except ValueError as error:
                raise reading.fault(path, f"{error}; this is {str(value)[:80]!r}") from None
        reading.values[key.to] = Given(value, origin, node)


def _address(reading: _Reading) -> None:
    address, network = reading.text("http.addr"), reading.text("http.net") or "tcp"
    if network not in ("tcp", "unix"):
        raise reading.fault("http.net", f"is tcp or unix; this is {network[:80]!r}")
    if network == "unix" and address is None:
        raise reading.fault("http.net", "needs http.addr: the path of the socket")
    if address is not None:
        reading.put("listen", "http.addr", [f"unix:{address}" if network == "unix" else address])


def _debug(reading: _Reading) -> None:
    address = reading.text("http.debug.addr")
    if address is not None:
        reading.put("metrics.listen", "http.debug.addr", [address])
        if not reading.flag("http.debug.prometheus.enabled"):
            reading.put("metrics.path", "http.debug.prometheus.enabled", None)


def _host(reading: _Reading) -> None:
    host = reading.text("http.host")
    if host is None:
        return
    try:
        reading.put("http.external_url", "http.host", parse_external_url(host))
    except ValueError as error:
        reading.warn("http.host", f"{error}; it is ignored, as Location and Link are always relative")


def _tls(reading: _Reading) -> None:
    certificate = reading.find("http.tls.certificate")
    if (certificate is None) != (reading.find("http.tls.key") is None):
        there, missing = ("certificate", "key") if certificate else ("key", "certificate")
        raise reading.fault(f"http.tls.{there}", f"needs http.tls.{missing}, which is not set")
    fetched = _letsencrypt(reading, given_already=certificate is not None)
    if certificate is None and not fetched and reading.find("http.tls.clientcas"):
        raise reading.fault("http.tls.clientcas", "needs http.tls.certificate and http.tls.key, which are not set")
    _tls_versions(reading)
    mode = reading.text("http.tls.clientauth")
    if mode is not None:
        if mode not in _CLIENT_AUTH:
            raise reading.fault("http.tls.clientauth", f"is one of {', '.join(_CLIENT_AUTH)}; this is {mode[:80]!r}")
        reading.put("tls.client_auth", "http.tls.clientauth", _CLIENT_AUTH[mode])
        if mode in ("request-client-cert", "require-any-client-cert"):
            reading.warn(
                "http.tls.clientauth", f"{mode} also verifies the certificate here, against http.tls.clientcas"
            )


def _letsencrypt(reading: _Reading, *, given_already: bool) -> bool:
    """Whether certificates are fetched."""
    section = "http.tls.letsencrypt"
    hosts = reading.find(f"{section}.hosts")
    if not reading.find(f"{section}.cachefile"):
        if hosts and not given_already:
            raise reading.fault(f"{section}.hosts", f"needs {section}.cachefile, which switches it on")
        return False
    if given_already:
        reading.warn(f"{section}.cachefile", "has no effect beside http.tls.certificate")
        return False
    if hosts is None:
        raise reading.fault(
            f"{section}.cachefile",
            f"needs {section}.hosts: a certificate is fetched for the names that are listed, not for whatever name"
            " somebody asks for",
        )
    node, origin = hosts
    value = [node.text] if isinstance(node, Scalar) else plain(node)
    reading.values["tls.domains"] = Given(value, origin, node)
    for key, to in (("email", "acme.email"), ("directoryurl", "acme.directory")):
        text = reading.text(f"{section}.{key}")
        if text is not None:
            reading.put(to, f"{section}.{key}", text)
    return True


def _tls_versions(reading: _Reading) -> None:
    minimum = reading.text("http.tls.minimumtls")
    if minimum in ("tls1.0", "tls1.1"):
        reading.warn("http.tls.minimumtls", f"{minimum} is not spoken any more; tls1.2 is the oldest")
    elif minimum is not None:
        reading.put("tls.minimum", "http.tls.minimumtls", minimum)
    found = reading.find("http.tls.ciphersuites")
    if found is None:
        return
    node = found[0]
    ciphers = []
    for item in node.items if isinstance(node, Sequence) else (node,):
        name = item.text if isinstance(item, Scalar) else ""
        if name in _CIPHERS:
            ciphers.append(_CIPHERS[name])
        elif name not in _CIPHERS_OF_TLS13:
            near = suggestion(name, (*_CIPHERS, *_CIPHERS_OF_TLS13))
            raise reading.fault("http.tls.ciphersuites", f"{name[:80]!r} is no suite that can be offered{near}")
    if ciphers:
        reading.put("tls.ciphers", "http.tls.ciphersuites", ciphers)
    else:
        reading.put("tls.minimum", "http.tls.ciphersuites", "tls1.3")


def _log(reading: _Reading) -> None:
    old = reading.text("loglevel")
    if old is not None and "log.level" not in reading.values:
        reading.put("log.level", "loglevel", old)
    formatter = reading.text("log.formatter")
    if formatter == "logstash":
        reading.warn("log.formatter", "logstash is not written; json is")
    if formatter is not None:
        reading.put("log.format", "log.formatter", "json" if formatter == "logstash" else formatter)
    if reading.find("log.accesslog.disabled"):
        reading.put("log.access", "log.accesslog.disabled", not reading.flag("log.accesslog.disabled"))


def _listing(reading: _Reading) -> None:
    entries = reading.number("catalog.maxentries")
    if entries is not None and entries > 0:
        reading.put("listing.catalog_max_entries", "catalog.maxentries", entries)
    tags = reading.number("tags.maxtags")
    if tags is not None and tags < 0:
        raise reading.fault("tags.maxtags", "is not negative")
    if tags:
        reading.put("listing.tags_max_entries", "tags.maxtags", tags)


def _validation(reading: _Reading) -> None:
    if reading.flag("validation.disabled"):
        reading.put("validation.index_platforms", "validation.disabled", "none")
        return
    for name in ("allow", "deny"):
        path = f"validation.manifests.urls.{name}"
        found = reading.find(path)
        if found is not None:
            value = plain(found[0])
            reading.values[f"validation.urls_{name}"] = Given(
                [value] if isinstance(value, str) else value, found[1], found[0]
            )
    platforms = reading.text("validation.manifests.indexes.platforms")
    if platforms is None:
        return
    reading.put("validation.index_platforms", "validation.manifests.indexes.platforms", platforms.lower())
    listed = reading.find("validation.manifests.indexes.platformlist")
    if platforms.lower() == "list":
        if listed is None:
            raise reading.fault("validation.manifests.indexes.platforms", "is list, and platformlist is not set")
        reading.values["validation.platforms"] = Given(plain(listed[0]), listed[1], listed[0])
