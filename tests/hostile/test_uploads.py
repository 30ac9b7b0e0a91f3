"""Uploads that lie about their length, order or owner, and clients that vanish in the middle."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import pytest

from tests.content import OCTETS, Client, digest_of, noise
from tests.hostile.target import BLOB_BYTES, REPOSITORY, Target
from tests.raw_http import Answer, Ended, Line, chunked, head, message

ABC = digest_of(b"abc")
NOWHERE = "0123456789abcdef0123456789abcdef"


def _ask(client: Client, method: str, location: str) -> Answer:
    query = f"?digest={ABC}" if method == "PUT" else ""
    body = b"abc" if method in {"PUT", "PATCH"} else None
    return client.ask(method, location + query, {"Content-Type": OCTETS}, body)


def _received(client: Client, location: str) -> str:
    return client.ask("GET", location).header("range")


STRANGE_IDS = [
    ("an id that was never given", NOWHERE),
    ("text", "upload"),
    ("dots", ".."),
    ("an escaped path", "..%2F..%2Fmoorage.db"),
    ("the database's name", "moorage.db"),
    ("a wildcard of SQL's", "%25"),
    ("a quote", "'%20OR%201=1--"),
    ("2,000 characters", "a" * 2000),
    ("an emoji", "%F0%9F%90%B3"),
]


@pytest.mark.parametrize(("words", "upload"), STRANGE_IDS, ids=[row[0] for row in STRANGE_IDS])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "PUT", "DELETE"])
def test_unknown_upload(target: Target, method: str, words: str, upload: str) -> None:
    """An id that names no session is BLOB_UPLOAD_UNKNOWN, whatever is asked of it."""
    answer = _ask(target.alice, method, f"/v2/uploads/unknown/blobs/uploads/{upload}")

    assert answer.status == 404, words
    assert method == "HEAD" or answer.codes == ["BLOB_UPLOAD_UNKNOWN"]


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_upload_of_somebody_else(target: Target, method: str) -> None:
    """Another user who learnt the path neither sees the session nor touches it."""
    location = target.alice.begin_upload("uploads/mine")
    assert _ask(target.alice, "PATCH", location).status == 202

    answer = _ask(target.bob, method, location)

    assert answer.status == 404
    assert answer.codes == ["BLOB_UPLOAD_UNKNOWN"]
    assert _received(target.alice, location) == "0-2"


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_upload_of_another_repository(target: Target, method: str) -> None:
    """A session belongs to the repository that it was begun in."""
    location = target.alice.begin_upload("uploads/here")

    answer = _ask(target.alice, method, location.replace("uploads/here", "uploads/there"))

    assert answer.codes == ["BLOB_UPLOAD_UNKNOWN"]
    assert target.alice.ask("GET", location).status == 204


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("ending", ["PUT", "DELETE"])
def test_upload_that_has_ended(target: Target, ending: str, method: str) -> None:
    """A finished or cancelled session is gone."""
    location = target.alice.begin_upload("uploads/ended")
    assert _ask(target.alice, ending, location).status in {201, 204}

    answer = _ask(target.alice, method, location)

    assert answer.codes == ["BLOB_UPLOAD_UNKNOWN"]


BAD_RANGES = [
    ("no end", "3-"),
    ("no start", "-5"),
    ("backwards", "10-5"),
    ("20 digits", "3-99999999999999999999"),
    ("a start of 20 digits", "99999999999999999999-3"),
    ("a total that is too small", "bytes 3-5/5"),
    ("a negative start", "-3-5"),
    ("full-width digits", "３-５"),
    ("an underscore", "3-5_0"),
    ("a plus", "+3-5"),
    ("hexadecimal", "0x3-0x5"),
    ("white space within", "3 - 5"),
    ("two ranges", "3-5,6-8"),
    ("a star", "bytes */6"),
    ("text", "abc"),
    ("nothing", ""),
    ("another unit", "items 3-5"),
]


@pytest.mark.parametrize(("words", "value"), BAD_RANGES, ids=[row[0] for row in BAD_RANGES])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_bad_content_range(target: Target, method: str, words: str, value: str) -> None:
    """A Content-Range that is none is refused, and the session goes on where it was."""
    location = target.alice.begin_upload("uploads/ranges")
    assert _ask(target.alice, "PATCH", location).status == 202
    query = f"?digest={digest_of(b'abcabc')}" if method == "PUT" else ""
    headers = {**target.alice.headers, "Content-Type": OCTETS, "Content-Length": "3"}
    raw = head(method, location + query, headers)[:-2] + f"Content-Range: {value}\r\n\r\n".encode() + b"abc"
    with Line(target.server) as line:
        line.send(raw)

        answer = line.answer()

    assert answer.status in {400, 416}, words
    assert answer.codes[0] in {"RANGE_INVALID", "SIZE_INVALID"}
    assert _received(target.alice, location) == "0-2"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("value", ["3-3", "3-4", "3-6", "3-1000000"])
def test_content_range_of_another_length(target: Target, method: str, value: str) -> None:
    """A chunk whose range and length differ is SIZE_INVALID."""
    location = target.alice.begin_upload("uploads/lengths")
    assert _ask(target.alice, "PATCH", location).status == 202
    query = f"?digest={digest_of(b'abcabc')}" if method == "PUT" else ""

    answer = target.alice.ask(method, location + query, {"Content-Type": OCTETS, "Content-Range": value}, b"abc")

    assert answer.status == 400
    assert answer.codes == ["SIZE_INVALID"]
    assert _received(target.alice, location) == "0-2"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(("words", "value"), [("a gap", "4-6"), ("a replay", "0-2"), ("an overlap", "2-4")])
def test_chunk_out_of_order(target: Target, method: str, words: str, value: str) -> None:
    """A chunk that does not begin where the last one ended is 416 and says where to go on."""
    location = target.alice.begin_upload("uploads/order")
    assert _ask(target.alice, "PATCH", location).status == 202
    query = f"?digest={digest_of(b'abcabc')}" if method == "PUT" else ""

    refused = target.alice.ask(method, location + query, {"Content-Type": OCTETS, "Content-Range": value}, b"abc")
    finished = target.alice.ask(
        "PUT",
        f"{location}?digest={digest_of(b'abcabc')}",
        {"Content-Type": OCTETS, "Content-Range": "3-5"},
        b"abc",
    )

    assert refused.status == 416, words
    assert refused.header("range") == "0-2"
    assert refused.header("location") == location
    assert finished.status == 201


def test_two_content_ranges(target: Target) -> None:
    """Of two Content-Range headers none is believed."""
    location = target.alice.begin_upload("uploads/ranges")
    headers = [*target.alice.headers.items(), ("Content-Range", "0-2"), ("Content-Range", "0-2")]
    with Line(target.server) as line:
        line.send(message("PATCH", location, headers, b"abc"))

        answer = line.answer()

    assert answer.codes == ["RANGE_INVALID"]


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("coding", ["length", "chunks"])
def test_client_that_vanishes_leaves_what_it_sent(target: Target, coding: str, how: str) -> None:
    """After a disconnect in mid-body the session says how far it came, and goes on from there to the right digest.

    With a reset the kernel throws away what the server has not read yet, so a slow server is given further chances.
    """
    data = noise(300_000, seed=3)
    for _ in range(10 if how == "reset" else 1):
        location = target.alice.begin_upload("uploads/vanished")
        _vanish(target, location, data, coding, how)
        offset = _offset_left(target, location)
        if offset:
            break

    finished = target.alice.ask("PUT", f"{location}?digest={digest_of(data)}", None, data[offset:])

    assert 0 < offset <= 200_000, "what was sent before the end was lost"
    assert finished.status == 201


def _vanish(target: Target, location: str, data: bytes, coding: str, how: str) -> None:
    """Send two thirds of *data* to the session, and be gone."""
    framing = {"Content-Length": str(len(data))} if coding == "length" else {"Transfer-Encoding": "chunked"}
    part = data[:200_000] if coding == "length" else chunked(data[:200_000])[:-5]
    with Line(target.server) as line:
        headers = {**target.alice.headers, "Content-Type": OCTETS, "Expect": "100-continue", **framing}
        line.send(head("PATCH", location, headers))
        assert line.answer().status == 100  # from now on the session is held
        line.send(part)
        if how == "reset":
            time.sleep(0.05)
            line.reset()


def _offset_left(target: Target, location: str) -> int:
    """How many bytes the session has once nobody holds it any more; a chunk far behind its end changes nothing."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        answer = target.alice.ask("PATCH", location, {"Content-Range": "900000-900000"}, b"x")
        assert answer.status in {409, 416}
        if answer.status == 416:
            status = target.alice.ask("GET", location)
            return 0 if status.header("range") == "0-0" else int(status.header("range").partition("-")[2]) + 1
        time.sleep(0.01)
    raise AssertionError("the session stays locked")


