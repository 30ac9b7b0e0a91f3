"""The authority that signs certificates for clients; nobody but this server trusts it.

    <store>/clients/                0700
        lock                        held while something here changes
        <version>/ca.crt, ca.key    an authority; a version is the time of its making in microseconds
        ca.crt                      the certificates of all, newest first: what the server trusts
        clients.json                what was issued, and what of that is revoked

No client's key is kept. A certificate is written down before it is handed out, so that it can be revoked.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from moorage.clock import Clock
from moorage.durable import write_file
from moorage.errors import CertificateFailed, ConfigurationError
from moorage.tls.folders import add_folder, exclusive, own_folder, own_like
from moorage.tls.issuer import Issued
from moorage.tls.names import is_address, is_wildcard, parse_certificate_name
from moorage.tls.store import CertificateStore

if TYPE_CHECKING:
    from cryptography import x509

    from moorage.tls.signing import Signer

_log = logging.getLogger("moorage.tls")

MOST_NAME_BYTES: Final = 64
"""Of a common name (RFC 5280, A.1: ub-common-name)."""
MOST_DAYS: Final = 3650
"""As long as an authority is there."""

_YEARS: Final = timedelta(days=3652)
_SKEW: Final = timedelta(days=1)
_LOOK_SECONDS: Final = 0.25
"""Between two looks at the list: a revocation is in force within a second."""
_SETTLING: Final = 2.0
"""For how many seconds a changed list is read at each look: the coarsest clock of a file system ticks every two."""
_VERSION: Final = re.compile(r"[0-9]{20}")
_MAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}")


@dataclass(frozen=True, slots=True)
class Client:
    """A certificate that was issued.

    *serial* is in lower-case hex, *issuer* the common name of the authority that signed it; times in microseconds since
    the epoch, *revoked* 0 for one that is not.
    """

    name: str
    serial: str
    issuer: str
    made: int
    ends: int
    revoked: int = 0


class ClientAuthority:
    """The clients' authority in *store*; its files are shared by all processes on one data folder."""

    def __init__(self, store: CertificateStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @property
    def bundle(self) -> Path:
        """The PEM file that the server trusts; there once `ensure` was called."""
        return self._store.folder / "clients" / "ca.crt"

    def ensure(self, days: int = 0) -> Path:
        """Have an authority that lasts for so many days yet, and a list that can be read; where `bundle` is.

        Raises CertificateFailed.
        """
        try:
            with exclusive(self._folder):
                self._newest(days)
                self._load()
        except OSError as error:
            raise _unusable(error) from error
        return self.bundle

    def issue(self, name: str, days: int) -> tuple[Client, Issued]:
        """A certificate for client *name*, alone in its chain, and its key.

        Its common name is *name*, and where that is a mail address or a domain, so is its alternative name. Raises
        CertificateFailed; ValueError for a name that no certificate can have.
        """
        from cryptography import x509

        from moorage.tls.signing import moment

        if not 0 < len(name.encode()) <= MOST_NAME_BYTES or not 0 < days <= MOST_DAYS:
            raise ValueError(f"a client has a name of {MOST_NAME_BYTES} bytes at most, for {MOST_DAYS} days at most")
        try:
            with exclusive(self._folder):
                signer = self._newest(days)
                now = moment(self._clock.now())
                issued = _sign(signer, name, now - _SKEW, now + timedelta(days=days))
                leaf = x509.load_pem_x509_certificate(issued.chain)
                client = self._described(name, leaf, signer.certificate)
                self._save([*self._load(), client])
        except OSError as error:
            raise _unusable(error) from error
        alone = issued.chain.partition(ssl.PEM_FOOTER.encode())[0] + f"{ssl.PEM_FOOTER}\n".encode()
        return client, Issued(alone, issued.key)

    def clients(self) -> list[Client]:
        """What was issued, the oldest first. Raises CertificateFailed."""
        try:
            return self._load()
        except OSError as error:
            raise _unusable(error) from error

    def revoke(self, name: str, serial: str | None = None) -> list[Client]:
        """Let nobody in any more by the certificates of *name*, or by that of *serial* alone; which were revoked now.

        In force within a second, on connections that are open too. Raises CertificateFailed.
        """
        now = self._clock.now()
        revoked: list[Client] = []
        try:
            with exclusive(self._folder):
                known = self._load()
                for place, client in enumerate(known):
                    chosen = client.name == name and serial in {None, client.serial}
                    if chosen and not client.revoked:
                        known[place] = replace(client, revoked=now)
                        revoked.append(known[place])
                if revoked:
                    self._save(known)
        except OSError as error:
            raise _unusable(error) from error
        return revoked

    @property
    def _folder(self) -> Path:
        return own_folder(self._store, "clients")

    def _newest(self, days: int) -> Signer:
        """The authority that signs, made if there is none that lasts for *days*; called with the lock held."""
        from moorage.tls.signing import load_signer, make_authority, moment

        folder = self._folder
        versions = sorted(entry for entry in folder.iterdir() if _VERSION.fullmatch(entry.name))
        now = moment(self._clock.now())
        signer = _load_signer(versions[-1]) if versions else None
        if signer is None or signer.certificate.not_valid_after_utc < now + timedelta(days=min(days, MOST_DAYS)):
            certificate, key = make_authority("Moorage clients", None, "client", now - _SKEW, now + _YEARS)
            version = max(self._clock.now(), int(versions[-1].name) + 1 if versions else 0)
            files = {"ca.key": (key, 0o600), "ca.crt": (certificate, 0o644)}
            versions.append(add_folder(folder, f"{version:020d}", files))
            signer = load_signer(certificate, key)
        bundle = b"".join((version / "ca.crt").read_bytes() for version in reversed(versions))
        if not self.bundle.is_file() or self.bundle.read_bytes() != bundle:
            write_file(self.bundle, bundle)
            own_like(self.bundle, folder)
        return signer

    def _described(self, name: str, leaf: x509.Certificate, authority: x509.Certificate) -> Client:
        from moorage.tls.signing import common_name, microseconds

        made, ends = self._clock.now(), microseconds(leaf.not_valid_after_utc)
        return Client(name, f"{leaf.serial_number:x}", common_name(authority), made, ends)

    def _load(self) -> list[Client]:
        path = self._list
        try:
            return read_clients(path)
        except ConfigurationError as error:
            raise CertificateFailed(
                f"the list of client certificates cannot be used: {error}",
                kind="local",
                remedy="put it back from a backup: without it nobody knows which certificates are revoked",
                again=False,
            ) from None

    def _save(self, clients: Sequence[Client]) -> None:
        text = json.dumps({"clients": [asdict(client) for client in clients]}, indent=1, ensure_ascii=False)
        write_file(self._list, f"{text}\n".encode(), 0o600)
        own_like(self._list, self._folder)

    @property
    def _list(self) -> Path:
        return clients_file(self._store)


class RevokedClients:
    """Which certificates of the clients' authority are revoked now, looked at while it is asked.

    If the list breaks, what it said last stays in force, and the log says so once.
    """

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Raises ConfigurationError where there is a list and it cannot be used."""
        self._path = path
        self._monotonic = monotonic
        self._seen = _look(path)
        self._revoked = _revoked(path)
        self._next_look = monotonic() + _LOOK_SECONDS
        self._settled = monotonic() + _SETTLING
        self._trouble = ""

    def __call__(self, issuer: str, serial: int) -> bool:
        """Whether the certificate that the authority with the common name *issuer* gave this serial is revoked."""
        now = self._monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            self._refresh(now)
        return (issuer, serial) in self._revoked

    def _refresh(self, now: float) -> None:
        seen = _look(self._path)
        if seen == self._seen and now >= self._settled:
            return
        if seen != self._seen:
            self._seen, self._settled = seen, now + _SETTLING
        try:
            revoked = _revoked(self._path)
        except (ConfigurationError, OSError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.error("%s (what was revoked before stays so)", error)
            return
        self._trouble = ""
        # Who was revoked once stays out, though a list is put back that does not know of it.
        self._revoked |= revoked


def clients_file(store: CertificateStore) -> Path:
    """Where the list is, or would be."""
    return store.folder / "clients" / "clients.json"


def read_clients(path: Path) -> list[Client]:
    """What the file at *path* lists; nothing if there is none. Raises ConfigurationError, and OSError."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    try:
        rows: list[dict[str, Any]] = json.loads(text)["clients"]
        clients = [Client(**row) for row in rows]
        for row in rows:
            int(row["serial"], 16)
            if not isinstance(row["issuer"], str) or not isinstance(row.get("revoked", 0), int):
                raise TypeError("a certificate without issuer")
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"not the list of clients that moorage writes ({error})", str(path)) from None
    return clients


