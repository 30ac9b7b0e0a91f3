from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from moorage.app import Application
from moorage.metadata import outbox
from moorage.metadata.database import Reader
from moorage.metadata.outbox import Kind
from moorage.metadata.sqlite import SqliteDatabase
from moorage.metadata.uploads import Upload
from moorage.oci.digest import Digest
from moorage.oci.name import parse_name
from moorage.oci.reference import parse_tag
from moorage.registry.check.blobs import Blobs
from moorage.registry.check.findings import (
    BlobDamaged,
    BytesUnclaimed,
    ContentMissing,
    DatabaseDamaged,
    FactsWrong,
    FilesUnnamed,
    Finding,
    LinksBehind,
    LinksUnknown,
    LinkWrong,
    ManifestDamaged,
    NameDamaged,
    Problem,
    RowsWithoutParent,
    SessionLost,
    TagStray,
    TreeEmpty,
)
from moorage.registry.check.part import Counts, NoProgress, Subject
from moorage.registry.check.volume import VolumeCheck
from moorage.registry.validation import Validation
from moorage.storage.filesystem import FilesystemBlobStore
from moorage.storage.links import ClassicLinks
from tests.content import noise
from tests.metadata.postgres_server import PostgresServer
from tests.volumes import (
    CONFIG,
    DEMO,
    IMAGE,
    IMAGE_DIGEST,
    LAYER,
    MULTI,
    OTHER,
    OTHER_IMAGE,
    SHARED,
    SIGNATURE,
    Bytes,
    Volume,
    make_volume,
    push,
)

T = TypeVar("T")
F = TypeVar("F", bound=Finding)
Damage = Callable[[Volume], object]

STRANGER = noise(1000, 7)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a sound volume."""
    return make_volume(tmp_path_factory.mktemp("template") / "data").data


@pytest.fixture
def volume(template: Path, tmp_path: Path) -> Volume:
    """A sound volume."""
    shutil.copytree(template, tmp_path / "data")
    return Volume(tmp_path / "data")


def subject_of(application: Application, volume: Volume, validation: Validation | None = None) -> Subject:
    """What is checked, with nobody watching."""
    links = ClassicLinks(volume.tree)
    return Subject(
        application.database,
        application.store,
        links,
        validation or application.validation(),
        application.clock,
        NoProgress(),
        Counts(),
    )


def check(
    volume: Volume,
    *,
    repair: bool = False,
    fast: bool = False,
    served: bool = False,
    validation: Validation | None = None,
) -> list[Finding]:
    """What a check finds, after it has repaired what it can if it is to."""

    async def work(application: Application) -> list[Finding]:
        checked = VolumeCheck(subject_of(application, volume, validation), served=lambda: served, fast=fast)
        findings = await checked.find()
        if repair:
            await checked.repair(None if served else application.links().work_off)
        return findings

    return volume.run(work)


def only(findings: list[Finding], kind: type[F]) -> F:
    """The one finding there is, which is of that kind."""
    assert [type(finding) for finding in findings] == [kind]
    finding = findings[0]
    assert isinstance(finding, kind)
    return finding


def test_a_sound_volume_is_in_order(volume: Volume) -> None:
    """Nothing is found where nothing is wrong, and everything was looked at."""

    async def work(application: Application) -> tuple[list[Finding], Counts]:
        subject = subject_of(application, volume)
        return await VolumeCheck(subject, served=lambda: False).find(), subject.counts

    findings, counts = volume.run(work)

    assert findings == []
    blobs = (CONFIG, LAYER, SHARED, b"{}")
    assert counts == Counts(
        repositories=2, tags=4, manifests=4, blobs=4, read=sum(len(data) for data in blobs), links=4 + 2 + 3 + 1 + 3 + 1
    )


def flip(path: Path) -> None:
    """Change one bit in the middle of the file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        pytest.param(lambda volume: volume.blob(LAYER).unlink(), Problem.MISSING, id="gone"),
        pytest.param(lambda volume: shutil.rmtree(volume.blob(LAYER).parent), Problem.MISSING, id="folder gone"),
        pytest.param(lambda volume: os.truncate(volume.blob(LAYER), 299_999), Problem.SIZE, id="cut"),
        pytest.param(lambda volume: flip(volume.blob(LAYER)), Problem.CONTENT, id="one bit"),
    ],
)
def test_a_blob_without_its_bytes_is_named_with_all_who_lose_by_it(
    volume: Volume, damage: Damage, problem: Problem
) -> None:
    """A missing, short or changed blob is told with the images, the indexes above them, and their tags."""
    damage(volume)

    found = only(check(volume), BlobDamaged)

    assert (found.name, found.problem, found.harmless) == (str(Digest.of(LAYER)), problem, False)
    losers = {(loser.repository, loser.manifest): loser.tags for loser in found.losers}
    assert losers == {
        (DEMO, str(IMAGE_DIGEST)): ("1", "latest"),
        (DEMO, str(Digest.of(MULTI))): ("multi",),
    }


