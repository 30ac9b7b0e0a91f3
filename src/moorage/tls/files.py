"""A certificate and key in files, loaded again when the files change.

A new pair is loaded into a new context. The context in force is never touched: loading a bad pair into it would break
every handshake after, and a new ECDSA pair would stand beside the old RSA one.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moorage.errors import ConfigurationError
from moorage.tls.handshake import TellingSslObject

_log = logging.getLogger("moorage.tls")

# Forward secrecy and authenticated encryption; what Docker 18 and every client since can speak.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_VERSIONS = {"tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {"require-and-verify": ssl.CERT_REQUIRED, "verify-if-given": ssl.CERT_OPTIONAL}


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """How TLS is spoken: *minimum* is "tls1.2" or "tls1.3", *ciphers* are OpenSSL names for TLS 1.2."""

    minimum: str = "tls1.2"
    ciphers: Sequence[str] = ()
    client_cas: Sequence[Path] = ()
    client_auth: str = "require-and-verify"


class CertificateFiles:
    """The context for the pair in *certificate* (with its chain) and *key*.

    Symlinks are followed, as certbot's and Kubernetes' need: a change is another inode, time or size behind them.
    """

    def __init__(self, certificate: Path, key: Path, policy: TlsPolicy) -> None:
        """Raises ConfigurationError where the pair cannot be used now."""
        self._certificate = certificate
        self._key = key
        self._policy = policy
        self._seen = self._look()
        self.context = self._load()

    def refresh(self) -> None:
        """Put a changed pair in force, or say why not and keep the one before."""
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self.context = self._load()
        except ConfigurationError as error:
            _log.warning("the certificate before stays in force: %s", error)
        else:
            _log.info("the certificate in %s has changed and is in force", self._certificate)

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_facts(path) for path in (self._certificate, self._key, *self._policy.client_cas))

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = TellingSslObject
        context.minimum_version = _VERSIONS[self._policy.minimum]
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        try:
            context.set_ciphers(":".join(self._policy.ciphers) or _CIPHERS)
        except ssl.SSLError:
            raise ConfigurationError("OpenSSL knows none of these cipher suites", key="tls.ciphers") from None
        self._load_pair(context)
        self._load_authorities(context)
        return context

    def _load_pair(self, context: ssl.SSLContext) -> None:
        def no_passphrase() -> str:
            raise ConfigurationError(
                "the key is encrypted; write it without a passphrase: openssl pkey -in KEY -out PLAIN",
                source=str(self._key),
            )

        for path in (self._certificate, self._key):
            if not os.access(path, os.R_OK):
                why = "cannot be read by this user" if path.exists() else _missing(path)
                raise ConfigurationError(why, source=str(path))
        try:
            context.load_cert_chain(self._certificate, self._key, no_passphrase)
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(_complaint(error), source=f"{self._certificate} and {self._key}") from None

    def _load_authorities(self, context: ssl.SSLContext) -> None:
        for path in self._policy.client_cas:
            try:
                context.load_verify_locations(path)
            except (ssl.SSLError, OSError) as error:
                raise ConfigurationError(f"no certificates of authorities: {error}", source=str(path)) from None
        if self._policy.client_cas:
            context.verify_mode = _CLIENT_AUTH[self._policy.client_auth]


def _facts(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _missing(path: Path) -> str:
    if path.is_symlink():
        return f"is a link to {os.readlink(path)}, which is not there; copy certbot's folders with cp -L"
    return "there is no such file"


def _complaint(error: Exception) -> str:
    text = str(error)
    if "KEY_VALUES_MISMATCH" in text or "mismatch" in text:
        return "the key does not belong to the certificate"
    if "NO_START_LINE" in text or "PEM" in text:
        return "not PEM: a file must begin with -----BEGIN CERTIFICATE----- or -----BEGIN PRIVATE KEY-----"
    return text
