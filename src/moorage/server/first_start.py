"""The first start: an administrator, and the lines to copy."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import sys
from pathlib import Path

from moorage.app import Application
from moorage.auth.passwords import generate_password, hash_argon2
from moorage.durable import write_file
from moorage.metadata import users
from moorage.metadata.users import User
from moorage.settings.names import PREFIX
from moorage.settings.native import DEFAULT_FILE
from moorage.settings.origin import DEFAULT, Loaded
from moorage.settings.render import masked

_log = logging.getLogger("moorage.server")

ADMINISTRATOR = "admin"


async def greet(application: Application, loaded: Loaded, host: str, *, terminal: bool) -> None:
    """Make the administrator if there is no user yet, and hand over the password, once.

    *host* is what clients call the server. On a *terminal* it is shown; otherwise it goes to a file that only the
    server's user can read, and the log names the file. The user is made after the file is written, so that no password
    is lost between the two.
    """
    if await users.everybody(application.database):
        return
    password = generate_password()
    hashed = await asyncio.to_thread(hash_argon2, password)
    path = application.folders.initial_password
    if not terminal:
        write_file(path, password.encode("ascii") + b"\n", 0o600)
    administrator = User(ADMINISTRATOR, hashed, admin=True, disabled=False, created_at=application.clock.now())
    await application.database.write(lambda transaction: users.add(transaction, administrator))
    if terminal:
        sys.stdout.write(_welcome(host, password, _management(loaded)))
        sys.stdout.flush()
    else:
        _log.info("the administrator %s was made; the password is in %s", ADMINISTRATOR, path)


def _management(loaded: Loaded) -> tuple[str, str]:
    """How `moorage` is called here, and the options by which it finds the same volume."""
    settings, options = loaded.settings, []
    if not _found_anyway(loaded, "data"):
        options += ["--data", str(settings.data)]
    if settings.database is not None and not _found_anyway(loaded, "database"):
        options += ["--database", masked(settings.database)]
    return _command(), "".join(f" {shlex.quote(option)}" for option in options)


def _found_anyway(loaded: Loaded, path: str) -> bool:
    """Whether a command that is given here finds the setting without an option."""
    origin = loaded.origins[path]
    return origin == DEFAULT or origin.source == str(DEFAULT_FILE) or origin.source.startswith(PREFIX)


def _command() -> str:
    called = Path(sys.argv[0])
    command = called.with_name("moorage")
    found = shutil.which("moorage")
    if found is not None and os.path.realpath(found) == os.path.realpath(command):
        return "moorage"
    here = Path.cwd()
    path = command.absolute()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _welcome(host: str, password: str, management: tuple[str, str]) -> str:
    command, options = management
    return f"""
  Moorage is running. This is shown once; write the password down:

      user      {ADMINISTRATOR}
      password  {password}

  Log in, push and pull:

      docker login {host} -u {ADMINISTRATOR}
      docker tag IMAGE {host}/IMAGE
      docker push {host}/IMAGE
      docker pull {host}/IMAGE

  Add a user, or set a new password:

      {command} user add NAME{options}
      {command} user passwd {ADMINISTRATOR}{options}

"""