def test_two_writers_of_one_upload_never_interleave(target: Target) -> None:
    """While one PATCH is running, another is refused, and the first one's bytes are all there is."""
    location = target.alice.begin_upload("uploads/busy")
    data = noise(100_000, seed=4)
    with Line(target.server) as line:
        headers = {**target.alice.headers, "Content-Length": str(len(data)), "Expect": "100-continue"}
        line.send(head("PATCH", location, headers))
        assert line.answer().status == 100
        line.send(data[:50_000])

        second = [_ask(target.alice, method, location) for method in ("PATCH", "PUT", "DELETE") for _ in range(3)]
        line.send(data[50_000:])
        first = line.answer()
    finished = target.alice.ask("PUT", f"{location}?digest={digest_of(data)}", None, b"")

    assert {answer.status for answer in second} <= {409, 416}
    assert first.header("range") == f"0-{len(data) - 1}"
    assert finished.status == 201


def test_wrong_digest_ends_the_session(target: Target) -> None:
    """A blob that has not the digest it was announced by is refused, kept nowhere, and its session is over."""
    location = target.alice.begin_upload("uploads/wrong")
    claimed = digest_of(b"abd")

    refused = target.alice.ask("PUT", f"{location}?digest={claimed}", None, b"abc")

    assert refused.status == 400
    assert refused.codes == ["DIGEST_INVALID"]
    assert target.alice.ask("GET", location).status == 404
    for digest in (claimed, ABC):
        assert target.alice.ask("GET", f"/v2/uploads/wrong/blobs/{digest}").status == 404


