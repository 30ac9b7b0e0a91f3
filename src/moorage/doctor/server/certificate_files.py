"""A certificate in files: readable, whole, in time, for the right names, renewed, and the one that is served."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from moorage.doctor.accounts import Account, acting_as, open_to_others
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong
from moorage.doctor.mounts import Mount, mount_of
from moorage.errors import ConfigurationError
from moorage.settings.listen import TcpAddress, parse_address
from moorage.settings.model import Settings
from moorage.tls.files import pair_at
from moorage.tls.machine import everywhere
from moorage.tls.names import is_address, parse_certificate_name
from moorage.tls.pem import CertificateFacts, Chain, read_chain, read_file, read_pair
from moorage.tls.store import Pair

_DAY: Final = 86400 * 1_000_000
_LATE: Final = 0.3
"""Of the lifetime: certbot and others renew when a third is left, and this is what remains when that was missed."""
_EARLIEST: Final = 60 * _DAY
"""Nobody is told of the end of a certificate for years before that (arbitrary)."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pair of files is looked at with: the server's user, the time, the mounts."""

    user: Account
    now: int
    mounts: Sequence[Mount] = ()
    container: bool = False


def read_files(pair: Pair, around: Surroundings) -> Chain | Finding:
    """The chain of *pair*, or what is wrong with the two files."""
    try:
        with acting_as(around.user):
            chain, key = read_file(pair.chain), read_file(pair.key)
        return read_pair(chain, key, chain_source=str(pair.chain), key_source=str(pair.key))
    except ConfigurationError as error:
        return _unusable(error, pair, around)


def _unusable(error: ConfigurationError, pair: Pair, around: Surroundings) -> Finding:
    path = Path(error.source or pair.chain)
    quoted = shlex.quote(str(path))
    meaning = "The server does not start with it; a running one keeps the certificate before."
    if os.path.islink(path) and not os.path.exists(path) and not _hidden(path):
        folder = _letsencrypt(path) or path.parent
        return wrong(
            f"{path} is a link to {os.readlink(path)}, which is not there",
            "certbot's folder live/ holds links into archive/: both have to be mounted or copied."
            if _letsencrypt(path)
            else meaning,
            *(
                (f"docker run -v {shlex.quote(str(folder))}:{shlex.quote(str(folder))}:ro ...",)
                if around.container
                else (f"sudo cp -rL /etc/letsencrypt/live/NAME {shlex.quote(str(path.parent))}",)
            ),
            blocks=True,
            path=str(path),
        )
    if "cannot be read" in error.message:
        if not around.user.can_be_tried:
            return skipped(
                f"{path} can be read by {around.user.name} and root alone",
                f"Give the command as that user: sudo -u {around.user.name} moorage doctor",
            )
        return wrong(
            f"{around.user.name}, the user of the server, cannot read {path}",
            f"{meaning} certbot's folders let root in alone.",
            f"sudo setfacl -R -m u:{around.user.name}:rX {shlex.quote(str(_letsencrypt(path) or path.parent))}",
            f"namei -l {quoted}",
            blocks=True,
            path=str(path),
        )
    return wrong(str(error), meaning, blocks=True, path=str(path))


def _hidden(path: Path) -> bool:
    """Whether the folder that the link leads to cannot be looked at by this user, so that nothing is known."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _letsencrypt(path: Path) -> Path | None:
    """certbot's folder, of which *path* is the file `live/NAME/FILE`."""
    place = Path(os.path.abspath(path))
    return place.parents[2] if len(place.parents) > 2 and place.parents[1].name == "live" else None


def look_at_files(settings: Settings, around: Surroundings) -> Iterator[Finding]:
    """Everything about the files that `tls.certificate` and `tls.key` name."""
    assert settings.tls.certificate is not None
    with acting_as(around.user):
        pair = pair_at(settings.tls.certificate, settings.tls.key)
    chain = read_files(pair, around)
    if isinstance(chain, Finding):
        yield chain
        return
    yield from judge_chain(chain, str(pair.chain))
    yield from judge_time(chain, str(pair.chain), around.now)
    yield from _judge_names(chain.leaf, settings)
    yield from _judge_key(pair.key, around)
    yield from _judge_mounts(pair, around)


def judge_chain(chain: Chain, source: str) -> Iterator[Finding]:
    """What clients will say of the certificates and their order."""
    alone = not chain.rest and not chain.leaf.self_signed
    for sentence in chain.warnings:
        if sentence.startswith("holds the server's certificate alone") and not chain.leaf.issuer_urls:
            yield ok(f"{source} {sentence}")
            continue
        yield wrong(
            f"{source} {sentence}",
            "Docker and other programs say `x509: certificate signed by unknown authority`, although a browser may not."
            if alone or chain.rest
            else "",
            *_completed(chain, source),
        )


