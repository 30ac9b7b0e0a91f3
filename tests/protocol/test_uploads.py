"""Pushes of blobs in every way, and sessions that go on: on another worker, after a drop, in the right order only.

The server has four workers, and every request here is a connection of its own: each may meet another process.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.content import OCTETS, Client, digest_of, noise
from tests.raw_http import Answer, Line, ask_raw, chunked, head

DATA = noise(300_000, seed=7)
# The third is short, as last chunks are.
CHUNKS = (DATA[:131_072], DATA[131_072:262_144], DATA[262_144:])
PATIENCE = 30.0


def range_of(data: bytes, start: int = 0) -> dict[str, str]:
    """The Content-Range of *data* that belongs at *start*."""
    return {"Content-Range": f"{start}-{start + len(data) - 1}", "Content-Type": OCTETS}


def close(client: Client, location: str, digest: str, last: bytes = b"", start: int | None = None) -> Answer:
    """The closing PUT, perhaps with the last chunk."""
    mark = "&" if "?" in location else "?"
    headers = {} if start is None else range_of(last, start)
    return client.ask("PUT", f"{location}{mark}digest={digest}", headers, last)


def stream(client: Client, method: str, target: str, data: bytes) -> Answer:
    """Send *data* with Transfer-Encoding: chunked."""
    headers = {**client.headers, "Content-Type": OCTETS, "Transfer-Encoding": "chunked"}
    return ask_raw(client.server, head(method, target, headers) + chunked(data, 50_000), method)


def progress(answer: Answer) -> tuple[str, str]:
    """Location and Range of an answer about a session, whose headers must agree with each other."""
    location = answer.header("location")
    assert re.fullmatch(r"/v2/[a-z0-9-]+/blobs/uploads/[0-9a-f]{32}", location)
    assert location.endswith(answer.header("docker-upload-uuid"))
    return location, answer.header("range")


def post(client: Client, name: str, digest: str) -> Answer:
    """One request."""
    return client.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", {"Content-Type": OCTETS}, DATA)


def post_stream(client: Client, name: str, digest: str) -> Answer:
    """One request without a Content-Length."""
    return stream(client, "POST", f"/v2/{name}/blobs/uploads/?digest={digest}", DATA)


def post_put(client: Client, name: str, digest: str) -> Answer:
    """Two requests."""
    return close(client, client.begin_upload(name), digest, DATA)


def post_put_stream(client: Client, name: str, digest: str) -> Answer:
    """Two requests, the second without a Content-Length."""
    return stream(client, "PUT", f"{client.begin_upload(name)}?digest={digest}", DATA)


def patch_put(client: Client, name: str, digest: str) -> Answer:
    """Three requests."""
    location = client.begin_upload(name)
    assert progress(client.ask("PATCH", location, {}, DATA)) == (location, f"0-{len(DATA) - 1}")
    return close(client, location, digest)


def patch_stream_put(client: Client, name: str, digest: str) -> Answer:
    """As Docker does: the PATCH is a stream."""
    location = client.begin_upload(name)
    assert progress(stream(client, "PATCH", location, DATA)) == (location, f"0-{len(DATA) - 1}")
    return close(client, location, digest)


def chunks_put(client: Client, name: str, digest: str) -> Answer:
    """Chunk by chunk, and an empty PUT."""
    location, sent = client.begin_upload(name), 0
    for chunk in CHUNKS:
        answer = client.ask("PATCH", location, range_of(chunk, sent), chunk)
        sent += len(chunk)
        assert (answer.status, *progress(answer)) == (202, location, f"0-{sent - 1}")
    return close(client, location, digest)


def chunks_and_last_in_put(client: Client, name: str, digest: str) -> Answer:
    """Chunk by chunk, the last one in the PUT."""
    location = client.begin_upload(name)
    client.ask("PATCH", location, range_of(CHUNKS[0]), CHUNKS[0])
    client.ask("PATCH", location, range_of(CHUNKS[1], 131_072), CHUNKS[1])
    return close(client, location, digest, CHUNKS[2], 262_144)


def streams_and_chunks_mixed(client: Client, name: str, digest: str) -> Answer:
    """Whatever a client makes of it."""
    location = client.begin_upload(name)
    stream(client, "PATCH", location, CHUNKS[0])
    client.ask("PATCH", location, {}, CHUNKS[1])
    return stream(client, "PUT", f"{location}?digest={digest}", CHUNKS[2])


def sha512_told_before(client: Client, name: str, digest: str) -> Answer:
    """The algorithm is named when the session begins."""
    algorithm = digest.partition(":")[0]
    answer = client.ask("POST", f"/v2/{name}/blobs/uploads/?digest-algorithm={algorithm}", {}, b"")
    location, _ = progress(answer)
    client.ask("PATCH", location, range_of(CHUNKS[0]), CHUNKS[0])
    return close(client, location, digest, CHUNKS[1] + CHUNKS[2])


WAYS = [
    post,
    post_stream,
    post_put,
    post_put_stream,
    patch_put,
    patch_stream_put,
    chunks_put,
    chunks_and_last_in_put,
    streams_and_chunks_mixed,
    sha512_told_before,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_is_pushed(way: Callable[[Client, str, str], Answer], algorithm: str, alice: Client, name: str) -> None:
    """In every way and by either digest, sha512 also where only the closing PUT names it: it can be pulled at once."""
    digest = digest_of(DATA, algorithm)

    answer = way(alice, name, digest)

    assert answer.status == 201, answer
    assert answer.header("location") == f"/v2/{name}/blobs/{digest}"
    assert answer.header("docker-content-digest") == digest
    assert alice.ask("HEAD", answer.header("location")).header("content-length") == str(len(DATA))
    assert alice.ask("GET", answer.header("location")).body == DATA


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_content_with_another_digest_is_refused(
    way: Callable[[Client, str, str], Answer], algorithm: str, alice: Client, name: str
) -> None:
    """400 DIGEST_INVALID; the blob is not there, by either digest."""
    claimed = digest_of(b"something else", algorithm)

    answer = way(alice, name, claimed)

    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    assert alice.ask("HEAD", f"/v2/{name}/blobs/{claimed}").status == 404
    assert alice.ask("HEAD", f"/v2/{name}/blobs/{digest_of(DATA)}").status == 404


def test_a_session_ends_with_a_wrong_digest(alice: Client, name: str) -> None:
    """What was claimed does not fit what was sent; nobody can say which is right."""
    location = alice.begin_upload(name)
    close(alice, location, digest_of(b"other"), DATA)

    assert alice.ask("GET", location).codes == ["BLOB_UPLOAD_UNKNOWN"]
    assert close(alice, location, digest_of(DATA), DATA).status == 404


def test_the_empty_blob_can_be_pushed(alice: Client, name: str) -> None:
    """In one request, in two and in three; its length is told."""
    digest = digest_of(b"")
    for number in range(3):
        repository = f"{name}-{number}"
        location = alice.begin_upload(repository)
        if number == 0:
            alice.push_blob(repository, b"")
        if number == 1:
            assert alice.ask("PATCH", location, {}, b"").header("range") == "0-0"
        if number > 0:
            assert close(alice, location, digest).status == 201

        assert alice.ask("HEAD", f"/v2/{repository}/blobs/{digest}").header("content-length") == "0"
        assert alice.ask("GET", f"/v2/{repository}/blobs/{digest}").body == b""


def test_the_status_tells_how_far_a_session_is(alice: Client, name: str) -> None:
    """204 with Location and Range, by GET and HEAD; 0-0 where nothing is there, since no range is empty."""
    location = alice.begin_upload(name)
    fresh = alice.ask("GET", location)
    alice.ask("PATCH", location, {}, CHUNKS[0])
    begun = alice.ask("GET", location)

    assert (fresh.status, *progress(fresh)) == (204, location, "0-0")
    assert (begun.status, *progress(begun)) == (204, location, "0-131071")
    assert alice.ask("HEAD", location).status == 204


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("start", [0, 100, 131_071, 131_073, 262_144], ids="at {}".format)
def test_a_chunk_out_of_order_is_refused_and_the_session_goes_on(
    method: str, start: int, alice: Client, name: str
) -> None:
    """416 with Location, Range and id, so that the client knows where to go on; and there it does."""
    digest = digest_of(DATA)
    location = alice.begin_upload(name)
    alice.ask("PATCH", location, range_of(CHUNKS[0]), CHUNKS[0])
    target = location if method == "PATCH" else f"{location}?digest={digest}"

    refused = alice.ask(method, target, range_of(CHUNKS[1], start), CHUNKS[1])
    status = alice.ask("GET", target)
    going_on = alice.ask("PATCH", location, range_of(CHUNKS[1], 131_072), CHUNKS[1])
    done = close(alice, location, digest, CHUNKS[2], 262_144)

    assert (refused.status, refused.codes) == (416, ["RANGE_INVALID"])
    assert progress(refused) == progress(status) == (location, "0-131071")
    assert (status.status, going_on.status, done.status) == (204, 202, 201)
    assert alice.ask("GET", done.header("location")).body == DATA


@pytest.mark.parametrize(
    "given", ["", "bytes", "0", "0-", "-10", "10-0", "a-b", "bytes 0-131071/100", "0-131071,5-6", "0x0-0x5", "0-1e5"]
)
def test_a_content_range_that_is_none_is_refused(given: str, alice: Client, name: str) -> None:
    """416 with the way on."""
    location = alice.begin_upload(name)

    answer = alice.ask("PATCH", location, {"Content-Range": given}, CHUNKS[0])

    assert (answer.status, answer.codes) == (416, ["RANGE_INVALID"])
    assert progress(answer) == (location, "0-0")


def test_two_content_ranges_are_refused(alice: Client, name: str) -> None:
    """Which of them is meant nobody knows."""
    location = alice.begin_upload(name)
    twice = [("Content-Range", "0-4"), ("Content-Range", "5-9"), ("Content-Length", "5")]

    answer = ask_raw(alice.server, head("PATCH", location, [*alice.headers.items(), *twice]) + b"12345", "PATCH")

    assert (answer.status, answer.codes) == (416, ["RANGE_INVALID"])


@pytest.mark.parametrize("given", ["0-9", "bytes 0-9/*", "bytes 0-9/300000", "bytes=0-9", "0-9/*"])
def test_content_ranges_of_rfc_9110_are_understood_too(given: str, alice: Client, name: str) -> None:
    """The protocol writes `0-9`; some scripts write what HTTP does."""
    location = alice.begin_upload(name)

    answer = alice.ask("PATCH", location, {"Content-Range": given}, DATA[:10])

    assert (answer.status, answer.header("range")) == (202, "0-9")


def test_a_chunk_of_another_length_than_its_range_is_refused(alice: Client, name: str) -> None:
    """400 SIZE_INVALID, and nothing of it is kept, also where the length shows only at its end."""
    location = alice.begin_upload(name)
    alice.ask("PATCH", location, range_of(CHUNKS[0]), CHUNKS[0])
    wrong = range_of(CHUNKS[1], 131_072)

    told = alice.ask("PATCH", location, wrong, CHUNKS[2])
    headers = {**alice.headers, **wrong, "Transfer-Encoding": "chunked"}
    untold = ask_raw(alice.server, head("PATCH", location, headers) + chunked(CHUNKS[2]), "PATCH")
    status = alice.ask("GET", location)
    done = close(alice, location, digest_of(DATA), CHUNKS[1] + CHUNKS[2], 131_072)

    assert (told.status, told.codes) == (400, ["SIZE_INVALID"])
    assert (untold.status, untold.codes) == (400, ["SIZE_INVALID"])
    assert status.header("range") == "0-131071"
    assert done.status == 201


def drop(client: Client, method: str, target: str, announced: int, sent: bytes) -> None:
    """Announce more than is sent, and go away."""
    headers = {**client.headers, "Content-Type": OCTETS, "Content-Length": str(announced)}
    with Line(client.server) as line:
        line.send(head(method, target, headers) + sent)
        line.half_close()
        line.rest()


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_an_upload_goes_on_after_a_drop(method: str, alice: Client, name: str) -> None:
    """What came before the connection broke is kept, and GET says how much: the rest follows from there."""
    digest = digest_of(DATA)
    location = alice.begin_upload(name)
    alice.ask("PATCH", location, {}, CHUNKS[0])
    target = location if method == "PATCH" else f"{location}?digest={digest}"

    drop(alice, method, target, len(DATA) - 131_072, CHUNKS[1][:100_000])
    kept = awaited_offset(alice, location, 231_072)
    done = close(alice, location, digest, DATA[kept:], kept)

    assert done.status == 201, done
    assert alice.ask("GET", done.header("location")).body == DATA


def awaited_offset(client: Client, location: str, expected: int) -> int:
    """How many bytes are there, once the server has noticed that nobody sends more."""
    deadline = time.monotonic() + PATIENCE
    while True:
        kept = int(client.ask("GET", location).header("range").partition("-")[2]) + 1
        if kept == expected or time.monotonic() > deadline:
            assert kept == expected
            return kept
        time.sleep(0.01)


@contextmanager
def writing(client: Client, location: str) -> Iterator[Line]:
    """A PATCH of ten bytes that the server has let begin, and none of which is sent."""
    headers = {**client.headers, "Content-Length": "10", "Content-Type": OCTETS, "Expect": "100-continue"}
    with Line(client.server) as line:
        line.send(head("PATCH", location, headers))
        assert line.answer("PATCH").status == 100
        yield line


def test_while_one_writes_another_is_told_to_wait(alice: Client, name: str) -> None:
    """Two writers on one session: the second gets 409, whichever worker it meets; bytes never mix."""
    location = alice.begin_upload(name)
    with writing(alice, location) as first:
        first.send(b"01234")
        refusals = [alice.ask("PATCH", location, {}, b"x") for _ in range(8)]
        refusals += [close(alice, location, digest_of(b"x"), b"x") for _ in range(8)]
        status = alice.ask("GET", location)
        first.send(b"56789")
        answer = first.answer("PATCH")

    assert {(refusal.status, *refusal.codes) for refusal in refusals} == {(409, "BLOB_UPLOAD_INVALID")}
    assert (status.status, status.header("range")) == (204, "0-0")
    assert (answer.status, answer.header("range")) == (202, "0-9")
    assert close(alice, location, digest_of(b"0123456789")).status == 201


def test_an_upload_cannot_be_cancelled_under_its_writer(alice: Client, name: str) -> None:
    """409, and the writer finishes."""
    location = alice.begin_upload(name)
    with writing(alice, location) as writer:
        cancelled = alice.ask("DELETE", location)
        writer.send(b"0123456789")
        assert writer.answer("PATCH").status == 202

    assert cancelled.status == 409
    assert close(alice, location, digest_of(b"0123456789")).status == 201


def test_a_cancelled_upload_is_gone(alice: Client, name: str) -> None:
    """204 once; then nothing knows it, and nothing of it is a blob."""
    location = alice.begin_upload(name)
    alice.ask("PATCH", location, {}, DATA)

    assert alice.ask("DELETE", location).status == 204

    for method in ("GET", "DELETE"):
        assert alice.ask(method, location).codes == ["BLOB_UPLOAD_UNKNOWN"]
    assert alice.ask("PATCH", location, {}, b"x").codes == ["BLOB_UPLOAD_UNKNOWN"]
    assert close(alice, location, digest_of(DATA)).codes == ["BLOB_UPLOAD_UNKNOWN"]
    assert alice.ask("HEAD", f"/v2/{name}/blobs/{digest_of(DATA)}").status == 404


def test_a_finished_upload_is_gone(alice: Client, name: str) -> None:
    """Its id was for once."""
    location = alice.begin_upload(name)
    close(alice, location, digest_of(DATA), DATA)

    assert alice.ask("GET", location).codes == ["BLOB_UPLOAD_UNKNOWN"]
    assert alice.ask("DELETE", location).codes == ["BLOB_UPLOAD_UNKNOWN"]


METHODS = [("GET", ""), ("HEAD", ""), ("PATCH", ""), ("PUT", f"?digest={digest_of(DATA)}"), ("DELETE", "")]


@pytest.mark.parametrize(("method", "query"), METHODS, ids=[row[0] for row in METHODS])
def test_a_session_belongs_to_its_repository(method: str, query: str, alice: Client, name: str) -> None:
    """Under another repository's name the id leads nowhere, and the session is untouched (CVE-2026-32589)."""
    location = alice.begin_upload(name)
    alice.ask("PATCH", location, {}, CHUNKS[0])

    elsewhere = location.replace(f"/{name}/", f"/{name}-other/")
    answer = alice.ask(method, elsewhere + query, {}, None if method in {"GET", "HEAD", "DELETE"} else DATA)

    assert answer.status == 404
    assert alice.ask("GET", location).header("range") == "0-131071"


