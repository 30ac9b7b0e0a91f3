from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import select

from moorage.metadata import manifests, repositories, tags
from moorage.metadata.database import Database, Reader, Statement
from moorage.metadata.manifests import NewManifest, StoredManifest
from moorage.metadata.schema import manifest_references
from moorage.oci.digest import Digest
from moorage.oci.name import parse_name
from moorage.oci.reference import parse_tag
from tests.metadata.homes import Home

MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
NAME = parse_name("team/app")
LATEST = parse_tag("latest")
SUBJECT = Digest.of(b"subject")
REFERENCES = Statement(lambda insert: select(manifest_references.c.digest).order_by(manifest_references.c.digest))


def _manifest(body: bytes, *, references: Sequence[Digest] = (), media_type: str = MEDIA_TYPE) -> NewManifest:
    return NewManifest(Digest.of(body), media_type, body, None, None, None, references)


def _referrer(number: int, artifact_type: str | None = None, subject: Digest = SUBJECT) -> NewManifest:
    body = f"referrer {number}".encode()
    return NewManifest(Digest.of(body), MEDIA_TYPE, body, artifact_type, subject, b"descriptor of " + body, ())


async def _push(database: Database, manifest: NewManifest, *, tag: str | None = None, name: str = NAME) -> int:
    async def work(transaction: Reader) -> int:
        repository_id = await repositories.ensure(transaction, parse_name(name), 1)
        manifest_id, _ = await manifests.add(transaction, repository_id, manifest, 1)
        if tag is not None:
            await tags.set_tag(transaction, repository_id, parse_tag(tag), manifest_id, manifest.digest, "me", 1)
        return manifest_id

    return await database.write(work)


async def _delete(database: Database, manifest: NewManifest) -> None:
    async def work(transaction: Reader) -> None:
        found = await manifests.find(transaction, await repositories.ensure(transaction, NAME, 1), manifest.digest)
        if found is not None:
            await tags.remove_all(transaction, found[0], "me", 1)
            await manifests.remove(transaction, found[0])

    await database.write(work)


@pytest.mark.parametrize("body", [b"{}", bytes(range(256)) * 6, b"x" * 4 * 2**20], ids=["small", "bytes", "4 MiB"])
def test_a_manifest_reads_back_byte_for_byte(home: Home, body: bytes) -> None:
    """By tag and by digest the same bytes, media type and size come back, and `stat` tells all but the bytes."""
    manifest = _manifest(body)

    async def scenario(database: Database) -> list[StoredManifest | None]:
        await _push(database, manifest, tag="latest")
        asked = [
            (ask, reference) for ask in (manifests.pull, manifests.stat) for reference in (LATEST, manifest.digest)
        ]
        return [await ask(database, NAME, reference) for ask, reference in asked]

    by_tag, by_digest, *facts = home.run(scenario)

    assert by_tag == by_digest == StoredManifest(manifest.digest, MEDIA_TYPE, len(body), body)
    assert facts == [StoredManifest(manifest.digest, MEDIA_TYPE, len(body), None)] * 2


@pytest.mark.parametrize("ask", [manifests.pull, manifests.stat])
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("team/app", parse_tag("Latest")),
        ("team/app", parse_tag("late")),
        ("team/other", LATEST),
        ("team/nobody", LATEST),
        ("team/app", Digest.of(b"unknown")),
        ("team/other", Digest.of(b"{}")),
        ("team/app", Digest.of(b"{}", "sha512")),
    ],
)
def test_what_was_not_pushed_there_is_not_found(home: Home, ask: type, name: str, reference: str | Digest) -> None:
    """Another tag, digest or repository has nothing, also where the same manifest exists elsewhere."""

    async def scenario(database: Database) -> object:
        await _push(database, _manifest(b"{}"), tag="latest")
        await _push(database, _manifest(b"[]"), tag="edge", name="team/other")
        return await ask(database, parse_name(name), reference)

    assert home.run(scenario) is None


def test_a_tag_names_what_was_pushed_last(home: Home) -> None:
    """A tag moves at once, for every object, and the manifest it named stays."""
    one, other = _manifest(b"one"), _manifest(b"other")

    async def scenario(databases: list[Database]) -> list[bytes | None]:
        bodies = []
        for manifest in (one, other, one):
            await _push(databases[0], manifest, tag="latest")
            found = await manifests.pull(databases[1], NAME, LATEST)
            bodies.append(found and found.body)
        kept = await manifests.pull(databases[1], NAME, other.digest)
        return [*bodies, kept and kept.body]

    assert home.run_many(2, scenario) == [b"one", b"other", b"one", b"other"]


def test_the_same_manifest_again_is_the_one_that_is_there(home: Home) -> None:
    """A second push gives the first's id and media type, also under another media type."""

    async def scenario(database: Database) -> tuple[list[tuple[int, str]], tuple[int, str, int] | None]:
        async def add(media_type: str) -> tuple[int, str]:
            async def work(transaction: Reader) -> tuple[int, str]:
                repository_id = await repositories.ensure(transaction, NAME, 1)
                return await manifests.add(transaction, repository_id, _manifest(b"{}", media_type=media_type), 1)

            return await database.write(work)

        added = [await add(MEDIA_TYPE), await add("application/other")]
        return added, await manifests.find(database, await repositories.find(database, NAME) or 0, Digest.of(b"{}"))

    added, found = home.run(scenario)

    assert added[0] == added[1]
    assert found == (added[0][0], MEDIA_TYPE, 2)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
