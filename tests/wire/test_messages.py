"""Single requests and answers as HTTP/1.1 has them (RFC 9110, RFC 9112)."""

from __future__ import annotations

import email.utils
import socket
import time

import pytest

from tests.content import OCTETS, digest_of
from tests.raw_http import Line, basic, chunked, head, message
from tests.wire.served import LARGE, REPOSITORY, SMALL, Served


def test_http_1_1_keeps_the_connection(served: Served) -> None:
    """Without a word about it, an HTTP/1.1 connection stays open."""
    with served.line() as line:
        for _ in range(3):
            line.send(served.get("manifests/v1"))

            assert line.answer().values("connection") == []


def test_http_1_0_closes(served: Served) -> None:
    """Without a word about it, an HTTP/1.0 connection ends with the answer."""
    with served.line() as line:
        line.send(head("GET", "/v2/", served.alice.headers, version="HTTP/1.0"))
        answer = line.answer()

        assert line.rest() == b""
    assert answer.status == 200
    assert answer.closes


def test_http_1_0_with_keep_alive(plain: Served) -> None:
    """HTTP/1.0 with keep-alive, as ApacheBench and old proxies speak it, stays open and is told so."""
    headers = {**plain.alice.headers, "Connection": "keep-alive"}
    with plain.line() as line:
        for _ in range(3):
            line.send(head("GET", f"/v2/{REPOSITORY}/manifests/v1", headers, version="HTTP/1.0"))
            answer = line.answer()

            assert answer.header("connection") == "keep-alive"
            assert answer.body == plain.manifest


def test_http_1_0_chunked_is_never_sent(plain: Served) -> None:
    """An HTTP/1.0 client gets a body with its length, never in chunks."""
    answer = plain.ask(
        head("GET", f"/v2/{REPOSITORY}/blobs/{digest_of(LARGE)}", plain.alice.headers, version="HTTP/1.0")
    )

    assert answer.body == LARGE
    assert answer.header("content-length") == str(len(LARGE))


@pytest.mark.parametrize("value", ["close", "Close", "close, te", "te, close"])
def test_connection_close(served: Served, value: str) -> None:
    """A client that asks for the end gets it after its answer, and is told."""
    with served.line() as line:
        line.send(served.get("manifests/v1", {"Connection": value}))
        answer = line.answer()

        assert line.rest() == b""
    assert answer.closes
    assert answer.body == served.manifest


@pytest.mark.parametrize(
    "path",
    [
        "/v2/",
        "/v2/_catalog",
        f"/v2/{REPOSITORY}/tags/list",
        f"/v2/{REPOSITORY}/manifests/v1",
        f"/v2/{REPOSITORY}/manifests/none",
        f"/v2/{REPOSITORY}/blobs/{digest_of(SMALL)}",
        f"/v2/{REPOSITORY}/blobs/{digest_of(LARGE)}",
        f"/v2/{REPOSITORY}/blobs/{digest_of(b'none')}",
        f"/v2/{REPOSITORY}/referrers/{digest_of(SMALL)}",
        "/",
        "/nowhere",
    ],
)
def test_head_is_get_without_its_body(served: Served, path: str) -> None:
    """HEAD has GET's status and headers, and nothing behind them: the next answer follows at once."""
    passing = {"date", "x-request-id"}
    with served.line() as line:
        line.send(message("GET", path, served.alice.headers))
        got = line.answer()
        line.send(message("HEAD", path, served.alice.headers) + message("GET", path, served.alice.headers))
        asked, again = line.answer("HEAD"), line.answer()

    assert asked.status == got.status
    assert [pair for pair in asked.headers if pair[0] not in passing] == [
        pair for pair in got.headers if pair[0] not in passing
    ]
    assert again.body == got.body


def test_head_of_an_error_has_no_body(plain: Served) -> None:
    """A HEAD that fails has headers alone."""
    with plain.line() as line:
        line.send(message("HEAD", "/v2/UPPER/manifests/x", plain.alice.headers))
        line.send(message("HEAD", "/v2/"))
        first, second = line.answer("HEAD"), line.answer("HEAD")

    assert (first.status, second.status) == (400, 401)


def test_no_length_where_there_is_no_content(plain: Served) -> None:
    """204 and 304 carry no Content-Length that could be taken for a body's."""
    upload = plain.alice.begin_upload("wire/empty")
    status = plain.alice.ask("GET", upload)
    unchanged = plain.alice.ask("GET", f"/v2/{REPOSITORY}/manifests/v1", {"If-None-Match": "*"})

    assert status.status == 204
    assert status.values("content-length") == []
    assert unchanged.status == 304
    assert unchanged.values("content-length") == []


