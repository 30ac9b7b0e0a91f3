"""What is looked at before a server starts, and refused in a sentence that says what to do."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from moorage.app import Folders
from moorage.durable import is_network_filesystem, make_directory
from moorage.errors import StartRefused
from moorage.metadata.open import SqliteFile, locate
from moorage.settings.origin import Loaded

_log = logging.getLogger("moorage.server")


def look_at_plaintext(loaded: Loaded) -> None:
    """Says where passwords travel in the clear, as somebody has allowed.

    In classic mode the settings' own warnings say it.
    """
    settings = loaded.settings
    if loaded.mode == "classic" or settings.certificates_from is not None or settings.auth.kind == "none":
        return
    if settings.exposed:
        _log.warning("passwords travel in the clear on %s, as allow_plaintext allows", ", ".join(settings.exposed))


def look_at_file_systems(
    data: Path, database: str | None, kind_of: Callable[[Path], str | None] = is_network_filesystem
) -> None:
    """Notices a data folder on another machine; raises StartRefused for a SQLite file there.

    *kind_of* names the network file system that holds a path.
    """
    place = locate(database, data)
    if isinstance(place, SqliteFile) and (kind := kind_of(place.path)):
        raise StartRefused(
            f"the database {place.path} would lie on {kind}, a network file system, on which SQLite's locks cannot be"
            " relied on: put it on a disk of this machine, --database sqlite:////var/lib/moorage/moorage.db, or on a"
            " server, --database postgresql://USER:PASSWORD@HOST/NAME; the images may stay where they are"
        )
    if kind := kind_of(data):
        _log.warning(
            "the data folder %s lies on %s, a network file system: what is acknowledged is as safe as that makes it",
            data,
            kind,
        )


def make_folders(folders: Folders) -> None:
    """Make what is missing of the data folder. Raises StartRefused where this user cannot write."""
    try:
        for folder in (folders.data, folders.tree, folders.ours, folders.uploads):
            make_directory(folder)
        os.chmod(folders.ours, 0o700)
        for folder in (folders.tree, folders.ours, folders.uploads):
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(0, "permission denied", str(folder))
    except OSError as error:
        where = "" if error.filename in {None, str(folders.data)} else f" ({error.filename})"
        raise StartRefused(
            f"the data folder {folders.data} cannot be written: {error.strerror}{where}; choose another with --data,"
            " or give this one to the user that runs the server (chown)"
        ) from None
