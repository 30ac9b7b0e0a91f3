"""The classic layout's link files: exact paths and bytes, what removing takes along, and reading back."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Unavailable
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName, parse_name
from moorage.oci.reference import Tag, parse_tag
from moorage.storage.filesystem import FilesystemBlobStore
from moorage.storage.links import ClassicLinks
from tests.storage.stores import push, read

REPOSITORY = parse_name("team/app")
LATEST = parse_tag("latest")
A, B = Digest.of(b"a"), Digest.of(b"b")
C = Digest.of(b"c", "sha512")


@pytest.fixture
def links(tmp_path: Path) -> ClassicLinks:
    """An empty tree."""
    return ClassicLinks(tmp_path)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below *folder* with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def folders(folder: Path) -> list[str]:
    """Every folder below *folder*."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir())


def test_written_tree(links: ClassicLinks, tmp_path: Path) -> None:
    """Every kind of link lies where the distribution registry writes it, byte for byte, and nothing else is left."""
    links.put_layer(REPOSITORY, A)
    links.put_layer(REPOSITORY, C)
    links.put_revision(REPOSITORY, B)
    links.put_tag(REPOSITORY, LATEST, B)
    links.put_manifest_blob(B, b"b")
    links.flush()

    base = "repositories/team/app"
    assert files(tmp_path) == {
        f"blobs/sha256/{B.hex[:2]}/{B.hex}/data": b"b",
        f"{base}/_layers/sha256/{A.hex}/link": f"sha256:{A.hex}".encode(),
        f"{base}/_layers/sha512/{C.hex}/link": f"sha512:{C.hex}".encode(),
        f"{base}/_manifests/revisions/sha256/{B.hex}/link": f"sha256:{B.hex}".encode(),
        f"{base}/_manifests/tags/latest/current/link": f"sha256:{B.hex}".encode(),
        f"{base}/_manifests/tags/latest/index/sha256/{B.hex}/link": f"sha256:{B.hex}".encode(),
    }


def test_moved_tag(links: ClassicLinks, tmp_path: Path) -> None:
    """A tag that moves names the new manifest and keeps both in its index."""
    links.put_tag(REPOSITORY, LATEST, A)
    links.put_tag(REPOSITORY, LATEST, B)

    folder = tmp_path / "repositories/team/app/_manifests/tags/latest"
    assert list(links.tags(REPOSITORY)) == [(LATEST, B)]
    assert set(files(folder)) == {"current/link", f"index/sha256/{A.hex}/link", f"index/sha256/{B.hex}/link"}


def test_writing_again_changes_nothing(links: ClassicLinks, tmp_path: Path) -> None:
    """Everything may be put twice, and removed twice, as after a crash in the middle of a batch."""

    def put() -> dict[str, bytes]:
        links.put_layer(REPOSITORY, A)
        links.put_revision(REPOSITORY, B)
        links.put_tag(REPOSITORY, LATEST, B)
        links.put_manifest_blob(B, b"b")
        return files(tmp_path)

    def remove() -> dict[str, bytes]:
        links.remove_tag(REPOSITORY, LATEST)
        links.remove_revision(REPOSITORY, B)
        links.remove_layer(REPOSITORY, A)
        return files(tmp_path)

    assert put() == put()
    assert remove() == remove() == {f"blobs/sha256/{B.hex[:2]}/{B.hex}/data": b"b"}


def test_removing_leaves_no_empty_folder(links: ClassicLinks, tmp_path: Path) -> None:
    """What is removed takes along the folders that are empty then, up to a repository that still has something."""
    outer = parse_name("team")
    links.put_layer(outer, A)
    links.put_layer(REPOSITORY, A)
    links.put_tag(REPOSITORY, LATEST, B)
    links.put_tag(REPOSITORY, LATEST, A)

    links.remove_layer(REPOSITORY, A)
    links.remove_tag(REPOSITORY, LATEST)

    base = "repositories/team/_layers"
    assert folders(tmp_path) == ["repositories", "repositories/team", base, f"{base}/sha256", f"{base}/sha256/{A.hex}"]


def test_removing_one_of_two(links: ClassicLinks) -> None:
    """Removing one link leaves its neighbours."""
    for digest in (A, B, C):
        links.put_layer(REPOSITORY, digest)
        links.put_revision(REPOSITORY, digest)
    for tag in ("v1", "v2"):
        links.put_tag(REPOSITORY, parse_tag(tag), A)

    links.remove_layer(REPOSITORY, A)
    links.remove_revision(REPOSITORY, C)
    links.remove_tag(REPOSITORY, parse_tag("v1"))

    assert dict(links.layers(REPOSITORY)) == {B: B, C: C}
    assert dict(links.revisions(REPOSITORY)) == {A: A, B: B}
    assert dict(links.tags(REPOSITORY)) == {Tag("v2"): A}
    assert [links.layer(REPOSITORY, digest) for digest in (A, B, C)] == [None, B, C]
    assert [links.revision(REPOSITORY, digest) for digest in (A, B, C)] == [A, B, None]
    assert [links.tag(REPOSITORY, parse_tag(tag)) for tag in ("v1", "v2")] == [None, A]


def test_nested_repositories(links: ClassicLinks, tmp_path: Path) -> None:
    """A repository may lie in another one, is one by its blobs or its manifests alone, and not by folders between."""
    for name in ("a", "a/b/c", "x/y"):
        links.put_layer(parse_name(name), A)
    links.put_revision(parse_name("a/b"), A)
    for stray in ("Upper/_layers", "a/-b/_layers", "between/nothing", "_layers", "a/_uploads/123", "x/.git/_manifests"):
        (tmp_path / "repositories" / stray).mkdir(parents=True)
    (tmp_path / "repositories" / "file").write_bytes(b"")

    assert sorted(links.repositories()) == ["a", "a/b", "a/b/c", "x/y"]


