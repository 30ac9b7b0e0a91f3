"""Pushes of manifests: one transaction checks and stores everything, or nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest

from moorage.errors import (
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    TooLarge,
    Unsupported,
)
from moorage.metadata.database import Database
from moorage.oci.digest import Digest
from moorage.oci.media_types import DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from moorage.oci.reference import Tag, parse_tag
from moorage.registry.gates import Gates, Limits
from moorage.registry.push import Pushed
from moorage.registry.validation import Validation
from tests.registry.house import ALICE, OTHER, REPOSITORY, House, descriptor, encode, image, index

CONFIG, LAYER = b"{}", b"layer"
IMAGE = image(CONFIG, LAYER)
V1, V2 = parse_tag("v1"), parse_tag("v2")


async def with_blobs(house: House, database: Database) -> None:
    """The image's blobs are in REPOSITORY."""
    for data in (CONFIG, LAYER):
        await house.put_blob(database, data)


async def push(
    house: House, database: Database, document: dict[str, Any], reference: Tag | Digest = V1, *more: Tag
) -> Pushed:
    """Push to REPOSITORY."""
    content_type = document.get("mediaType", OCI_MANIFEST)
    return await house.push(database).manifest(REPOSITORY, reference, content_type, encode(document), more, ALICE)


async def tags(house: House, database: Database) -> list[str]:
    """The tags of REPOSITORY."""
    return (await house.browse(database).tags(REPOSITORY, after="", count=100)).names


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_pushed_by_digest_it_is_known_by_that_digest(algorithm: str, house: House) -> None:
    """Its tags lead to it, in the same algorithm."""
    digest = Digest.of(encode(IMAGE), algorithm)

    async def scenario(database: Database) -> None:
        await with_blobs(house, database)
        assert await push(house, database, IMAGE, digest, V1, V2) == Pushed(digest, None)
        for reference in (digest, V1, V2):
            found = await house.pull(database).manifest(REPOSITORY, reference, body=True)
            assert (found.digest, found.media_type, found.body) == (digest, OCI_MANIFEST, encode(IMAGE))

    house.run(scenario)


def test_pushed_by_tag_it_is_known_by_its_sha256(house: House) -> None:
    """The canonical digest."""

    async def scenario(database: Database) -> None:
        await with_blobs(house, database)
        assert await push(house, database, IMAGE) == Pushed(Digest.of(encode(IMAGE)), None)

    house.run(scenario)


def test_a_large_manifest_is_read_in_a_thread_with_the_same_result(house: House) -> None:
    """Also its errors come out as they are."""
    large = index(annotations={"filler": "x" * 300_000})
    broken = index(annotations={"filler": 1, "more": "x" * 300_000})

    async def scenario(database: Database) -> None:
        assert (await push(house, database, large)).digest == Digest.of(encode(large))
        with pytest.raises(ManifestInvalid):
            await push(house, database, broken)
        with pytest.raises(DigestInvalid):
            await push(house, database, large, Digest.of(b"other"))

    house.run(scenario)