def test_every_reference_is_kept_once(home: Home, count: int) -> None:
    """What a manifest names is stored, however much it is, and twice is once."""
    references = [Digest.of(str(number).encode(), ("sha256", "sha512")[number % 2]) for number in range(count)]

    async def scenario(database: Database) -> list[bytes]:
        await _push(database, _manifest(b"{}", references=[*references, *references]))
        return [row[0] for row in await database.rows(REFERENCES, {})]

    assert home.run(scenario) == sorted(digest.key for digest in references)


def test_a_removed_manifest_is_gone_with_all_it_named(home: Home) -> None:
    """After a removal neither the manifest nor its references are there, others are, and it can be pushed again."""
    gone, kept = _manifest(b"gone", references=[SUBJECT]), _manifest(b"kept", references=[SUBJECT])

    async def scenario(database: Database) -> list[object]:
        for manifest in (gone, kept):
            await _push(database, manifest, tag=manifest.body.decode())
        await _delete(database, gone)
        left = await database.rows(REFERENCES, {})
        found = [await manifests.stat(database, NAME, parse_tag(tag)) is not None for tag in ("gone", "kept")]
        await _push(database, gone, tag="gone")
        return [len(left), *found, await manifests.stat(database, NAME, parse_tag("gone")) is not None]

    assert home.run(scenario) == [1, False, True, True]


def test_pushes_and_deletions_at_once_leave_no_dangling_tag(home: Home) -> None:
    """Whatever order pushes and deletions of one manifest end in, all succeed, and a tag that is there names it."""
    manifest = _manifest(b"{}", references=[SUBJECT])

    async def scenario(databases: list[Database]) -> tuple[list[str], list[bool]]:
        work = [
            _push(databases[number % 2], manifest, tag=f"tag{number}")
            if number % 3
            else _delete(databases[1], manifest)
            for number in range(30)
        ]
        await asyncio.gather(*work)
        names = await tags.page(databases[0], await repositories.find(databases[0], NAME) or 0, after="", count=100)
        return names, [await manifests.pull(databases[0], NAME, name) is not None for name in names]

    _, found = home.run_many(2, scenario)

    assert all(found)


def test_referrers_are_those_of_the_subject_in_digest_order(home: Home) -> None:
    """Referrers come with their descriptors in the order of digests; other subjects' and repositories' do not."""
    mine = [_referrer(number) for number in range(6)]

    async def scenario(database: Database) -> list[list[tuple[Digest, bytes]]]:
        for manifest in (*mine, _referrer(10, subject=Digest.of(b"another")), _manifest(b"none")):
            await _push(database, manifest)
        await _push(database, _referrer(11), name="team/other")
        names = (NAME, parse_name("team/nobody"))
        return [
            await manifests.referrers(database, name, SUBJECT, artifact_type=None, after=None, count=100)
            for name in names
        ]

    here, nowhere = home.run(scenario)

    in_order = sorted(mine, key=lambda manifest: manifest.digest.key)
    assert here == [(manifest.digest, manifest.referrer) for manifest in in_order]
    assert nowhere == []


@pytest.mark.parametrize("artifact_type", ["application/a", "application/b", "application/none", "Application/A"])
def test_referrers_are_filtered_by_artifact_type(home: Home, artifact_type: str) -> None:
    """A filter keeps the referrers of exactly that type."""
    types = {number: ("application/a", "application/b", None)[number % 3] for number in range(9)}

    async def scenario(database: Database) -> list[tuple[Digest, bytes]]:
        for number, kind in types.items():
            await _push(database, _referrer(number, kind))
        return await manifests.referrers(database, NAME, SUBJECT, artifact_type=artifact_type, after=None, count=100)

    found = home.run(scenario)

    expected = {_referrer(number).digest for number, kind in types.items() if kind == artifact_type}
    assert {digest for digest, _ in found} == expected


@pytest.mark.parametrize("artifact_type", [None, "application/a"])
@pytest.mark.parametrize("count", [1, 3, 100])
def test_pages_go_through_all_referrers(home: Home, artifact_type: str | None, count: int) -> None:
    """Each page begins after the last digest of the one before; together they are every referrer once."""
    mine = [_referrer(number, "application/a") for number in range(7)]

    async def scenario(database: Database) -> list[Digest]:
        for manifest in mine:
            await _push(database, manifest)
        seen: list[Digest] = []
        while page := await manifests.referrers(
            database, NAME, SUBJECT, artifact_type=artifact_type, after=seen[-1] if seen else None, count=count
        ):
            assert len(page) <= count
            seen += [digest for digest, _ in page]
        return seen

    assert home.run(scenario) == sorted((manifest.digest for manifest in mine), key=lambda digest: digest.key)