@pytest.mark.parametrize(("method", "query"), METHODS, ids=[row[0] for row in METHODS])
def test_a_session_belongs_to_who_began_it(method: str, query: str, alice: Client, bob: Client, name: str) -> None:
    """To another user, who may push just as well, the id leads nowhere, and the session is untouched."""
    location = alice.begin_upload(name)
    alice.ask("PATCH", location, {}, CHUNKS[0])

    answer = bob.ask(method, location + query, {}, None if method in {"GET", "HEAD", "DELETE"} else DATA)

    assert answer.status == 404
    assert alice.ask("GET", location).header("range") == "0-131071"


def test_a_session_goes_on_over_many_connections_and_workers(alice: Client, name: str) -> None:
    """Sixty-four chunks, each on a connection of its own, are one blob: no process keeps what another one needs."""
    location, size = alice.begin_upload(name), 4_000
    for start in range(0, 64 * size, size):
        chunk = DATA[start : start + size]
        answer = alice.ask("PATCH", location, {**range_of(chunk, start), "Connection": "close"}, chunk)
        assert answer.status == 202, answer
    done = close(alice, location, digest_of(DATA[: 64 * size]))

    assert done.status == 201, done
    assert alice.ask("GET", done.header("location")).body == DATA[: 64 * size]


def test_two_sessions_that_finish_the_same_blob_both_succeed(alice: Client, bob: Client, name: str) -> None:
    """BuildKit uploads a layer more than once at the same time."""
    digest = digest_of(DATA)
    targets = [f"{client.begin_upload(name)}?digest={digest}" for client in (alice, bob)]
    with Line(alice.server) as first, Line(alice.server) as second:
        for line, client, target in ((first, alice, targets[0]), (second, bob, targets[1])):
            line.send(head("PUT", target, {**client.headers, "Content-Length": str(len(DATA))}) + DATA[:-1])
        for line in (first, second):
            line.send(DATA[-1:])
        answers = [line.answer("PUT") for line in (first, second)]

    assert [answer.status for answer in answers] == [201, 201]
    assert alice.ask("GET", f"/v2/{name}/blobs/{digest}").body == DATA


