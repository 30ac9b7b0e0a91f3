"""The first start: an administrator, and the lines to copy."""

from __future__ import annotations

import asyncio
import logging
import sys

from moorage.app import Application
from moorage.auth.passwords import generate_password, hash_argon2
from moorage.durable import write_file
from moorage.metadata import users
from moorage.metadata.users import User
from moorage.server.worker import Listener

_log = logging.getLogger("moorage.server")

ADMINISTRATOR = "admin"


async def greet(application: Application, listener: Listener, *, terminal: bool) -> None:
    """Make the administrator if there is no user yet, and hand over the password, once.

    On a *terminal* it is shown; otherwise it goes to a file that only the server's user can read, and the log names the
    file. The user is made after the file is written, so that no password is lost between the two.
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
        sys.stdout.write(_welcome(_host(application, listener), password))
        sys.stdout.flush()
    else:
        _log.info("the administrator %s was made; the password is in %s", ADMINISTRATOR, path)


def _host(application: Application, listener: Listener) -> str:
    external = application.settings.http.external_url
    if external is not None:
        return external.partition("://")[2]
    name = listener.socket.getsockname()
    if isinstance(name, str):
        return "localhost"
    host = "localhost" if name[0] in {"0.0.0.0", "::"} else name[0]  # noqa: S104  (read, not bound)
    return f"[{host}]:{name[1]}" if ":" in host else f"{host}:{name[1]}"


def _welcome(host: str, password: str) -> str:
    data = "--data DIR "
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

      moorage user add NAME {data.strip()}
      moorage user passwd {ADMINISTRATOR} {data.strip()}

"""
