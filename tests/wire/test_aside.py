"""What is answered beside the registry: in the clear on a port of TLS and on one of its own, and to ACME's look."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from moorage.tls.store import CertificateStore
from tests.certificates import Authority, Pair
from tests.raw_http import Answer, Line, Server, message
from tests.servers import Moorage, free_port
from tests.wire.served import USERS, Served, eventually, fill, lines_of

TOKEN, ANSWER = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", "evaGxf.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"


@dataclass
class Port:
    """Another port of a server, for `Line`."""

    address: str
    port: int


@dataclass(frozen=True)
class Private:
    """A server whose certificate comes from its private authority, which *authority* names."""

    served: Served
    plain: Port
    figures: Port
    store: CertificateStore
    authority: Path

    def context(self) -> ssl.SSLContext:
        """A client that trusts the authority."""
        return ssl.create_default_context(cafile=str(self.authority))


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Private]:
    """The server, with two workers, plain HTTP on a port of its own, figures on another, and something in it."""
    folder = tmp_path_factory.mktemp("private") / "server"
    plain, figures = Port("127.0.0.1", free_port()), Port("127.0.0.1", free_port())
    environment = {
        "MOORAGE_TLS_NAMES": "127.0.0.1,registry.test",
        "MOORAGE_TLS_PLAIN_LISTEN": f"127.0.0.1:{plain.port}",
        "MOORAGE_METRICS_LISTEN": f"127.0.0.1:{figures.port}",
        "MOORAGE_HTTP_TIMEOUTS_HEADER": "2s",
    }
    with Moorage(folder, "--workers", "2", users=USERS, secure=True, environment=environment) as server:
        authority = folder / "ca.crt"
        with Line(server) as line:
            line.send(message("GET", "/ca.crt"))
            authority.write_bytes(line.answer().body)
        served = fill(server, ssl.create_default_context(cafile=str(authority)))
        yield Private(served, plain, figures, CertificateStore(server.data / "moorage" / "tls"), authority)
        assert server.stop() == 0
    loud = [line for line in lines_of(server) if line["level"] not in {"info", "debug"}]
    assert not loud
    assert "Traceback" not in server.log.read_text()


def ask(private: Private, where: str, raw: bytes, method: str = "GET") -> Answer:
    """The answer to *raw* on a new connection."""
    server = private.served.server
    ports: dict[str, Server] = {"plain": private.plain, "figures": private.figures}
    with Line(ports.get(where, server), private.context() if where == "https" else None) as line:
        line.send(raw)
        return line.answer(method)


def get(path: str, headers: dict[str, str] | None = None, method: str = "GET") -> bytes:
    """A request to a host that the certificate has."""
    return message(method, path, {"Host": "registry.test", **(headers or {})})


@pytest.mark.parametrize("where", ["plain", "tls port in the clear", "https"])
def test_public_pages(private: Private, where: str) -> None:
    """Over https, on the port of plain HTTP, and in the clear on the port of TLS: challenges, the authority, /trust."""
    private.store.answer_http(TOKEN, ANSWER)

    challenge = ask(private, where, get(f"/.well-known/acme-challenge/{TOKEN}", {"Host": "any.example"}))
    unknown = ask(private, where, get("/.well-known/acme-challenge/other"))
    authority = ask(private, where, get("/ca.crt"))
    port = private.served.server.port
    page = ask(private, where, get("/trust", {} if where == "plain" else {"Host": f"registry.test:{port}"}))
    head = ask(private, where, get("/ca.crt", method="HEAD"), "HEAD")
    private.store.forget_http(TOKEN)
    forgotten = ask(private, where, get(f"/.well-known/acme-challenge/{TOKEN}"))

    assert (challenge.status, challenge.body) == (200, ANSWER.encode())
    assert (unknown.status, forgotten.status) == (404, 404)
    assert (authority.status, authority.header("content-type")) == (200, "application/x-x509-ca-cert")
    assert authority.body == private.authority.read_bytes()
    assert (head.status, head.body, head.header("content-length")) == (200, b"", str(len(authority.body)))
    assert (page.status, f"registry.test:{port}".encode() in page.body) == (200, True)


@pytest.mark.parametrize("where", ["plain", "tls port in the clear", "https"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/ca.crt", "/trust", f"/.well-known/acme-challenge/{TOKEN}"])
def test_public_pages_can_only_be_read(private: Private, where: str, method: str, path: str) -> None:
    """Another method is 405."""
    answer = ask(private, where, get(path, {"Content-Length": "0"}, method))

    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/../../clients/ca.crt",
        "/.well-known/acme-challenge/%2e%2e",
        "/.well-known/acme-challenge/a/b",
        "/.well-known/acme-challenge/" + "a" * 300,
        "/.well-known/acme-challenge/a%00",
    ],
)
def test_tokens_that_are_none(private: Private, path: str) -> None:
    """What no authority gives is not found, whatever lies on the disk."""
    private.store.place("challenges/http")

    assert ask(private, "plain", get(path)).status == 404


@pytest.mark.parametrize(
    ("host", "path", "leads"),
    [
        ("registry.test", "/", "https://registry.test:{port}/"),
        ("registry.test:80", "/v2/", "https://registry.test:{port}/v2/"),
        ("registry.test:", "/v2/?n=1&last=b", "https://registry.test:{port}/v2/?n=1&last=b"),
        ("127.0.0.1", "/v2/a%2Fb/", "https://127.0.0.1:{port}/v2/a%2Fb/"),
        ("[::1]:8080", "/", "https://[::1]:{port}/"),
        ("my_host", "/", "https://my_host:{port}/"),
        ("registry.test", "//evil.example/", "https://registry.test:{port}//evil.example/"),
        ("registry.test", "/\\evil.example", "https://registry.test:{port}/%5Cevil.example"),
        ("registry.test", '/"><script>', "https://registry.test:{port}/%22%3E%3Cscript%3E"),
        ("registry.test", "/?%0d%0aSet-Cookie:a=b", "https://registry.test:{port}/?%0d%0aSet-Cookie:a=b"),
        ("registry.test", "http://evil.example/x", "https://registry.test:{port}/x"),
    ],
)
def test_way_to_https(private: Private, host: str, path: str, leads: str) -> None:
    """Whoever reads in the clear is sent to the same host and path at the port of https."""
    answer = ask(private, "plain", get(path, {"Host": host}))

    assert answer.status == 308
    assert answer.header("location") == leads.format(port=private.served.server.port)


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "registry.test@evil.example",
        "registry.test/evil.example",
        "registry.test#",
        "registry.test?x",
        "registry.test\\evil.example",
        "evil.example:80:80",
        "evil.example:port",
        "evil.example:999999",
        "[::1",
        "[x]",
        "[::1]evil",
        "-registry",
        "regi stry",
        "r\u00e9gistry.test",
        "a" * 300,
        "registry.test, evil.example",
    ],
)
def test_no_way_to_a_host_that_is_none(private: Private, host: str) -> None:
    """Nothing but a host leads anywhere: an open redirect is a phisher's friend."""
    answer = ask(private, "plain", b"GET / HTTP/1.1\r\nHost: " + host.encode("latin-1") + b"\r\n\r\n")

    assert answer.status == 400
    assert answer.values("location") == []


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"Authorization": "Basic d3Jvbmc6d3Jvbmc="}),
        ("POST", {}),
        ("PUT", {}),
        ("PATCH", {}),
        ("DELETE", {}),
    ],
)
def test_nothing_secret_goes_on_in_the_clear(private: Private, method: str, headers: dict[str, str]) -> None:
    """A push and a password are refused in the protocol's form: a client that were sent on would never be noticed."""
    length = {} if method == "GET" else {"Content-Length": "0"}

    answer = ask(private, "plain", get("/v2/a/blobs/uploads/", {**headers, **length}, method))

    assert (answer.status, answer.codes) == (403, ["DENIED"])
    assert f"https://registry.test:{private.served.server.port}".encode() in answer.body


