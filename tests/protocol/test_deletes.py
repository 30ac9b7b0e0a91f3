"""Deleting tags, manifests and blobs, and the switches that forbid it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.content import INDEX, Client, descriptor, digest_of, encode, index
from tests.protocol.transcript import USERS
from tests.servers import Moorage


def tags_of(client: Client, name: str) -> list[str]:
    """The repository's tags."""
    found: list[str] = client.ask("GET", f"/v2/{name}/tags/list").json()["tags"]
    return found


def test_deleting_a_tag_keeps_the_manifest(alice: Client, name: str) -> None:
    """202; the other tags and the digest lead to it as before."""
    digest = alice.push_image(name, "v1", b"layer")
    alice.push_image(name, "latest", b"layer")

    answer = alice.ask("DELETE", f"/v2/{name}/manifests/v1")

    assert (answer.status, answer.body) == (202, b"")
    assert alice.ask("GET", f"/v2/{name}/manifests/v1").codes == ["MANIFEST_UNKNOWN"]
    assert tags_of(alice, name) == ["latest"]
    for reference in ("latest", digest):
        assert alice.ask("HEAD", f"/v2/{name}/manifests/{reference}").status == 200


def test_deleting_the_last_tag_keeps_the_manifest(alice: Client, name: str) -> None:
    """Whoever has its digest still pulls it."""
    digest = alice.push_image(name, "v1", b"layer")

    alice.ask("DELETE", f"/v2/{name}/manifests/v1")

    assert alice.ask("HEAD", f"/v2/{name}/manifests/{digest}").status == 200


def test_deleting_a_manifest_drops_all_its_tags(alice: Client, name: str) -> None:
    """And no others; its blobs stay."""
    gone = alice.push_image(name, "v1", b"layer 1")
    alice.push_image(name, "latest", b"layer 1")
    alice.push_image(name, "v2", b"layer 2")

    assert alice.ask("DELETE", f"/v2/{name}/manifests/{gone}").status == 202

    assert tags_of(alice, name) == ["v2"]
    for reference in ("v1", "latest", gone):
        assert alice.ask("HEAD", f"/v2/{name}/manifests/{reference}").status == 404
    assert alice.ask("HEAD", f"/v2/{name}/blobs/{digest_of(b'layer 1')}").status == 200


def test_deleting_twice_is_404(alice: Client, name: str) -> None:
    """The second time there is nothing."""
    digest = alice.push_image(name, "v1", b"layer")
    targets = [
        f"/v2/{name}/manifests/v1",
        f"/v2/{name}/manifests/{digest}",
        f"/v2/{name}/blobs/{digest_of(b'layer')}",
    ]

    first = [alice.ask("DELETE", target).status for target in targets]
    second = [(answer.status, *answer.codes) for answer in (alice.ask("DELETE", target) for target in targets)]

    assert first == [202, 202, 202]
    assert second == [(404, "MANIFEST_UNKNOWN"), (404, "MANIFEST_UNKNOWN"), (404, "BLOB_UNKNOWN")]


def test_what_was_deleted_can_be_pushed_again(alice: Client, name: str) -> None:
    """As if it had never been there."""
    digest = alice.push_image(name, "v1", b"layer")
    alice.ask("DELETE", f"/v2/{name}/manifests/{digest}")
    alice.ask("DELETE", f"/v2/{name}/blobs/{digest_of(b'layer')}")

    assert alice.push_image(name, "v1", b"layer") == digest
    assert alice.ask("HEAD", f"/v2/{name}/manifests/v1").header("docker-content-digest") == digest


def test_a_manifest_by_sha512_is_deleted_by_its_digest(alice: Client, name: str) -> None:
    """The same bytes by sha256 are another manifest, which stays."""
    body = encode(index())
    long, short = digest_of(body, "sha512"), digest_of(body)
    alice.push_manifest(name, f"{long}?tag=long", body, INDEX)
    alice.push_manifest(name, "short", body, INDEX)

    assert alice.ask("DELETE", f"/v2/{name}/manifests/{long}").status == 202

    assert tags_of(alice, name) == ["short"]
    assert alice.ask("HEAD", f"/v2/{name}/manifests/{long}").status == 404
    assert alice.ask("HEAD", f"/v2/{name}/manifests/{short}").status == 200


def test_the_child_of_an_index_can_be_deleted(alice: Client, name: str) -> None:
    """The index then names something that is gone, as its owner wished."""
    child = encode(index())
    parent = encode(index(descriptor(child, INDEX)))
    alice.push_manifest(name, "child", child, INDEX)
    alice.push_manifest(name, "parent", parent, INDEX)

    assert alice.ask("DELETE", f"/v2/{name}/manifests/{digest_of(child)}").status == 202

    assert alice.ask("GET", f"/v2/{name}/manifests/parent").body == parent