def _revoked(path: Path) -> frozenset[tuple[str, int]]:
    return frozenset((client.issuer, int(client.serial, 16)) for client in read_clients(path) if client.revoked)


def _look(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _load_signer(folder: Path) -> Signer:
    from moorage.tls.signing import load_signer

    try:
        return load_signer((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    except ValueError as error:
        raise CertificateFailed(
            f"the clients' authority in {folder} cannot be used: {error}",
            kind="local",
            remedy="put its two files back from a backup; or move the folder away: a new authority is then made, and"
            " every client needs a new certificate",
            again=False,
        ) from None


def _sign(signer: Signer, name: str, start: datetime, end: datetime) -> Issued:
    try:
        return signer.sign(name, _alternative(name), "client", start, end)
    except ValueError as error:
        raise CertificateFailed(
            f"no certificate can be made for {name!r}: {error}",
            kind="clock",
            remedy="compare this machine's clock with the dates of the clients' authority, and the name with its rules",
            again=False,
        ) from error


def _alternative(name: str) -> list[x509.GeneralName]:
    from cryptography import x509

    if _MAIL.fullmatch(name):
        return [x509.RFC822Name(name)]
    try:
        parsed = parse_certificate_name(name)
    except ValueError:
        return []
    fits = "." in parsed and not is_address(parsed) and not is_wildcard(parsed)
    return [x509.DNSName(parsed)] if fits else []


def _unusable(error: OSError) -> CertificateFailed:
    return CertificateFailed(
        f"the files of the clients' authority cannot be used: {error.filename or ''}: {error.strerror}",
        kind="local",
        remedy="give the command as the user that runs the server: sudo -u USER ...",
    )
