"""Identities."""

from __future__ import annotations

from typing import Final, NamedTuple


class Principal(NamedTuple):
    """Whoever asks: *source* is "htpasswd", "database", "proxy", "certificate" or "anonymous".

    The same name in two sources is two principals: compare `identity`, and store both of its parts.
    """

    source: str
    name: str
    admin: bool = False

    @property
    def identity(self) -> tuple[str, str]:
        """What stays the same when rights change."""
        return self.source, self.name


ANONYMOUS: Final = Principal("anonymous", "")


class Account(NamedTuple):
    """A stored password and whom it lets in; nobody (None) if no password is right for it."""

    principal: Principal | None
    password_hash: str