def _completed(chain: Chain, source: str) -> Iterator[str]:
    if chain.leaf.issuer_urls and not chain.rest:
        yield f"curl -s {shlex.quote(chain.leaf.issuer_urls[0])} | openssl x509 -inform DER >> {shlex.quote(source)}"


def judge_time(chain: Chain, source: str, now: int) -> Iterator[Finding]:
    """Whether every certificate is in its time, and how long the first will be."""
    for one in (chain.leaf, *chain.rest):
        if trouble := one.out_of_time(now):
            yield wrong(
                f"{source}: the certificate of {one.subject} {trouble}",
                "Clients say `x509: certificate has expired or is not yet valid`.",
                "sudo certbot renew" if _of_certbot(source) else "date -u",
                not_after=one.not_after,
            )
            return
    leaf = chain.leaf
    left, lifetime = leaf.not_after - now, leaf.not_after - leaf.not_before
    said = f"{source} is for {listed(leaf.names)}, from {leaf.issuer}, {leaf.key}, until {day(leaf.not_after)}"
    if left < min(lifetime * _LATE, _EARLIEST):
        yield warning(
            f"{said}: {left // _DAY} days are left of {lifetime // _DAY}, and it has not been renewed",
            "It should have been by now. From that day on every client refuses the registry.",
            *(("sudo certbot renew --dry-run",) if _of_certbot(source) else ()),
            not_after=leaf.not_after,
        )
        return
    yield ok(said, not_after=leaf.not_after, names=list(leaf.names), fingerprint=leaf.fingerprint)


def _of_certbot(source: str) -> bool:
    return _letsencrypt(Path(source)) is not None


def _judge_names(leaf: CertificateFacts, settings: Settings) -> Iterator[Finding]:
    """Whether it is for the names under which clients come, as far as the settings tell them."""
    for host, why in named_hosts(settings):
        if not leaf.covers(host):
            yield wrong(
                f"the certificate is for {listed(leaf.names)}, and {why} is {host}",
                f"Clients say `x509: certificate is valid for {listed(leaf.names)}, not {host}`"
                + (" or that it doesn't contain any IP SANs." if is_address(host) else "."),
                f"sudo certbot certonly -d {host} ..."
                if not is_address(host)
                else "moorage serve --tls-name ADDRESS ...    # in place of --tls-certificate: a private authority",
                names=list(leaf.names),
                host=host,
            )


def named_hosts(settings: Settings) -> Iterator[tuple[str, str]]:
    """Host names that clients surely use, and the setting that says so.

    An address in `listen` is where a socket is, and says nothing about what clients type.
    """
    if settings.http.external_url and (host := urlsplit(settings.http.external_url).hostname):
        yield _parsed(host), "http.external_url"
    for text in settings.listen:
        address = parse_address(text)
        if isinstance(address, TcpAddress) and not everywhere(address.host) and not address.loopback:
            name = _parsed(address.host)
            if not is_address(name):
                yield name, "a name in listen"


def _parsed(host: str) -> str:
    try:
        return parse_certificate_name(host)
    except ValueError:
        return host.lower()


def _judge_key(key: Path, around: Surroundings) -> Iterator[Finding]:
    if open_to_others(key):
        real = shlex.quote(os.path.realpath(key))
        yield warning(
            f"{key} can be read by every user of this machine",
            "Whoever has the key can pose as this registry.",
            f"sudo chown {around.user.name} {real} && sudo chmod 600 {real}",
            path=str(key),
        )


def _judge_mounts(pair: Pair, around: Surroundings) -> Iterator[Finding]:
    """A single file that is mounted stays the one it was: a program that renews it writes another beside it."""
    for path in (pair.chain, pair.key):
        mount = mount_of(path, around.mounts)
        if mount is not None and str(mount.point) == os.path.realpath(path):
            folder = shlex.quote(str(path.parent))
            yield warning(
                f"{path} is mounted by itself, and not its folder",
                "When it is renewed on the host, another file takes its place there, and this one stays the old one"
                " until the container is made anew.",
                f"docker run -v /FOLDER/ON/THE/HOST:{folder}:ro ...",
                path=str(path),
            )
            return


def read_leaf(path: Path, user: Account) -> CertificateFacts | None:
    """The first certificate in a file that *user* can read; None where there is none to be had."""
    try:
        with acting_as(user):
            data = read_file(path)
        return read_chain(data, str(path)).leaf
    except ConfigurationError:
        return None


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names for a sentence."""
    if not names:
        return "no name"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def day(microseconds: int) -> str:
    """A day in UTC."""
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(microseconds // 1_000_000, UTC):%Y-%m-%d}"