Case = tuple[dict[str, Any], type[Exception]]
REFUSED: dict[str, Case] = {
    "no config": (image(b"absent", LAYER), ManifestBlobUnknown),
    "no layer": (image(CONFIG, b"absent"), ManifestBlobUnknown),
    "a config of another size": ({**IMAGE, "config": descriptor(CONFIG, OCI_CONFIG, size=3)}, ManifestInvalid),
    "a layer of another size": ({**IMAGE, "layers": [descriptor(LAYER, size=4)]}, ManifestInvalid),
    "no child": (index(descriptor(b"absent", OCI_MANIFEST)), ManifestBlobUnknown),
    "a child of another size": (index(descriptor(LAYER, OCI_MANIFEST, size=6)), ManifestInvalid),
    "a URL of a file": (
        {**IMAGE, "layers": [descriptor(LAYER, urls=["file:///etc/passwd"])]},
        ManifestInvalid,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_nothing(case: str, house: House) -> None:
    """No manifest, no tag, no repository, no work for the outbox."""
    document, error = REFUSED[case]

    async def scenario(database: Database) -> None:
        await with_blobs(house, database)
        with pytest.raises(error):
            await push(house, database, document, V1, V2)
        assert await tags(house, database) == []
        with pytest.raises(ManifestUnknown):
            await house.pull(database).manifest(REPOSITORY, Digest.of(encode(document)), body=False)
        with pytest.raises((ManifestInvalid, ManifestBlobUnknown)):
            await house.push(database).manifest(OTHER, V1, document["mediaType"], encode(document), (), ALICE)
        with pytest.raises(NameUnknown):
            await house.browse(database).tags(OTHER, after="", count=1)

    house.run(scenario)


def test_missing_content_is_named(house: House) -> None:
    """The first that is missing, by its digest."""

    async def scenario(database: Database) -> object:
        await house.put_blob(database, CONFIG)
        with pytest.raises(ManifestBlobUnknown) as refused:
            await push(house, database, IMAGE)
        return refused.value.detail

    assert house.run(scenario) == {"digest": str(Digest.of(LAYER))}


def test_a_child_may_be_a_manifest_or_a_blob(house: House) -> None:
    """BuildKit's cache indexes list layers."""

    async def scenario(database: Database) -> None:
        await with_blobs(house, database)
        await push(house, database, IMAGE)
        body = encode(IMAGE)
        both = index(descriptor(body, OCI_MANIFEST), descriptor(LAYER))
        await push(house, database, both, V2)
        assert await tags(house, database) == ["v1", "v2"]

    house.run(scenario)


def test_a_sparse_registry_checks_what_is_there(house: House) -> None:
    """What is missing may be missing; what is there has its size."""
    house.validation = Validation(sparse=True)

    async def scenario(database: Database) -> None:
        await house.put_blob(database, CONFIG)
        await push(house, database, IMAGE)
        await push(house, database, index(descriptor(b"absent", OCI_MANIFEST)), V2)
        with pytest.raises(ManifestInvalid, match="has 3 bytes; it has 2"):
            await push(house, database, {**IMAGE, "config": descriptor(CONFIG, OCI_CONFIG, size=3)}, V2)

    house.run(scenario)


def test_a_tag_moves_and_what_it_named_stays(house: House) -> None:
    """By digest it is pulled as before."""

    async def scenario(database: Database) -> None:
        first, second = index(annotations={"n": "1"}), index(annotations={"n": "2"})
        for document in (first, second):
            await push(house, database, document)
        pull = house.pull(database)
        assert (await pull.manifest(REPOSITORY, V1, body=True)).body == encode(second)
        assert (await pull.manifest(REPOSITORY, Digest.of(encode(first)), body=True)).body == encode(first)

    house.run(scenario)


def test_the_same_bytes_have_one_media_type(house: House) -> None:
    """In one repository; another one may have them as the other (CVE-2021-41190)."""
    document = {key: value for key, value in IMAGE.items() if key != "mediaType"}
    body = encode(document)

    async def scenario(database: Database) -> None:
        await with_blobs(house, database)
        pushes = house.push(database)
        await pushes.manifest(REPOSITORY, V1, OCI_MANIFEST, body, (), ALICE)
        with pytest.raises(ManifestInvalid, match="is here already, as application/vnd"):
            await pushes.manifest(REPOSITORY, V2, DOCKER_MANIFEST, body, (), ALICE)
        assert await tags(house, database) == ["v1"]
        for data in (CONFIG, LAYER):
            await house.put_blob(database, data, OTHER)
        await pushes.manifest(OTHER, V1, DOCKER_MANIFEST, body, (), ALICE)

    house.run(scenario)


def test_a_manifest_has_a_largest_size(house: House) -> None:
    """TooLarge beyond it, before anything is read."""
    house.limits = Limits(manifest_bytes=len(encode(index())))

    async def scenario(database: Database) -> None:
        await push(house, database, index())
        with pytest.raises(TooLarge):
            await push(house, database, index(a=1))

    house.run(scenario)


def test_a_read_only_registry_takes_no_manifest(house: House) -> None:
    """Not even one that is wrong: the answer is the same."""
    house.gates = Gates(read_only=True)

    async def scenario(database: Database) -> None:
        for document in (index(), {"mediaType": OCI_INDEX}):
            with pytest.raises(Unsupported):
                await push(house, database, document)

    house.run(scenario)


REFERRERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        image(CONFIG, annotations={"a": "ü"}, artifactType="text/plain"),
        {"artifactType": "text/plain", "annotations": {"a": "ü"}},
    ),
    (image(CONFIG), {"artifactType": OCI_CONFIG}),
    (index(), {}),
    (index(artifactType="text/plain", annotations={}), {"artifactType": "text/plain"}),
]