def test_a_lost_blob_is_asked_for_again_after_a_repair(volume: Volume) -> None:
    """Repair takes a lost blob out of its repositories, so that a client's next push sends it; then all is well."""
    volume.blob(SHARED).unlink()

    repaired = only(check(volume, repair=True), BlobDamaged)
    left = check(volume)

    async def push_again(application: Application) -> None:
        await push(application, DEMO, "1", SHARED, IMAGE)
        await push(application, OTHER, "1", SHARED, OTHER_IMAGE)
        await application.links().work_off()

    volume.run(push_again)
    assert (repaired.released, repaired.repaired) == (True, False)
    assert {(type(finding), finding.row.repository) for finding in left if isinstance(finding, ContentMissing)} == {
        (ContentMissing, DEMO),
        (ContentMissing, OTHER),
    }
    assert check(volume) == []


def test_a_lost_blob_that_nobody_needs_is_forgotten(volume: Volume) -> None:
    """Where no manifest names the blob, repair leaves nothing to do."""
    volume.run(lambda application: application.registry().uploads.push(DEMO, Digest.of(STRANGER), Bytes(STRANGER)))
    volume.blob(STRANGER).unlink()

    found = only([one for one in check(volume, repair=True) if not one.harmless], BlobDamaged)

    assert (found.losers, found.repaired) == ([], True)
    assert check(volume) == []


def test_fast_measures_and_does_not_read(volume: Volume) -> None:
    """A fast check sees a missing or short blob, and not a changed one."""
    flip(volume.blob(LAYER))
    os.truncate(volume.blob(SHARED), 10)

    found = only(check(volume, fast=True), BlobDamaged)

    assert found.name == str(Digest.of(SHARED))


def test_a_blob_that_cannot_be_read_now_keeps_its_rows(volume: Volume) -> None:
    """What may be the disk's passing trouble is told, and repair does not touch it."""
    path = volume.blob(LAYER)
    path.unlink()
    path.parent.rmdir()
    # Too many links to follow: what the system answers is neither "not there" nor bytes.
    path.parent.symlink_to(path.parent)

    found = only(check(volume, repair=True), BlobDamaged)

    assert (found.problem, found.released, found.repaired) == (Problem.UNREADABLE, False, False)
    assert volume.sql("SELECT count(*) FROM blobs WHERE digest = ?", Digest.of(LAYER).key) == [(1,)]


def test_a_push_that_comes_before_the_repair_keeps_the_blob(volume: Volume) -> None:
    """If the lost bytes are pushed anew between the last look and the repair's transaction, the rows stay."""
    volume.blob(LAYER).unlink()

    class PushedMeanwhile(SqliteDatabase):
        """Somebody else's push comes before every transaction."""

        async def write(self, work: Callable[[Reader], Awaitable[T]], *, durable: bool = True) -> T:
            store = FilesystemBlobStore(volume.tree, volume.data / "moorage" / "uploads")
            with store.stage("0" * 32, new=True) as staging:
                staging.write(LAYER)
                await store.commit(staging, Digest.of(LAYER))
            return await super().write(work, durable=durable)

    async def work(application: Application) -> BlobDamaged:
        folder = volume.data / "moorage"
        database = PushedMeanwhile(folder / "moorage.db", folder / "writer.lock")
        blobs = Blobs(replace(subject_of(application, volume), database=database), fast=False)
        found = only(await blobs.find(), BlobDamaged)
        await blobs.repair([found], None)
        await database.close()
        return found

    found = volume.run(work)

    assert (found.released, found.repaired) == (False, False)
    assert check(volume) == []


