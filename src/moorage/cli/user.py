"""`moorage user`: the users in the database."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable
from typing import Final

import click

from moorage.auth.htpasswd_edit import illegal
from moorage.auth.passwords import hash_argon2
from moorage.cli.password import new_password, password_options
from moorage.cli.tables import echo_json, moment, rfc3339, table
from moorage.cli.volume import Volume, on_volume
from moorage.clock import SystemClock
from moorage.errors import UserError
from moorage.metadata import users
from moorage.metadata.database import Database, Reader
from moorage.metadata.users import User

_MOST_NAME_BYTES: Final = 255
"""As in Apache's tool, and so in htpasswd files (arbitrary)."""


@click.group(epilog="Example: moorage user add ann")
def user() -> None:
    """Add, change, list and remove the users who log in."""


@user.command(epilog="Example: moorage user add ann --data /srv/registry")
@password_options
@click.option("--admin", is_flag=True, help="Make the user an administrator.")
@click.argument("name")
@on_volume
def add(*, volume: Volume, name: str, admin: bool, password_stdin: bool, generate: bool) -> None:
    """Add a user who may log in from now on."""
    if (reason := illegal(name)) or len(name.encode()) > _MOST_NAME_BYTES:
        raise UserError(reason or f"a user name has at most {_MOST_NAME_BYTES} bytes")

    async def absent(database: Database) -> None:
        if await users.find(database, name) is not None:
            raise _taken(name)

    # Before anybody types a password in vain.
    volume.run(absent)
    password = new_password(password_stdin=password_stdin, generate=generate)
    now = SystemClock().now()
    made = User(name, hash_argon2(password), admin=admin, disabled=False, created_at=now)

    async def work(transaction: Reader) -> None:
        if not await users.add(transaction, made):
            raise _taken(name)

    _write(volume, work)
    _said(f"added {'the administrator ' if admin else ''}{name}", password if generate else None)
    _warn_of_other_source(volume)


@user.command(epilog="Example: moorage user passwd ann")
@password_options
@click.argument("name")
@on_volume
def passwd(*, volume: Volume, name: str, password_stdin: bool, generate: bool) -> None:
    """Set a user's password; the one before is worth nothing from then on."""
    volume.run(lambda database: _found(database, name))
    password = new_password(password_stdin=password_stdin, generate=generate)
    hashed = hash_argon2(password)

    async def work(transaction: Reader) -> None:
        await _found(transaction, name)
        await users.set_password(transaction, name, hashed)

    _write(volume, work)
    _forget_initial_password(volume, name)
    _said(f"set the password of {name}", password if generate else None)
    _warn_of_other_source(volume)


@user.command("list", epilog="Example: moorage user list --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@on_volume
def list_(*, volume: Volume, as_json: bool) -> None:
    """List the users."""
    everybody = volume.run(users.everybody)
    if as_json:
        echo_json(
            [
                {"name": one.name, "admin": one.admin, "disabled": one.disabled, "created": rfc3339(one.created_at)}
                for one in everybody
            ]
        )
        return
    rows = [
        (
            one.name,
            "administrator" if one.admin else "user",
            "disabled" if one.disabled else "enabled",
            moment(one.created_at),
        )
        for one in everybody
    ]
    click.echo(table(("NAME", "ROLE", "STATE", "CREATED (UTC)"), rows))


_force = click.option("--force", is_flag=True, help="Also where no enabled administrator is left then.")


@user.command(epilog="Example: moorage user disable ann")
@_force
@click.argument("name")
@on_volume
def disable(*, volume: Volume, name: str, force: bool) -> None:
    """Lock a user out at once, and keep the account."""

    async def work(transaction: Reader) -> None:
        await _require_another_administrator(transaction, await _found(transaction, name), force=force)
        await users.set_disabled(transaction, name, disabled=True)

    _write(volume, work)
    _said(f"disabled {name}")


@user.command(epilog="Example: moorage user enable ann")
@click.argument("name")
@on_volume
def enable(*, volume: Volume, name: str) -> None:
    """Let a disabled user in again, with the same password."""

    async def work(transaction: Reader) -> None:
        await _found(transaction, name)
        await users.set_disabled(transaction, name, disabled=False)

    _write(volume, work)
    _said(f"enabled {name}")


@user.command(epilog="Example: moorage user remove ann")
@_force
@click.argument("name")
@on_volume
def remove(*, volume: Volume, name: str, force: bool) -> None:
    """Remove a user; what the user has pushed stays."""

    async def work(transaction: Reader) -> None:
        await _require_another_administrator(transaction, await _found(transaction, name), force=force)
        await users.remove(transaction, name)

    _write(volume, work)
    _forget_initial_password(volume, name)
    _said(f"removed {name}")


def _write(volume: Volume, work: Callable[[Reader], Awaitable[None]]) -> None:
    volume.run(lambda database: database.write(work))


async def _found(reader: Reader, name: str) -> User:
    """The user. Raises UserError."""
    found = await users.find(reader, name)
    if found is None:
        near = difflib.get_close_matches(name, [one.name for one in await users.everybody(reader)], n=1)
        raise UserError(f"there is no user {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    return found


async def _require_another_administrator(reader: Reader, leaving: User, *, force: bool) -> None:
    """Raises UserError where nobody would be left who may manage the registry."""
    if force or not leaving.admin or leaving.disabled:
        return
    for other in await users.everybody(reader):
        if other.admin and not other.disabled and other.name != leaving.name:
            return
    raise UserError(
        f"{leaving.name} is the last administrator who can log in: add another first"
        " (moorage user add NAME --admin), or say --force"
    )


def _taken(name: str) -> UserError:
    return UserError(f"there is a user {name} already; moorage user passwd {name} sets a new password")


def _said(what: str, password: str | None = None) -> None:
    """Say what was done on standard error, and a made-up password alone on standard output."""
    click.echo(what if password is None else f"{what}; the password, shown only now:", err=True)
    if password is not None:
        click.echo(password)


def _forget_initial_password(volume: Volume, name: str) -> None:
    """Remove the first start's password file: what it says is not true any more."""
    from moorage.server.first_start import ADMINISTRATOR

    if name == ADMINISTRATOR:
        try:
            volume.folders.initial_password.unlink(missing_ok=True)
        except OSError as error:
            click.echo(
                f"moorage: {error.filename} holds the old password and cannot be removed: {error.strerror}", err=True
            )


def _warn_of_other_source(volume: Volume) -> None:
    kind = volume.settings.auth.kind
    if kind != "users":
        click.echo(f"moorage: auth.kind is {kind}: nobody of the database can log in before it is users", err=True)
