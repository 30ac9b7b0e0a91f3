"""What only a server can do wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from sqlalchemy import text

from moorage.errors import StorageFull, Unavailable
from moorage.metadata import manifests, outbox, repositories, tags
from moorage.metadata.database import Reader, Statement
from moorage.metadata.manifests import NewManifest
from moorage.metadata.outbox import Kind
from moorage.metadata.postgres import PostgresDatabase
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName, parse_name
from moorage.oci.reference import parse_tag
from tests.metadata.homes import Home
from tests.metadata.postgres_server import PostgresServer

T = TypeVar("T")
NAME = parse_name("team/app")
MANIFEST = NewManifest(Digest.of(b"{}"), "application/json", b"{}", None, None, None, [])


def _statement(sql: str) -> Statement:
    return Statement(lambda insert: text(sql))


def _run(url: str | None, scenario: Callable[[PostgresDatabase], Awaitable[T]], connections: int = 8) -> T:
    async def main() -> T:
        database = PostgresDatabase(str(url), connections=connections)
        try:
            return await scenario(database)
        finally:
            await database.close()

    return asyncio.run(main())


def _raising(state: str, times: int) -> tuple[str, ...]:
    """What makes inserts into the outbox raise *state* so often; a sequence counts on where a transaction does not."""
    body = f"IF nextval('attempts') <= {times} THEN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END IF; RETURN NEW;"
    return (
        "CREATE SEQUENCE attempts",
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION refuse()",
    )


async def _note(database: PostgresDatabase) -> None:
    await database.write(lambda transaction: outbox.note(transaction, Kind.LAYER, "app", b"key"))


def _database_name(home: Home) -> str:
    return str(home.url).rpartition("?")[0].rpartition("/")[2]


def test_a_server_that_went_away_is_used_again_when_it_is_back(postgres: PostgresServer, postgres_home: Home) -> None:
    """While the server is down reads and writes raise Unavailable; the same object works after its restart."""

    async def scenario(database: PostgresDatabase) -> list[int | None]:
        await database.write(lambda transaction: repositories.ensure(transaction, NAME, 1))
        await asyncio.to_thread(postgres.stop)
        try:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await repositories.find(database, NAME)
                with pytest.raises(Unavailable):
                    await _note(database)
        finally:
            await asyncio.to_thread(postgres.start)
        await _note(database)
        return [await repositories.find(database, NAME)]

    assert _run(postgres_home.url, scenario) == [1]


def test_connections_that_the_server_ended_are_not_used(postgres: PostgresServer, postgres_home: Home) -> None:
    """After an administrator ended every idle connection, what comes next uses new ones and fails nowhere."""
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{_database_name(postgres_home)}'"

    async def scenario(database: PostgresDatabase) -> int:
        await asyncio.gather(*(_note(database) for _ in range(8)))
        await asyncio.to_thread(postgres.execute, end)
        await asyncio.sleep(0.1)  # the server closes a connection a moment after it said so
        await asyncio.gather(*(_note(database) for _ in range(8)))
        return len(await outbox.next_changes(database, 100))

    assert _run(postgres_home.url, scenario) == 16


def test_too_many_connections_are_unavailable_until_there_are_fewer(
    postgres: PostgresServer, postgres_home: Home
) -> None:
    """Where the server takes no more connections, Unavailable is raised, and nothing has to be restarted."""
    name = _database_name(postgres_home)
    postgres.execute(f"CREATE ROLE {name} LOGIN SUPERUSER", f"ALTER DATABASE {name} CONNECTION LIMIT 1")
    postgres.execute(
        f"ALTER ROLE {name} NOSUPERUSER", f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}", database=name
    )
    url = postgres.url(name, user=name)

    async def scenario(database: PostgresDatabase) -> int | None:
        other = PostgresDatabase(url)
        await repositories.find(other, NAME)
        with pytest.raises(Unavailable):
            await repositories.find(database, NAME)
        await other.close()
        for _ in range(100):  # the server takes a moment to forget a connection
            try:
                return await repositories.find(database, NAME)
            except Unavailable:
                await asyncio.sleep(0.02)
        raise AssertionError("the database stays unavailable")

    assert _run(url, scenario) is None


def test_there_are_never_more_connections_than_allowed(postgres_home: Home) -> None:
    """Many reads and writes at once share the connections there may be, and all are answered."""
    count = _statement("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")

    async def scenario(database: PostgresDatabase) -> list[int]:
        async def work(transaction: Reader) -> int:
            await outbox.note(transaction, Kind.LAYER, "app", b"key")
            return int((await transaction.rows(count, {}))[0][0])

        return await asyncio.gather(*(database.write(work) for _ in range(30)))

    assert max(_run(postgres_home.url, scenario, connections=3)) == 3


def test_a_server_whose_disk_is_full_is_said_to_be(postgres: PostgresServer, postgres_home: Home) -> None:
    """The server's "disk full" is StorageFull, keeps nothing, and passes."""
    postgres.execute(*_raising("53100", times=1), database=_database_name(postgres_home))

    async def scenario(database: PostgresDatabase) -> int:
        with pytest.raises(StorageFull):
            await _note(database)
        await _note(database)
        return len(await outbox.next_changes(database, 10))

    assert _run(postgres_home.url, scenario) == 1