def test_a_folder_whose_disk_is_not_mounted_is_left_alone(volume: Volume) -> None:
    """Where not one blob file is there, that is all there is to say, and nothing is repaired."""
    before = list(volume.sql("SELECT * FROM repository_blobs"))
    shutil.rmtree(volume.tree)
    volume.tree.mkdir()

    found = only(check(volume, repair=True), TreeEmpty)

    assert (found.blobs, found.repaired) == (4, False)
    assert volume.sql("SELECT * FROM repository_blobs") == before
    assert volume.files() == {}


def of_manifest(digest: Digest) -> str:
    """The id of a manifest, in SQL."""
    return f"(SELECT id FROM manifests WHERE digest = x'{digest.key.hex()}')"


def of_blob(data: bytes) -> str:
    """The id of a blob, in SQL."""
    return f"(SELECT id FROM blobs WHERE digest = x'{Digest.of(data).key.hex()}')"


IN_OTHER = f"(SELECT id FROM repositories WHERE name = '{OTHER}')"
SIGNED = of_manifest(Digest.of(SIGNATURE))
PUSHED = of_manifest(IMAGE_DIGEST)


@pytest.mark.parametrize(
    ("statement", "columns"),
    [
        (f"UPDATE manifests SET media_type = 'text/plain' WHERE id = {PUSHED}", ("media_type",)),
        (f"UPDATE manifests SET size = size + 1 WHERE id = {of_manifest(Digest.of(OTHER_IMAGE))}", ("size",)),
        (f"UPDATE manifests SET artifact_type = NULL WHERE id = {SIGNED}", ("artifact_type",)),
        (f"UPDATE manifests SET subject = digest WHERE id = {SIGNED}", ("subject",)),
        (f"UPDATE manifests SET subject = NULL, referrer = NULL WHERE id = {SIGNED}", ("subject", "referrer")),
        (f"UPDATE manifests SET referrer = x'7b7d' WHERE id = {SIGNED}", ("referrer",)),
        (f"DELETE FROM manifest_references WHERE manifest_id = {PUSHED}", ("references",)),
        (f"INSERT INTO manifest_references SELECT {SIGNED}, digest FROM manifests", ("references",)),
    ],
)
def test_a_row_that_contradicts_its_manifest_is_written_anew(
    volume: Volume, statement: str, columns: tuple[str, ...]
) -> None:
    """Media type, size, artifact type, subject, referrers' descriptor and references follow from the body."""
    tables = ("manifests", "manifest_references")
    before = [volume.sql(f"SELECT * FROM {table}") for table in tables]
    volume.sql(statement)

    found = [one for one in check(volume, repair=True) if isinstance(one, FactsWrong)]

    assert [one.columns for one in found] == [columns]
    assert found[0].repaired
    assert [volume.sql(f"SELECT * FROM {table}") for table in tables] == before
    assert check(volume) == []


def test_a_spoilt_manifest_is_taken_from_the_link_tree(volume: Volume) -> None:
    """A body that is not what its digest says is replaced by the file that registry:2 would serve."""
    volume.sql(f"UPDATE manifests SET body = x'7b7d' WHERE id = {PUSHED}")

    found = only(check(volume), ManifestDamaged)
    repaired = only(check(volume, repair=True), ManifestDamaged)

    assert (found.tags, found.repaired, repaired.repaired) == (("1", "latest"), False, True)
    assert volume.sql(f"SELECT body FROM manifests WHERE id = {PUSHED}") == [(IMAGE,)]
    assert check(volume) == []