@pytest.mark.parametrize("raw", [get("/v2/"), get("/", method="HEAD"), b"GET / HTTP/1.0\r\n\r\n"])
def test_http_on_the_port_of_tls_ends(private: Private, raw: bytes) -> None:
    """One sentence, and the connection is over; it is no place to stay."""
    with Line(private.served.server) as line:
        line.send(raw)
        answer = line.answer("HEAD" if raw.startswith(b"HEAD") else "GET")
        rest = line.rest()

    assert (answer.status, answer.closes, rest) == (400, True, b"")


def test_figures(private: Private) -> None:
    """Prometheus reads them without a password, and nobody else's path leads there."""
    figures = ask(private, "figures", get("/metrics"))
    health = ask(private, "figures", get("/debug/health"))
    others = [ask(private, "figures", get(path)).status for path in ("/", "/v2/", "/ca.crt", "/metrics/")]
    inside = [ask(private, where, get("/metrics")).status for where in ("https", "plain")]

    assert figures.status == 200
    assert figures.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    assert b'moorage_certificate_not_after_seconds{name="private",' in figures.body
    assert (health.status, health.body) == (200, b"{}")
    assert others == [404] * 4
    assert inside == [404, 308]


# tls-alpn-01


@pytest.fixture
def waiting(private: Private, authority: Authority) -> Iterator[Pair]:
    """A challenge for `a.example` waits, and every worker shows it."""
    pair = authority.issue("a.example")
    private.store.answer_alpn("a.example", pair.certificate.read_bytes(), pair.key.read_bytes())
    assert eventually(lambda: all(looked(private, ["acme-tls/1"]) == "acme-tls/1" for _ in range(6)))
    yield pair
    private.store.forget_alpn("a.example")
    assert eventually(lambda: all(looked(private, ["acme-tls/1"]) is None for _ in range(6)))


