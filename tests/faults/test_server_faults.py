"""The disk fails under the real server: an honest answer to that request, and no harm to any other, then or later."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.content import OCTETS, Client, digest_of, noise
from tests.faults.injection import Faults
from tests.faults.target import CONFIG, LAYER, WAYS, Target, new_blob, push_at_once, push_manifest
from tests.raw_http import Ended
from tests.servers import Moorage

UPLOADS, BLOBS, DATABASE = "moorage/uploads/*", "docker/registry/v2/blobs/*", "moorage/moorage.db*"
USERS = {"alice": "correct horse"}


@pytest.fixture(scope="module")
def target(fault_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One server for all; at the end nothing in its log is a surprise to it but an answer that it could not finish."""
    folder = tmp_path_factory.mktemp("faults")
    faults = Faults(fault_library, folder)
    with Moorage(folder / "server", users=USERS, environment=faults.environment) as server:
        target = Target(server, faults, Client(server, *next(iter(USERS.items()))))
        yield target
        target.is_well()
        assert server.stop() == 0
        surprises = [line for line in target.log() if "traceback" in line]
        assert [line for line in surprises if "its answer broke off" not in line["message"]] == []


AT_ONCE, IN_PARTS, MANIFEST, PULL, DELETE = WAYS

FAULTS = [
    (AT_ONCE, "create", errno.ENOSPC, UPLOADS, 507),
    (AT_ONCE, "create", errno.EACCES, UPLOADS, 503),
    (AT_ONCE, "create", errno.EMFILE, UPLOADS, 503),
    (AT_ONCE, "write", errno.ENOSPC, UPLOADS, 507),
    (AT_ONCE, "write", errno.EDQUOT, UPLOADS, 507),
    (AT_ONCE, "write", errno.EIO, UPLOADS, 503),
    (AT_ONCE, "sync", errno.EIO, UPLOADS, 503),
    (AT_ONCE, "sync", errno.ENOSPC, UPLOADS, 507),
    (AT_ONCE, "mkdir", errno.ENOSPC, BLOBS, 507),
    (AT_ONCE, "mkdir", errno.EACCES, BLOBS, 503),
    (AT_ONCE, "mkdir", errno.EROFS, BLOBS, 503),
    (AT_ONCE, "rename", errno.EIO, BLOBS, 503),
    (AT_ONCE, "rename", errno.ENOSPC, BLOBS, 507),
    (AT_ONCE, "sync", errno.EIO, BLOBS, 503),
    (IN_PARTS, "create", errno.ENOSPC, UPLOADS, 507),
    (IN_PARTS, "open", errno.EACCES, UPLOADS, 503),
    (IN_PARTS, "write", errno.ENOSPC, UPLOADS, 507),
    (IN_PARTS, "write", errno.EIO, UPLOADS, 503),
    (IN_PARTS, "sync", errno.EIO, UPLOADS, 503),
    (IN_PARTS, "mkdir", errno.ENOSPC, BLOBS, 507),
    (IN_PARTS, "rename", errno.EIO, BLOBS, 503),
    (IN_PARTS, "sync", errno.EIO, BLOBS, 503),
    (PULL, "open", errno.EACCES, BLOBS, 503),
    (PULL, "open", errno.EIO, BLOBS, 503),
    (PULL, "open", errno.EMFILE, BLOBS, 503),
    *(
        (way, call, number, DATABASE, status)
        for way in (AT_ONCE, IN_PARTS, MANIFEST, DELETE)
        # SQLite takes only ENOSPC for a full disk, a used-up quota is an I/O error to it.
        for call, number, status in [
            ("write", errno.ENOSPC, 507),
            ("write", errno.EDQUOT, 503),
            ("write", errno.EIO, 503),
            ("sync", errno.EIO, 503),
        ]
    ),
]


@pytest.mark.parametrize(("way", "call", "number", "place", "status"), FAULTS)
def test_one_request_fails(target: Target, way: str, call: str, number: int, place: str, status: int) -> None:
    """While a call fails, the request that needs it is refused in the protocol's words, and all else goes on."""
    data = new_blob()

    with target.faults.failing(call, number, target.below(place)):
        answer = WAYS[way](target.client, data)
        if way != PULL:
            target.serves()
    again = WAYS[way](target.client, data)

    assert (answer.status, answer.codes) == (status, ["UNAVAILABLE"])
    assert again.status in {200, 201, 202}
    target.is_well()


