"""The registry in this process, composed as a worker composes it, and a client on a socket of its own."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from moorage.app import Application
from moorage.auth.passwords import hash_argon2
from moorage.metadata import users
from moorage.metadata.migrate import bring_up_to_date
from moorage.metadata.users import User
from moorage.observe.access import AccessLog, NoAccessLog
from moorage.registry.adopt.volume import Comparison
from moorage.server.connection import Connection
from moorage.server.faces import Faces, Surroundings, open_faces
from moorage.server.serving import Limits, Serving
from moorage.settings.model import Auth, Settings
from tests.raw_http import Answer

PEER = "192.0.2.7"
USER = "alice"
PASSWORD = "guarded-Alice-1"


def settings_for(data: Path, database: str | None = None, htpasswd: Path | None = None) -> Settings:
    """Built-in users, or those of *htpasswd*; everybody may pull."""
    auth = Auth(kind="users" if htpasswd is None else "htpasswd", htpasswd=htpasswd, anonymous_pull=True)
    return Settings(data=data, database=database, auth=auth)


async def made_ready(settings: Settings) -> None:
    """What the server does once, before its workers and beside them: folders, schema, a user, a look at the volume."""
    for folder in ("docker/registry/v2", "moorage/uploads"):
        (settings.data / folder).mkdir(parents=True, exist_ok=True)
    await bring_up_to_date(settings.database, settings.data)
    application = Application(settings)
    user = User(USER, hash_argon2(PASSWORD), admin=True, disabled=False, created_at=0)
    await application.database.write(lambda transaction: users.add(transaction, user))
    async for _ in Comparison(application.volume(), thorough=False).steps():
        pass
    await application.database.close()


async def composed(settings: Settings, *, access_log: bool = True) -> tuple[Faces, Serving]:
    """What a worker opens, on a data folder that is ready; its access log, if there is one, goes to /dev/null."""
    faces = await open_faces(settings, Surroundings((), 5000, frozenset(), 0))
    if not access_log:
        return faces, Serving(Limits(), NoAccessLog())
    log = AccessLog(os.open(os.devnull, os.O_WRONLY), asyncio.get_running_loop().time, text=False, fields={})
    return faces, Serving(Limits(), log)


class Registry:
    """Answers on one connection, one request after another; a context manager in an event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def __aenter__(self) -> Self:
        self._faces, serving = await composed(self.settings)
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Connection(serving, self._faces.registry, ours, PEER, secure=False), ours
        )
        self._reader, self._writer = await asyncio.open_connection(sock=theirs)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        await self._writer.wait_closed()
        await self._faces.close()

    async def ask(self, raw: bytes, body: bytes = b"") -> Answer:
        """Send a whole request, whose body may be given apart, and return its answer."""
        answer, length = await self._begin(raw, body)
        return replace(answer, body=await self._reader.readexactly(length))

    async def pass_by(self, raw: bytes) -> Answer:
        """Send a request and return its answer without the body, of which no more is in memory than one read."""
        answer, length = await self._begin(raw, b"")
        while length:
            length -= len(await self._reader.read(min(length, 64 << 10)))
        return answer

    async def _begin(self, raw: bytes, body: bytes) -> tuple[Answer, int]:
        """The answer's head, and how many bytes follow."""
        self._writer.write(raw)
        for start in range(0, len(body), 64 << 10):
            self._writer.write(body[start : start + (64 << 10)])
            await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        version, status, _ = status_line.split(" ", 2)
        headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
        silent = raw.startswith(b"HEAD ") or status in {"204", "304"}
        length = 0 if silent else int(dict(headers).get("content-length", "0"))
        return Answer(version, int(status), headers, b""), length