def test_a_manifest_that_is_spoilt_everywhere_is_named_with_its_tags(volume: Volume) -> None:
    """Without a good copy a manifest can only be pushed again."""
    volume.sql(f"UPDATE manifests SET body = x'7b7d', size = 2 WHERE id = {PUSHED}")
    volume.blob(IMAGE).unlink()

    findings = check(volume, repair=True)

    damaged = [one for one in findings if isinstance(one, ManifestDamaged)]
    assert [(one.name, one.tags, one.repaired) for one in damaged] == [
        (f"{DEMO}@{IMAGE_DIGEST}", ("1", "latest"), False)
    ]


def test_a_manifest_that_is_none_is_named(volume: Volume) -> None:
    """A body that has its digest and is no manifest all the same cannot be served."""
    body = b"no manifest"
    values = Digest.of(body).key, len(body), body
    volume.sql(f"UPDATE manifests SET digest = ?, size = ?, body = ? WHERE id = {SIGNED}", *values)

    damaged = [one for one in check(volume) if isinstance(one, ManifestDamaged)]

    assert [one.name for one in damaged] == [f"{DEMO}@{Digest.of(body)}"]
    assert not damaged[0].mendable


@pytest.mark.parametrize(
    ("statement", "names", "missing"),
    [
        (
            f"DELETE FROM repository_blobs WHERE repository_id = {IN_OTHER} AND blob_id = {of_blob(SHARED)}",
            OTHER_IMAGE,
            SHARED,
        ),
        (f"DELETE FROM manifests WHERE id = {PUSHED}", MULTI, IMAGE),
    ],
    ids=["layer", "child"],
)
def test_a_manifest_that_names_what_is_not_there_is_named(
    volume: Volume, statement: str, names: bytes, missing: bytes
) -> None:
    """Content that a push would have to bring must be in the repository; repair cannot know whether it was deleted."""
    volume.sql(statement)

    found = [one for one in check(volume, repair=True) if isinstance(one, ContentMissing)]

    assert [(one.name.partition("@")[2], one.digest) for one in found] == [(str(Digest.of(names)), Digest.of(missing))]
    assert not found[0].repaired


def test_sparse_content_is_allowed_where_a_push_may_be_sparse(volume: Volume) -> None:
    """What the registry accepts is no damage."""
    volume.sql("DELETE FROM repository_blobs")
    shutil.rmtree(volume.tree / "repositories" / OTHER / "_layers")
    shutil.rmtree(volume.tree / "repositories" / DEMO / "_layers")

    assert check(volume, validation=Validation(sparse=True)) == []
    assert {type(one) for one in check(volume)} == {ContentMissing}


def test_a_tag_of_another_repositorys_manifest_is_named(volume: Volume) -> None:
    """A tag leads to a manifest of its own repository."""
    volume.sql(f"UPDATE tags SET manifest_id = {PUSHED} WHERE repository_id = (SELECT max(id) FROM repositories)")

    found = [one for one in check(volume, repair=True) if isinstance(one, TagStray)]

    assert [(one.repository, one.tag, one.repaired) for one in found] == [(OTHER, "1", False)]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE repositories SET name = 'A/../b' WHERE id = 1", "UPDATE tags SET name = '../b' WHERE name = 'multi'"],
)
def test_a_name_that_none_can_have_is_named(volume: Volume, statement: str) -> None:
    """No name outside the grammar becomes a path, and it is told."""
    volume.sql(statement)

    damaged = [one for one in check(volume, repair=True) if isinstance(one, NameDamaged)]

    assert [one.repaired for one in damaged] == [False]
    assert {path.name for path in volume.data.iterdir()} == {"docker", "moorage"}


