"""Blobs of another repository, taken over without sending them; and what must not show of it."""

from __future__ import annotations

import pytest

from tests.content import Client, digest_of
from tests.raw_http import Answer

DATA = b"a layer that two images share"
DIGEST = digest_of(DATA)


def mount(client: Client, target: str, query: str) -> Answer:
    """POST with mount."""
    return client.ask("POST", f"/v2/{target}/blobs/uploads/?{query}", {}, b"")


def test_a_blob_is_mounted_from_a_repository(alice: Client, name: str) -> None:
    """201, and it is in both; each then lets go of it alone."""
    data = name.encode()
    digest = alice.push_blob(f"{name}/source", data)

    answer = mount(alice, f"{name}/target", f"mount={digest}&from={name}/source")

    assert answer.status == 201
    assert answer.header("location") == f"/v2/{name}/target/blobs/{digest}"
    assert answer.header("docker-content-digest") == digest
    assert alice.ask("DELETE", f"/v2/{name}/source/blobs/{digest}").status == 202
    assert alice.ask("HEAD", f"/v2/{name}/source/blobs/{digest}").status == 404
    assert alice.ask("GET", f"/v2/{name}/target/blobs/{digest}").body == data


def test_a_blob_is_mounted_from_wherever_it_is(alice: Client, name: str) -> None:
    """Without `from`: from any repository that the caller may pull."""
    digest = alice.push_blob(f"{name}/source", name.encode())

    assert mount(alice, f"{name}/target", f"mount={digest}").status == 201
    assert alice.ask("GET", f"/v2/{name}/target/blobs/{digest}").body == name.encode()


def test_a_sha512_blob_is_mounted(alice: Client, name: str) -> None:
    """By the digest that it was pushed by."""
    data = name.encode()
    digest = digest_of(data, "sha512")
    assert alice.ask("POST", f"/v2/{name}/source/blobs/uploads/?digest={digest}", {}, data).status == 201

    assert mount(alice, f"{name}/target", f"mount={digest}&from={name}/source").status == 201
    assert alice.ask("GET", f"/v2/{name}/target/blobs/{digest}").body == data


@pytest.mark.parametrize(
    "source",
    ["{name}/elsewhere", "no/such/repository", "Not/A/Name", "..", "%2e%2e", "", "a" * 300],
    ids=["lacks it", "is not there", "is no name", "..", "escaped ..", "empty", "too long"],
)
def test_a_source_that_cannot_give_it_makes_an_upload(source: str, alice: Client, name: str) -> None:
    """202 and a session that works; never an error, and never the blob of a third repository (CVE-2024-39897)."""
    data = name.encode()
    digest = alice.push_blob(f"{name}/third", data)
    alice.push_blob(f"{name}/elsewhere", b"something else")

    answer = mount(alice, f"{name}/target", f"mount={digest}&from={source.format(name=name)}")

    assert answer.status == 202
    assert alice.ask("HEAD", f"/v2/{name}/target/blobs/{digest}").status == 404
    assert alice.ask("PUT", f"{answer.header('location')}?digest={digest}", {}, data).status == 201


def test_a_blob_that_nobody_has_makes_an_upload(alice: Client, name: str) -> None:
    """202 without `from`, too."""
    answer = mount(alice, name, f"mount={digest_of(b'nobody has this')}")

    assert (answer.status, answer.header("range")) == (202, "0-0")


def test_a_blob_deleted_everywhere_is_not_mounted(alice: Client, name: str) -> None:
    """Its bytes may still lie in the store; nobody has it."""
    digest = alice.push_blob(name, name.encode())
    alice.ask("DELETE", f"/v2/{name}/blobs/{digest}")

    assert mount(alice, f"{name}/target", f"mount={digest}").status == 202
    assert mount(alice, f"{name}/target", f"mount={digest}&from={name}").status == 202


def test_a_manifest_is_not_mounted(alice: Client, name: str) -> None:
    """A mount is of blobs."""
    digest = alice.push_image(f"{name}/source", "v1", b"layer")

    assert mount(alice, f"{name}/target", f"mount={digest}&from={name}/source").status == 202


@pytest.mark.parametrize("query", ["mount=sha256:abc", "mount=", "mount=v1&from=a"])
def test_what_is_no_digest_is_refused(query: str, alice: Client, name: str) -> None:
    """400 DIGEST_INVALID."""
    answer = mount(alice, name, query)

    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


def test_two_sources_are_refused(alice: Client, name: str) -> None:
    """Which of them is meant nobody knows."""
    assert mount(alice, name, f"mount={DIGEST}&from=a&from=b").status == 400


def test_what_another_repository_has_does_not_show(alice: Client, name: str) -> None:
    """The store keeps one copy; to a repository that was not given it, the blob is not there in any way."""
    digest = alice.push_blob(f"{name}/has", name.encode())
    alice.push_blob(f"{name}/lacks", b"something else")
    target = f"/v2/{name}/lacks/blobs/{digest}"

    assert alice.ask("HEAD", target).status == 404
    assert alice.ask("GET", target).codes == ["BLOB_UNKNOWN"]
    assert alice.ask("GET", target, {"Range": "bytes=0-0"}).status == 404
    assert alice.ask("GET", target, {"If-None-Match": f'"{digest}"'}).status == 404
    assert alice.ask("DELETE", target).codes == ["BLOB_UNKNOWN"]
    wrong = alice.ask("POST", f"/v2/{name}/lacks/blobs/uploads/?digest={digest}", {}, b"not it")
    assert wrong.codes == ["DIGEST_INVALID"], "a push needs the bytes, although the store has them"
    assert alice.ask("HEAD", target).status == 404


def test_a_deleted_blob_can_be_pushed_and_mounted_again(alice: Client, name: str) -> None:
    """Deleting is no ban."""
    data = name.encode()
    digest = alice.push_blob(name, data)
    assert mount(alice, f"{name}/other", f"mount={digest}&from={name}").status == 201
    alice.ask("DELETE", f"/v2/{name}/blobs/{digest}")

    assert mount(alice, name, f"mount={digest}&from={name}/other").status == 201
    alice.ask("DELETE", f"/v2/{name}/blobs/{digest}")
    assert alice.push_blob(name, data) == digest
    assert alice.ask("GET", f"/v2/{name}/blobs/{digest}").body == data
