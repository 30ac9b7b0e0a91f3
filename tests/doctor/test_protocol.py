"""What answers at /v2/: challenges, tokens, logins, and answers that are no registry's."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, urlsplit

import pytest

from moorage.doctor.client.challenge import Challenge, challenges
from moorage.doctor.finding import Finding, Verdict
from tests.certificates import Authority, Pair
from tests.doctor.fixtures import HOST, REGISTRY, UNAUTHORIZED, Canned, Reply, options, the, troubles, walked
from tests.servers import free_port

LOGIN = ("ann", "correct horse")
RIGHT = b"Basic " + base64.b64encode(b"ann:correct horse")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        (['Basic realm="Moorage"'], [Challenge("basic", {"realm": "Moorage"})]),
        (["BASIC REALM=x"], [Challenge("basic", {"realm": "x"})]),
        (['Basic realm="a \\"b\\" c"'], [Challenge("basic", {"realm": 'a "b" c'})]),
        (
            ['Bearer realm="https://a.test/token",service="a.test",scope="repository:x:pull,push"'],
            [
                Challenge(
                    "bearer", {"realm": "https://a.test/token", "service": "a.test", "scope": "repository:x:pull,push"}
                )
            ],
        ),
        (
            ['Bearer realm="https://a.test/token", Basic realm="x"'],
            [Challenge("bearer", {"realm": "https://a.test/token"}), Challenge("basic", {"realm": "x"})],
        ),
        (["Negotiate", "NTLM"], [Challenge("negotiate", {}), Challenge("ntlm", {})]),
        (["Negotiate, Basic realm=x"], [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        (
            ['Digest realm="a", nonce="b", qop="auth"'],
            [Challenge("digest", {"realm": "a", "nonce": "b", "qop": "auth"})],
        ),
        (['"'], []),
        (['Basic realm="never ends'], [Challenge("basic", {})]),
    ],
)
def test_challenges_are_read(headers: list[str], expected: list[Challenge]) -> None:
    """RFC 9110, 11.6.1, and what servers make of it."""
    assert challenges(headers) == expected


def api(headers: Mapping[str, str], status: int = 401, body: bytes = UNAUTHORIZED) -> list[Finding]:
    """The findings where /v2/ is answered like this."""
    with Canned(reply=lambda request: (status, headers, body)) as server:
        return walked(options(server.url, LOGIN))


@pytest.mark.parametrize(
    ("challenge", "verdict", "what"),
    [
        ('Digest realm="x", nonce="y"', "wrong", "the challenge is Digest, which no client of registries knows"),
        ("Negotiate", "wrong", "the challenge is Negotiate"),
        ('Basic realm="a", Bearer realm="https://a.test/t"', "warning", "401 comes with 2 challenges: Basic, Bearer"),
        ('Bearer realm="/token"', "wrong", "realm is no URL: /token"),
        ('Bearer service="x"', "wrong", "realm is no URL: empty"),
        ('Bearer realm="http://nowhere.test/token"', "wrong", "cannot be reached from here: http://nowhere.test/token"),
    ],
)
def test_a_challenge_that_clients_cannot_meet_is_named(challenge: str, verdict: str, what: str) -> None:
    """None of these lets docker log in."""
    found = api({**REGISTRY, "WWW-Authenticate": challenge})

    finding = the(found, what)
    assert (finding.step, finding.verdict.value) == ("api", verdict)


@pytest.mark.parametrize(
    ("status", "headers", "body", "what"),
    [
        (200, {"Content-Type": "text/html"}, b"<html><title>Welcome to nginx!</title>", "a page for people"),
        (200, {"Content-Type": "application/json"}, b'{"status":"UP"}', "but not by a registry"),
        (404, {"Content-Type": "application/json"}, b'{"message":"no Route matched"}', "404 Not Found"),
        (503, {"Server": "awselb/2.0"}, b"", "503 Service Unavailable (Server: awselb/2.0): what answers is a proxy"),
        (400, {}, b"<html>No required SSL certificate was sent", "the server wants a certificate of the client's own"),
        (418, {}, b"", "418"),
    ],
)
def test_what_is_no_registry_is_named(status: int, headers: dict[str, str], body: bytes, what: str) -> None:
    """Pages, other services, proxies without a registry."""
    found = api(headers, status, body)

    [(step, verdict, said)] = troubles(found)
    assert (step, verdict) == ("api", "wrong")
    assert what in said


def test_a_registry_under_ipv6_is_reached() -> None:
    """By its address in brackets."""
    with Canned(address="::1") as server:
        found = walked(options(f"http://[::1]:{server.port}"), "api")

    assert troubles(found) == []
    the(found, "::1 (loopback) takes connections")


def tokens(port: Callable[[], int], *, accepted: bool = True) -> Callable[[bytes], Reply]:
    """A registry that sends its clients to /token of its own, and whether it takes what they got there."""

    def reply(request: bytes) -> Reply:
        path = request.split(b" ")[1].decode()
        if path.startswith("/token"):
            query = parse_qs(urlsplit(path).query)
            if b"\r\nAuthorization: " + RIGHT + b"\r\n" not in request:
                return 401, {}, UNAUTHORIZED
            assert query["service"] == ["moorage.test"]
            return 200, {"Content-Type": "application/json"}, json.dumps({"token": "abc"}).encode()
        if accepted and b"\r\nAuthorization: Bearer abc\r\n" in request:
            return (200, REGISTRY, b"{}") if path == "/v2/" else (403, REGISTRY, b'{"errors":[{"code":"DENIED"}]}')
        bearer = f'Bearer realm="http://{HOST}:{port()}/token",service="moorage.test"'
        return 401, {**REGISTRY, "WWW-Authenticate": bearer}, UNAUTHORIZED

    return reply


def test_a_login_by_token_is_walked() -> None:
    """The realm is asked with the password, the registry with the token; what the user may not push is named."""
    server = Canned()
    server.reply = tokens(lambda: server.port)
    with server:
        found = walked(options(server.url, LOGIN))

    [(step, _, what)] = troubles(found)
    assert the(found, "ann gets a token from").verdict is Verdict.OK
    assert step == "push"
    assert "ann may not push to doctor/scratch: 403 DENIED" in what


def test_a_wrong_password_at_the_realm_is_named() -> None:
    """The realm refuses."""
    server = Canned()
    server.reply = tokens(lambda: server.port)
    with server:
        found = walked(options(server.url, ("ann", "wrong")))

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("login", "wrong")
    assert "ann gets no token from" in what


def test_a_token_that_the_registry_refuses_is_named() -> None:
    """Two services that do not know each other."""
    server = Canned()
    server.reply = tokens(lambda: server.port, accepted=False)
    with server:
        found = walked(options(server.url, LOGIN))

    [(step, _, what)] = troubles(found)
    assert step == "login"
    assert "is refused by the registry: 401 UNAUTHORIZED" in what


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs for the servers here."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    """A good certificate for the name."""
    return authority.issue(HOST)


def test_a_realm_of_plain_http_is_named(authority: Authority, pair: Pair) -> None:
    """The registry has TLS, the realm has not; no password is sent there."""
    realm = f"http://{HOST}:{free_port()}/token"

    def reply(request: bytes) -> Reply:
        return 401, {**REGISTRY, "WWW-Authenticate": f'Bearer realm="{realm}"'}, UNAUTHORIZED

    with Canned(pair, reply) as server:
        found = walked(options(server.url, LOGIN, ca_file=authority.path))

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("api", "wrong")
    assert f"tokens are to be had at {realm}, without TLS" in what


def test_no_password_goes_to_a_place_for_tokens_that_cannot_be_verified(pair: Pair) -> None:
    """Its certificate is from an unknown authority, and the registry itself has no TLS."""
    seen: list[bytes] = []

    def watch(request: bytes) -> Reply:
        seen.append(request)
        return 401, {}, UNAUTHORIZED

    with Canned(pair, watch) as realm:

        def reply(request: bytes) -> Reply:
            bearer = f'Bearer realm="https://{HOST}:{realm.port}/token",service="x"'
            return 401, {**REGISTRY, "WWW-Authenticate": bearer}, UNAUTHORIZED

        with Canned(reply=reply) as server:
            found = walked(options(server.url, LOGIN))

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("login", "wrong")
    assert "the certificate of the place where tokens come from is refused" in what
    assert seen
    assert not [request for request in seen if b"\r\nAuthorization: " in request]


def test_a_login_that_takes_long_is_named() -> None:
    """A hash of too high a cost, checked on every request."""

    def reply(request: bytes) -> Reply:
        if b"\r\nAuthorization: " in request:
            time.sleep(1.1)  # what bcrypt does
            return (200, REGISTRY, b"{}") if b" /v2/ " in request else (403, REGISTRY, b"")
        return 401, REGISTRY, UNAUTHORIZED

    with Canned(reply=reply) as server:
        found = walked(options(server.url, LOGIN), "login")

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("login", "warning")
    assert "each request with the password takes 1." in what


@pytest.mark.parametrize(("status", "verdict"), [(429, "warning"), (500, "wrong")])
def test_a_login_that_is_neither_taken_nor_refused_is_told(status: int, verdict: str) -> None:
    """Too many attempts, or a fault of its own."""

    def reply(request: bytes) -> Reply:
        if b"\r\nAuthorization: " in request:
            return status, {**REGISTRY, "Retry-After": "7"}, b""
        return 401, REGISTRY, UNAUTHORIZED

    with Canned(reply=reply) as server:
        found = walked(options(server.url, LOGIN))

    [(step, said, _)] = troubles(found)
    assert (step, said) == ("login", verdict)
    assert {one.verdict for one in found if one.step in {"push", "pull", "proxy"}} == {Verdict.SKIPPED}


@pytest.mark.parametrize(
    "raw", [b"HTTP/1.1 banana\r\n\r\n", b"HTTP/1.1 200 OK\r\nX", b"\x00" * 100, b"HTTP/9.9 200 OK\r\n\r\n"]
)
def test_answers_that_are_no_http_end_no_walk(raw: bytes) -> None:
    """A fault of the server is a finding, never one of the doctor's."""
    with Canned(raw=raw) as server:
        found = walked(options(server.url, timeout=2.0))

    assert troubles(found)
    assert not [one for one in found if "fault of the doctor" in one.what]
