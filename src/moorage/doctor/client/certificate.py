"""What is wrong with a server's certificate: pure functions from what was sent to findings.

The rules are those of Go's crypto/x509, which nearly all clients are made of, and Apple's where they are stricter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from moorage.doctor.client.chain import Card
from moorage.doctor.client.target import Target
from moorage.doctor.finding import Finding, ok, warning, wrong

_SERVER_AUTH: Final = frozenset({"1.3.6.1.5.5.7.3.1", "2.5.29.37.0"})
_WEAK_HASHES: Final = frozenset({"md5", "sha1"})
_APPLE_DAYS: Final = 825
"""The longest that macOS takes from any authority (support.apple.com/103769)."""

_APPLE_SINCE: Final = datetime(2019, 7, 1, tzinfo=UTC)
_SOON: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a server shows, and who looks at it: *chain* as sent, its own certificate first; *unnamed* is the one that
    it sends to clients that name no server, if it was asked; *skew* is how far this machine's clock is ahead."""

    target: Target
    chain: tuple[Card, ...]
    now: datetime
    skew: float | None = None
    unnamed: Card | None = None

    @property
    def leaf(self) -> Card:
        """The server's own certificate."""
        return self.chain[0]


def findings(shown: Shown) -> Iterator[Finding]:
    """Everything that can be said without knowing whom the client trusts; the trust itself is another matter."""
    named, timely = list(names(shown)), list(times(shown))
    yield from named
    yield from timely
    yield from strength(shown.chain)
    yield from purpose(shown.leaf)


def names(shown: Shown) -> Iterator[Finding]:
    """Whether the certificate is for the host, and if not, which of the usual mistakes it is."""
    leaf, target = shown.leaf, shown.target
    facts: dict[str, Any] = {
        "host": target.host,
        "dns": list(leaf.dns),
        "addresses": list(leaf.addresses),
        "common_name": leaf.common_name,
        "fingerprint": leaf.fingerprint,
    }
    has = ", ".join((*leaf.dns, *leaf.addresses)) or "no name"
    if leaf.covers(target.host):
        yield ok(f"the certificate is for {has}", **facts)
        yield from _default(shown)
        return
    with_port = next((name for name in leaf.dns if ":" in name), "")
    kind, meaning = _mistake(shown, with_port, has)
    if shown.unnamed is not None and shown.unnamed.der != leaf.der and shown.unnamed.covers(target.host):
        meaning += " To a client that names no server (SNI) it shows another one, which is right."
    yield wrong(kind, meaning, *_new_certificate(target), blocks=True, **facts)


def _mistake(shown: Shown, with_port: str, has: str) -> tuple[str, str]:
    leaf, target = shown.leaf, shown.target
    host = target.host
    if not leaf.names:
        return (
            f"the certificate has no alternative names, only the common name {leaf.common_name or '(none)'}",
            (
                "Clients have ignored the common name for years:"
                ' "x509: certificate relies on legacy Common Name field, use SANs instead".'
            ),
        )
    if with_port:
        return (
            f"the certificate is for {with_port}, with a port in the name",
            f"A certificate is for a host, whatever the port; the name has to be {host}.",
        )
    if target.address is not None:
        mistaken = any(name == host for name in leaf.dns)
        return (
            f"the certificate has {host} as a DNS name (DNS:{host}), where IP:{host} is needed"
            if mistaken
            else f"the certificate is for {has}, not for the address {host}",
            (
                f'Clients say "x509: cannot validate certificate for {host} because it doesn\'t contain any IP SANs".'
                " Use a name that it has, or add the address."
            ),
        )
    wide = next((name for name in leaf.dns if name.startswith("*.") and host.endswith(name[1:])), "")
    bare = next((name for name in leaf.dns if name == f"*.{host}"), "")
    if wide or bare:
        return (
            f"the certificate is for {has}, which does not cover {host}",
            f"A wildcard stands for one label exactly: {wide or bare} covers neither deeper names nor the bare domain.",
        )
    return (
        f"the certificate is for {has}, not for {host}",
        (
            f'Clients say "x509: certificate is valid for {has[:60]}, not {host}". The name leads to another server or'
            " site, the server chose its default site (by SNI), or the certificate was made for another name."
        ),
    )


