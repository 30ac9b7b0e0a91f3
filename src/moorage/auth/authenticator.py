"""From a user name and a password to a principal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Protocol

from moorage.auth.htpasswd import HtpasswdFile
from moorage.auth.passwords import decoy_argon2
from moorage.auth.principal import Account, Principal
from moorage.auth.verifier import PasswordVerifier


class Authenticator(Protocol):
    """Whoever can tell a user by a password; concurrent calls are fine."""

    async def authenticate(self, user: str, password: str, peer: str) -> Principal | None:
        """The principal, or None for an unknown user, a wrong password and a disabled account alike.

        A password that was right before is answered without suspending; a wrong one, and any of an unknown user, takes
        a full check of it each time. *peer* is the client's address without a port; checks take turns by it. Raises
        TooManyRequests where too many wait.
        """
        ...


class PasswordAuthenticator(ABC):
    """What all sources of stored passwords have in common; a source says how it finds an account."""

    def __init__(self, verifier: PasswordVerifier) -> None:
        self._verifier = verifier

    @abstractmethod
    async def find(self, user: str) -> Account:
        """The account as it is stored now; for an unknown user one without principal, whose hash costs the same."""

    async def authenticate(self, user: str, password: str, peer: str) -> Principal | None:
        """Implements `Authenticator`."""
        account = await self.find(user)
        principal, stored = account
        if principal is not None and self._verifier.knows(stored, password):
            return principal
        if not await self._verifier.check(stored, password, user=user, peer=peer):
            return None
        # It may have waited for long: who was removed meanwhile stays out.
        return principal if principal is None or account == await self.find(user) else None


class HtpasswdAuthenticator(PasswordAuthenticator):
    """The users of an htpasswd file."""

    def __init__(self, file: HtpasswdFile, verifier: PasswordVerifier) -> None:
        super().__init__(verifier)
        self._file = file

    async def find(self, user: str) -> Account:
        """As the file says now, or said within the last quarter of a second."""
        return self._file.find(user)


class StoredUser(Protocol):
    """A built-in user; *password_hash* is argon2id in PHC form."""

    @property
    def name(self) -> str: ...
    @property
    def password_hash(self) -> str: ...
    @property
    def admin(self) -> bool: ...
    @property
    def disabled(self) -> bool: ...


class DatabaseAuthenticator(PasswordAuthenticator):
    """The users of the database; *lookup* finds one by name, and is asked for each request."""

    def __init__(self, lookup: Callable[[str], Awaitable[StoredUser | None]], verifier: PasswordVerifier) -> None:
        super().__init__(verifier)
        self._lookup = lookup
        self._decoy = Account(None, decoy_argon2())

    async def find(self, user: str) -> Account:
        """As the database says now; a disabled user has a hash and no principal."""
        stored = await self._lookup(user)
        if stored is None:
            return self._decoy
        principal = None if stored.disabled else Principal("database", stored.name, stored.admin)
        return Account(principal, stored.password_hash)
