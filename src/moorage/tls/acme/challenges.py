"""Which challenge to take, and how it is answered: http-01 (RFC 8555, 8.3), dns-01 (8.4), tls-alpn-01 (RFC 8737)."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from josepy.b64 import b64encode
from josepy.jwk import JWK

from moorage.errors import CertificateFailed
from moorage.tls.acme.certificates import general_name, load_key, new_key
from moorage.tls.acme.options import AcmeOptions
from moorage.tls.acme.orders import Answered, OrderFiles, sweep
from moorage.tls.acme.problems import Problem, no_acme, parse_problem
from moorage.tls.names import is_address, is_wildcard
from moorage.tls.store import CertificateStore

log = logging.getLogger(__name__)

HTTP, ALPN, DNS = "http-01", "tls-alpn-01", "dns-01"

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_ACME_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
AT_THE_DOOR: Final = frozenset({"connection", "unauthorized", "incorrectResponse", "tls"})
"""Failures after which the other door is worth a try: nobody opened, or somebody else did."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to validate an authorization, as the authority offers it."""

    kind: str
    url: str
    token: str
    status: str
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class Authorization:
    """*name* is the identifier's value: for a wildcard the domain below which it stands (RFC 8555, 7.1.4)."""

    url: str
    status: str
    name: str
    challenges: tuple[Challenge, ...]
    retry_after: float | None = None

    def problem(self) -> tuple[Problem, str]:
        """Why it is not valid, and the kind of challenge that failed."""
        for challenge in self.challenges:
            if challenge.problem is not None:
                return challenge.problem, challenge.kind
        return Problem("unauthorized", f"the authorization is {self.status}"), ""


def parse_authorization(url: str, document: dict[str, Any], retry_after: float | None) -> Authorization:
    """From decoded JSON; challenges of unknown kinds are left out. Raises CertificateFailed."""
    identifier, offered, status = document.get("identifier"), document.get("challenges"), document.get("status")
    if not isinstance(identifier, dict) or not isinstance(offered, list) or not isinstance(status, str):
        raise no_acme(url, "JSON that is no authorization")
    challenges = tuple(
        Challenge(
            kind=one["type"],
            url=one["url"],
            token=one["token"],
            status=str(one.get("status", "pending")),
            problem=parse_problem(one["error"]) if isinstance(one.get("error"), dict) else None,
        )
        for one in offered
        if isinstance(one, dict)
        and one.get("type") in (HTTP, ALPN, DNS)
        and isinstance(one.get("url"), str)
        and isinstance(one.get("token"), str)
        and _TOKEN.fullmatch(one["token"])
    )
    return Authorization(url, status, str(identifier.get("value", "")), challenges, retry_after)


def possible(options: AcmeOptions, name: str) -> list[str]:
    """The kinds that can be answered for the parsed *name*, the best first; raises CertificateFailed for none.

    A kind that the administrator chose is the only one.
    """
    chosen = options.challenge
    if is_wildcard(name):
        kinds = [DNS] if options.dns is not None and chosen in ("auto", DNS) else []
        remedy = "set acme.dns.method, or name each host instead of the wildcard"
    elif chosen != "auto":
        kinds = [chosen] if chosen != DNS or (options.dns is not None and not is_address(name)) else []
        remedy = "no address is validated by dns-01" if is_address(name) else "set acme.dns.method"
    else:
        # One way that works everywhere is better than two that depend on firewalls.
        if options.dns is not None and not is_address(name):
            return [DNS]
        kinds = [HTTP] * options.plain_http + [ALPN] * options.tls_alpn
        remedy = "port 80 or port 443 must be this server's, or acme.dns set"
    if not kinds:
        what = "a wildcard is validated by dns-01 only" if is_wildcard(name) else "no challenge can be answered"
        raise CertificateFailed(
            f"no certificate for {name} can be had: {what}", kind="challenge", remedy=remedy, again=False
        )
    return kinds


