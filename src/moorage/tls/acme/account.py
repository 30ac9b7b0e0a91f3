"""The account at an authority: its key is on the disk before the authority has seen it, so no crash can lose it.

    <store>/accounts/<directory>/key.pem         the private key, 0600; ES256 (RFC 7518, 3.4)
    <store>/accounts/<directory>/account.json    {"directory", "url", "contact", "orders"}, 0600

`<directory>` is the first half of the SHA-256 of the directory's URL.
"""

from __future__ import annotations

import binascii
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from acme import messages
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC

from moorage.durable import make_directory, write_file
from moorage.errors import CertificateFailed
from moorage.tls.acme.directory import Directory
from moorage.tls.acme.network import Answer, Network
from moorage.tls.acme.options import AcmeOptions
from moorage.tls.acme.problems import Refused
from moorage.tls.store import CertificateStore


def directory_hash(url: str) -> str:
    """A file name for an authority: 32 hexadecimal digits."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Account:
    """As it is stored. *orders* is where the authority lists its orders, where it does."""

    directory: str
    url: str
    contact: tuple[str, ...] = ()
    orders: str | None = None


class AccountFiles:
    """The account for *directory* in *store*; one process at a time makes or changes it."""

    def __init__(self, store: CertificateStore, directory: str) -> None:
        self.folder = store.place("accounts") / directory_hash(directory)
        self._directory = directory

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out, for as long as making an account takes."""
        make_directory(self.folder)
        os.chmod(self.folder, 0o700)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def key(self) -> JWKEC:
        """The account's key, made and written if there is none. Raises CertificateFailed where it cannot be used."""
        path = self.folder / "key.pem"
        with self.locked():
            for unfinished in self.folder.glob(".*.tmp"):
                unfinished.unlink(missing_ok=True)
            if not path.exists():
                write_file(path, _pem(ec.generate_private_key(ec.SECP256R1())), 0o600)
        return JWKEC(key=_read_key(path))

    def load(self) -> Account | None:
        """What is known of it; None: nothing that can be used."""
        try:
            document = json.loads((self.folder / "account.json").read_bytes())
            account = Account(
                document["directory"], document["url"], tuple(document.get("contact", ())), document.get("orders")
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return account if account.directory == self._directory else None

    def save(self, account: Account) -> None:
        """Durable on return."""
        write_file(self.folder / "account.json", json.dumps(asdict(account), indent=1).encode(), 0o600)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad_key(path, str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad_key(path, "it is no key on the curve P-256")
    return key


def _bad_key(path: Path, why: str) -> CertificateFailed:
    return CertificateFailed(
        f"the account's key {path} cannot be used: {why}",
        kind="local",
        remedy="put back the right file; or move its folder away, and a new account is made",
        again=False,
    )


class Accounts:
    """Registers and finds the account by the network. Methods raise CertificateFailed and Refused."""

    def __init__(self, options: AcmeOptions, files: AccountFiles, network: Network, directory: Directory) -> None:
        self._options, self._files, self._network, self._directory = options, files, network, directory

    def open(self) -> Account:
        """The account to sign with, registered if it is new; its mail address is brought up to date."""
        with self._files.locked():
            account = self._files.load()
            if account is None:
                account = self._register()
            elif account.contact != self._contact():
                account = self._update(account)
        self._network.use_account(account.url)
        return account

    def renew(self, gone: Account) -> Account:
        """The account instead of one that the authority does not know any more: registered with the same key."""
        with self._files.locked():
            account = self._files.load()
            if account is None or account.url == gone.url:
                account = self._register()
        self._network.use_account(account.url)
        return account

    def _register(self) -> Account:
        """RFC 8555, 7.3. A key that the authority knows already is no error: it says which account it is."""
        payload: dict[str, Any] = {"termsOfServiceAgreed": True}
        if self._contact():
            payload["contact"] = list(self._contact())
        if self._options.eab_key_id is not None:
            payload["externalAccountBinding"] = self._binding()
        self._network.use_account(None)
        try:
            answer = self._network.send(self._directory.new_account, payload)
        except Refused as refused:
            # Some authorities follow RFC 8555, 7.3.1 less closely, and answer 409 with the account's URL.
            if refused.problem.status != 409:
                raise
            answer = self._network.send(self._directory.new_account, {"onlyReturnExisting": True})
        account = self._stored(answer, self._contact() if answer.status == 201 else self._theirs(answer))
        if account.contact != self._contact():
            self._network.use_account(account.url)
            return self._update(account)
        return account

    def _update(self, account: Account) -> Account:
        self._network.use_account(account.url)
        try:
            self._network.send(account.url, {"contact": list(self._contact())})
        except Refused as refused:
            if refused.problem.kind == "accountDoesNotExist":
                return self._register()
            raise
        changed = Account(account.directory, account.url, self._contact(), account.orders)
        self._files.save(changed)
        return changed

    def _stored(self, answer: Answer, contact: tuple[str, ...]) -> Account:
        if not answer.location:
            raise CertificateFailed(
                f"{answer.url} made an account and does not say which",
                kind="not-acme",
                remedy="is this an ACME server?",
            )
        orders = answer.json().get("orders")
        account = Account(self._directory.url, answer.location, contact, orders if isinstance(orders, str) else None)
        self._files.save(account)
        return account

    @staticmethod
    def _theirs(answer: Answer) -> tuple[str, ...]:
        contact = answer.json().get("contact")
        return tuple(str(one) for one in contact) if isinstance(contact, list) else ()

    def _contact(self) -> tuple[str, ...]:
        return (f"mailto:{self._options.email}",) if self._options.email else ()

    def _binding(self) -> dict[str, Any]:
        """RFC 8555, 7.3.4."""
        key_id, secret = self._options.eab_key_id, self._options.eab_hmac_key
        assert key_id is not None
        places = messages.Directory({"newAccount": self._directory.new_account})
        public = JWKEC(key=_read_key(self._files.folder / "key.pem").public_key())
        try:
            if not secret:
                raise ValueError("it is empty")
            return messages.ExternalAccountBinding.from_data(public, key_id, secret, places)
        except (ValueError, TypeError, binascii.Error) as error:
            raise CertificateFailed(
                "acme.eab_hmac_key cannot be used: it is not base64url",
                kind="local",
                remedy="copy the MAC key again as the authority shows it",
                again=False,
            ) from error