def test_wrong_digest_in_one_request(target: Target) -> None:
    """The same for a push in one request, and nothing stays staged."""
    claimed = digest_of(b"abd")
    folder = target.server.data / "moorage" / "uploads"
    before = {entry.name for entry in folder.iterdir()}

    refused = target.alice.ask("POST", f"/v2/uploads/wrong/blobs/uploads/?digest={claimed}", None, b"abc")

    assert refused.codes == ["DIGEST_INVALID"]
    assert {entry.name for entry in folder.iterdir()} <= before


@pytest.mark.parametrize(
    ("words", "query", "status"),
    [
        ("from itself", f"mount={ABC}&from=uploads/mount", 202),
        ("from a name outside the grammar", f"mount={ABC}&from=../../etc", 202),
        ("from a repository that is not there", f"mount={ABC}&from=no/such", 202),
        ("from nowhere", f"mount={digest_of(b'never pushed')}", 202),
        ("from an empty name", f"mount={ABC}&from=", 202),
        ("of what is no digest", "mount=abc&from=lib/base", 400),
        ("of nothing", "mount=&from=lib/base", 400),
        ("of an unknown algorithm", f"mount=md5:{'0' * 32}&from=lib/base", 400),
        ("of two digests", f"mount={ABC}&mount={ABC}&from=lib/base", 400),
        ("from two repositories", f"mount={ABC}&from=lib/base&from=lib/base", 400),
    ],
    ids=lambda value: value if isinstance(value, str) and "=" not in value else "",
)
def test_mount_that_cannot_be(target: Target, words: str, query: str, status: int) -> None:
    """A source that has nothing is no error but a session; a malformed digest is one."""
    answer = target.alice.ask("POST", f"/v2/uploads/mount/blobs/uploads/?{query}", None, b"")

    assert answer.status == status, words
    if status == 202:
        assert _ask(target.alice, "DELETE", answer.header("location")).status == 204
    assert target.alice.ask("HEAD", f"/v2/uploads/mount/blobs/{ABC}").status == 404


