"""Switches that hold for everybody: no deleting, no writing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.content import MANIFEST, OCTETS, Client, digest_of
from tests.hostile.target import check_log
from tests.servers import Moorage

USER = {"carol": "gate-keeper-9"}


@dataclass(frozen=True)
class Kept:
    """A client of a server with a switch on, and what was pushed before it was."""

    client: Client
    layer: str
    manifest: str
    body: bytes
    upload: str


def _kept(folder: Path, setting: str, value: str) -> Iterator[Kept]:
    with Moorage(folder, users=USER) as server:
        client = Client(server, *next(iter(USER.items())))
        manifest = client.push_image("gates/image", "t", b"layer")
        body = client.ask("GET", "/v2/gates/image/manifests/t").body
        upload = client.begin_upload("gates/image")
        server.stop()
    with Moorage(folder, users=USER, port=server.port, environment={setting: value}) as server:
        client = Client(server, *next(iter(USER.items())))
        yield Kept(client, digest_of(b"layer"), manifest, body, upload)
        assert client.ask("GET", "/v2/gates/image/manifests/t").body == body
        assert client.ask("GET", f"/v2/gates/image/blobs/{digest_of(b'layer')}").body == b"layer"
        server.stop()
        check_log(server)


@pytest.fixture(scope="module")
def undeletable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """A server on which deleting is off."""
    yield from _kept(tmp_path_factory.mktemp("gates") / "server", "MOORAGE_STORAGE_DELETE_ENABLED", "false")


@pytest.fixture(scope="module")
def unwritable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """A server that only reads."""
    yield from _kept(tmp_path_factory.mktemp("gates") / "server", "MOORAGE_STORAGE_READ_ONLY", "true")


@pytest.mark.parametrize("what", ["manifests/t", "manifests/{manifest}", "blobs/{layer}"])
def test_deleting_is_off(undeletable: Kept, what: str) -> None:
    """No tag, manifest or blob can be deleted (CVE-2026-41888 forgot the tag)."""
    path = "/v2/gates/image/" + what.format(manifest=undeletable.manifest, layer=undeletable.layer)

    answer = undeletable.client.ask("DELETE", path)

    assert answer.status == 405
    assert answer.codes == ["UNSUPPORTED"]


def test_cancelling_an_upload_is_no_deleting(undeletable: Kept) -> None:
    """A session can be given up although deleting is off: clients do it after a mount."""
    location = undeletable.client.begin_upload("gates/image")

    assert undeletable.client.ask("DELETE", location).status == 204


WRITES = [
    ("PUT", "manifests/u"),
    ("PUT", "manifests/{manifest}?tag=u"),
    ("POST", "blobs/uploads/"),
    ("POST", "blobs/uploads/?digest={empty}"),
    ("POST", "blobs/uploads/?mount={layer}&from=gates/image"),
    ("POST", "blobs/uploads/?mount={layer}"),
    ("PATCH", "{upload}"),
    ("PUT", "{upload}?digest={empty}"),
    ("DELETE", "manifests/t"),
    ("DELETE", "manifests/{manifest}"),
    ("DELETE", "blobs/{layer}"),
]


@pytest.mark.parametrize(("method", "what"), WRITES)
def test_writing_is_off(unwritable: Kept, method: str, what: str) -> None:
    """A read-only registry takes nothing and loses nothing, by whichever way."""
    upload = unwritable.upload.removeprefix("/v2/gates/image/")
    parts = {"manifest": unwritable.manifest, "layer": unwritable.layer, "empty": digest_of(b""), "upload": upload}
    body = {"PUT": unwritable.body if "manifests" in what else b"", "PATCH": b"x", "POST": b""}.get(method)

    answer = unwritable.client.ask(
        method,
        "/v2/gates/image/" + what.format(**parts),
        {"Content-Type": MANIFEST if "manifests" in what else OCTETS},
        body,
    )

    assert answer.status == 405
    assert answer.codes == ["UNSUPPORTED"]