def test_every_answer_has_a_date_and_an_id(plain: Served) -> None:
    """Each answer says when, in the one format, and has an id of its own for the log."""
    answers = [plain.ask(plain.get("manifests/v1")) for _ in range(3)] + [plain.ask(message("GET", "/nowhere"))]

    for answer in answers:
        date = email.utils.parsedate_to_datetime(answer.header("date"))
        assert abs(date.timestamp() - time.time()) < 60
    assert len({answer.header("x-request-id") for answer in answers}) == len(answers)


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.3"])
def test_upgrade_is_not_followed(served: Served, upgrade: str) -> None:
    """A wish for another protocol is ignored, also with a body, and the connection goes on."""
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": upgrade, "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    smuggled = served.get("manifests/smuggled")
    push = f"/v2/wire/upgrade/blobs/uploads/?digest={digest_of(smuggled)}"
    headers = {**served.alice.headers, **headers}
    requests = [
        served.get("manifests/v1", headers),
        message("POST", push, headers, smuggled),
        head("POST", push, {**headers, "Transfer-Encoding": "chunked"}) + chunked(smuggled, 7),
        message("POST", push, headers, smuggled),
        served.get("manifests/v1", headers),
    ]
    with served.line() as line:
        line.send(b"".join(requests))
        together = [line.answer().status for _ in requests]
        alone = []
        for request in requests:
            for start in range(0, len(request), 50):
                line.send(request[start : start + 50])
            alone.append(line.answer().status)

    assert together == alone == [200, 201, 201, 201, 200]


@pytest.mark.parametrize("target", ["http://registry.test", "https://registry.test:5000", "HTTP://x"])
def test_absolute_target(plain: Served, target: str) -> None:
    """A proxy's form of the target means its path."""
    answer = plain.ask(message("GET", f"{target}/v2/{REPOSITORY}/manifests/v1?ns=x", plain.alice.headers))

    assert answer.body == plain.manifest


def test_options_of_everything(plain: Served) -> None:
    """`OPTIONS *` is answered."""
    with plain.line() as line:
        line.send(message("OPTIONS", "*") + plain.get("manifests/v1"))
        first, second = line.answer(), line.answer()

    assert first.status < 500
    assert second.body == plain.manifest


def test_parameter_ns_changes_nothing(plain: Served) -> None:
    """`?ns=` of containerd's mirrors is ignored."""
    answer = plain.alice.ask("GET", f"/v2/{REPOSITORY}/manifests/v1?ns=docker.io")

    assert answer.body == plain.manifest


# Expect: 100-continue


def _expecting(served: Served, path: str, size: int, headers: dict[str, str] | None = None) -> bytes:
    more = {"Content-Type": OCTETS, "Content-Length": str(size), "Expect": "100-continue"}
    return head("POST", path, {**(served.alice.headers if headers is None else headers), **more})


def test_continue_comes_once_the_request_may(served: Served) -> None:
    """A client that waits for 100 gets it when its body is wanted, and then its answer."""
    path = f"/v2/wire/expect/blobs/uploads/?digest={digest_of(b'abc')}"
    with served.line() as line:
        line.send(_expecting(served, path, 3))
        first = line.answer()
        line.send(b"abc")
        second = line.answer()

    assert (first.status, second.status) == (100, 201)
    assert first.headers == ()