@pytest.mark.parametrize("state", ["40001", "40P01"], ids=["serialization failure", "deadlock"])
def test_a_conflict_is_tried_again(postgres: PostgresServer, postgres_home: Home, state: str) -> None:
    """A transaction that the server gave up for another's sake is run again from its beginning."""
    postgres.execute(*_raising(state, times=3), database=_database_name(postgres_home))
    runs = []

    async def work(transaction: Reader) -> None:
        runs.append(1)
        await outbox.note(transaction, Kind.LAYER, "app", b"key")

    async def scenario(database: PostgresDatabase) -> int:
        await database.write(work)
        return len(await outbox.next_changes(database, 10))

    assert _run(postgres_home.url, scenario) == 1
    assert len(runs) == 4


def test_a_conflict_that_does_not_end_is_unavailable(postgres: PostgresServer, postgres_home: Home) -> None:
    """A transaction that always collides is given up after a few times."""
    postgres.execute(*_raising("40001", times=1000), database=_database_name(postgres_home))

    async def scenario(database: PostgresDatabase) -> None:
        with pytest.raises(Unavailable):
            await _note(database)

    _run(postgres_home.url, scenario)


def test_transactions_that_lock_each_other_out_both_end(postgres_home: Home) -> None:
    """Of two transactions that wait for each other's rows, the one that is given up is run again."""
    first, second = parse_name("first"), parse_name("second")
    touch = Statement(lambda insert: text("UPDATE repositories SET created_at = created_at + 1 WHERE id = :id"))

    async def make(database: PostgresDatabase, name: RepositoryName) -> int:
        return await database.write(lambda transaction: repositories.ensure(transaction, name, 0))

    async def scenario(database: PostgresDatabase) -> list[int]:
        ids = [await make(database, first), await make(database, second)]
        both_hold_one = asyncio.Barrier(2)

        async def change(order: list[int]) -> None:
            again = False

            async def work(transaction: Reader) -> None:
                nonlocal again
                await transaction.rows(touch, {"id": order[0]})
                if not again:
                    again = True
                    await both_hold_one.wait()
                await transaction.rows(touch, {"id": order[1]})

            await database.write(work)

        await asyncio.gather(change(ids), change(ids[::-1]))
        rows = await database.rows(_statement("SELECT created_at FROM repositories"), {})
        return [row[0] for row in rows]

    assert _run(postgres_home.url, scenario) == [2, 2]


