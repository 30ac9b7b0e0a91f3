"""Switches that hold for everybody, whatever their rights."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.errors import Unsupported


@dataclass(frozen=True, slots=True)
class Gates:
    """What this registry does at all."""

    read_only: bool = False
    delete_enabled: bool = True

    def require_write(self) -> None:
        """Raises Unsupported on a read-only registry."""
        if self.read_only:
            raise Unsupported("the registry is read-only")

    def require_delete(self) -> None:
        """Raises Unsupported where nothing may be deleted, by digest or by tag alike."""
        self.require_write()
        if not self.delete_enabled:
            raise Unsupported("deleting is switched off in this registry")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a client may send; bytes, or numbers of things."""

    manifest_bytes: int = 4 * 1024 * 1024
    blob_bytes: int | None = None
    uploads_per_principal: int = 10_000
    tags_page: int = 10_000
    catalog_page: int = 10_000
    referrers_page: int = 10_000