def shaken(private: Private, protocols: list[str], name: str | None = "a.example") -> Line:
    """A connection after its handshake, whatever the certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    line = Line(private.served.server)
    try:
        line.socket = context.wrap_socket(line.socket, server_hostname=name)
    except BaseException:
        line.socket.close()
        raise
    return line


def looked(private: Private, protocols: list[str], name: str | None = "a.example") -> str | None:
    """The protocol that is agreed on."""
    with shaken(private, protocols, name) as line:
        assert isinstance(line.socket, ssl.SSLSocket)
        return line.socket.selected_alpn_protocol()


def test_an_authority_sees_the_challenge(private: Private, waiting: Pair) -> None:
    """By its protocol and name it gets the certificate that proves; then the connection is over (RFC 8737, 3)."""
    with shaken(private, ["acme-tls/1"]) as line:
        assert isinstance(line.socket, ssl.SSLSocket)
        shown = line.socket.getpeercert(binary_form=True)
        rest = line.socket.recv(1)

    assert shown == ssl.PEM_cert_to_DER_cert(waiting.certificate.read_text())
    assert rest == b""


@pytest.mark.parametrize(
    ("protocols", "name", "agreed"),
    [
        (["http/1.1"], "a.example", "http/1.1"),
        (["acme-tls/1", "http/1.1"], "a.example", "http/1.1"),
        (["acme-tls/1"], "b.example", None),
        (["acme-tls/1"], None, None),
        (["h2"], "a.example", None),
    ],
)
def test_everybody_else_sees_the_registry(
    private: Private, waiting: Pair, protocols: list[str], name: str | None, agreed: str | None
) -> None:
    """Who also speaks HTTP, or asks for another name, is a client like any other."""
    with shaken(private, protocols, name) as line:
        assert isinstance(line.socket, ssl.SSLSocket)
        found = line.socket.selected_alpn_protocol()
        shown = line.socket.getpeercert(binary_form=True)
        line.send(get("/v2/"))
        answer = line.answer()

    assert (found, answer.status) == (agreed, 401)
    assert shown != ssl.PEM_cert_to_DER_cert(waiting.certificate.read_text())


def hello(private: Private, *, long: bool = False) -> bytes:
    """What a client sends first; *long* fills it up to what one record holds, which servers need not take."""
    context = ssl.create_default_context(cafile=str(private.authority))
    context.set_alpn_protocols(["x" * 250 + f"{number:04}" for number in range(50)] if long else ["http/1.1"])
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="registry.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def test_a_hello_in_pieces(private: Private, waiting: Pair) -> None:
    """One byte after another is a hello too, while a challenge waits and nobody else has to."""
    context = private.context()
    context.set_alpn_protocols(["http/1.1"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="registry.test")
    with Line(private.served.server) as line:
        for _ in range(10):
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                pass
            else:
                break
            for byte in outgoing.read():
                line.send(bytes([byte]))
            incoming.write(line.socket.recv(65536))
        line.send(outgoing.read())
        client.write(get("/v2/"))
        line.send(outgoing.read())
        received = b""
        while b"401" not in received:
            incoming.write(line.socket.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                received += client.read(65536)

    assert client.selected_alpn_protocol() == "http/1.1"


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "never finished": lambda hello: hello[:-1],
    "one byte": lambda hello: hello[:1],
    "a header": lambda hello: hello[:5],
    "an empty record": lambda _hello: b"\x16\x03\x01\0\0",
    "a length of nothing": lambda _hello: b"\x16\x03\x01\0\4\1\0\0\0",
    "a record too long": lambda _hello: b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
    "more records than fit": lambda _hello: b"\x16\x03\x01\0\1\1" + b"\x16\x03\x01\x40\0" + b"\xff" * 16384 * 4,
    "lengths that lie": lambda hello: hello[:43] + b"\xff" * (len(hello) - 43),
    "another message": lambda hello: hello[:5] + b"\2" + hello[6:],
    "a name beyond ascii": lambda hello: hello.replace(b"registry.test", b"registr\xff.test"),
    "a name with a NUL": lambda hello: hello.replace(b"registry.test", b"registr\0.test"),
    "an alert": lambda _hello: b"\x15\x03\x01\0\2\2\x28",
}


@pytest.mark.parametrize("pending", [True, False])
@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_hellos(private: Private, request: pytest.FixtureRequest, how: str, *, pending: bool) -> None:
    """None is waited for longer than headers are, none disturbs anybody, and none leaves a traceback in the log."""
    if pending:
        request.getfixturevalue("waiting")
    others = private.served
    with Line(others.server) as line:
        with contextlib.suppress(ConnectionError):
            line.send(HOSTILE[how](hello(private)))
        assert others.ask(others.get("manifests/v1")).status == 200

        line.rest()

    assert others.ask(others.get("manifests/v1")).status == 200
    assert "Traceback" not in others.server.log.read_text()


@pytest.mark.parametrize("pending", [True, False])
def test_many_that_never_finish(private: Private, request: pytest.FixtureRequest, *, pending: bool) -> None:
    """A hundred half hellos are ended, and the registry answers meanwhile."""
    if pending:
        request.getfixturevalue("waiting")
    half = hello(private)[:100]
    lines = [Line(private.served.server) for _ in range(100)]
    try:
        for line in lines:
            line.send(half)
        answers = [private.served.ask(private.served.get("manifests/v1")).status for _ in range(5)]
        endings = [line.rest() for line in lines]
    finally:
        for line in lines:
            line.socket.close()

    assert answers == [200] * 5
    assert len(endings) == 100


def test_a_long_hello(private: Private, waiting: Pair) -> None:
    """One of 13 KB is heard to its end."""
    with Line(private.served.server) as line:
        line.send(hello(private, long=True))
        first = line.socket.recv(5)

    assert first[:1] == b"\x16"