def test_blob_of_another_repository_stays_invisible(target: Target) -> None:
    """A digest that another repository has tells nothing here: not by HEAD, GET, DELETE or its manifest route."""
    digest = digest_of(target.layer)
    assert target.alice.ask("HEAD", f"/v2/{REPOSITORY}/blobs/{digest}").status == 200

    answers = [
        target.alice.ask(method, f"/v2/uploads/elsewhere/blobs/{digest}") for method in ("HEAD", "GET", "DELETE")
    ]
    manifest = target.alice.ask("GET", f"/v2/uploads/elsewhere/manifests/{target.manifest_digest}")

    assert [answer.status for answer in answers] == [404, 404, 404]
    assert manifest.status == 404


@pytest.mark.parametrize("data", [b"", b"abc", b"x" * 70_000], ids=["nothing", "three bytes", "70,000 bytes"])
def test_push_in_one_chunked_request(target: Target, data: bytes) -> None:
    """A POST with a digest takes its body in chunks too, also an empty one."""
    digest = digest_of(data)
    headers = {**target.alice.headers, "Content-Type": OCTETS, "Transfer-Encoding": "chunked"}
    with Line(target.server) as line:
        line.send(head("POST", f"/v2/uploads/chunked/blobs/uploads/?digest={digest}", headers) + chunked(data))

        pushed = line.answer()
    found = target.alice.ask("GET", f"/v2/uploads/chunked/blobs/{digest}")

    assert pushed.status == 201
    assert found.body == data


def test_empty_blob_in_one_request(target: Target) -> None:
    """The digest of nothing is a blob, and its HEAD says Content-Length: 0."""
    digest = digest_of(b"")

    pushed = target.alice.ask("POST", f"/v2/uploads/empty/blobs/uploads/?digest={digest}", None, b"")
    found = target.alice.ask("HEAD", f"/v2/uploads/empty/blobs/{digest}")

    assert pushed.status == 201
    assert found.header("content-length") == "0"


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_blob_that_announces_too_much(target: Target, method: str) -> None:
    """A blob beyond the limit is 413 by its Content-Length, before a byte of it is taken."""
    target_path = _large_path(target, method)
    headers = {**target.alice.headers, "Content-Type": OCTETS, "Content-Length": str(BLOB_BYTES + 1)}
    with Line(target.server) as line:
        line.send(head(method, target_path, headers))

        answer = line.answer()

    assert answer.status == 413
    assert answer.codes == ["SIZE_INVALID"]
    assert answer.closes


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_blob_that_becomes_too_much(target: Target, method: str) -> None:
    """A chunked blob beyond the limit is 413 when it gets there."""
    target_path = _large_path(target, method)
    headers = {**target.alice.headers, "Content-Type": OCTETS, "Transfer-Encoding": "chunked"}
    with Line(target.server) as line:
        line.send(head(method, target_path, headers))
        taken = line.send_until_refused(b"10000\r\n" + b"x" * 65536 + b"\r\n", 64 << 20)

        answer = line.answer()

    assert answer.status == 413
    assert taken < 32 << 20


def _large_path(target: Target, method: str) -> str:
    digest = digest_of(b"too large anyway")
    if method == "POST":
        return f"/v2/uploads/large/blobs/uploads/?digest={digest}"
    location = target.alice.begin_upload("uploads/large")
    return location if method == "PATCH" else f"{location}?digest={digest}"


