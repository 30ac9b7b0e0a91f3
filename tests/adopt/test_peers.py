"""Volumes of the real registry:2 and registry:3: adopted, given back, and taken again, with everything in them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from moorage.oci.media_types import OCI_ARTIFACT
from tests.adopt.model import ACCEPT, DOCKER, Model
from tests.adopt.peers import PEERS, Peer
from tests.content import INDEX, LAYER, MANIFEST, OCTETS, Client, descriptor, digest_of, encode, image, index, noise
from tests.servers import COMMAND, Moorage

SHARED = noise(40_000, 1)
SECONDS = 120


def adopt(data: Path, *options: str) -> str:
    """What `moorage adopt` says; it has to find nothing broken."""
    done = subprocess.run(
        [COMMAND, "adopt", *options, str(data)], check=False, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(data: Path) -> str:
    """What `moorage check` says; it has to find nothing damaged."""
    done = subprocess.run(
        [COMMAND, "check", "--data", str(data)], check=False, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def delete_tag(model: Model, client: Client, peer: Peer, repository: str, tag: str) -> None:
    """Delete a tag as one does there."""
    if peer.deletes_tags:
        model.delete_tag(client, repository, tag)
    else:
        model.delete_manifest(client, repository, model.tags[repository][tag])


def fill(model: Model, client: Client, peer: Peer) -> None:
    """What years leave: images, indexes, artifacts, moved and deleted tags, interrupted uploads."""
    one = model.push_image(client, "team/app", "1.0", SHARED, b"one")
    two = model.push_image(client, "team/app", "1.1", SHARED, b"two")
    model.push_image(client, "team/app", "latest", SHARED, b"one")
    model.push_image(client, "team/app", "latest", SHARED, b"two")
    model.push_index(client, "team/app", "multi", one, two)
    model.push_image(client, "team/app/deep", "v1", SHARED, b"deep", mediaType=DOCKER)
    model.push_image(client, "solo", "only", b"alone")
    model.push_image(client, "solo", "short-lived", b"soon gone")
    delete_tag(model, client, peer, "solo", "short-lived")
    gone = model.push_image(client, "solo", "gone", b"gone at once")
    model.delete_manifest(client, "solo", gone)
    model.attach(client, "team/app", one, "signature of one", tag_schema=True)
    model.attach(client, "team/app", one, "contents of one", tag_schema=True)
    path = client.begin_upload("team/app").removeprefix("http://registry.test")
    assert client.ask("PATCH", path, {"Content-Type": OCTETS}, b"half of it").status == 202


def referrers(client: Client, repository: str, subject: str) -> set[str]:
    """The digests in the referrers list."""
    listed = client.ask("GET", f"/v2/{repository}/referrers/{subject}").json()["manifests"]
    return {entry["digest"] for entry in listed}


@dataclass
class Journey:
    """One volume, and what is in it, whoever serves it."""

    peer: Peer
    folder: Path
    model: Model = field(default_factory=Model)

    @property
    def data(self) -> Path:
        """The volume."""
        return self.folder / "data"

    def begin_there(self) -> None:
        """The peer runs on it for years."""
        self.data.mkdir()
        with self.peer.serve(self.data) as client:
            fill(self.model, client, self.peer)
            self.model.check(client)

    def come_here(self) -> None:
        """Moorage is started on it, and everything is there at once, and nothing in it was touched."""
        before = {path: path.stat().st_mtime_ns for path in self.data.rglob("*") if path.is_file()}
        first = self.model.tags["team/app"]["1.0"]
        with Moorage(self.folder, users={}) as server:
            ours = Client(server)
            self.model.check(ours)
            adopt(self.data)
            self.model.check(ours)
            assert len(referrers(ours, "team/app", first)) == 2
            assert {path: path.stat().st_mtime_ns for path in before} == before
            self.change_here(ours)
            self.model.check(ours)
            assert server.stop() == 0

    def change_here(self, ours: Client) -> None:
        """Push, move and delete."""
        model = self.model
        model.push_image(ours, "team/app", "2.0", SHARED, b"two.zero")
        model.push_image(ours, "team/app", "latest", SHARED, b"two.zero")
        model.push_image(ours, "new/one", "1", SHARED)
        model.delete_tag(ours, "team/app", "1.1")
        again = model.push_image(ours, "solo", "again", b"again")
        model.delete_manifest(ours, "solo", again)

    def go_back(self) -> None:
        """The peer is started on it again, finds everything, and goes on."""
        model = self.model
        with self.peer.serve(self.data) as client:
            model.check(client)
            model.push_image(client, "team/app", "3.0", SHARED, b"three")
            model.push_image(client, "team/app", "latest", SHARED, b"three")
            model.push_image(client, "theirs", "1", b"theirs")
            delete_tag(model, client, self.peer, "team/app", "2.0")
            model.delete_manifest(client, "new/one", model.tags["new/one"]["1"])
            model.push_image(client, "new/one", "2", SHARED, b"second")
            model.check(client)
        self.peer.collect_garbage(self.data)
        model.collect_garbage()

    def come_again(self) -> None:
        """Moorage takes over what changed meanwhile."""
        with Moorage(self.folder, users={}) as server:
            ours = Client(server)
            adopt(self.data)
            self.model.check(ours)
            self.model.push_image(ours, "theirs", "2", b"ours now")
            self.model.check(ours)
            assert server.stop() == 0


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_what_cannot_go_back_is_told_beforehand(peer: Peer, tmp_path: Path) -> None:
    """Every kind of manifest that we take is served there too, but for those that `moorage adopt` names."""
    layer, config = b"layer", b"{}"
    images = {
        "plain": (MANIFEST, image(config, layer)),
        "custom": (MANIFEST, {**image(config, layer), "config": descriptor(config, "application/x.own")}),
        "docker": (DOCKER, image(config, layer, mediaType=DOCKER)),
        "untyped": (MANIFEST, {key: value for key, value in image(config, layer).items() if key != "mediaType"}),
        "long": (MANIFEST, image(config, layers=[descriptor(layer, LAYER, digest=digest_of(layer, "sha512"))])),
        "index": (INDEX, index(descriptor(encode(image(config, layer)), MANIFEST), artifactType="a/b")),
        "artifact": (OCI_ARTIFACT, {"mediaType": OCI_ARTIFACT, "artifactType": "a/b", "blobs": []}),
    }
    with Moorage(tmp_path, users={}) as server:
        ours = Client(server)
        for data in (layer, config):
            ours.push_blob("kinds", data)
        path = f"/v2/kinds/blobs/uploads/?digest={digest_of(layer, 'sha512')}"
        assert ours.ask("POST", path, {"Content-Type": OCTETS}, layer).status == 201
        for tag, (kind, document) in images.items():
            assert ours.push_manifest("kinds", tag, encode(document), kind).status == 201
        assert server.stop() == 0

    told = json.loads(adopt(tmp_path / "data", "--json"))["cannot_go_back"]

    assert told == [f"kinds@{digest_of(encode(images['artifact'][1]))}"]
    with peer.serve(tmp_path / "data") as client:
        for tag, (_, document) in images.items():
            answer = client.ask("GET", f"/v2/kinds/manifests/{tag}", {"Accept": f"{ACCEPT}, {OCI_ARTIFACT}"})
            assert (answer.status, answer.body == encode(document)) == (
                (500, False) if tag == "artifact" else (200, True)
            )
        assert client.ask("GET", f"/v2/kinds/blobs/{digest_of(layer, 'sha512')}").body == layer


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_blob_that_was_pushed_there_by_another_digest(peer: Peer, tmp_path: Path) -> None:
    """Distribution keeps it by its sha256 and links the other to it; we serve it by both, and so does it again."""
    data, layer = tmp_path / "data", b"known by two names"
    data.mkdir()
    names = [digest_of(layer), digest_of(layer, "sha512")]
    with peer.serve(data) as client:
        path = client.begin_upload("long").removeprefix("http://registry.test")
        assert client.ask("PUT", f"{path}&digest={names[1]}", {"Content-Type": OCTETS}, layer).status == 201

    with Moorage(tmp_path, users={}) as server:
        for name in names:
            assert Client(server).ask("GET", f"/v2/long/blobs/{name}").body == layer
        adopt(data)
        assert server.stop() == 0

    assert "everything is in order" in check(data)
    with peer.serve(data) as client:
        for name in names:
            assert client.ask("GET", f"/v2/long/blobs/{name}").body == layer


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_volume_goes_back_and_forth(peer: Peer, tmp_path: Path) -> None:
    """What either registry acknowledged can be pulled from the other, at each step, and what was deleted is gone."""
    journey = Journey(peer, tmp_path)

    journey.begin_there()
    assert "1 upload in progress" in adopt(journey.data, "--dry-run")
    assert [path.name for path in journey.data.iterdir()] == ["docker"]
    journey.come_here()
    assert "everything is in order" in check(journey.data)
    journey.go_back()
    journey.come_again()
    assert "everything is in order" in check(journey.data)
    with peer.serve(journey.data) as client:
        journey.model.check(client)
