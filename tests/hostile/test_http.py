"""HTTP that is none, or that two servers in a row might read differently."""

from __future__ import annotations

import socket

import pytest

from tests.content import OCTETS, digest_of
from tests.hostile.target import REPOSITORY, USERS, Target, lines_of
from tests.raw_http import Ended, Line, ask_raw, basic, head, message

ALICE = f"Authorization: {basic('alice', USERS['alice'])}\r\n".encode()
PUT = b"PUT /v2/http/smuggle/manifests/t HTTP/1.1\r\nHost: a\r\n" + ALICE
GET = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n" + ALICE

MALFORMED = [
    ("a length and chunks", PUT + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunks and a length", PUT + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("two lengths", PUT + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
    ("the same length twice", PUT + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde"),
    ("two lengths in one header", PUT + b"Content-Length: 5, 5\r\n\r\nabcde"),
    ("a negative length", PUT + b"Content-Length: -5\r\n\r\nabcde"),
    ("a length with a plus", PUT + b"Content-Length: +5\r\n\r\nabcde"),
    ("a length with an underscore", PUT + b"Content-Length: 1_0\r\n\r\nabcdeabcde"),
    ("a hexadecimal length", PUT + b"Content-Length: 0x5\r\n\r\nabcde"),
    ("an empty length", PUT + b"Content-Length: \r\n\r\n"),
    ("a length that is text", PUT + b"Content-Length: many\r\n\r\n"),
    ("a length of 2^64", PUT + b"Content-Length: 18446744073709551616\r\n\r\n"),
    ("a length of 30 digits", PUT + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n"),
    ("an unknown coding", PUT + b"Transfer-Encoding: gzip\r\n\r\nabc"),
    ("chunked, and then another coding", PUT + b"Transfer-Encoding: chunked, gzip\r\n\r\nabc"),
    ("chunked spelt with a control character", PUT + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice", PUT + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice in one header", PUT + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (
        "chunks in HTTP/1.0",
        PUT.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("an empty coding", PUT + b"Transfer-Encoding: \r\nContent-Length: 3\r\n\r\nabc"),
    ("the identity coding", PUT + b"Transfer-Encoding: identity\r\n\r\nabc"),
    ("a folded header", GET + b"X-Folded: a\r\n b\r\n\r\n"),
    ("white space before the colon", GET + b"X-Space : a\r\n\r\n"),
    ("white space before the length's colon", PUT + b"Content-Length : 5\r\n\r\nabcde"),
    ("a header without a colon", GET + b"X-None\r\n\r\n"),
    ("a header without a name", GET + b": a\r\n\r\n"),
    ("a NUL in a header's value", GET + b"X-Nul: a\0b\r\n\r\n"),
    ("a NUL in a header's name", GET + b"X-N\0l: a\r\n\r\n"),
    ("a bare carriage return in a value", GET + b"X-Cr: a\rb\r\n\r\n"),
    ("a header's name beyond ASCII", GET + b"X-\xc3\xa9: a\r\n\r\n"),
    ("only line feeds", b"GET /v2/ HTTP/1.1\nHost: a\n\n"),
    ("a line feed behind a header", b"GET /v2/ HTTP/1.1\r\nHost: a\n\r\n"),
    ("white space before the first header", b"GET /v2/ HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("no Host", b"GET /v2/ HTTP/1.1\r\n\r\n"),
    ("two Hosts", GET + b"Host: b\r\n\r\n"),
    ("no version", b"GET /v2/\r\nHost: a\r\n\r\n"),
    ("HTTP/0.9", b"GET /v2/ HTTP/0.9\r\nHost: a\r\n\r\n"),
    ("HTTP/2.0", b"GET /v2/ HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("HTTP/1.11", b"GET /v2/ HTTP/1.11\r\nHost: a\r\n\r\n"),
    ("HTTP/9.9", b"GET /v2/ HTTP/9.9\r\nHost: a\r\n\r\n"),
    ("another protocol", b"GET /v2/ ICE/1.0\r\nHost: a\r\n\r\n"),
    ("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("an unknown method", b"BREW /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a method in lower case", b"get /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a method of 10,000 letters", b"G" * 10_000 + b" /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("an empty target", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a target with a space", b"GET /v2/ x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a target without a slash", b"GET v2/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a TLS hello", bytes.fromhex("16030100b8010000b40303") + b"\x5a" * 180),
    ("an SSH greeting", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("a redis command", b"*1\r\n$4\r\nPING\r\n"),
    ("the PROXY protocol's first version", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + GET + b"\r\n"),
    ("the PROXY protocol's second version", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"\1" * 12 + GET + b"\r\n"),
    ("zeros", b"\0" * 4096),
    ("noise", bytes(range(128, 256)) * 8),
    ("a chunk size that is text", PUT + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"),
    ("a negative chunk size", PUT + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n"),
    ("a chunk size with 0x", PUT + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n"),
    ("a chunk size of 17 digits", PUT + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n"),
    ("an empty chunk size", PUT + b"Transfer-Encoding: chunked\r\n\r\n\r\nabcde\r\n"),
    ("a chunk that is longer than it says", PUT + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n"),
    ("a chunk size ended by a line feed", PUT + b"Transfer-Encoding: chunked\r\n\r\n5\nabcde\r\n0\r\n\r\n"),
    ("a chunk extension with a NUL", PUT + b"Transfer-Encoding: chunked\r\n\r\n5;a\0=b\r\nabcde\r\n0\r\n\r\n"),
]


@pytest.mark.parametrize(("words", "raw"), MALFORMED, ids=[row[0] for row in MALFORMED])
def test_malformed_request(target: Target, words: str, raw: bytes) -> None:
    """What is not HTTP/1.1, or may be read in two ways, is 400, and the end.

    No request may hide in it: the connection is closed, and what follows is not answered.
    """
    with Line(target.server) as line:
        line.send(raw)
        answer = line.answer()
        rest = line.rest()

    assert answer.status == 400, words
    assert answer.closes
    assert rest == b""


@pytest.mark.parametrize(("words", "raw"), MALFORMED, ids=[row[0] for row in MALFORMED])
def test_malformed_request_behind_a_good_one(target: Target, words: str, raw: bytes) -> None:
    """The requests before it are answered first, the one that has to wait too, and then what is wrong."""
    slow = message("POST", "/v2/http/behind/blobs/uploads/", target.alice.headers, b"")
    with Line(target.server) as line:
        line.send(message("GET", "/v2/", target.alice.headers) + slow + raw)
        before = [line.answer().status for _ in range(2)]
        second = line.answer()
        rest = line.rest()

    assert before == [200, 202]
    assert second.status == 400, words
    assert rest == b""


def test_chunked_body_that_breaks_off_into_garbage(target: Target) -> None:
    """A handler that is reading a chunked body learns at once that the rest is garbage."""
    location = target.alice.begin_upload("http/garbage")
    headers = {**target.alice.headers, "Content-Type": OCTETS, "Transfer-Encoding": "chunked"}
    with Line(target.server) as line:
        line.send(head("PATCH", location, headers) + b"5\r\nabcde\r\n")
        assert line.silent(0.2)
        line.send(b"garbage\r\n")

        answer = line.answer()

    assert answer.status == 400
    assert answer.closes


FLOODS = [
    ("one line of a megabyte", b"X-Long: " + b"x" * (1 << 20) + b"\r\n\r\n"),
    ("20,000 headers", b"X-Many: x\r\n" * 20_000 + b"\r\n"),
    ("20,000 different headers", b"".join(b"X-%d: x\r\n" % number for number in range(20_000)) + b"\r\n"),
    ("101 headers", b"X-Many: x\r\n" * 101 + b"\r\n"),
    ("a header's name of a megabyte", b"X" * (1 << 20) + b": x\r\n\r\n"),
    ("a header that never ends", b"X-Long: " + b"x" * (8 << 20)),
]


@pytest.mark.parametrize(("words", "flood"), FLOODS, ids=[row[0] for row in FLOODS])
def test_header_flood(target: Target, words: str, flood: bytes) -> None:
    """Too many or too long headers are 431, and nothing beyond them is taken."""
    with Line(target.server) as line:
        line.send(GET)
        line.send_until_refused(flood, len(flood))

        answer = line.answer()

    assert answer.status == 431, words
    assert answer.closes


def test_target_that_never_ends(target: Target) -> None:
    """A request target without an end is 414 after 8 KiB."""
    with Line(target.server) as line:
        line.send(b"GET /v2/")
        taken = line.send_until_refused(b"a" * 65536, 64 << 20)

        answer = line.answer()

    assert answer.status == 414
    assert taken < 32 << 20


@pytest.mark.parametrize(
    ("words", "piece"),
    [
        ("extensions", b"1;" + b"x" * 4000 + b"\r\nx\r\n"),
        ("extensions with values", b'1;a="' + b"y" * 4000 + b'"\r\nx\r\n'),
        ("zeros before the size", b"0" * 4000 + b"1\r\nx\r\n"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_chunk_framing_flood(target: Target, words: str, piece: bytes) -> None:
    """A chunked body that is mostly framing is 400, long before a blob comes of it."""
    location = target.alice.begin_upload("http/flood")
    headers = {**target.alice.headers, "Content-Type": OCTETS, "Transfer-Encoding": "chunked"}
    with Line(target.server) as line:
        line.send(head("PATCH", location, headers))
        taken = line.send_until_refused(piece, 64 << 20)

        answer = line.answer()

    assert answer.status == 400, words
    assert taken < 32 << 20


def test_one_extension_that_never_ends(target: Target) -> None:
    """One chunk's extension without an end is 400 too."""
    location = target.alice.begin_upload("http/flood")
    headers = {**target.alice.headers, "Transfer-Encoding": "chunked"}
    with Line(target.server) as line:
        line.send(head("PATCH", location, headers) + b"5;")
        line.send_until_refused(b"x" * 65536, 64 << 20)

        answer = line.answer()

    assert answer.status == 400


def test_trailer_flood(target: Target) -> None:
    """Trailers count as headers do."""
    location = target.alice.begin_upload("http/flood")
    headers = {**target.alice.headers, "Transfer-Encoding": "chunked"}
    with Line(target.server) as line:
        line.send(head("PATCH", location, headers) + b"3\r\nabc\r\n0\r\n")
        line.send_until_refused(b"X-Trailer: x\r\n" * 5_000, 1 << 24)

        answer = line.answer()

    assert answer.status in {400, 431}


def test_small_chunks_and_extensions_are_fine(target: Target) -> None:
    """Chunks of one byte, with short extensions, are a body like another."""
    data = bytes(range(256)) * 20
    headers = {**target.alice.headers, "Content-Type": OCTETS, "Transfer-Encoding": "chunked"}
    body = b"".join(b"1;a=b\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n"
    with Line(target.server) as line:
        line.send(head("POST", f"/v2/http/small/blobs/uploads/?digest={digest_of(data)}", headers) + body)

        answer = line.answer()

    assert answer.status == 201


def test_trailers_are_no_headers(target: Target) -> None:
    """Credentials and types behind the body change nothing: they come after the decision."""
    data = b"abc"
    raw = (
        head("POST", f"/v2/http/trailers/blobs/uploads/?digest={digest_of(data)}", {"Transfer-Encoding": "chunked"})
        + b"3\r\nabc\r\n0\r\n"
        + f"Authorization: {target.alice.headers['Authorization']}\r\n\r\n".encode()
    )

    answer = ask_raw(target.server, raw)

    assert answer.status == 401


LIES = {
    "Host": "evil.test",
    "X-Forwarded-Host": "evil.test",
    "X-Forwarded-Proto": "javascript",
    "X-Forwarded-For": "192.0.2.66",
    "X-Real-IP": "192.0.2.66",
    "Forwarded": 'for=192.0.2.66;host="evil.test";proto=javascript',
    "X-Original-URL": "/v2/_catalog",
    "X-Rewrite-URL": "/v2/_catalog",
    "X-HTTP-Method-Override": "DELETE",
    "X-Remote-User": "alice",
    "X-WEBAUTH-USER": "alice",
}


def test_lies_of_untrusted_peers_are_ignored(target: Target) -> None:
    """Forwarded and rewriting headers of just anybody change neither challenge nor answer nor the log's address."""
    refused = target.stranger.ask("GET", f"/v2/{REPOSITORY}/manifests/v1", LIES)
    found = target.alice.ask("GET", f"/v2/{REPOSITORY}/manifests/v1", LIES)

    assert refused.status == 401
    assert refused.header("www-authenticate") == 'Basic realm="Moorage"'
    assert found.body == target.manifest
    assert "evil" not in repr(refused) + repr(found.headers)
    assert {line["peer"] for line in lines_of(target.server) if "peer" in line} == {"127.0.0.1"}


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "OPTIONS", "LOCK", "PURGE", "POST", "PATCH"])
@pytest.mark.parametrize("path", [f"/v2/{REPOSITORY}/manifests/v1", "/v2/", "/v2/_catalog"])
def test_unsupported_method(target: Target, method: str, path: str) -> None:
    """A method that the route lacks is 405 UNSUPPORTED and says which there are."""
    answer = target.alice.ask(method, path, None, b"" if method in {"POST", "PATCH"} else None)

    assert answer.status == 405
    assert answer.codes == ["UNSUPPORTED"]
    assert "GET" in answer.header("allow")


def test_connect_leads_nowhere(target: Target) -> None:
    """Nobody is connected to anything."""
    answer = ask_raw(target.server, b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n\r\n")

    assert answer.status == 405


@pytest.mark.parametrize(
    ("words", "raw", "status"),
    [
        ("HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", 200),
        ("HTTP/1.0 with a Host", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 200),
        ("an absolute target", b"GET http://evil.test/ HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("an absolute target without a path", b"GET http://evil.test HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("an absolute target of the protocol", b"GET https://evil.test/v2/ HTTP/1.1\r\nHost: a\r\n\r\n", 401),
        ("OPTIONS of everything", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("line ends before the request", b"\r\n\r\n" + GET + b"\r\n", 200),
        ("a path outside the protocol", b"GET /etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("parent folders", b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("escaped parent folders", b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("two slashes", b"GET //v2/ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("the protocol's name in escapes", b"GET /%76%32/ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("the first protocol", b"GET /v1/_ping HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("a PUT outside the protocol", b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 404),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_odd_but_understood(target: Target, words: str, raw: bytes, status: int) -> None:
    """Odd requests that HTTP allows are answered for what they ask."""
    assert ask_raw(target.server, raw).status == status, words


def test_read_full_of_upgrades(target: Target) -> None:
    """Thousands of pipelined requests for another protocol are each answered as if they had not asked."""
    one = b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    count = 6000
    with Line(target.server) as line:
        line.socket.setblocking(True)
        line.send(one * count)

        statuses = {line.answer("HEAD").status for _ in range(count)}

    assert statuses == {200}


def test_half_a_request_and_away(target: Target) -> None:
    """Clients that leave at every byte of a request disturb nobody."""
    whole = message("PUT", "/v2/http/half/manifests/t", {**target.alice.headers, "Content-Type": "a/b"}, b"{}")
    for length in range(len(whole)):
        with Line(target.server) as line:
            line.send(whole[:length])
            if length % 2:
                line.reset()

    assert target.alice.ask("GET", "/v2/").status == 200


def test_pushed_content_is_never_a_page(target: Target) -> None:
    """Pushed HTML comes back as an attachment that no browser runs, in whichever type it was asked for."""
    page = b"<script>alert(document.domain)</script>"
    digest = target.alice.push_blob("http/page", page)

    answer = target.alice.ask("GET", f"/v2/http/page/blobs/{digest}", {"Accept": "text/html"})

    assert answer.body == page
    assert answer.header("content-type") == "application/octet-stream"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("content-disposition") == "attachment"
    assert answer.header("content-security-policy") == "default-src 'none'; sandbox"


STRANGE_TEXT = "a\x1b[2J\u202e\u2028\x9b0m"


def test_log_takes_no_orders(target: Target) -> None:
    """Control characters from paths, agents and names neither end a line of the log nor reach a terminal."""
    raw = b"GET /v2/\xc2\x9b2J/x HTTP/1.1\r\nHost: a\r\nUser-Agent: \x9b2J\xe2\x80\xae\tx\r\n\r\n"
    answer = ask_raw(target.server, raw)
    target.stranger.ask("GET", f"/v2/{'%1b[2J%0a' * 20}/tags/list", {"User-Agent": "x" * 5000})

    text = target.server.log.read_bytes()

    assert answer.status in {400, 401}
    lines_of(target.server)
    assert not [byte for byte in set(text) if byte < 0x20 and byte != 0x0A]
    assert not set(text.decode("utf-8")) & set("\x7f\x9b\u202e\u2028\u2029")
    assert max(len(line) for line in text.splitlines()) < 4096


def test_out_of_band_byte(target: Target) -> None:
    """Urgent data in the middle of a request is no byte of it."""
    with Line(target.server) as line:
        line.send(GET)
        line.socket.send(b"!", socket.MSG_OOB)
        line.send(b"\r\n")
        try:
            status = line.answer().status
        except Ended:
            status = 0

    assert status in {0, 200, 400}
