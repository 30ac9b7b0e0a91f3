"""Long lists without a push for each entry: rows and files such as pushes leave are written while a registry rests.

One tag and one repository are pushed as usual; the rest is made like them, in the registry's own way of keeping it.
A registry whose files are not known here gets every entry by a push.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from bench.cases.seed import push_image, shares
from bench.content import INDEX, MANIFEST, digest_of, small_image
from bench.drivers import request
from bench.measure import Scale
from bench.peers import Angos, Distribution, Zot
from bench.registries import Moorage, Registry
from bench.scripts import Script, run_scripts

# One whose tags are listed, one whose manifest is deleted with all of them; both with `Scale.listed_tags` tags.
LISTED, DOOMED = "bench/listed", "bench/doomed"
IMAGE = small_image("listed")
_EMPTY = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()


def tag(number: int) -> str:
    """The name of tag *number* of a long list; they sort by number."""
    return f"tag-{number:07}"


def repository(number: int) -> str:
    """The name of repository *number* of the long catalog; they sort by number."""
    return f"catalog/{number:07}"


def fill_lists(registry: Registry, scale: Scale, folder: Path) -> None:
    """Make the long lists of a running registry; it runs again afterwards. *folder* may hold what lists consist of.

    Folders by the hundred thousand are best held by a file system in memory, where making them takes seconds.
    """
    for name in (LISTED, DOOMED):
        run_scripts(registry, [push_image(registry, name, IMAGE, tag(0))])
    run_scripts(registry, [_put(registry, "catalog", [0])])
    write = _WRITERS.get(type(registry))
    if write is None:
        for name in (LISTED, DOOMED):
            run_scripts(registry, [_put(registry, name, numbers) for numbers in shares(scale.listed_tags)])
        run_scripts(registry, [_put(registry, "catalog", numbers) for numbers in shares(scale.repositories)])
        return
    registry.stop()
    folder.mkdir(parents=True)
    write(registry, scale, folder)
    registry.start(registry.mode)


def _put(registry: Registry, name: str, numbers: Sequence[int]) -> Script:
    """Tags of a repository, or repositories of the catalog: an index that names nothing makes one in one request."""
    for number in numbers:
        if name == "catalog":
            target, body, kind = f"{repository(number)}/manifests/latest", _EMPTY, INDEX
        else:
            target, body, kind = f"{name}/manifests/{tag(number)}", IMAGE.manifest.data, MANIFEST
        answer = yield request(registry, "PUT", f"/v2/{target}", body, Content_Type=kind)
        answer.expect(201)


# Moorage: rows. The link tree is left as it is; no request reads it.


def _rows(registry: Registry, scale: Scale, folder: Path) -> None:
    with closing(sqlite3.connect(registry.data / "moorage" / "moorage.db", isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN")
        for name in (LISTED, DOOMED):
            _tag_rows(database, name, scale.listed_tags)
        _repository_rows(database, scale.repositories)
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


_NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)"


def _tag_rows(database: sqlite3.Connection, name: str, count: int) -> None:
    values = {"count": count, "name": name, "first": tag(0)}
    database.execute(
        f"{_NUMBERS} INSERT INTO tags (repository_id, name, manifest_id, updated_at) "
        "SELECT t.repository_id, printf('tag-%07d', n), t.manifest_id, t.updated_at FROM numbers, tags t "
        "JOIN repositories r ON r.id = t.repository_id WHERE r.name = :name AND t.name = :first AND n < :count",
        values,
    )
    database.execute(
        "INSERT INTO tag_history (repository_id, name, digest, at, principal) "
        "SELECT t.repository_id, t.name, h.digest, t.updated_at, h.principal FROM tags t "
        "JOIN repositories r ON r.id = t.repository_id JOIN tag_history h ON h.repository_id = r.id "
        "AND h.name = :first WHERE r.name = :name AND t.name != :first",
        values,
    )


def _repository_rows(database: sqlite3.Connection, count: int) -> None:
    values = {"count": count, "first": repository(0)}
    template = "repositories f JOIN {0} x ON x.repository_id = f.id AND f.name = :first"
    others = "repositories r ON r.name > :first AND r.name GLOB 'catalog/*'"
    database.execute(
        f"{_NUMBERS} INSERT INTO repositories (name, created_at) SELECT printf('catalog/%07d', n), created_at "
        "FROM numbers, repositories WHERE name = :first AND n < :count",
        values,
    )
    columns = "digest, media_type, size, artifact_type, subject, referrer, created_at, body"
    copied = ", ".join(f"x.{column}" for column in columns.split(", "))
    database.execute(
        f"INSERT INTO manifests (repository_id, {columns}) SELECT r.id, {copied} "
        f"FROM {template.format('manifests')} JOIN {others}",
        values,
    )
    database.execute(
        "INSERT INTO tags (repository_id, name, manifest_id, updated_at) SELECT r.id, x.name, m.id, x.updated_at "
        f"FROM {template.format('tags')} JOIN {others} JOIN manifests m ON m.repository_id = r.id",
        values,
    )
    database.execute(
        "INSERT INTO tag_history (repository_id, name, digest, at, principal) "
        f"SELECT r.id, x.name, x.digest, x.at, x.principal FROM {template.format('tag_history')} JOIN {others}",
        values,
    )


# Peers: folders.


def _classic(registry: Registry, scale: Scale, folder: Path) -> None:
    repositories = registry.data / "docker" / "registry" / "v2" / "repositories"
    for name in (LISTED, DOOMED):
        tags = _elsewhere(repositories / name / "_manifests" / "tags", folder / name.replace("/", "-"))
        # A tag's history is for what collects garbage: no request of the bench reads it.
        shutil.rmtree(tags / tag(0) / "index")
        _multiply(tags / tag(0), [tag(number) for number in range(1, scale.listed_tags)])
    catalog = _elsewhere(repositories / "catalog", folder / "catalog")
    first = catalog / Path(repository(0)).name
    (first / "_layers").mkdir(exist_ok=True)  # 2.x lists a repository by this folder, 3.x by the other
    for name in ("_layers", "_manifests"):
        _elsewhere(first / name, folder / name)
    _multiply(first, [Path(repository(number)).name for number in range(1, scale.repositories)])


def _layouts(registry: Registry, scale: Scale, folder: Path) -> None:
    for name in (LISTED, DOOMED):
        path = registry.data / name / "index.json"
        index = json.loads(path.read_bytes())
        (first,) = index["manifests"]
        index["manifests"] = [
            {**first, "annotations": {**first["annotations"], "org.opencontainers.image.ref.name": tag(number)}}
            for number in range(scale.listed_tags)
        ]
        path.write_text(json.dumps(index, separators=(",", ":")))
    catalog = _elsewhere(registry.data / "catalog", folder / "catalog")
    # Its uploads' folder only: a blob must be a link of its own, or it is taken for a duplicate and cleared away.
    _elsewhere(catalog / Path(repository(0)).name / ".uploads", folder / "uploads")
    names = [Path(repository(number)).name for number in range(1, scale.repositories)]
    _multiply(catalog / Path(repository(0)).name, names)


def _keys(registry: Registry, scale: Scale, folder: Path) -> None:
    """Angos: what is known of a tag or a repository is files whose names say it."""
    root, tagged = registry.data / "v2", _sharded(IMAGE.manifest.digest)
    for name in (LISTED, DOOMED):
        plain, numbers = name.replace("/", "-"), range(1, scale.listed_tags)
        tags = _elsewhere(root / "ns" / f"{name}!tag", folder / f"{plain}-tags")
        _multiply(tags / f"{tag(0)}!", [f"{tag(number)}!" for number in numbers])
        references = _elsewhere(root / "ref" / tagged / f"{name}!r", folder / f"{plain}-references")
        _multiply(references / f"tag.{tag(0)}", [f"tag.{tag(number)}" for number in numbers])
    first, *names = (Path(repository(number)).name for number in range(scale.repositories))
    for place in ("cat", "ns", f"ref/{_sharded(digest_of(_EMPTY))}"):
        catalog = root / place / "catalog"
        if place != "cat":  # which is walked, and links are not followed
            catalog = _elsewhere(catalog, folder / place.replace("/", "-"))
        for template in sorted(catalog.iterdir()):
            ending = template.name.removeprefix(first)
            if template.is_dir():
                _elsewhere(template, folder / f"{place.replace('/', '-')}-{ending}")
            _multiply(template, [name + ending for name in names])


def _sharded(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}/{encoded[:2]}/{encoded}"


def _elsewhere(path: Path, to: Path) -> Path:
    """Move the folder *path*, and leave a link there."""
    shutil.move(path, to)
    path.symlink_to(to)
    return to


def _multiply(template: Path, names: Sequence[str]) -> None:
    """Folders, or anything else, like *template* beside it; what is no folder is a hard link: nobody writes into it."""
    if template.is_symlink() or template.is_file():
        for name in names:
            _link(str(template), f"{template.parent}/{name}")
        return
    folders, files = [], []
    for place, within, inside in os.walk(template):
        relative = place.removeprefix(str(template))
        folders.append(relative)
        links = [name for name in within if os.path.islink(f"{place}/{name}")]
        files += [(f"{place}/{name}", f"{relative}/{name}") for name in (*inside, *links)]
    for name in names:
        target = f"{template.parent}/{name}"
        for folder in folders:
            os.mkdir(target + folder)
        for source, relative in files:
            _link(source, target + relative)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
        # As many links as the file system allows: the next ones are to a file of their own.
        shutil.copyfile(source, source + ".next", follow_symlinks=False)
        os.replace(source + ".next", source)
        os.link(source, target, follow_symlinks=False)


_WRITERS: dict[type[Registry], Callable[[Registry, Scale, Path], None]] = {
    Moorage: _rows,
    Distribution: _classic,
    Zot: _layouts,
    Angos: _keys,
}