@pytest.mark.parametrize(
    ("words", "headers", "path", "status"),
    [
        ("a stranger", {}, "/v2/wire/expect/blobs/uploads/?digest=" + digest_of(b"abc"), 401),
        (
            "a wrong password",
            {"Authorization": basic("alice", "wrong")},
            "/v2/wire/expect/blobs/uploads/?digest=" + digest_of(b"abc"),
            401,
        ),
        ("a bad name", None, "/v2/UPPER/blobs/uploads/?digest=" + digest_of(b"abc"), 400),
        ("a bad digest", None, "/v2/wire/expect/blobs/uploads/?digest=abc", 400),
        ("an unknown upload", None, "/v2/wire/expect/blobs/uploads/x", 405),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" not in value else "",
)
def test_no_continue_for_what_is_refused(
    served: Served, words: str, headers: dict[str, str] | None, path: str, status: int
) -> None:
    """Whoever is refused is told so instead of being asked for the body, and the connection ends."""
    with served.line() as line:
        line.send(_expecting(served, path, 1 << 31, headers))
        answer = line.answer()

    assert answer.status == status, words
    assert answer.closes


def test_body_that_does_not_wait_for_continue(plain: Served) -> None:
    """A client that did not wait for 100 gets its answer all the same, behind one 100 at most."""
    path = f"/v2/wire/expect/blobs/uploads/?digest={digest_of(b'abc')}"
    with plain.line() as line:
        line.send(_expecting(plain, path, 3) + b"abc")
        answer = line.answer()
        if answer.status == 100:
            answer = line.answer()

    assert answer.status == 201


def test_no_continue_for_http_1_0(plain: Served) -> None:
    """HTTP/1.0 knows no 100: its Expect is ignored."""
    headers = {**plain.alice.headers, "Content-Length": "3", "Expect": "100-continue"}
    path = f"/v2/wire/expect/blobs/uploads/?digest={digest_of(b'abc')}"
    with plain.line() as line:
        line.send(head("POST", path, headers, version="HTTP/1.0"))
        quiet = line.silent(0.2)
        line.send(b"abc")
        answer = line.answer()

    assert quiet
    assert answer.status == 201


@pytest.mark.parametrize("value", ["200-ok", "100-continue, x", ""])
def test_other_expectations_are_ignored(plain: Served, value: str) -> None:
    """What is not 100-continue is nothing."""
    headers = {**plain.alice.headers, "Expect": value}
    path = f"/v2/wire/expect/blobs/uploads/?digest={digest_of(b'abc')}"

    assert plain.ask(message("POST", path, headers, b"abc")).status == 201


# Early answers to large bodies


@pytest.mark.parametrize("coding", ["length", "chunks"])
def test_stranger_with_a_huge_body(served: Served, coding: str) -> None:
    """A stranger's 2 GB cost at most what the kernel holds and a megabyte; the 401 can be read in the middle of it."""
    framing = {"Content-Length": str(2 << 30)} if coding == "length" else {"Transfer-Encoding": "chunked"}
    piece = b"x" * 65536 if coding == "length" else b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with served.line() as line:
        line.send(head("PUT", f"/v2/{REPOSITORY}/manifests/v1", {"Content-Type": OCTETS, **framing}))
        taken = line.send_until_refused(piece, 256 << 20)
        answer = line.answer()
        rest = line.rest()

    assert answer.status == 401
    assert answer.closes
    assert rest == b""
    assert taken < 24 << 20


def test_stranger_who_waits_for_the_end_of_the_answer(served: Served) -> None:
    """A client that stops sending at the 401 sees the connection end within seconds."""
    with served.line() as line:
        line.send(head("PUT", f"/v2/{REPOSITORY}/manifests/v1", {"Content-Length": str(2 << 30)}) + b"x" * 1000)
        answer = line.answer()
        rest = line.rest()

    assert answer.status == 401
    assert rest == b""


def test_stranger_with_a_small_body(served: Served) -> None:
    """A small body is read away, and the connection serves the next request."""
    with served.line() as line:
        line.send(message("PUT", f"/v2/{REPOSITORY}/manifests/v1", {}, b"x" * 2000) + served.get("manifests/v1"))
        first, second = line.answer(), line.answer()

    assert (first.status, second.status) == (401, 200)
    assert not first.closes


# The wrong protocol


def test_tls_on_a_plain_port(plain: Served) -> None:
    """A TLS client on the plain port is told, in the clear, that this port is plain."""
    with plain.line() as line:
        line.send(bytes.fromhex("16030100b8010000b40303") + b"\x5a" * 180)
        answer = line.answer()
        rest = line.rest()

    assert answer.status == 400
    assert b"speaks plain HTTP" in answer.body
    assert rest == b""


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000,
    ],
)
def test_http_on_a_tls_port(secure: Served, raw: bytes) -> None:
    """An HTTP client on the TLS port is told, in the clear, to use https."""
    with Line(secure.server) as line:
        line.send(raw)
        answer = line.answer()

    assert answer.status == 400
    assert b"https://" in answer.body
    assert answer.closes


@pytest.mark.parametrize(
    "raw", [b"\0" * 100, b"\x16\x03\x01", b"\x16\x03\x01\xff\xff" + b"x" * 70_000, b"SSH-2.0-x\r\n", b""]
)
def test_garbage_on_a_tls_port(secure: Served, raw: bytes) -> None:
    """What is neither TLS nor HTTP gets an alert, a word or the end, and disturbs nobody."""
    with Line(secure.server) as line:
        line.send(raw)
        line.half_close()
        line.rest()

    assert secure.ask(secure.get("manifests/v1")).status == 200


def test_garbage_inside_tls(secure: Served) -> None:
    """Records that do not decrypt end the connection, and disturb nobody."""
    for size in (1, 100, 70_000):
        with secure.line() as line:
            line.send(secure.get("manifests/v1"))
            assert line.answer().status == 200
            with socket.socket(fileno=socket.dup(line.socket.fileno())) as bare:
                bare.sendall(b"\x17\x03\x03" + size.to_bytes(2, "big") + b"x" * size if size < 20_000 else b"x" * size)
                line.rest()

    assert secure.ask(secure.get("manifests/v1")).status == 200


def test_tls_without_a_goodbye(secure: Served) -> None:
    """A client that drops its TLS connection without close_notify, at rest or in mid-answer, disturbs nobody."""
    for raw in (b"", secure.get("manifests/v1"), secure.blob(LARGE)):
        with secure.line() as line:
            line.send(raw)
            line.reset()
        with secure.line() as line:
            line.send(raw)
            socket.socket(fileno=line.socket.detach()).close()

    assert secure.ask(secure.get("manifests/v1")).status == 200