def choose(authorization: Authorization, kinds: list[str], door: str, name: str, host: str) -> Challenge:
    """The challenge to answer: *door* if it is one of *kinds*, else the first of them that is offered.

    One that was answered before a crash is stayed with. Raises CertificateFailed.
    """
    offered = {challenge.kind: challenge for challenge in authorization.challenges}
    for challenge in offered.values():
        if challenge.status == "processing" and challenge.kind in kinds:
            return challenge
    for kind in ([door] if door in kinds else []) + kinds:
        if kind in offered:
            return offered[kind]
    raise CertificateFailed(
        f"{host} gives no certificate for {name}: it offers {_listed(offered)}, and we could answer {_listed(kinds)}",
        kind="challenge",
        remedy="set acme.challenge to one that it offers; dns-01 needs acme.dns",
        again=False,
    )


def other_door(kinds: list[str], failed: str) -> str | None:
    """What to try after *failed*; None: there is nothing else."""
    rest = [kind for kind in kinds if kind != failed]
    return rest[0] if rest else None


def _listed(kinds: Collection[str]) -> str:
    return ", ".join(kinds) or "none that we know"


class Answers:
    """Puts answers to challenges where the authority looks for them, and takes them away again.

    Each is noted on the disk before it is put, so that one which a killed process left is taken away by the next.
    """

    def __init__(self, options: AcmeOptions, store: CertificateStore, files: OrderFiles, key: JWK) -> None:
        self._options, self._store, self._files = options, store, files
        self._thumbprint = b64encode(key.thumbprint()).decode("ascii")

    async def put(self, challenge: Challenge, domain: str) -> None:
        """Answer *challenge* for *domain*. Raises CertificateFailed and OSError."""
        authorization = f"{challenge.token}.{self._thumbprint}"
        digest = hashlib.sha256(authorization.encode("ascii")).digest()
        value = b64encode(digest).decode("ascii") if challenge.kind == DNS else ""
        answered = Answered(challenge.kind, domain, challenge.token, value)
        before = self._files.answered()
        if before is not None and (before.kind, before.token) != (answered.kind, answered.token):
            await self._take_away(before)
        if challenge.kind == DNS:
            assert self._options.dns is not None
            if before is None or before.token != answered.token:
                self._files.note(answered)
            output = await self._options.dns.put(domain, challenge.token, value)
            self._files.note(Answered(DNS, domain, challenge.token, value, output))
            await self._options.dns.wait(domain, value)
            return
        self._files.note(answered)
        if challenge.kind == HTTP:
            self._store.answer_http(challenge.token, authorization)
        else:
            self._store.answer_alpn(server_name(domain), *validation_pair(domain, digest))

    async def take_away(self) -> None:
        """Take away what was put, by this process or by another before it. What fails is logged, and tried again."""
        answered = self._files.answered()
        if answered is not None:
            await self._take_away(answered)

    async def _take_away(self, answered: Answered) -> None:
        try:
            if answered.kind == HTTP:
                self._store.forget_http(answered.token)
                sweep(self._store.place("challenges/http"), answered.token)
            elif answered.kind == ALPN:
                self._store.forget_alpn(server_name(answered.name))
            elif self._options.dns is not None:
                await self._options.dns.remove(answered.name, answered.token, answered.value, answered.output)
        except (CertificateFailed, OSError, ValueError) as error:
            log.warning("an answer to a challenge for %s could not be taken away: %s", answered.name, error)
            return
        self._files.note(None)


def server_name(domain: str) -> str:
    """The SNI by which an authority validates: for an address its reverse name (RFC 8738, 6)."""
    return ipaddress.ip_address(domain).reverse_pointer if is_address(domain) else domain


def validation_pair(domain: str, digest: bytes) -> tuple[bytes, bytes]:
    """The certificate that validates *domain* by tls-alpn-01, and its key, as PEM (RFC 8737, 3).

    *digest* is the SHA-256 of the key authorization.
    """
    key = new_key("ecdsa")
    private = load_key(key)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ACME validation")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        # Nobody looks at these; a clock that is off must not matter.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([general_name(domain)]), critical=False)
        # An OCTET STRING of 32 bytes, in DER: tag, length, bytes.
        .add_extension(x509.UnrecognizedExtension(_ACME_IDENTIFIER, b"\x04\x20" + digest), critical=True)
        .sign(private, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key
