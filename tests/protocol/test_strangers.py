"""Every route and every method, asked by somebody who has no password: what is not listed here as public is closed."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from moorage.v2.routes import ROUTES
from tests.content import Client, digest_of
from tests.protocol.transcript import USERS
from tests.raw_http import Answer, ask_raw, basic, message
from tests.servers import Moorage, free_port

LAYER = b"layer of strangers"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# What a setting opens: auth.anonymous_pull, these routes to read.
PULL = {"manifest", "blob", "tags", "referrers"}
# What answers everybody: load balancers ask for the first, who does not trust the server yet for the others.
PUBLIC = {"/"}
PUBLIC_WITH_AUTHORITY = {"/", "/ca.crt", "/trust"}

CREDENTIALS: dict[str, Mapping[str, str]] = {
    "no credentials": {},
    "a wrong password": {"Authorization": basic("alice", "wrong")},
    "an unknown user": {"Authorization": basic("mallory", USERS["alice"])},
    "another user's password": {"Authorization": basic("alice", USERS["bob"])},
    "empty credentials": {"Authorization": "Basic Og=="},
    "a token": {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
    "not base64": {"Authorization": "Basic ???"},
    "no scheme": {"Authorization": "alice"},
}

PLACES = [
    *((route.name, route.path.replace("{name}", "lib/base")) for route in ROUTES),
    *((route.name, route.path.replace("{name}", "no/such")) for route in ROUTES if "{name}" in route.path),
    *((route.name, route.path.replace("{name}", "No/Name")) for route in ROUTES if "{name}" in route.path),
    ("none", "/v2/lib/base"),
    ("none", "/v2/lib/base/"),
    ("none", "/v2/lib/base/tags/other"),
    ("none", "/v2/_catalog/"),
    ("none", "/v2/%5fcatalog/x"),
    ("none", "/v2/../v2/"),
    ("none", "/v2/token"),
]


@pytest.fixture(scope="module")
def world(alice: Client) -> dict[str, str]:
    """`lib/base` has an image and an upload that has begun."""
    return fill(alice)


def fill(client: Client) -> dict[str, str]:
    """Push an image to `lib/base` and begin an upload; what paths name of them."""
    digest = client.push_image("lib/strange", "v1", LAYER)
    digest = client.push_image("lib/base", "v1", LAYER)
    upload = client.begin_upload("lib/base").rpartition("/")[2]
    return {"reference": "v1", "digest": digest, "blob": digest_of(LAYER), "upload": upload}


def target(name: str, path: str, world: Mapping[str, str]) -> str:
    """The path with what is there."""
    return path.format(**{**world, "digest": world["blob" if name == "blob" else "digest"]})


def check_closed(answer: Answer, method: str) -> None:
    """401 with one challenge, the version and the specification's body."""
    assert answer.status == 401, answer
    assert answer.header("www-authenticate") == 'Basic realm="Moorage"'
    assert answer.header("docker-distribution-api-version") == "registry/2.0"
    assert answer.header("content-type") == "application/json"
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert answer.codes == ["UNAUTHORIZED"]


@pytest.mark.parametrize("who", CREDENTIALS)
@pytest.mark.parametrize(("name", "path"), PLACES, ids=[path for _, path in PLACES])
def test_a_stranger_is_told_nothing(name: str, path: str, who: str, alice: Client, world: dict[str, str]) -> None:
    """401 by every method on every path, whether anything is there or not, and whether it is a route or not."""
    stranger = Client(alice.server, more=CREDENTIALS[who])

    for method in METHODS:
        answer = stranger.ask(method, target(name, path, world), {}, None if method in {"GET", "HEAD"} else b"")
        check_closed(answer, method)


def test_nothing_of_all_that_has_happened(alice: Client, world: dict[str, str]) -> None:
    """After every stranger's DELETE and PUT, everything is as it was."""
    for method in METHODS:
        for name, path in PLACES:
            Client(alice.server).ask(method, target(name, path, world), {}, None if method in {"GET", "HEAD"} else b"")

    assert alice.ask("GET", f"/v2/lib/base/blobs/{world['blob']}").body == LAYER
    assert alice.ask("HEAD", "/v2/lib/base/manifests/v1").header("docker-content-digest") == world["digest"]
    assert alice.ask("GET", f"/v2/lib/base/blobs/uploads/{world['upload']}").status == 204
    assert alice.ask("GET", "/v2/no/such/tags/list").status == 404


def test_two_authorization_headers_are_refused(alice: Client) -> None:
    """Also where one of them is right: what reads the other one in front would think otherwise."""
    both = [("Authorization", basic("alice", USERS["alice"])), ("Authorization", basic("bob", USERS["bob"]))]

    check_closed(ask_raw(alice.server, message("GET", "/v2/", both)), "GET")


def test_the_right_password_opens_every_route(alice: Client, world: dict[str, str]) -> None:
    """Else the tests above would prove nothing."""
    for route in ROUTES:
        if "GET" in route.actions:
            path = target(route.name, route.path.replace("{name}", "lib/base"), world)
            assert alice.ask("GET", path).status in {200, 204}, path


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, str]]]:
    """A registry from which everybody may pull, and what is in it."""
    folder = tmp_path_factory.mktemp("opened")
    with Moorage(folder, "--anonymous-pull", "--workers", "1", users=USERS) as server:
        client = Client(server, "alice", USERS["alice"])
        yield client, fill(client)