def test_a_tag_on_a_manifest_that_is_deleted_meanwhile_is_pushed_anew(postgres_home: Home) -> None:
    """A push that found a manifest, whose deletion is then committed, stores the manifest again."""

    async def scenario(database: PostgresDatabase) -> bool:
        found, deleted = asyncio.Event(), asyncio.Event()

        async def push(transaction: Reader) -> None:
            repository_id = await repositories.ensure(transaction, NAME, 1)
            manifest_id, _ = await manifests.add(transaction, repository_id, MANIFEST, 1)
            found.set()
            await deleted.wait()
            await tags.set_tag(transaction, repository_id, parse_tag("latest"), manifest_id, MANIFEST.digest, "me", 1)

        async def store(transaction: Reader) -> int:
            return (await manifests.add(transaction, await repositories.ensure(transaction, NAME, 1), MANIFEST, 1))[0]

        manifest_id = await database.write(store)
        pushing = asyncio.create_task(database.write(push))
        await found.wait()
        await database.write(lambda transaction: manifests.remove(transaction, manifest_id))
        deleted.set()
        await pushing
        return await manifests.pull(database, NAME, "latest") is not None

    assert _run(postgres_home.url, scenario)


def test_the_same_row_by_transactions_that_overlap_is_one_row(postgres_home: Home) -> None:
    """A transaction that makes a row which another has made but not committed waits, and gets that row."""

    async def scenario(database: PostgresDatabase) -> list[int]:
        made, go_on = asyncio.Event(), asyncio.Event()

        async def slow(transaction: Reader) -> int:
            repository_id = await repositories.ensure(transaction, NAME, 1)
            made.set()
            await go_on.wait()
            return repository_id

        one = asyncio.create_task(database.write(slow))
        await made.wait()
        other = asyncio.create_task(database.write(lambda transaction: repositories.ensure(transaction, NAME, 2)))
        await asyncio.sleep(0.05)
        go_on.set()
        return [await one, await other]

    one, other = _run(postgres_home.url, scenario)

    assert one == other


def test_a_cancelled_transaction_gives_its_connection_back(postgres_home: Home) -> None:
    """A caller that is cancelled in the middle leaves nothing behind, and the only connection can be used again."""

    async def scenario(database: PostgresDatabase) -> int | None:
        begun = asyncio.Event()

        async def work(transaction: Reader) -> None:
            await repositories.ensure(transaction, NAME, 1)
            begun.set()
            await transaction.rows(_statement("SELECT pg_sleep(60)"), {})

        task = asyncio.create_task(database.write(work))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        await _note(database)
        return await repositories.find(database, NAME)

    assert _run(postgres_home.url, scenario, connections=1) is None


def test_a_transaction_cannot_pass_over_its_own_failure(postgres_home: Home) -> None:
    """Work that catches an error of the server's and goes on is not taken for committed."""

    async def scenario(database: PostgresDatabase) -> int | None:
        async def work(transaction: Reader) -> None:
            await repositories.ensure(transaction, NAME, 1)
            with pytest.raises(Exception, match="nowhere"):
                await transaction.rows(_statement("SELECT 1 FROM nowhere"), {})

        with pytest.raises(RuntimeError, match="failed"):
            await database.write(work)
        return await repositories.find(database, NAME)

    assert _run(postgres_home.url, scenario) is None


@pytest.mark.parametrize("change", ["/nobody_made_this?", "/postgres?port=1&"], ids=["no database", "no server"])
def test_a_client_is_not_told_where_the_server_is(postgres: PostgresServer, change: str) -> None:
    """What is raised for a request names no host, user or database."""
    url = postgres.url("postgres").replace("/postgres?", change)

    async def scenario(database: PostgresDatabase) -> Unavailable:
        with pytest.raises(Unavailable) as refused:
            await repositories.find(database, NAME)
        return refused.value

    error = _run(url, scenario)

    assert (error.message, error.detail) == ("the registry's database is unavailable", None)
