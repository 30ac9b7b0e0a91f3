"""A process beside the tests'.

`processes.py URL DATA write NUMBER ROWS`, or `processes.py URL DATA fork open|closed`; an empty URL is SQLite.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from moorage.metadata import repositories
from moorage.metadata.database import Database
from moorage.metadata.open import open_database
from moorage.oci.name import parse_name


async def add(database: Database, name: str) -> None:
    """Make a repository and read it back."""
    await database.write(lambda transaction: repositories.ensure(transaction, parse_name(name), 1), durable=False)
    assert await repositories.find(database, parse_name(name)) is not None


async def write(database: Database, number: int, rows: int) -> None:
    """Write *rows* rows, ten at a time."""
    for start in range(0, rows, 10):
        await asyncio.gather(*(add(database, f"process{number}/row{row}") for row in range(start, start + 10)))
    await database.close()


async def once(database: Database, name: str) -> None:
    """Write a row and close."""
    await add(database, name)
    await database.close()


def fork(database: Database, state: str) -> None:
    """Use the database in this process and in a child of it."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(add(database, "parent"))
    if state == "closed":
        loop.run_until_complete(database.close())
    child = os.fork()
    if child == 0:
        os._exit(in_child(database, state))
    assert os.waitpid(child, 0)[1] == 0
    loop.run_until_complete(database.close())
    loop.close()


def in_child(database: Database, state: str) -> int:
    """0 if the child could use the database exactly when it was closed."""
    for use in (repositories.find(database, parse_name("parent")), add(database, "child")):
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(use)
            if state == "open":
                return 1
        except RuntimeError as error:
            if state == "closed" or "forked" not in str(error):
                return 2
        if state == "closed":
            loop.run_until_complete(database.close())
        loop.close()
    return 0


if __name__ == "__main__":
    url, data, command, *arguments = sys.argv[1:]
    opened = open_database(url or None, Path(data))
    if command == "fork":
        fork(opened, arguments[0])
    else:
        asyncio.run(write(opened, *(int(argument) for argument in arguments)))
