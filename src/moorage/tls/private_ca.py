"""The private authority: certificates for servers without a public name, that clients are told once to trust.

    <store>/authority/              0700
        lock                        held while something here changes
        <version>/ca.crt            the authority's certificate
        <version>/ca.key            0600
        <version>.retired/          what was an authority

A version is the time of its making in microseconds. A folder comes into being by rename, with both files in it.

An authority may sign the names that the server had when it was made, and no others, so that whoever trusts it trusts it
for this server alone. A name beyond them takes a new authority *beside* the old one. Every name is signed by the oldest
authority that may sign it: who trusts only that one need not do anything until it is retired or its ten years are over.
So there is a leaf for each authority that is the oldest for some name; ordinarily that is one leaf with all names.

Only a name that somebody has *given* is a reason for a new authority. One that was *found* on the machine, and that no
authority may sign, is left out and spoken of in the log.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from moorage.clock import Clock
from moorage.durable import fsync_directory
from moorage.errors import CertificateFailed
from moorage.tls.folders import add_folder, exclusive, own_folder
from moorage.tls.issuer import Issued, Window
from moorage.tls.machine import Names
from moorage.tls.names import is_address
from moorage.tls.store import CertificateStore

if TYPE_CHECKING:
    from cryptography import x509

    from moorage.tls.signing import Signer

_log = logging.getLogger("moorage.tls")

LEAF: Final = "private"
"""The name in the store of the leaf that the oldest authority has signed; the others' are `private.2` and so on, which
no domain is called."""
LEAF_DAYS: Final = 90
"""Arbitrary; Apple takes 825 days at most from a private authority, and nobody more than 397 from a public one."""

_YEARS: Final = timedelta(days=3652)
_OVERLAP: Final = timedelta(days=365)
"""How long before its end an authority gets a successor, for clients to learn of it (arbitrary)."""
_SKEW: Final = timedelta(days=1)
"""A certificate is good from before its making: clients' clocks are late, some by a time zone."""
_VERSION: Final = re.compile(r"[0-9]{20}")


class Leaf(NamedTuple):
    """A certificate that the server should have: its name in the store, and the names it is for."""

    name: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Authority:
    folder: Path

    @cached_property
    def signer(self) -> Signer:
        from moorage.tls.signing import load_signer

        try:
            return load_signer((self.folder / "ca.crt").read_bytes(), (self.folder / "ca.key").read_bytes())
        except (OSError, ValueError) as error:
            raise CertificateFailed(
                f"the private authority in {self.folder} cannot be used: {error}",
                kind="local",
                remedy="put its two files back from a backup; or move the folder away, and a new authority is made,"
                " which every client has to be told to trust",
                again=False,
            ) from None

    @property
    def certificate(self) -> x509.Certificate:
        return self.signer.certificate