def test_deleting_in_one_repository_leaves_the_others(alice: Client, name: str) -> None:
    """The same image in two repositories is two."""
    digest = alice.push_image(f"{name}/one", "v1", b"layer")
    alice.push_image(f"{name}/two", "v1", b"layer")

    alice.ask("DELETE", f"/v2/{name}/one/manifests/{digest}")
    alice.ask("DELETE", f"/v2/{name}/one/blobs/{digest_of(b'layer')}")

    assert alice.ask("HEAD", f"/v2/{name}/two/manifests/v1").status == 200
    assert alice.ask("GET", f"/v2/{name}/two/blobs/{digest_of(b'layer')}").body == b"layer"


NO_DELETE, READ_ONLY = "MOORAGE_STORAGE_DELETE_ENABLED=false", "MOORAGE_STORAGE_READ_ONLY=true"


@pytest.fixture(scope="module", params=[NO_DELETE, READ_ONLY])
def closed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A registry in which deleting is switched off, or all writing; filled before."""
    folder = tmp_path_factory.mktemp("closed")
    with Moorage(folder, "--workers", "1", users=USERS) as server:
        Client(server, "alice", USERS["alice"]).push_image("lib/base", "v1", b"layer")
        server.stop()
    name, _, value = request.param.partition("=")
    with Moorage(folder, "--workers", "1", users=USERS, environment={name: value}) as server:
        yield Client(server, "alice", USERS["alice"])


@pytest.mark.parametrize("kind", ["tag", "manifest", "blob"])
def test_where_deleting_is_off_nothing_is_deleted(kind: str, closed: Client) -> None:
    """405 UNSUPPORTED with Allow, by tag as well (CVE-2026-41888)."""
    digest = closed.ask("HEAD", "/v2/lib/base/manifests/v1").header("docker-content-digest")
    target = {"tag": "manifests/v1", "manifest": f"manifests/{digest}", "blob": f"blobs/{digest_of(b'layer')}"}[kind]

    answer = closed.ask("DELETE", f"/v2/lib/base/{target}")

    assert (answer.status, answer.codes) == (405, ["UNSUPPORTED"])
    assert answer.header("allow") == "GET, HEAD"
    assert closed.ask("GET", f"/v2/lib/base/{target}").status == 200


def test_what_is_there_does_not_show_where_deleting_is_off(closed: Client) -> None:
    """The same answer for what is there and what is not."""
    answer = closed.ask("DELETE", "/v2/no/such/manifests/v1")

    assert (answer.status, answer.codes) == (405, ["UNSUPPORTED"])


@pytest.mark.parametrize("closed", [NO_DELETE], indirect=True)
def test_an_upload_can_be_cancelled_where_deleting_is_off(closed: Client) -> None:
    """Giving one's own upload up is part of pushing."""
    location = closed.begin_upload("lib/base")

    assert closed.ask("DELETE", location).status == 204


@pytest.mark.parametrize("closed", [NO_DELETE], indirect=True)
def test_pushing_goes_on_where_deleting_is_off(closed: Client) -> None:
    """A tag moves, too: that deletes nothing."""
    digest = closed.push_image("lib/pushed", "v1", b"new layer")
    closed.push_manifest("lib/pushed", "v1", encode(index()), INDEX)

    assert closed.ask("HEAD", f"/v2/lib/pushed/manifests/{digest}").status == 200


WRITES = {
    "begin": ("POST", "/v2/lib/base/blobs/uploads/", b""),
    "push": ("POST", f"/v2/lib/base/blobs/uploads/?digest={digest_of(b'x')}", b"x"),
    "mount": ("POST", f"/v2/lib/other/blobs/uploads/?mount={digest_of(b'layer')}&from=lib/base", b""),
    "manifest": ("PUT", "/v2/lib/base/manifests/v2", encode(index())),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("closed", [READ_ONLY], indirect=True)
def test_a_read_only_registry_refuses_to_write(write: str, closed: Client) -> None:
    """405 UNSUPPORTED with Allow, and pulls go on."""
    method, target, body = WRITES[write]

    answer = closed.ask(method, target, {"Content-Type": INDEX}, body)

    assert (answer.status, answer.codes) == (405, ["UNSUPPORTED"])
    assert answer.header("allow") in {"", "GET, HEAD"}
    assert closed.ask("GET", f"/v2/lib/base/blobs/{digest_of(b'layer')}").body == b"layer"
    assert tags_of(closed, "lib/base") == ["v1"]
