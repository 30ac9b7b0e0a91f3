"""The real distribution registry on a volume that we wrote, and we on one that it wrote."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from moorage.oci.digest import Digest
from moorage.oci.name import parse_name
from moorage.oci.reference import parse_tag
from moorage.storage.filesystem import FilesystemBlobStore
from moorage.storage.links import ClassicLinks
from tests.content import MANIFEST, OCTETS, Client, digest_of, encode, image, noise
from tests.programs import need
from tests.servers import free_port
from tests.storage.stores import push

NAME = parse_name("team/app")
CONFIG, LAYER = b'{"architecture":"amd64","os":"linux"}', noise(50_000, seed=1)
BODY = encode(image(CONFIG, LAYER))

SETTINGS = """
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass
class Address:
    """Where the registry listens."""

    address: str
    port: int


@contextmanager
def distribution(folder: Path) -> Iterator[Client]:
    """The real registry on the volume *folder*."""
    port = free_port()
    settings = folder.with_name("config.yml")
    settings.write_text(SETTINGS.format(folder=folder, port=port))
    client = Client(Address("127.0.0.1", port))
    with subprocess.Popen([need("registry"), "serve", str(settings)], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    assert client.ask("GET", "/v2/").status == 200
                    break
                except ConnectionRefusedError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield client
        finally:
            process.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty volume."""
    path = tmp_path / "volume"
    path.mkdir()
    return path


def parts(folder: Path) -> tuple[FilesystemBlobStore, ClassicLinks]:
    """Our two halves of a volume."""
    root = folder / "docker" / "registry" / "v2"
    return FilesystemBlobStore(root, folder / "moorage" / "uploads"), ClassicLinks(root)


def push_to_it(client: Client, repository: str, *blobs: bytes) -> None:
    """Push blobs as the distribution registry wants it: it knows no push in one request."""
    for data in blobs:
        path = client.begin_upload(repository).removeprefix("http://registry.test")
        answer = client.ask("PUT", f"{path}&digest={digest_of(data)}", {"Content-Type": OCTETS}, data)
        assert answer.status == 201, answer


def test_it_serves_what_we_wrote(folder: Path) -> None:
    """Tags, manifests, blobs and the catalog of our volume are the same to the distribution registry."""
    store, links = parts(folder)
    for data in (CONFIG, LAYER):
        push(store, data)
        links.put_layer(NAME, Digest.of(data))
    digest = Digest.of(BODY)
    links.put_manifest_blob(digest, BODY)
    links.put_revision(NAME, digest)
    for tag in ("v1", "v2", "gone"):
        links.put_tag(NAME, parse_tag(tag), digest)
    links.put_revision(parse_name("removed"), digest)
    links.remove_revision(parse_name("removed"), digest)
    links.remove_tag(NAME, parse_tag("gone"))

    with distribution(folder) as client:
        assert client.ask("GET", "/v2/_catalog").json() == {"repositories": [NAME]}
        assert sorted(client.ask("GET", f"/v2/{NAME}/tags/list").json()["tags"]) == ["v1", "v2"]
        assert client.ask("GET", f"/v2/{NAME}/manifests/v1", {"Accept": MANIFEST}).body == BODY
        assert client.ask("GET", f"/v2/{NAME}/manifests/{digest}", {"Accept": MANIFEST}).body == BODY
        assert client.ask("GET", f"/v2/{NAME}/manifests/gone", {"Accept": MANIFEST}).status == 404
        for data in (CONFIG, LAYER):
            assert client.ask("GET", f"/v2/{NAME}/blobs/{digest_of(data)}").body == data


def test_we_read_what_it_wrote(folder: Path) -> None:
    """Repositories, layers, manifests, tags and blobs that the distribution registry wrote are all found."""
    with distribution(folder) as client:
        push_to_it(client, NAME, CONFIG, LAYER)
        push_to_it(client, "other", CONFIG)
        answers = [client.push_manifest(NAME, tag, BODY) for tag in ("v1", "v2")]
        answers.append(client.push_manifest("other", "latest", encode(image(CONFIG))))

    store, links = parts(folder)
    digest, layers = Digest.of(BODY), {Digest.of(data) for data in (CONFIG, LAYER)}

    assert {answer.status for answer in answers} == {201}
    assert sorted(links.repositories()) == ["other", NAME]
    assert dict(links.layers(NAME)) == {layer: layer for layer in layers}
    assert dict(links.revisions(NAME)) == {digest: digest}
    assert dict(links.tags(NAME)) == {parse_tag("v1"): digest, parse_tag("v2"): digest}
    assert {found for _, found, _ in store.list()} >= {*layers, digest}
    with store.open(store.locate(digest)) as content:
        assert content.read(0, content.size) == BODY