def test_upload_goes_on_after_a_full_disk(target: Target) -> None:
    """An upload that a full disk interrupts keeps what the disk took, says how much that is, and ends well later."""
    client, data = target.client, noise(3_000_000, seed=3)
    upload = client.begin_upload("new/app")

    with target.faults.failing("write", errno.ENOSPC, target.below(UPLOADS), skip=4):
        refused = client.ask("PATCH", upload, {"Content-Type": OCTETS}, data)
    status = client.ask("GET", upload)
    held = int(status.header("range").partition("-")[2]) + 1
    rest = {"Content-Type": OCTETS, "Content-Range": f"{held}-{len(data) - 1}"}
    resumed = client.ask("PATCH", upload, rest, data[held:])
    done = client.ask("PUT", f"{upload}?digest={digest_of(data)}", None, b"")

    assert (refused.status, refused.codes) == (507, ["UNAVAILABLE"])
    assert status.status == 204
    assert 1 < held < len(data)
    assert (resumed.status, done.status) == (202, 201)
    assert client.ask("GET", f"/v2/new/app/blobs/{digest_of(data)}").body == data


def test_failed_flush_of_an_upload_is_not_believed(target: Target) -> None:
    """When the disk did not take an upload's bytes, asking again does not commit them: they must be sent again."""
    client, data = target.client, new_blob()
    upload = client.begin_upload("new/app")
    client.ask("PATCH", upload, {"Content-Type": OCTETS}, data)

    with target.faults.failing("sync", errno.EIO, target.below(UPLOADS), count=1):
        refused = client.ask("PUT", f"{upload}?digest={digest_of(data)}", None, b"")
    again = client.ask("PUT", f"{upload}?digest={digest_of(data)}", None, b"")

    assert refused.status == 503
    assert (again.status, again.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    assert client.ask("HEAD", f"/v2/new/app/blobs/{digest_of(data)}").status == 404
    assert push_at_once(client, data).status == 201


def test_database_that_cannot_be_opened(target: Target) -> None:
    """A database that fails and then cannot even be opened is Unavailable until it can."""
    client = target.client
    failing, closed = target.below(DATABASE), errno.EACCES
    target.faults.set(
        f"write {errno.EIO} 0 -1 {failing}", f"open {closed} 0 -1 {failing}", f"create {closed} 0 -1 {failing}"
    )

    answers = [push_manifest(client, new_blob()) for _ in range(6)]
    target.faults.clear()

    assert {answer.status for answer in answers} == {503}
    assert push_manifest(client, new_blob()).status == 201
    target.is_well()


def test_unreadable_blob_in_mid_answer(target: Target) -> None:
    """When a disk fails in the middle of a blob the answer breaks off, so that nobody takes it for whole."""
    data = noise(8_000_000, seed=4)
    assert push_at_once(target.client, data).status == 201
    path = f"/v2/new/app/blobs/{digest_of(data)}"

    with target.faults.failing("sendfile", errno.EIO, target.below(BLOBS), skip=1), pytest.raises(Ended) as ended:
        target.client.ask("GET", path)

    assert len(ended.value.args[0]) < len(data)
    assert target.client.ask("GET", path).body == data
    target.is_well()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_links_catch_up(target: Target, number: int) -> None:
    """While the link tree cannot be written pushes succeed all the same, and the links appear once it can."""
    repository = f"late/{number}"
    links = target.server.data / "docker/registry/v2/repositories" / repository

    with target.faults.failing("create", number, target.below("docker/registry/v2/repositories/*")):
        target.client.push_image(repository, "latest", LAYER, config=CONFIG)
        time.sleep(0.5)
        early = (links / "_manifests/tags/latest/current/link").exists()
    deadline = time.monotonic() + 60
    while not (links / "_manifests/tags/latest/current/link").exists():
        assert time.monotonic() < deadline, target.server.log_tail()
        time.sleep(0.1)

    assert early is False
    target.is_well()
