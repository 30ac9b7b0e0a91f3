"""What the commands that manage a volume have in common: which one is meant, and whether it can be worked on.

They open the database that the server has open too: what they change is in force with the server's next statement, and
they need no server.
"""

from __future__ import annotations

import asyncio
import functools
import os
import pwd
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from moorage.app import Folders
from moorage.cli.settings_options import config_option
from moorage.errors import StartRefused, UserError
from moorage.metadata.database import Database
from moorage.metadata.migrate import HEAD, revision
from moorage.metadata.open import SqliteFile, locate, open_database
from moorage.settings.model import Settings
from moorage.settings.names import leaves
from moorage.settings.native import from_environment, load_native

T = TypeVar("T")

# In the order in which click takes options: the last is shown first.
_SHARED = ("database", "data")


@dataclass(frozen=True, slots=True)
class Volume:
    """A data folder and its database, as the settings name them."""

    settings: Settings
    folders: Folders

    def run(self, work: Callable[[Database], Awaitable[T]]) -> T:
        """What *work* returns, given the open database.

        Raises UserError where there is none, StartRefused where it is not this program's, and what *work* raises.
        """
        return asyncio.run(self._run(work))

    async def _run(self, work: Callable[[Database], Awaitable[T]]) -> T:
        await self.require_database()
        database = open_database(self.settings.database, self.settings.data)
        try:
            return await work(database)
        finally:
            await database.close()

    async def require_database(self) -> None:
        """Raises UserError where there is none, StartRefused where it is not this program's."""
        place = locate(self.settings.database, self.settings.data)
        if isinstance(place, SqliteFile):
            self._require_file(place.path)
        found = await revision(self.settings.database, self.settings.data)
        if found is None:
            raise UserError(f"{_name(place)} is not a database of Moorage, or it is damaged; {self._how_to_name_it()}")
        if found < HEAD:
            raise StartRefused(
                f"{_name(place)} was made by an older Moorage (its schema is {found}, this program's {HEAD}): start the"
                " server once with this version, which brings it up to date"
            )
        if found > HEAD:
            raise StartRefused(
                f"{_name(place)} was made by a newer Moorage (its schema is {found}, this program's {HEAD}): use that"
                " version"
            )

    def require_tree(self) -> None:
        """Raises UserError where the folder of images is not there."""
        if not self.folders.tree.is_dir():
            raise UserError(f"{self.folders.tree} is missing: is its disk mounted, and is it the server's --data?")

    def _require_file(self, path: Path) -> None:
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"there is no registry in {self.folders.data}; {self._how_to_name_it()}") from None
        except OSError as error:
            raise _unusable(path, error.strerror or "cannot be opened") from None
        # Also to read: SQLite keeps its write-ahead log beside the file.
        if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK | os.X_OK):
            raise _unusable(path, "this user may not write it")

    def _how_to_name_it(self) -> str:
        option = "--data" if self.settings.database is None else "--database"
        return f"name the server's own with {option}, or start the server there first"


def on_volume(function: Callable[..., T]) -> Callable[..., T]:
    """Give a command the options that say which volume is meant; it gets the `Volume` as keyword *volume*."""

    @functools.wraps(function)
    def chosen(*arguments: Any, config: Path | None, data: str | None, database: str | None, **options: Any) -> T:
        for warning in from_environment(os.environ)[1]:
            click.echo(f"moorage: {warning}", err=True)
        settings = load_native(config, os.environ, {"data": data, "database": database}).settings
        return function(*arguments, volume=Volume(settings, Folders(settings.data)), **options)

    return volume_options(config_option(chosen))


def volume_options(function: Callable[..., T]) -> Callable[..., T]:
    """Give a command *data* and *database*."""
    for path in _SHARED:
        leaf = leaves()[path]
        function = click.option(leaf.flag or "", path, help=f"{leaf.description}  [{path}]")(function)
    return function


def refuse_foreign_root(volume: Volume) -> None:
    """Raises UserError where root would leave files in a server's folder that the server cannot change."""
    user = owner(volume.folders.ours)
    if os.geteuid() == 0 and user not in {None, "root"}:
        raise UserError(f"{volume.folders.data} belongs to {user}: do it as that user, sudo -u {user} ...")


def who() -> str:
    """The principal in whose name commands change things: `cli:` and the user's name on this machine."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"cli:{os.getuid()}"


def _name(place: object) -> str:
    return str(place.path) if isinstance(place, SqliteFile) else "the PostgreSQL database"


def _unusable(path: Path, why: str) -> UserError:
    user = owner(path)
    how = f": sudo -u {user} ..." if user else ""
    return UserError(f"{path}: {why}; give the command as the user that runs the server{how}")


def owner(path: Path) -> str | None:
    """The name of the user to whom the nearest folder that can be seen belongs."""
    for folder in (path, *path.parents):
        try:
            return pwd.getpwuid(os.stat(folder).st_uid).pw_name
        except (OSError, KeyError):
            continue
    return None
