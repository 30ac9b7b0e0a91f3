"""A certificate and key in files, as a TLS context, and what is wrong with files that are none.

A pair is loaded into a context of its own, which is never changed afterwards: loading a bad pair into one in force
would break every handshake after, and a new ECDSA pair would stand beside the old RSA one.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moorage.errors import ConfigurationError
from moorage.tls.handshake import TellingSslObject
from moorage.tls.pem import read_chain, read_file, read_pair
from moorage.tls.store import Pair

# Forward secrecy and authenticated encryption; what Docker 18 and every client since can speak.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_VERSIONS = {"tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {"require-and-verify": ssl.CERT_REQUIRED, "verify-if-given": ssl.CERT_OPTIONAL}
_PROTOCOLS = ("http/1.1",)

Facts = tuple[int, int, int]
"""By which a changed file is known: its inode, time and size."""


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """How TLS is spoken: *minimum* is "tls1.2" or "tls1.3", *ciphers* are OpenSSL names for TLS 1.2."""

    minimum: str = "tls1.2"
    ciphers: Sequence[str] = ()
    client_cas: Sequence[Path] = ()
    client_auth: str = "require-and-verify"


def pair_at(certificate: Path, key: Path | None = None) -> Pair:
    """The pair that settings name: two files, or certbot's folder, whose files are followed through their links."""
    try:
        folder = certificate.is_dir()
    except OSError:  # A folder above is closed to this user; loading says so.
        folder = key is None
    if folder:
        return Pair(certificate / "fullchain.pem", key or certificate / "privkey.pem")
    return Pair(certificate, key or certificate)


def look_at(path: Path) -> Facts | None:
    """What a change of the file behind *path* changes; None where it cannot be seen."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def bare_context(policy: TlsPolicy) -> ssl.SSLContext:
    """A server's context without a certificate. Raises ConfigurationError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = TellingSslObject
    context.minimum_version = _VERSIONS[policy.minimum]
    context.set_alpn_protocols(_PROTOCOLS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    # A client knows which its processor is quick at: Go's put AES-128 first, or ChaCha20 where it has no
    # instructions for AES. All that are offered are good.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        context.set_ciphers(":".join(policy.ciphers) or _CIPHERS)
    except ssl.SSLError:
        raise ConfigurationError("OpenSSL knows none of these cipher suites", key="tls.ciphers") from None
    for path in policy.client_cas:
        _trust(context, path)
    if policy.client_cas:
        context.verify_mode = _CLIENT_AUTH[policy.client_auth]
    return context


def load_context(pair: Pair, policy: TlsPolicy, protocols: Sequence[str] = _PROTOCOLS) -> ssl.SSLContext:
    """A context that shows *pair*, whose chain has the leaf first. Raises ConfigurationError with what to do."""

    def no_passphrase() -> str:
        raise ConfigurationError(
            f"the key is encrypted; write it without a passphrase: openssl pkey -in {pair.key} -out PLAIN.pem",
            source=str(pair.key),
        )

    context = bare_context(policy)
    context.set_alpn_protocols(protocols)
    for path in (pair.chain, pair.key):
        if not os.access(path, os.R_OK):
            read_file(path)  # which says why it is not to be had; OpenSSL says less
    try:
        context.load_cert_chain(pair.chain, pair.key, no_passphrase)
    except (ssl.SSLError, OSError, ValueError) as error:
        chain, key = read_file(pair.chain), read_file(pair.key)
        read_pair(chain, key, chain_source=str(pair.chain), key_source=str(pair.key))
        raise ConfigurationError(
            f"OpenSSL does not take them: {error}", source=f"{pair.chain} and {pair.key}"
        ) from None
    return context


def count_certificates(pair: Pair) -> int:
    """How many certificates a loaded *pair* sends to clients; 0 where the file is gone since."""
    try:
        return read_file(pair.chain).count(b"-----BEGIN CERTIFICATE-----")
    except ConfigurationError:
        return 0


def doubts(pair: Pair) -> tuple[tuple[str, ...], bool]:
    """What some clients will not like about the chain of a loaded *pair*, and whether it is surely so.

    Where a certificate stands alone and names no place to get the one above it, it may as well have been signed by
    what the clients trust. Raises ConfigurationError.
    """
    chain = read_chain(read_file(pair.chain), str(pair.chain))
    return chain.warnings, bool(chain.leaf.issuer_urls)


def _trust(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        read_chain(read_file(path), str(path))
        raise ConfigurationError(f"no certificates of authorities: {error}", source=str(path)) from None