def test_nothing_there(links: ClassicLinks) -> None:
    """An empty volume has no repositories, an unknown repository no links, and removing from it does no harm."""
    links.remove_layer(REPOSITORY, A)
    links.remove_revision(REPOSITORY, A)
    links.remove_tag(REPOSITORY, LATEST)

    assert list(links.repositories()) == []
    assert [*links.layers(REPOSITORY), *links.revisions(REPOSITORY), *links.tags(REPOSITORY)] == []


@pytest.mark.parametrize(
    ("content", "target"),
    [
        (str(B).encode(), B),
        (str(C).encode(), C),
        (b"", None),
        (str(A).encode()[:-1], None),
        (str(A).encode() + b"\n", None),
        (str(A).upper().encode(), None),
        (b"\xff" * 71, None),
        (b"sha256:" + b"a" * 5000, None),
    ],
)
def test_links_that_say_something_else(
    links: ClassicLinks, tmp_path: Path, content: bytes, target: Digest | None
) -> None:
    """A link is listed by its path, with what the file says: another digest, or None when it is none."""
    links.put_layer(REPOSITORY, A)
    links.put_tag(REPOSITORY, LATEST, A)
    base = tmp_path / "repositories/team/app"
    (base / "_layers/sha256" / A.hex / "link").write_bytes(content)
    (base / "_manifests/tags/latest/current/link").write_bytes(content)

    assert list(links.layers(REPOSITORY)) == [(A, target)]
    assert list(links.tags(REPOSITORY)) == [(LATEST, target)]


def test_strays_among_links(links: ClassicLinks, tmp_path: Path) -> None:
    """Folders that no digest and no tag can have are passed over, and digests without a link file; a tag has None."""
    base = tmp_path / "repositories/team/app"
    for stray in ("_layers/md5/abc", "_layers/sha256/short", f"_layers/sha256/{A.hex}", "_manifests/tags/-x"):
        (base / stray).mkdir(parents=True)
    (base / "_manifests/tags/v1/current").mkdir(parents=True)

    assert list(links.layers(REPOSITORY)) == []
    assert list(links.tags(REPOSITORY)) == [(Tag("v1"), None)]


@pytest.mark.parametrize("there", [b"", b"X", b"much longer than it was"])
def test_broken_manifest_bytes_are_replaced(links: ClassicLinks, tmp_path: Path, there: bytes) -> None:
    """Whatever lies in the place of a manifest's bytes, of the right length or not, gives way to them."""
    path = tmp_path / "blobs/sha256" / B.hex[:2] / B.hex / "data"
    path.parent.mkdir(parents=True)
    path.write_bytes(there)

    links.put_manifest_blob(B, b"b")

    assert files(path.parent) == {"data": b"b"}


def test_manifest_bytes_beside_a_blob(tmp_path: Path) -> None:
    """A blob that was committed with the same bytes keeps its file, which is known to be durable."""
    store = FilesystemBlobStore(tmp_path / "root", tmp_path / "uploads")
    location = push(store, b"b")
    inode = os.stat(tmp_path / "root" / location).st_ino

    ClassicLinks(tmp_path / "root").put_manifest_blob(B, b"b")

    assert os.stat(tmp_path / "root" / location).st_ino == inode
    assert read(store, location) == b"b"
    assert asyncio.run(store.delete(location)) is True


def test_volume_that_cannot_be_written(links: ClassicLinks, tmp_path: Path) -> None:
    """What the system refuses is Unavailable, and nothing half-done is left."""
    (tmp_path / "repositories").write_bytes(b"a file in the way")
    (tmp_path / "blobs").write_bytes(b"a file in the way")

    with pytest.raises(Unavailable):
        links.put_layer(REPOSITORY, A)
    with pytest.raises(Unavailable):
        links.put_manifest_blob(A, b"a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "repositories"]


names = st.lists(st.from_regex(r"[a-z0-9]{1,4}(-[a-z0-9]{1,3})?", fullmatch=True), min_size=1, max_size=4).map(
    lambda parts: parse_name("/".join(parts))
)
digests = st.builds(Digest.of, st.binary(max_size=2), st.sampled_from(["sha256", "sha512"]))
# Lower case, since two that differ by case alone are one folder on some volumes.
tags = st.from_regex(r"[a-z0-9_][a-z0-9._-]{0,20}", fullmatch=True).map(parse_tag)


@given(
    layers=st.sets(st.tuples(names, digests), max_size=5),
    revisions=st.sets(st.tuples(names, digests), max_size=5),
    heads=st.dictionaries(st.tuples(names, tags), digests, max_size=5),
)
def test_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    layers: set[tuple[RepositoryName, Digest]],
    revisions: set[tuple[RepositoryName, Digest]],
    heads: dict[tuple[RepositoryName, Tag], Digest],
) -> None:
    """Whatever is written reads back, repository by repository."""
    links = ClassicLinks(tmp_path_factory.mktemp("volume"))

    for name, digest in layers:
        links.put_layer(name, digest)
    for name, digest in revisions:
        links.put_revision(name, digest)
    for (name, tag), digest in heads.items():
        links.put_tag(name, tag, digest)

    found = list(links.repositories())
    assert sorted(found) == sorted({name for name, _ in [*layers, *revisions, *heads]})
    assert {(name, digest) for name in found for digest, target in links.layers(name) if digest == target} == layers
    assert {(name, digest) for name in found for digest, _ in links.revisions(name)} == revisions
    assert {(name, tag): digest for name in found for tag, digest in links.tags(name)} == heads
