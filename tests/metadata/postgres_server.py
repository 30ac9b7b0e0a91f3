"""A real PostgreSQL server in a temporary folder, on a Unix socket alone."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import asyncpg

from tests.programs import need

# An administrator's server has a locale; with one that sorts like a dictionary, a forgotten collation shows.
_INITDB = (
    *("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"),
    *("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"),
)
# Nothing here must outlive the machine; deadlocks are found as soon as they are there.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "max_connections": "40",
    "shared_buffers": "16MB",
    "deadlock_timeout": "20ms",
}


class PostgresServer:
    """Started by the constructor; `remove` stops it and deletes what it wrote."""

    def __init__(self) -> None:
        need("initdb")  # before the user that its package makes is asked for
        self._folder = Path(tempfile.mkdtemp(prefix="moorage-pg-", dir="/tmp"))
        self._numbers = itertools.count()
        # The server refuses to run as root.
        self._prefix = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups") if not os.geteuid() else ()
        if self._prefix:
            shutil.chown(self._folder, "postgres", "postgres")
        try:
            self._run("initdb", *_INITDB)
            self.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    def start(self) -> None:
        """Return when the server takes connections."""
        settings = " ".join(f"-c {name}='{value}'" for name, value in _SETTINGS.items())
        options = f"{settings} -c unix_socket_directories='{self._folder}'"
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self._folder / 'log'}", f"--options={options}")

    def stop(self) -> None:
        """End the server as a crash does, with every connection."""
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode=immediate")

    def remove(self) -> None:
        """Stop the server and delete its folder."""
        self.stop()
        shutil.rmtree(self._folder)

    def url(self, database: str, user: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://{user}@/{database}?host={self._folder}"

    def create(self, template: str = "template1") -> str:
        """The name of a new database, a copy of *template*."""
        name = f"moorage_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as an administrator would."""

        async def run() -> None:
            connection = await asyncpg.connect(self.url(database))
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix, need(program), f"--pgdata={self._folder / 'data'}", *arguments]
        # Not a pipe: the server would keep its other end open.
        log = self._folder / "commands.log"
        with log.open("ab") as file:
            done = subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False, timeout=60
            )
        assert done.returncode == 0, log.read_text()
