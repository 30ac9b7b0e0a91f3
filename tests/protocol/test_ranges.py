"""Parts of blobs (RFC 9110, 14), and requests that say what the client has already (RFC 9110, 13)."""

from __future__ import annotations

import re

import pytest

from tests.content import OCTETS, Client, digest_of, noise
from tests.raw_http import Answer, ask_raw, message

# One is kept in memory after its first pull, the other is sent from its file.
SMALL, LARGE = noise(2048, seed=3), noise(200_000, seed=4)


@pytest.fixture(scope="module", params=[SMALL, LARGE], ids=["small", "large"])
def blob(request: pytest.FixtureRequest, alice: Client) -> bytes:
    """A blob in the repository `ranges`."""
    data: bytes = request.param
    alice.push_blob("ranges", data)
    return data


def pull(client: Client, data: bytes, **headers: str) -> Answer:
    """GET the blob; header names with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.ask("GET", f"/v2/ranges/blobs/{digest_of(data)}", named)


SINGLE = [
    ("bytes=0-", lambda size: (0, size)),
    ("bytes=0-0", lambda size: (0, 1)),
    ("bytes=500-1499", lambda size: (500, 1500)),
    ("bytes=500-", lambda size: (500, size)),
    ("bytes=-500", lambda size: (size - 500, size)),
    ("bytes=-999999999", lambda size: (0, size)),
    ("bytes=2000-999999999", lambda size: (2000, size)),
    ("bytes=2000-9999999999999999999999", lambda size: (2000, size)),
    ("bytes= 5-9 ", lambda size: (5, 10)),
    ("BYTES=5-9", lambda size: (5, 10)),
    ("bytes=5-9,", lambda size: (5, 10)),
    ("bytes=5-9, 99999999-", lambda size: (5, 10)),
]


@pytest.mark.parametrize(("given", "expected"), SINGLE, ids=[row[0] for row in SINGLE])
def test_one_range(given: str, expected: object, blob: bytes, alice: Client) -> None:
    """206 with a numeric total, clipped at the end of the blob."""
    assert callable(expected)
    start, end = expected(len(blob))

    answer = pull(alice, blob, Range=given)

    assert answer.status == 206
    assert answer.body == blob[start:end]
    assert answer.header("content-range") == f"bytes {start}-{end - 1}/{len(blob)}"
    assert answer.header("content-length") == str(end - start)
    assert answer.header("content-type") == OCTETS
    assert answer.header("docker-content-digest") == digest_of(blob)


@pytest.mark.parametrize(
    "given", ["bytes=999999-", "bytes=500-0", "bytes=-0", "bytes=999999-,888888-", "bytes=9999999999999999999999-"]
)
def test_a_range_that_cannot_be_had(given: str, blob: bytes, alice: Client) -> None:
    """416, RANGE_INVALID and the length."""
    answer = pull(alice, blob, Range=given)

    assert (answer.status, answer.codes) == (416, ["RANGE_INVALID"])
    assert answer.header("content-range") == f"bytes */{len(blob)}"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=0x0-0x5",
        "bytes=1 - 5",
        "items=0-5",
        "bytes=0-5,x",
        "bytes=0-5,3-9",
        "bytes=" + ",".join(f"{number * 2}-{number * 2}" for number in range(65)),
    ],
    ids=lambda given: given[:24] or "empty",
)
def test_a_range_that_is_none_is_ignored(given: str, blob: bytes, alice: Client) -> None:
    """200 and everything: malformed, of another unit, overlapping or too many (CVE-2025-62727)."""
    answer = pull(alice, blob, Range=given)

    assert (answer.status, answer.body) == (200, blob)
    assert answer.values("content-range") == []


@pytest.mark.parametrize("first", [0, 7])
def test_several_ranges(first: int, blob: bytes, alice: Client) -> None:
    """multipart/byteranges in the order asked for, each part with its range."""
    asked = [(first, 10), (1000, 1999), (100, 100), (len(blob) - 5, len(blob) - 1)]

    answer = pull(alice, blob, Range="bytes=" + ",".join(f"{start}-{end}" for start, end in asked))

    assert answer.status == 206
    match = re.fullmatch(r"multipart/byteranges; boundary=([A-Za-z0-9:-]+)", answer.header("content-type"))
    assert match is not None
    assert answer.header("content-length") == str(len(answer.body))
    assert parts_of(answer.body, match[1]) == [
        (f"bytes {start}-{end}/{len(blob)}", blob[start : end + 1]) for start, end in asked
    ]


def parts_of(body: bytes, boundary: str) -> list[tuple[str, bytes]]:
    """Content-Range and content of each part, as RFC 2046, 5.1, draws them."""
    mark = b"\r\n--" + boundary.encode("ascii")
    preamble, *parts, end = (b"\r\n" + body.removeprefix(b"\r\n")).split(mark)
    assert (preamble, end) == (b"", b"--\r\n")
    found = []
    for part in parts:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode("ascii").split("\r\n"))
        assert headers["Content-Type"] == OCTETS
        found.append((headers["Content-Range"], content))
    return found


def test_one_satisfiable_range_among_several_is_a_single_one(blob: bytes, alice: Client) -> None:
    """RFC 9110, 15.3.7.2: then it is no multipart."""
    answer = pull(alice, blob, Range="bytes=99999999-,5-9")

    assert (answer.status, answer.body) == (206, blob[5:10])
    assert answer.header("content-type") == OCTETS


def test_ranges_that_do_not_overlap_are_joined_to_the_whole(blob: bytes, alice: Client) -> None:
    """As a client reads a blob that came in pieces."""
    got = b""
    while len(got) < len(blob):
        got += pull(alice, blob, Range=f"bytes={len(got)}-{len(got) + 49_999}").body

    assert got == blob


def test_a_head_ignores_ranges(blob: bytes, alice: Client) -> None:
    """Ranges are for GET alone (RFC 9110, 14.2)."""
    answer = alice.ask("HEAD", f"/v2/ranges/blobs/{digest_of(blob)}", {"Range": "bytes=0-5"})

    assert (answer.status, answer.header("content-length")) == (200, str(len(blob)))


def test_two_range_headers_are_ignored(blob: bytes, alice: Client) -> None:
    """Which of them is meant nobody knows."""
    headers = [*alice.headers.items(), ("Range", "bytes=0-5"), ("Range", "bytes=6-9")]

    answer = ask_raw(alice.server, message("GET", f"/v2/ranges/blobs/{digest_of(blob)}", headers))

    assert (answer.status, answer.body) == (200, blob)


@pytest.mark.parametrize("given", ["bytes=0-", "bytes=-5", "bytes=0-0", "bytes=5-"])
def test_the_empty_blob_has_no_ranges(given: str, alice: Client) -> None:
    """Everything of nothing is 200."""
    alice.push_blob("ranges", b"")

    answer = pull(alice, b"", Range=given)

    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ('"{digest}"', 206),
        ('W/"{digest}"', 200),
        ('"sha256:other"', 200),
        ("{digest}", 200),
        ("Mon, 23 Nov 2026 12:00:00 GMT", 200),
    ],
)
def test_a_range_of_something_else_is_not_sent(given: str, status: int, blob: bytes, alice: Client) -> None:
    """If-Range: strong comparison with the entity tag; else everything."""
    condition = given.format(digest=digest_of(blob))

    answer = pull(alice, blob, Range="bytes=0-5", If_Range=condition)

    assert (answer.status, answer.body) == (status, blob[:6] if status == 206 else blob)


CONDITIONS = [
    ('"{digest}"', 304),
    ('W/"{digest}"', 304),
    ("{digest}", 304),
    ("*", 304),
    ('"a", "{digest}", "b"', 304),
    ('"{other}"', 200),
    ('"', 200),
    ("", 200),
]


@pytest.mark.parametrize(("given", "status"), CONDITIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_is_not_sent_again(
    method: str, given: str, status: int, blob: bytes, alice: Client
) -> None:
    """If-None-Match on blobs: 304 with the entity tag, also for tags without quotes, since clients send such."""
    digest = digest_of(blob)
    condition = given.format(digest=digest, other=digest_of(b"other"))

    answer = alice.ask(method, f"/v2/ranges/blobs/{digest}", {"If-None-Match": condition})

    assert answer.status == status
    assert answer.header("etag") == f'"{digest}"'
    assert answer.body == (blob if status == 200 and method == "GET" else b"")


@pytest.mark.parametrize(("given", "status"), CONDITIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_a_manifest_that_the_client_has_is_not_sent_again(
    method: str, given: str, status: int, by: str, alice: Client, name: str
) -> None:
    """If-None-Match on manifests, by tag too: what the tag names now is compared."""
    digest = alice.push_image(name, "v1", b"layer")
    condition = given.format(digest=digest, other=digest_of(b"other"))
    target = f"/v2/{name}/manifests/{'v1' if by == 'tag' else digest}"

    answer = alice.ask(method, target, {"If-None-Match": condition})

    assert answer.status == status
    assert answer.header("etag") == f'"{digest}"'
    assert (answer.body != b"") == (status == 200 and method == "GET")


def test_what_is_not_there_is_not_what_the_client_has(alice: Client, name: str) -> None:
    """404 and not 304."""
    digest = digest_of(b"never pushed")

    for kind in ("blobs", "manifests"):
        answer = alice.ask("GET", f"/v2/{name}/{kind}/{digest}", {"If-None-Match": f'"{digest}"'})
        assert answer.status == 404


def test_a_moved_tag_is_sent(alice: Client, name: str) -> None:
    """The condition is on what the tag names, not on the tag."""
    before = alice.push_image(name, "v1", b"before")
    after = alice.push_image(name, "v1", b"after")

    answer = alice.ask("GET", f"/v2/{name}/manifests/v1", {"If-None-Match": f'"{before}"'})

    assert (answer.status, answer.header("docker-content-digest")) == (200, after)
