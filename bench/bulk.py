"""Long lists without a push for each entry: files such as pushes leave are written while a registry rests.

One tag and one repository are pushed as usual; the rest is made like them, in the registry's own way of keeping it.
A registry whose files are not known here gets every entry by a push.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Sequence
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


def _adopted(registry: Registry, scale: Scale, folder: Path) -> None:
    """Distribution's folders, which Moorage takes over; links to folders it would not follow."""
    repositories = registry.data / "docker" / "registry" / "v2" / "repositories"
    for name in (LISTED, DOOMED):
        first = repositories / name / "_manifests" / "tags" / tag(0)
        _multiply(first, [tag(number) for number in range(1, scale.listed_tags)])
    names = [Path(repository(number)).name for number in range(1, scale.repositories)]
    _multiply(repositories / repository(0), names)
    assert isinstance(registry, Moorage)
    registry.run("adopt", "--data", str(registry.data))


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
    Moorage: _adopted,
    Distribution: _classic,
    Zot: _layouts,
    Angos: _keys,
}