LINK_DAMAGES: dict[str, tuple[Damage, Kind]] = {
    "layer gone": (lambda volume: volume.link(DEMO, "_layers", LAYER).unlink(), Kind.LAYER),
    "layer's folder gone": (lambda volume: shutil.rmtree(volume.link(DEMO, "_layers", LAYER).parent), Kind.LAYER),
    "layer broken": (lambda volume: volume.link(DEMO, "_layers", LAYER).write_bytes(b"sha"), Kind.LAYER),
    "layer of another": (
        lambda volume: volume.link(DEMO, "_layers", LAYER).write_text(str(Digest.of(SHARED))),
        Kind.LAYER,
    ),
    "revision gone": (lambda volume: volume.link(DEMO, "_manifests/revisions", IMAGE).unlink(), Kind.REVISION),
    "manifest's file gone": (lambda volume: volume.blob(IMAGE).unlink(), Kind.REVISION),
    "manifest's file spoilt": (lambda volume: flip(volume.blob(IMAGE)), Kind.REVISION),
    "tag gone": (lambda volume: volume.tag(DEMO, "latest").unlink(), Kind.TAG),
    "tag's folder gone": (lambda volume: shutil.rmtree(volume.tag(DEMO, "latest").parent.parent), Kind.TAG),
    "tag to another": (lambda volume: volume.tag(DEMO, "latest").write_text(str(Digest.of(MULTI))), Kind.TAG),
}


@pytest.mark.parametrize(("damage", "kind"), LINK_DAMAGES.values(), ids=LINK_DAMAGES)
def test_a_link_that_contradicts_the_database_is_written_anew(volume: Volume, damage: Damage, kind: Kind) -> None:
    """Missing, broken and wrong link files are told, and repair leaves the tree as it was."""
    before = volume.files()
    damage(volume)

    found = only(check(volume, fast=True, repair=True), LinkWrong)

    assert (found.repository, found.kind, found.repaired) == (DEMO, kind, True)
    assert volume.files() == before


def test_a_lost_link_tree_is_written_anew(volume: Volume) -> None:
    """The database is enough to write all link files again."""
    before = volume.files()
    shutil.rmtree(volume.tree / "repositories")

    findings = check(volume, repair=True)

    assert {type(one) for one in findings} == {LinkWrong}
    assert all(one.repaired for one in findings)
    assert volume.files() == before


def test_what_the_outbox_asks_for_is_not_damage(volume: Volume) -> None:
    """Links that are only not written yet are told as that, and a repair without a server writes them."""
    before = volume.files()
    volume.run(lambda application: push(application, OTHER, "2", b"{}", SHARED, OTHER_IMAGE))
    volume.run(lambda application: application.registry().delete.tag(DEMO, parse_tag("latest"), "cli:test"))

    waiting = only(check(volume), LinksBehind)
    written = only(check(volume, repair=True), LinksBehind)

    assert (waiting.count, waiting.harmless, written.repaired) == (5, True, True)
    assert {name for name in volume.files() if name not in before} == {
        f"repositories/{OTHER}/_manifests/tags/2/{rest}/link"
        for rest in ("current", f"index/sha256/{Digest.of(OTHER_IMAGE).hex}")
    }
    assert check(volume) == []


def test_beside_a_server_links_are_left_to_it(volume: Volume) -> None:
    """A check beside a server writes no link file, but asks for it; the one who writes links does so."""
    volume.tag(DEMO, "latest").unlink()

    async def work(application: Application) -> list[Finding]:
        async def server() -> None:
            while True:
                await application.links().work_off()
                await asyncio.sleep(0.02)

        running = asyncio.create_task(server())
        checked = VolumeCheck(subject_of(application, volume), served=lambda: True)
        findings = await checked.find()
        await checked.repair(None)
        running.cancel()
        return findings

    found = only(volume.run(work), LinkWrong)

    assert found.repaired
    assert volume.tag(DEMO, "latest").read_text() == str(IMAGE_DIGEST)


def test_a_tag_whose_deletion_did_not_reach_the_tree_is_removed(volume: Volume) -> None:
    """A link of a tag that the database remembers to be deleted goes, and nothing beside it."""
    before = {name for name in volume.files() if "/tags/latest/" not in name}
    folder = volume.tag(DEMO, "latest").parent.parent
    shutil.copytree(folder, volume.data / "kept")
    volume.run(lambda application: application.registry().delete.tag(DEMO, parse_tag("latest"), "cli:test"))
    volume.run(lambda application: application.links().work_off())
    shutil.copytree(volume.data / "kept", folder)

    found = only(check(volume, repair=True), LinksUnknown)

    assert (found.tags, found.deleted, found.known, found.repaired) == (("latest",), ("latest",), True, True)
    assert set(volume.files()) == before