def _new_certificate(target: Target) -> tuple[str, ...]:
    alternative = f"{'IP' if target.address else 'DNS'}:{target.host}"
    return (
        f"moorage serve --tls-name {target.host} ...    # private authority; --domain for a public name",
        (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 397 -keyout registry.key"
            f" -out registry.crt -subj /CN=registry -addext subjectAltName={alternative}"
        ),
    )


def _default(shown: Shown) -> Iterator[Finding]:
    """What is shown to a client that names no server; only for names, since nobody names an address."""
    unnamed, target = shown.unnamed, shown.target
    if unnamed is None or target.address is not None or unnamed.covers(target.host):
        return
    yield ok(
        f"clients that send no server name (SNI) are shown another certificate, for"
        f" {', '.join((*unnamed.dns, *unnamed.addresses)) or unnamed.common_name}; only very old ones do so",
        fingerprint=unnamed.fingerprint,
    )


def times(shown: Shown) -> Iterator[Finding]:
    """Whether the certificates are in force now, and whether it is the clock of this machine that is wrong."""
    leaf = shown.leaf
    for number, card in enumerate(shown.chain):
        what = "the certificate" if number == 0 else f"the intermediate certificate {card.common_name or card.subject}"
        facts: dict[str, Any] = {"not_before": card.not_before.isoformat(), "not_after": card.not_after.isoformat()}
        if card.not_before <= shown.now <= card.not_after:
            continue
        if card.self_issued and number:
            continue  # clients have the root themselves
        if _clock_is_wrong(shown, card):
            yield wrong(
                f"{what} is in force by the server's clock, but not by this machine's, which is {_skew(shown.skew)}",
                'Clients here say "x509: certificate has expired or is not yet valid: current time ... is".',
                "sudo timedatectl set-ntp true",
                blocks=True,
                **facts,
            )
        elif shown.now > card.not_after:
            yield _expired(what, card, shown.now, facts)
        else:
            yield wrong(
                f"{what} is not in force before {card.not_before:%Y-%m-%d %H:%M} UTC, in"
                f" {_span(card.not_before - shown.now)}",
                'Clients say "x509: certificate has expired or is not yet valid". The clock of the machine that made it'
                " was ahead, or the clocks here and on the server are both behind.",
                "timedatectl    # there and here",
                blocks=True,
                **facts,
            )
    left, whole = leaf.not_after - shown.now, leaf.not_after - leaf.not_before
    if leaf.not_before <= shown.now <= leaf.not_after:
        yield from _remaining(leaf, left, whole)


def _expired(what: str, card: Card, now: datetime, facts: dict[str, Any]) -> Finding:
    return wrong(
        f"{what} expired on {card.not_after:%Y-%m-%d %H:%M} UTC, {_span(now - card.not_after)} ago",
        'Clients say "x509: certificate has expired or is not yet valid". If it was renewed, the server still shows the'
        " old one: it was not told to load it again.",
        "moorage cert renew    # or: certbot renew && nginx -s reload",
        blocks=True,
        **facts,
    )