@pytest.mark.parametrize(("document", "more"), REFERRERS)
def test_a_manifest_with_a_subject_is_listed_as_its_referrer(
    document: dict[str, Any], more: dict[str, Any], house: House
) -> None:
    """By its descriptor, whether the subject is there or not; pushed twice it is listed once."""
    subject = Digest.of(b"pushed later, or never")
    body = {**document, "subject": {**descriptor(b"x", OCI_MANIFEST), "digest": str(subject)}}

    async def scenario(database: Database) -> list[Any]:
        await house.put_blob(database, CONFIG)
        for tag in (V1, V2):
            assert (await push(house, database, body, tag)).subject == subject
        found = await house.browse(database).referrers(REPOSITORY, subject, artifact_type=None, after=None, count=10)
        return [json.loads(entry) for entry in found.descriptors]

    assert house.run(scenario) == [descriptor(encode(body), document["mediaType"], **more)]


# Deletes.

Deleting = Callable[[House, Database], Awaitable[None]]
DELETES: dict[str, Deleting] = {
    "tag": lambda house, database: house.delete(database).tag(REPOSITORY, V1, ALICE),
    "manifest": lambda house, database: house.delete(database).manifest(REPOSITORY, Digest.of(encode(IMAGE)), ALICE),
    "blob": lambda house, database: house.delete(database).blob(REPOSITORY, Digest.of(LAYER)),
}


@pytest.mark.parametrize("kind", DELETES)
@pytest.mark.parametrize("gates", [Gates(delete_enabled=False), Gates(read_only=True)], ids=["no deletes", "read-only"])
def test_where_nothing_may_be_deleted_nothing_is(kind: str, gates: Gates, house: House) -> None:
    """Unsupported, by tag as well, whether it is there or not (CVE-2026-41888)."""

    async def scenario(database: Database) -> None:
        await with_blobs(house, database)
        await push(house, database, IMAGE)
        house.gates = gates
        with pytest.raises(Unsupported):
            await DELETES[kind](house, database)
        with pytest.raises(Unsupported):
            await house.delete(database).tag(OTHER, V1, ALICE)
        assert (await house.pull(database).manifest(REPOSITORY, V1, body=True)).body == encode(IMAGE)
        assert await house.read(database, Digest.of(LAYER)) == LAYER

    house.run(scenario)


def test_what_a_tag_named_is_remembered(house: House) -> None:
    """Pushes and deletes of a tag, each with who did it."""

    async def scenario(database: Database) -> None:
        for number in ("1", "2"):
            await push(house, database, index(annotations={"n": number}))
        await house.delete(database).tag(REPOSITORY, V1, "users:bob")
        await push(house, database, index(annotations={"n": "1"}))
        await house.delete(database).manifest(REPOSITORY, Digest.of(encode(index(annotations={"n": "1"}))), "users:eve")

    house.run(scenario)
    assert history(house) == [
        (Digest.of(encode(index(annotations={"n": "1"}))).key, ALICE),
        (Digest.of(encode(index(annotations={"n": "2"}))).key, ALICE),
        (None, "users:bob"),
        (Digest.of(encode(index(annotations={"n": "1"}))).key, ALICE),
        (None, "users:eve"),
    ]


def history(house: House) -> list[tuple[bytes | None, str]]:
    """What is remembered of all tags."""
    with closing(sqlite3.connect(house.data / "moorage" / "moorage.db")) as connection:
        return connection.execute("SELECT digest, principal FROM tag_history ORDER BY id").fetchall()
