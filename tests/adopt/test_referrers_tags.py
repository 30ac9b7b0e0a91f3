"""Signatures are found on registries that have no referrers list, by the tag that old clients look for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.adopt.model import ACCEPT, Model
from tests.adopt.peers import PEERS, Peer
from tests.content import INDEX, MANIFEST, Client, descriptor, encode
from tests.servers import COMMAND, Moorage

NAME = "team/app"
SECONDS = 120


def listed(client: Client, subject: str) -> set[str] | None:
    """What the referrers tag lists; None where there is none."""
    answer = client.ask("GET", f"/v2/{NAME}/manifests/{subject.replace(':', '-')}", {"Accept": ACCEPT})
    return None if answer.status == 404 else {entry["digest"] for entry in answer.json()["manifests"]}


def referrers(client: Client, subject: str) -> set[str]:
    """What the referrers list says."""
    found = client.ask("GET", f"/v2/{NAME}/referrers/{subject}").json()["manifests"]
    return {entry["digest"] for entry in found}


def moorage(*arguments: str) -> str:
    """What a command says; it succeeds."""
    done = subprocess.run(
        [COMMAND, *arguments], check=False, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_signatures_are_found_there(peer: Peer, tmp_path: Path) -> None:
    """What refers to an image is listed by its tag there, not among our tags, and comes back with what was added."""
    model, data = Model(), tmp_path / "data"
    with Moorage(tmp_path, users={}) as server:
        ours = Client(server)
        image = model.push_image(ours, NAME, "1", b"layer")
        kept = model.attach(ours, NAME, image, "kept", tag_schema=False)
        gone = model.attach(ours, NAME, image, "gone", tag_schema=False)
        model.check(ours)
        assert server.stop() == 0
    with peer.serve(data) as client:
        assert listed(client, image) == {kept, gone}
        model.check(client, but=frozenset({image.replace(":", "-")}))

    with Moorage(tmp_path, users={}) as server:
        ours = Client(server)
        model.check(ours)
        model.delete_manifest(ours, NAME, gone)
        assert server.stop() == 0
    assert "everything is in order" in moorage("check", "--data", str(data))
    moorage("garbage-collect", "--data", str(data))
    model.collect_garbage()
    with peer.serve(data) as client:
        assert listed(client, image) == {kept}
        entries = client.ask("GET", f"/v2/{NAME}/manifests/{image.replace(':', '-')}", {"Accept": ACCEPT}).json()
        added = model.attach(client, NAME, image, "added there", tag_schema=False)
        entry = descriptor(model.manifests[NAME][added], MANIFEST)
        body = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [*entries["manifests"], entry]})
        model.push_manifest(client, NAME, image.replace(":", "-"), body, INDEX)

    with Moorage(tmp_path, users={}) as server:
        ours = Client(server)
        moorage("adopt", str(data))
        model.check(ours)
        assert referrers(ours, image) == {kept, added}
        third = model.attach(ours, NAME, image, "third", tag_schema=False)
        model.check(ours)
        assert server.stop() == 0
    with peer.serve(data) as client:
        assert listed(client, image) == {kept, added, third}
    assert "everything is in order" in moorage("check", "--data", str(data))


def test_nothing_is_listed_for_nobody(tmp_path: Path) -> None:
    """With the last referrer its tag is gone from the tree, and the index with it."""
    model, data = Model(), tmp_path / "data"
    with Moorage(tmp_path, users={}) as server:
        ours = Client(server)
        image = model.push_image(ours, NAME, "1", b"layer")
        last = model.attach(ours, NAME, image, "last", tag_schema=False)
        assert server.stop() == 0
    tags = data / f"docker/registry/v2/repositories/{NAME}/_manifests/tags"
    assert {path.name for path in tags.iterdir()} == {"1", image.replace(":", "-")}

    with Moorage(tmp_path, users={}) as server:
        model.delete_manifest(Client(server), NAME, last)
        assert server.stop() == 0

    assert {path.name for path in tags.iterdir()} == {"1"}
    bodies = [path.read_bytes() for path in data.glob("docker/registry/v2/blobs/*/*/*/data")]
    assert not [body for body in bodies if b"referrers-of" in body]
    assert json.loads(moorage("adopt", "--json", str(data)))["findings"] == []