def _remaining(leaf: Card, left: timedelta, whole: timedelta) -> Iterator[Finding]:
    facts: dict[str, Any] = {"not_before": leaf.not_before.isoformat(), "not_after": leaf.not_after.isoformat()}
    if left < min(whole / 6, _SOON):
        yield warning(
            f"the certificate expires in {_span(left)}, on {leaf.not_after:%Y-%m-%d %H:%M} UTC",
            "By now it should have been renewed: whatever renews it does not work, or nobody does.",
            "moorage cert list    # or: certbot certificates; systemctl list-timers",
            **facts,
        )
    else:
        yield ok(f"the certificate is in force until {leaf.not_after:%Y-%m-%d}, for {_span(left)}", **facts)
    if whole > timedelta(days=_APPLE_DAYS, hours=1) and leaf.not_before >= _APPLE_SINCE:
        yield warning(
            f"the certificate lasts {whole.days} days; macOS takes none of more than {_APPLE_DAYS}",
            "Docker Desktop and other programs on a Mac refuse it, the rest of the world does not mind.",
            "openssl req -x509 ... -days 397",
            days=whole.days,
        )


def strength(chain: Sequence[Card]) -> Iterator[Finding]:
    """Keys and signatures that clients refuse; a root's own signature is never looked at."""
    for number, card in enumerate(chain):
        what = "the certificate" if number == 0 else f"the intermediate certificate {card.common_name or card.subject}"
        if card.hash in _WEAK_HASHES and not (card.self_issued and number):
            yield wrong(
                f"{what} is signed with {card.hash.upper()}",
                'Clients say "x509: cannot verify signature: insecure algorithm".',
                "openssl req ... -sha256",
                blocks=True,
                hash=card.hash,
            )
        if card.key == "RSA" and card.bits < 2048:
            refused = card.bits < 1024
            yield (wrong if refused else warning)(
                f"{what} has an RSA key of {card.bits} bits",
                "Go refuses it (since 1.24)." if refused else "OpenSSL and many others ask for 2048 or more.",
                "openssl genrsa -out registry.key 2048",
                bits=card.bits,
            )
    if chain[0].serial <= 0:
        yield warning(
            "the certificate's serial number is not positive",
            "Go refuses negative ones (since 1.23).",
            "have it made anew",
        )


def purpose(leaf: Card) -> Iterator[Finding]:
    """What the certificate says that it is for."""
    if leaf.purposes is not None and not _SERVER_AUTH & set(leaf.purposes):
        yield wrong(
            "the certificate is not for servers: its extended key usage lacks serverAuth",
            'Clients say "x509: certificate specifies an incompatible key usage".',
            "openssl req ... -addext extendedKeyUsage=serverAuth",
            blocks=True,
            purposes=list(leaf.purposes),
        )
    if leaf.must_staple:
        yield warning(
            "the certificate wants OCSP answers stapled (must-staple)",
            "Clients that heed it refuse it without; the large public authorities have ended OCSP.",
            "have it made anew without must-staple",
        )


def clock(skew: float | None) -> Finding | None:
    """How this machine's clock differs from the server's; None where nothing is known."""
    if skew is None:
        return None
    if abs(skew) < _MOST_SKEW_SECONDS:
        return ok("the clocks here and on the server agree", skew_seconds=round(skew))
    return warning(
        f"this machine's clock is {_skew(skew)}",
        "Certificates and tokens are in force at other times here than there. The one that is wrong has to be set.",
        "timedatectl    # there and here",
        "sudo timedatectl set-ntp true",
        skew_seconds=round(skew),
    )


_MOST_SKEW_SECONDS: Final = 30.0
"""Date has whole seconds, and a slow answer some more; tokens allow for a minute (arbitrary)."""


def _clock_is_wrong(shown: Shown, card: Card) -> bool:
    if shown.skew is None or abs(shown.skew) < _MOST_SKEW_SECONDS:
        return False
    theirs = shown.now - timedelta(seconds=shown.skew)
    return card.not_before <= theirs <= card.not_after


def _skew(seconds: float | None) -> str:
    seconds = seconds or 0.0
    return f"{_span(timedelta(seconds=abs(round(seconds))))} {'ahead of' if seconds > 0 else 'behind'} the server's"


def _span(time: timedelta) -> str:
    """Two figures at most: `14 days`, `3 hours`, `90 seconds`."""
    seconds = int(time.total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:,} {unit}s"
    return f"{seconds} seconds"