@pytest.mark.parametrize("who", ["no credentials", "empty credentials"])
@pytest.mark.parametrize(("name", "path"), PLACES, ids=[path for _, path in PLACES])
def test_anonymous_pull_opens_pulls_alone(
    name: str, path: str, who: str, opened: tuple[Client, dict[str, str]]
) -> None:
    """The routes of PULL can be read, and nothing else: no ping, no catalog, no push, no upload, no delete."""
    alice, world = opened
    stranger = Client(alice.server, more=CREDENTIALS[who])

    for method in METHODS:
        answer = stranger.ask(method, target(name, path, world), {}, None if method in {"GET", "HEAD"} else b"")
        if name not in PULL or method not in {"GET", "HEAD"}:
            check_closed(answer, method)
        elif "lib/base" in path:
            assert answer.status == 200, answer
        elif "No/Name" in path:
            check_closed(answer, method)
        else:
            assert answer.status == (200 if name == "referrers" else 404), answer


@pytest.mark.parametrize("who", ["a wrong password", "an unknown user", "a token", "not base64"])
def test_wrong_credentials_are_refused_where_none_would_do(who: str, opened: tuple[Client, dict[str, str]]) -> None:
    """Whoever thinks to be logged in learns that they are not."""
    alice, _ = opened

    check_closed(Client(alice.server, more=CREDENTIALS[who]).ask("GET", "/v2/lib/base/manifests/v1"), "GET")


def test_a_stranger_cannot_mount_where_everybody_may_pull(opened: tuple[Client, dict[str, str]]) -> None:
    """Reading the source is not enough."""
    alice, world = opened

    answer = Client(alice.server).ask("POST", f"/v2/lib/other/blobs/uploads/?mount={world['blob']}&from=lib/base")

    check_closed(answer, "POST")
    assert alice.ask("HEAD", f"/v2/lib/other/blobs/{world['blob']}").status == 404


OUTSIDE = [
    *("/", "/v1/_ping", "/v1/search?q=x", "/v2x", "/v", "/metrics", "/debug/health", "/ui/", "//v2/", "/V2/"),
    *(
        "/ca.crt",
        "/ca.key",
        "/ca.crt/",
        "/trust",
        "/trust/docker",
        "/.well-known/acme-challenge/token",
        "/.well-known/",
    ),
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_beside_the_protocol_there_is_only_an_empty_page(path: str, server: Moorage) -> None:
    """The paths of PUBLIC answer 200 with nothing; no other exists, for anybody."""
    answer = Client(server).ask("GET", path)

    assert answer.status == (200 if path in PUBLIC else 404)
    assert (answer.body == b"") == (path in PUBLIC)
    assert answer.values("www-authenticate") == []


@dataclass
class Door:
    """Where else the server with an authority answers; `Line` connects there."""

    address: str
    port: int


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Client]]:
    """The doors of a server with a private authority, and through each a client with the right password."""
    plain, figures = Door("127.0.0.1", free_port()), Door("127.0.0.1", free_port())
    listen = ("--tls-plain-listen", f"127.0.0.1:{plain.port}", "--metrics-listen", f"127.0.0.1:{figures.port}")
    folder = tmp_path_factory.mktemp("guarded")
    with Moorage(folder, "--workers", "1", "--tls-name", "127.0.0.1", *listen, users=USERS, secure=True) as server:
        authority = ask_raw(server, message("GET", "/ca.crt")).body.decode()
        doors = {
            "https": Client(server, "alice", USERS["alice"], context=ssl.create_default_context(cadata=authority)),
            "in the clear": Client(server, "alice", USERS["alice"]),
            "plain": Client(plain, "alice", USERS["alice"]),
            "figures": Client(figures, "alice", USERS["alice"]),
        }
        fill(doors["https"])
        yield doors


@pytest.mark.parametrize("path", OUTSIDE)
def test_an_authority_opens_its_certificate_and_its_page(path: str, guarded: dict[str, Client]) -> None:
    """The paths of PUBLIC_WITH_AUTHORITY, and no other; none of them has a key in it."""
    answer = guarded["https"].ask("GET", path)

    assert answer.status == (200 if path in PUBLIC_WITH_AUTHORITY else 404)
    assert b"PRIVATE KEY" not in answer.body


@pytest.mark.parametrize(("door", "statuses"), [("in the clear", {400}), ("plain", {308, 403}), ("figures", {404})])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("name", "path"), PLACES, ids=[path for _, path in PLACES])
def test_no_side_door_leads_in(
    name: str, path: str, door: str, statuses: set[int], guarded: dict[str, Client], *, known: bool
) -> None:
    """Beside https, the protocol is nowhere, not even for who has the password; and nobody is asked for it."""
    client = guarded[door] if known else Client(guarded[door].server)
    world = {"reference": "v1", "digest": digest_of(LAYER), "blob": digest_of(LAYER), "upload": "x"}

    for method in METHODS:
        answer = client.ask(method, target(name, path, world), {}, None if method in {"GET", "HEAD"} else b"")
        assert answer.status in statuses, answer
        assert answer.values("www-authenticate") == []