def test_a_blob_pushed_again_is_accepted_again(alice: Client, name: str) -> None:
    """201, and it is still there."""
    assert [post(alice, name, digest_of(DATA)).status for _ in range(2)] == [201, 201]
    assert alice.ask("GET", f"/v2/{name}/blobs/{digest_of(DATA)}").body == DATA


@pytest.mark.parametrize("upload", ["..", ".", "%2e%2e", "a", "A" * 32, "0" * 33, "-" * 32, "%00", "x" * 4000])
def test_an_id_that_was_never_given_leads_nowhere(upload: str, alice: Client, name: str) -> None:
    """Whatever it looks like."""
    for method in ("GET", "PATCH", "DELETE"):
        answer = alice.ask(method, f"/v2/{name}/blobs/uploads/{upload}", {}, b"x" if method == "PATCH" else None)
        assert answer.status == (400 if upload == "%00" else 404)


def test_the_body_of_a_refused_upload_is_not_taken(alice: Client, name: str) -> None:
    """A client that asks first (Expect: 100-continue) is refused before it sends a byte."""
    headers = {**alice.headers, "Content-Length": "1000000", "Expect": "100-continue"}
    with Line(alice.server) as line:
        line.send(head("PATCH", f"/v2/{name}/blobs/uploads/{'0' * 32}", headers))
        answer = line.answer("PATCH")

    assert answer.status == 404


def test_expect_100_continue_is_answered(alice: Client, name: str) -> None:
    """BuildKit waits five seconds for it, others longer."""
    location = alice.begin_upload(name)
    headers = {**alice.headers, "Content-Length": "5", "Expect": "100-continue"}
    with Line(alice.server) as line:
        line.send(head("PATCH", location, headers))
        interim = line.answer("PATCH")
        line.send(b"12345")
        answer = line.answer("PATCH")

    assert (interim.status, answer.status, answer.header("range")) == (100, 202, "0-4")