def test_simultaneous_uploads_of_one_blob_all_succeed(target: Target) -> None:
    """Many sessions that finish the same digest at once each get their 201."""
    data = noise(50_000, seed=5)
    answers: list[Answer] = []

    def push() -> None:
        location = target.alice.begin_upload("uploads/same")
        answers.append(target.alice.ask("PUT", f"{location}?digest={digest_of(data)}", None, data))

    threads = [threading.Thread(target=push) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [answer.status for answer in answers] == [201] * 12
    assert target.alice.ask("GET", f"/v2/uploads/same/blobs/{digest_of(data)}").body == data


def test_open_sessions_are_counted(target: Target) -> None:
    """A user who opens session after session is told 429 and to come back; others are not kept from pushing."""
    request = message("POST", "/v2/uploads/hoard/blobs/uploads/", target.mallory.headers, b"")
    statuses = {202}
    with ExitStack() as stack:
        lines = [stack.enter_context(Line(target.server)) for _ in range(24)]
        for _ in range(11_000 // (24 * 20)):
            for line in lines:
                line.send(request * 20)
            answers = [line.answer() for line in lines for _ in range(20)]
            statuses |= {answer.status for answer in answers}

    assert statuses == {202, 429}
    assert int(answers[-1].header("retry-after")) > 0
    assert answers[-1].codes == ["TOOMANYREQUESTS"]
    assert target.bob.ask("POST", "/v2/uploads/hoard/blobs/uploads/", None, b"").status == 202


def test_body_without_a_length_is_empty(target: Target) -> None:
    """A PUT with neither Content-Length nor chunks has no body, as HTTP/1.1 says."""
    location = target.alice.begin_upload("uploads/none")
    with Line(target.server) as line:
        line.send(head("PUT", f"{location}?digest={digest_of(b'')}", target.alice.headers))

        answer = line.answer()

    assert answer.status == 201


def test_unused_session_costs_no_file(target: Target) -> None:
    """Opening sessions alone writes nothing to the uploads folder."""
    folder = target.server.data / "moorage" / "uploads"
    before = len(list(folder.iterdir()))

    for _ in range(20):
        target.bob.begin_upload("uploads/unused")

    assert len(list(folder.iterdir())) <= before


def test_connection_survives_a_small_refused_body(target: Target) -> None:
    """A refused request whose small body is still coming keeps its connection, and the next one is understood."""
    with Line(target.server) as line:
        line.send(head("PUT", "/v2/UPPER/manifests/t", {**target.alice.headers, "Content-Length": "1000"}) + b"x" * 500)
        refused = line.answer()
        line.send(b"x" * 500 + message("GET", "/v2/", target.alice.headers))

        answer = line.answer()

    assert refused.status == 400
    assert not refused.closes
    assert answer.status == 200


def test_large_refused_body_costs_the_connection(target: Target) -> None:
    """A refused request with much body still to come is answered at once, and its connection closed."""
    with Line(target.server) as line:
        line.send(head("PUT", "/v2/UPPER/manifests/t", {**target.alice.headers, "Content-Length": str(1 << 31)}))
        answer = line.answer()
        taken = line.send_until_refused(b"x" * 65536, 1 << 30)

    assert answer.status == 400
    assert answer.closes
    assert taken < 16 << 20


def test_upload_location_is_relative(target: Target) -> None:
    """Location is a path only, whatever the Host and forwarded headers say."""
    lies = {
        "Host": "evil.test",
        "X-Forwarded-Host": "evil.test",
        "X-Forwarded-Proto": "javascript",
        "Forwarded": "host=evil",
    }

    answer = target.alice.ask("POST", "/v2/uploads/location/blobs/uploads/", lies, b"")

    assert answer.header("location").startswith("/v2/uploads/location/blobs/uploads/")
    assert "evil" not in repr(answer)


def test_short_body_is_not_a_blob(target: Target) -> None:
    """A body that ends before its Content-Length is never committed, although what came has the right digest."""
    digest = digest_of(b"abc")
    headers = {**target.alice.headers, "Content-Type": OCTETS, "Content-Length": "10"}
    with Line(target.server) as line:
        line.send(head("POST", f"/v2/uploads/short/blobs/uploads/?digest={digest}", headers) + b"abc")
        line.half_close()
        try:
            status = line.answer().status
        except Ended:
            status = 0

    assert status in {0, 400, 408}
    assert target.alice.ask("HEAD", f"/v2/uploads/short/blobs/{digest}").status == 404