class PrivateAuthority:
    """Implements `Issuer`; its files are shared by all processes on one data folder."""

    def __init__(self, store: CertificateStore, clock: Clock, *, days: int = LEAF_DAYS) -> None:
        """*days* is how long a leaf is good for."""
        self._store = store
        self._clock = clock
        self._days = timedelta(days=days)
        self._names = Names(())

    @property
    def title(self) -> str:
        """See `Issuer.title`."""
        return "private authority"

    def ensure(self, names: Names) -> None:
        """Have authorities that may sign every given name, and remember *names* as those to issue for.

        A new one is told of in the log, with its fingerprint. Raises CertificateFailed where the files cannot be used.
        """
        self._names = names
        try:
            with exclusive(self._folder):
                self._make_missing(names)
        except OSError as error:
            raise _unusable(error) from error
        lacking = [name for name in names.found if not any(self._may(one, name) for one in self._authorities())]
        if lacking:
            _log.warning(
                "clients that reach this server as %s will be told that its certificate is not for that name: this"
                " machine did not have it when the private authority was made, which may sign no other names; if it is"
                " to stay, say so: --tls-name %s (tls.names); a new authority is then made beside the old one",
                ", ".join(lacking),
                " --tls-name ".join(lacking),
            )

    def prepare(self, names: Names) -> tuple[Leaf, ...]:
        """`ensure`, and have every leaf in the store: for a start, which cannot serve without one.

        One is made if it is missing, damaged, not for these names, or due. Raises CertificateFailed.
        """
        self.ensure(names)
        try:
            with exclusive(self._folder):
                for leaf in self.leaves():
                    self._provide(leaf)
        except OSError as error:
            raise _unusable(error) from error
        return self.leaves()

    def leaves(self) -> tuple[Leaf, ...]:
        """What the server should have for the names of `ensure`: the first is for clients that name no host.

        A leaf has every name that its authority may sign, so several may be good for a client: take the first that is.
        """
        found: list[Leaf] = []
        signed: set[str] = set()
        for authority in self._signing():
            names = tuple(name for name in self._names.all if self._may(authority, name))
            if set(names) - signed:
                signed.update(names)
                found.append(Leaf(LEAF if not found else f"{LEAF}.{len(found) + 1}", names))
        return tuple(found)

    async def issue(self, name: str, previous: bytes | None = None) -> Issued:
        """See `Issuer.issue`; *name* is a leaf's or one that an authority may sign, alone."""
        self.ensure(self._names)
        return self._issue(dict(self.leaves()).get(name, (name,)))

    async def window(self, chain: bytes) -> Window | None:
        """See `Issuer.window`: it has no opinion."""
        return None

    def fits(self, name: str, chain: bytes) -> bool:
        """Whether *chain* is for the names of the leaf *name* and signed as `issue` would, whatever its dates."""
        from cryptography import x509

        from moorage.tls.signing import names_of

        wanted = dict(self.leaves()).get(name)
        try:
            leaf = x509.load_pem_x509_certificate(chain)
            if wanted is None or set(names_of(leaf)) != set(wanted):
                return False
            leaf.verify_directly_issued_by(self._signer_for(wanted).certificate)
        except Exception:  # noqa: BLE001  (cryptography has a dozen ways to say that a file is damaged)
            return False
        return True

    def certificates(self) -> list[bytes]:
        """The PEM of every authority that is not retired, newest first: what clients have to trust."""
        return [(authority.folder / "ca.crt").read_bytes() for authority in reversed(self._authorities())]

    def fingerprints(self) -> list[str]:
        """Of `certificates`, as `fingerprint` writes them."""
        return [fingerprint(certificate) for certificate in self.certificates()]

    def retire(self, shown: str) -> None:
        """Sign no more with the authority of this fingerprint, and give it out no more; the last one stays.

        In force when the server starts the next time. Raises CertificateFailed.
        """
        try:
            if not self._authorities():
                raise _unknown("there is no private authority")
            with exclusive(self._folder):
                authorities = self._authorities()
                chosen = [one for one in authorities if fingerprint((one.folder / "ca.crt").read_bytes()) == shown]
                if not chosen or len(authorities) == 1:
                    raise _unknown("it is the only private authority" if chosen else f"none has {shown}")
                os.rename(chosen[0].folder, chosen[0].folder.with_name(f"{chosen[0].folder.name}.retired"))
                fsync_directory(self._folder)
        except OSError as error:
            raise _unusable(error) from error

    @property
    def _folder(self) -> Path:
        return own_folder(self._store, "authority")

    def _authorities(self) -> list[_Authority]:
        """Oldest first."""
        folder = self._store.folder / "authority"
        if not folder.is_dir():
            return []
        return [_Authority(entry) for entry in sorted(folder.iterdir()) if _VERSION.fullmatch(entry.name)]

    def _signing(self) -> list[_Authority]:
        """Those that outlive what they sign; where none does, all."""
        from moorage.tls.signing import moment

        authorities = self._authorities()
        end = moment(self._clock.now()) + self._days
        return [one for one in authorities if one.certificate.not_valid_after_utc >= end] or authorities

    def _may(self, authority: _Authority, name: str) -> bool:
        from moorage.tls.signing import permits

        return permits(authority.certificate, name)

    def _signer_for(self, names: Sequence[str]) -> Signer:
        for authority in self._signing():
            if all(self._may(authority, name) for name in names):
                return authority.signer
        raise CertificateFailed(
            f"the private authority may not sign {', '.join(names)}",
            kind="local",
            remedy="name it with --tls-name (tls.names) and start the server again",
            again=False,
        )

    def _issue(self, names: Sequence[str]) -> Issued:
        from moorage.tls.signing import general_name, moment

        now = moment(self._clock.now())
        signer = self._signer_for(names)
        alternative = [general_name(name) for name in names]
        try:
            return signer.sign("Moorage registry", alternative, "server", now - _SKEW, now + self._days)
        except ValueError as error:
            raise CertificateFailed(
                f"the private authority cannot sign now: {error}",
                kind="clock",
                remedy="compare this machine's clock with the authority's dates: moorage cert authorities",
            ) from error

    def _provide(self, leaf: Leaf) -> None:
        pair = self._store.pair(leaf.name)
        if not self._store.has(leaf.name) or not self._usable(leaf.name, pair.chain.read_bytes(), pair.key):
            made = self._issue(leaf.names)
            self._store.put(leaf.name, made.chain, made.key, now=self._clock.now())

    def _usable(self, name: str, chain: bytes, key: Path) -> bool:
        """Whether a stored leaf can be served for some time yet."""
        from moorage.tls.signing import load_signer, moment

        if not self.fits(name, chain):
            return False
        try:
            leaf = load_signer(chain, key.read_bytes()).certificate
        except ValueError:
            return False
        left = leaf.not_valid_after_utc - moment(self._clock.now())
        return left > (leaf.not_valid_after_utc - leaf.not_valid_before_utc) / 3

    def _make_missing(self, names: Names) -> None:
        """A new authority if some given name has none that lasts; called with the lock held."""
        from moorage.tls.signing import make_authority, moment

        now = moment(self._clock.now())
        before = self._authorities()
        lasting = [one for one in before if one.certificate.not_valid_after_utc >= now + _OVERLAP]
        lacking = [name for name in names.given if not any(self._may(one, name) for one in lasting)]
        if not names.all or (lasting and not lacking):
            return
        title = f"Moorage {_title(names)}".strip()
        certificate, key = make_authority(title, names.all, "server", now - _SKEW, now + _YEARS)
        version = max(self._clock.now(), int(before[-1].folder.name) + 1 if before else 0)
        add_folder(self._folder, f"{version:020d}", {"ca.key": (key, 0o600), "ca.crt": (certificate, 0o644)})
        self._announce(fingerprint(certificate), lacking, before)

    def _announce(self, made: str, lacking: Sequence[str], before: Sequence[_Authority]) -> None:
        if not before:
            _log.info(
                "made a private authority, for this server alone; its certificate's SHA-256 fingerprint is %s", made
            )
            return
        outside = [name for name in lacking if not any(self._may(one, name) for one in before)]
        _log.warning(
            "made a private authority beside the one before, because %s; clients %s: give them /ca.crt, which has both,"
            " or show them /trust; the new certificate's SHA-256 fingerprint is %s",
            f"that one may not sign {', '.join(outside)}" if outside else "that one ends within a year",
            "that use these names have to trust it too" if outside else "have to trust it too by then",
            made,
        )


def fingerprint(certificate: bytes) -> str:
    """The SHA-256 hash of a PEM certificate's DER form, as `openssl x509 -fingerprint -sha256` writes it: `AB:CD:...`.

    Of several in one text, the first's.
    """
    text = certificate.decode("ascii")
    _, begin, rest = text.partition(ssl.PEM_HEADER)
    body, end, _ = rest.partition(ssl.PEM_FOOTER)
    if not begin or not end:
        raise ValueError("no PEM certificate")
    return hashlib.sha256(base64.b64decode(body)).digest().hex(":").upper()


def _unknown(what: str) -> CertificateFailed:
    return CertificateFailed(what, kind="local", remedy="moorage cert authorities lists them", again=False)


def _title(names: Names) -> str:
    """The name by which people know the server."""
    return next((name.removeprefix("*.") for name in names.all if not is_address(name)), next(iter(names.all), ""))


def _unusable(error: OSError) -> CertificateFailed:
    return CertificateFailed(
        f"the files of the private authority cannot be used: {error.filename or ''}: {error.strerror}",
        kind="local",
        remedy="the server's user has to be able to read and write them (chown)",
    )
