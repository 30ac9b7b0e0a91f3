"""What `Database` promises, on both engines."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Coroutine, Generator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select, text

from moorage.errors import ManifestUnknown
from moorage.metadata import outbox, repositories
from moorage.metadata.database import Database, Reader, Row, Statement
from moorage.metadata.outbox import Kind
from moorage.metadata.schema import repositories as repositories_table
from moorage.oci.name import RepositoryName, parse_name
from tests.metadata.homes import Home

NAME = parse_name("team/app")
ALL_NAMES = Statement(lambda insert: select(repositories_table.c.name).order_by(repositories_table.c.name))
NONSENSE = Statement(lambda insert: text("SELECT 1 FROM nowhere"))
DURABILITY = {
    "sqlite": Statement(lambda insert: text("PRAGMA synchronous")),
    "postgresql": Statement(lambda insert: text("SHOW synchronous_commit")),
}


def _name(number: int) -> RepositoryName:
    return parse_name(f"app{number:04}")


async def _add(database: Database, name: RepositoryName, *, durable: bool = True) -> int:
    return await database.write(lambda transaction: repositories.ensure(transaction, name, 1), durable=durable)


async def _names(reader: Reader) -> list[str]:
    return [row[0] for row in await reader.rows(ALL_NAMES, {})]


def test_a_write_is_seen_at_once_by_every_object(home: Home) -> None:
    """Whoever reads after a write has returned sees it, also through a connection that was open before."""

    async def scenario(databases: list[Database]) -> list[list[str]]:
        for database in databases:
            await _names(database)
        await _add(databases[0], NAME)
        return [await _names(database) for database in databases]

    seen = home.run_many(3, scenario)

    assert seen == [[NAME]] * 3


def test_a_change_is_seen_in_answers_that_were_read_before(home: Home) -> None:
    """The same question asked again after another object's write has the new answer."""

    async def scenario(databases: list[Database]) -> list[int | None]:
        one, other = databases
        seen = []
        for name in (NAME, parse_name("another")):
            seen.append(await repositories.find(one, NAME))
            await _add(other, name)
        return [*seen, await repositories.find(one, NAME)]

    first, second, third = home.run_many(2, scenario)

    assert first is None
    assert second is not None
    assert third == second


def test_rows_are_plain_values(home: Home) -> None:
    """Rows are tuples of int, str, bytes and None on both engines, not the driver's own kinds."""

    async def scenario(database: Database) -> Sequence[Row]:
        await database.write(lambda transaction: outbox.note(transaction, Kind.LAYER, "app", b"\x00\xff"))
        return await database.rows(Statement(lambda insert: text("SELECT kind, repository, key, NULL FROM outbox")), {})

    rows = home.run(scenario)

    assert rows == [(1, "app", b"\x00\xff", None)]
    assert [type(value) for value in rows[0]] == [int, str, bytes, type(None)]


def test_a_statement_without_rows_returns_none(home: Home) -> None:
    """What only writes returns an empty list."""

    async def scenario(database: Database) -> Sequence[Row]:
        async def work(transaction: Reader) -> Sequence[Row]:
            statement = Statement(lambda insert: insert(repositories_table).values(name="app", created_at=1))
            return await transaction.rows(statement, {})

        return await database.write(work)

    assert home.run(scenario) == []


def test_a_transaction_sees_its_own_writes(home: Home) -> None:
    """A statement inside a transaction sees what those before it wrote, while nobody else does."""

    async def scenario(database: Database) -> list[str]:
        async def work(transaction: Reader) -> list[str]:
            await repositories.ensure(transaction, NAME, 1)
            return await _names(transaction)

        return await database.write(work)

    assert home.run(scenario) == [NAME]


def test_an_error_undoes_the_transaction(home: Home) -> None:
    """What a transaction raises is raised to its caller, and nothing that it wrote stays."""

    async def scenario(database: Database) -> list[str]:
        async def work(transaction: Reader) -> None:
            await repositories.ensure(transaction, NAME, 1)
            raise ManifestUnknown

        with pytest.raises(ManifestUnknown):
            await database.write(work)
        return await _names(database)

    assert home.run(scenario) == []


def test_a_statement_that_is_wrong_undoes_the_transaction(home: Home) -> None:
    """An error of the engine's is raised, nothing stays, and the next transaction works."""

    async def scenario(database: Database) -> list[str]:
        async def work(transaction: Reader) -> None:
            await repositories.ensure(transaction, NAME, 1)
            await transaction.rows(NONSENSE, {})

        with pytest.raises(Exception, match="nowhere"):
            await database.write(work)
        await _add(database, parse_name("later"))
        return await _names(database)

    assert home.run(scenario) == ["later"]


def test_a_wrong_read_does_not_spoil_the_next(home: Home) -> None:
    """After a read that fails, reads and writes work."""

    async def scenario(database: Database) -> list[str]:
        with pytest.raises(Exception, match="nowhere"):
            await database.rows(NONSENSE, {})
        await _add(database, NAME)
        return await _names(database)

    assert home.run(scenario) == [NAME]


def test_one_failure_does_not_hurt_its_neighbours(home: Home) -> None:
    """Of many transactions at once, those that raise leave nothing, and all others are kept."""

    async def one(database: Database, number: int) -> None:
        async def work(transaction: Reader) -> None:
            await repositories.ensure(transaction, _name(number), 1)
            if number % 5 == 0:
                raise ManifestUnknown
            if number % 7 == 0:
                await transaction.rows(NONSENSE, {})

        await database.write(work)

    async def scenario(database: Database) -> tuple[list[bool], list[str]]:
        outcomes = await asyncio.gather(*(one(database, number) for number in range(40)), return_exceptions=True)
        return [outcome is None for outcome in outcomes], await _names(database)

    succeeded, names = home.run(scenario)

    kept = [number for number in range(40) if number % 5 and number % 7]
    assert succeeded == [number in kept for number in range(40)]
    assert names == [_name(number) for number in kept]