def test_what_only_the_tree_knows_is_never_touched(volume: Volume) -> None:
    """A repository that another registry left behind is told, and keeps its links and its bytes through a repair."""
    strange = parse_name("from/registry2")

    async def another_registry(application: Application) -> None:
        links = ClassicLinks(volume.tree)
        links.put_layer(strange, Digest.of(STRANGER))
        links.put_manifest_blob(Digest.of(b"{ }"), b"{ }")
        links.put_revision(strange, Digest.of(b"{ }"))
        links.put_tag(strange, parse_tag("old"), Digest.of(b"{ }"))
        links.put_manifest_blob(Digest.of(STRANGER), STRANGER)

    volume.run(another_registry)
    before = volume.files()

    findings = {type(one): one for one in check(volume, repair=True)}

    unknown, files = findings[LinksUnknown], findings[FilesUnnamed]
    assert isinstance(unknown, LinksUnknown)
    assert isinstance(files, FilesUnnamed)
    assert (unknown.repository, unknown.known, unknown.tags) == (strange, False, ("old",))
    assert (unknown.layers, unknown.revisions, unknown.repaired) == (1, 1, False)
    assert (len(files.files), files.size, files.kept, files.repaired) == (2, 1003, True, False)
    assert volume.files() == before


def put_file(volume: Volume, data: bytes) -> None:
    """A blob's file that no row names, as a crash before the row leaves it."""
    path = volume.blob(data)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


def test_files_that_no_row_names_go_while_no_server_runs(volume: Volume) -> None:
    """Garbage is harmless; repair removes it, but not beside a server, which may be about to write its row."""
    before = volume.files()
    put_file(volume, STRANGER)

    told = only(check(volume), FilesUnnamed)
    beside = only(check(volume, repair=True, served=True), FilesUnnamed)
    there = volume.files() != before
    alone = only(check(volume, repair=True), FilesUnnamed)

    assert (told.size, told.harmless, told.kept) == (1000, True, False)
    assert (beside.repaired, there, alone.repaired) == (False, True, True)
    assert volume.files() == before


def test_what_a_power_cut_leaves_of_uploads_is_removed(volume: Volume) -> None:
    """Sessions without their bytes and old bytes without their session are harmless, and go; others stay."""
    uploads = volume.data / "moorage" / "uploads"
    hour_ago = time.time() - 3600

    def staged(letter: str, touched: float) -> Path:
        path = uploads / (letter * 32)
        path.write_bytes(b"12345")
        os.utime(path, (touched, touched))
        return path

    orphan, fresh, good = staged("a", hour_ago), staged("b", time.time()), staged("c", hour_ago)
    for letter, offset in (("c", 5), ("d", 5), ("e", 0)):
        row = Upload(letter * 32, DEMO, "cli:test", "sha256", offset, None, "", 0, 0)
        volume.sql(f"INSERT INTO uploads ({','.join(Upload._fields)}) VALUES ({','.join('?' * len(row))})", *row)

    findings = check(volume, repair=True, served=True)

    assert {(type(one), one.harmless, one.repaired) for one in findings} == {
        (SessionLost, True, True),
        (BytesUnclaimed, True, True),
    }
    assert (orphan.exists(), fresh.exists(), good.exists()) == (False, True, True)
    assert volume.sql("SELECT id FROM uploads ORDER BY id") == [("c" * 32,), ("e" * 32,)]


def test_bytes_that_a_request_holds_are_not_unclaimed(volume: Volume) -> None:
    """A push in one request has no session; its bytes are in flight as long as it holds them."""

    async def work(application: Application) -> list[Finding]:
        with application.store.stage("f" * 32, new=True) as staging:
            staging.write(b"12345")
            os.utime(volume.data / "moorage" / "uploads" / ("f" * 32), (0, 0))
            return await VolumeCheck(subject_of(application, volume), served=lambda: True).find()

    assert volume.run(work) == []


@pytest.mark.parametrize(
    ("statement", "found", "mended"),
    [
        ("DELETE FROM blobs WHERE id = 1", ("repository_blobs", "blob_id", "blobs", 1), True),
        ("INSERT INTO tag_history VALUES (99, 99, 't', NULL, 0, 'p')", ("tag_history", "repository_id"), True),
        ("INSERT INTO manifest_references VALUES (99, x'01')", ("manifest_references", "manifest_id"), True),
        ("INSERT INTO tags VALUES (1, 'lost', 99, 0)", ("tags", "manifest_id", "manifests", 1), False),
    ],
)
def test_rows_that_lead_nowhere_are_told(
    volume: Volume, statement: str, found: tuple[object, ...], *, mended: bool
) -> None:
    """A foreign key that does not hold is told; where only a link is lost with the row, repair removes it."""
    volume.sql(statement)

    orphans = [one for one in check(volume, repair=True) if isinstance(one, RowsWithoutParent)]

    told = [(one.table, one.column, one.parent, one.rows)[: len(found)] for one in orphans]
    assert told == [found]
    assert orphans[0].repaired is mended
    assert [one for one in check(volume) if isinstance(one, RowsWithoutParent)] == ([] if mended else orphans)


def test_a_damaged_database_is_told_and_not_trusted(volume: Volume) -> None:
    """Where SQLite finds its own pages damaged nothing else is concluded from them, and nothing is repaired."""
    volume.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    path = volume.data / "moorage" / "moorage.db"
    data = bytearray(path.read_bytes())
    data[8192:] = os.urandom(len(data) - 8192)
    path.write_bytes(data)
    before = volume.files()

    findings = check(volume, repair=True)

    assert {type(one) for one in findings} == {DatabaseDamaged}
    assert volume.files() == before


def test_a_blob_row_that_makes_no_sense_is_told(volume: Volume) -> None:
    """A location that is no path of the store is never opened."""
    volume.sql("UPDATE blobs SET location = '../../moorage/moorage.db' WHERE digest = ?", Digest.of(LAYER).key)

    found = [one for one in check(volume, repair=True) if isinstance(one, BlobDamaged)]

    assert [(one.problem, one.detail, one.repaired, one.released) for one in found] == [
        (Problem.ROW, "../../moorage/moorage.db", False, False)
    ]


def test_a_link_is_asked_for_once(volume: Volume) -> None:
    """A link that the outbox asks for already is not noted as damage when it is missing too."""
    volume.link(DEMO, "_layers", LAYER).unlink()

    async def work(application: Application) -> None:
        key = Digest.of(LAYER).key
        await application.database.write(lambda reader: outbox.note(reader, Kind.LAYER, DEMO, key))

    volume.run(work)

    only(check(volume), LinksBehind)


def test_a_volume_on_postgres_is_checked_too(tmp_path: Path) -> None:
    """The same is found and repaired where the metadata are on a server."""
    server = PostgresServer()
    try:
        volume = make_volume(tmp_path / "data", server.url(server.create()))
        before = volume.files()
        sound = check(volume)
        volume.tag(DEMO, "latest").unlink()
        volume.blob(LAYER).unlink()
        put_file(volume, STRANGER)

        findings = check(volume, repair=True)
        left = check(volume)
    finally:
        server.remove()

    assert sound == []
    assert sorted((type(one).__name__, one.repaired) for one in findings) == [
        ("BlobDamaged", False),
        ("FilesUnnamed", True),
        ("LinkWrong", True),
    ]
    assert [type(one) for one in left] == [ContentMissing]
    link = str(volume.link(DEMO, "_layers", LAYER).relative_to(volume.tree))
    assert before.keys() - volume.files().keys() == {link, str(volume.blob(LAYER).relative_to(volume.tree))}