def test_results_go_to_their_own_callers(home: Home) -> None:
    """Each of many transactions at once gets its own result."""

    async def scenario(database: Database) -> tuple[list[int], list[int | None]]:
        made = await asyncio.gather(*(_add(database, _name(number)) for number in range(60)))
        return made, [await repositories.find(database, _name(number)) for number in range(60)]

    made, found = home.run(scenario)

    assert made == found
    assert len(set(made)) == 60


def test_the_same_new_row_by_many_at_once_is_one_row(home: Home) -> None:
    """Transactions that race to make the same row all get that row, whichever object they use."""

    async def scenario(databases: list[Database]) -> list[int]:
        return await asyncio.gather(*(_add(database, NAME) for database in databases * 8))

    assert len(set(home.run_many(3, scenario))) == 1


@pytest.mark.parametrize("durable", [True, False])
def test_durable_means_that_the_commit_waits_for_the_disk(home: Home, durable: bool) -> None:  # noqa: FBT001
    """Only a transaction that need not be durable is committed without waiting for the disk; the next is its own."""

    async def scenario(database: Database) -> list[object]:
        async def work(transaction: Reader) -> object:
            return (await transaction.rows(DURABILITY[home.engine], {}))[0][0]

        return [await database.write(work, durable=choice) for choice in (durable, not durable, durable)]

    full, relaxed = {"sqlite": (2, 1), "postgresql": ("on", "off")}[home.engine]
    expected = {True: full, False: relaxed}
    assert home.run(scenario) == [expected[durable], expected[not durable], expected[durable]]


def test_closing_finishes_what_is_queued(home: Home) -> None:
    """Every write that was begun before `close` is done and answered."""

    async def scenario(database: Database) -> list[int]:
        writes = [asyncio.create_task(_add(database, _name(number))) for number in range(30)]
        await asyncio.sleep(0)
        await database.close()
        return await asyncio.gather(*writes)

    home.run(scenario)

    assert len(home.run(_names)) == 30


def test_a_closed_database_opens_again(home: Home) -> None:
    """An object that was closed, once or twice, works as a new one does."""

    async def scenario(database: Database) -> list[str]:
        await _add(database, NAME)
        await database.close()
        await database.close()
        await _add(database, parse_name("later"))
        return await _names(database)

    assert home.run(scenario) == ["later", NAME]


def test_a_database_follows_its_process_to_another_loop(home: Home) -> None:
    """The same object serves one event loop after another, as commands use it."""
    database = home.open()

    async def once(name: RepositoryName) -> list[str]:
        await _add(database, name)
        names = await _names(database)
        await database.close()
        return names

    assert asyncio.run(once(NAME)) == [NAME]
    assert asyncio.run(once(parse_name("later"))) == ["later", NAME]


def test_an_object_made_before_a_fork_serves_the_child(home: Home) -> None:
    """A process may make the object, use it and close it, and its forked children use it then."""
    done = _run_script(home, "fork", "closed")

    assert done.returncode == 0, done.stderr
    assert home.run(_names) == ["child", "parent"]


def test_a_database_that_is_open_across_a_fork_says_so(home: Home) -> None:
    """A child that uses what its parent has open is stopped before it does harm."""
    done = _run_script(home, "fork", "open")

    assert done.returncode == 0, done.stderr
    assert home.run(_names) == ["parent"]


def test_processes_that_write_at_once_lose_nothing(home: Home) -> None:
    """Four processes write 500 rows each, every transaction in turn; each sees its own rows at once."""
    writers = [
        subprocess.Popen(_script(home, "write", str(number), "500"), stderr=subprocess.PIPE, text=True)
        for number in range(4)
    ]

    errors = [writer.communicate(timeout=120)[1] for writer in writers]

    assert [writer.returncode for writer in writers] == [0] * 4, errors
    assert len(home.run(_names)) == 2000


def test_a_handler_without_a_task_gets_one(home: Home) -> None:
    """A handler that is driven by hand to its first wait goes on in a task from there, or needs none."""

    async def scenario(database: Database) -> list[str]:
        await _add(database, NAME)
        return await _drive_by_hand(_names(database))

    assert home.run(scenario) == [NAME]


async def _drive_by_hand(handler: Coroutine[Any, None, list[str]]) -> list[str]:
    """Run a handler as the server does: without a task until it suspends for the first time."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[list[str]] = loop.create_future()

    class Rest:
        def __await__(self) -> Generator[Any, None, list[str]]:
            while True:
                try:
                    waits_for = handler.send(None)
                except StopIteration as done:
                    return cast("list[str]", done.value)
                yield waits_for

    async def go_on() -> None:
        outcome.set_result(await Rest())

    def start() -> None:
        assert asyncio.current_task() is None
        try:
            handler.send(None)
        except StopIteration as done:
            outcome.set_result(done.value)
        else:
            tasks.append(asyncio.create_task(go_on()))

    tasks: list[asyncio.Task[None]] = []
    loop.call_soon(start)
    return await asyncio.wait_for(outcome, 20)


def _script(home: Home, *arguments: str) -> list[str]:
    script = Path(__file__).with_name("processes.py")
    return [sys.executable, str(script), home.url or "", str(home.data), *arguments]


def _run_script(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_script(home, *arguments), check=False, capture_output=True, text=True, timeout=60)
