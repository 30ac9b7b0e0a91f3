"""What people's scripts, load balancers and proxies rely on, beside the specification."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.content import INDEX, OCTETS, Client, digest_of, encode, index
from tests.protocol.transcript import USERS
from tests.raw_http import Line, head, message
from tests.servers import Moorage

LAYER = b"layer of scripts"
REPOSITORY = "lib/scripts"


@pytest.fixture(scope="module", autouse=True)
def image(alice: Client) -> str:
    """The digest of an image that is there."""
    return alice.push_image(REPOSITORY, "v1", LAYER)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_is_200_and_empty(method: str, server: Moorage) -> None:
    """For health checks of load balancers, which have no password."""
    answer = Client(server).ask(method, "/")

    assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "0")
    assert answer.header("cache-control") == "no-cache"


def test_the_root_can_only_be_read(server: Moorage) -> None:
    """405 with Allow."""
    answer = Client(server).ask("POST", "/", None, b"")

    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_what_is_not_there_is_404_by_every_method(method: str, server: Moorage) -> None:
    """Not 405, which would say that there is something."""
    assert Client(server).ask(method, "/v1/search", None, b"").status == 404


def test_v2_without_a_slash_is_no_redirect(alice: Client) -> None:
    """curl without -L and many health checks follow none; distribution answers 301."""
    answer = alice.ask("GET", "/v2")

    assert (answer.status, answer.body, answer.values("location")) == (200, b"{}", [])


TARGETS = [
    "/",
    "/nothing",
    "/v2/",
    "/v2/_catalog",
    f"/v2/{REPOSITORY}/tags/list",
    f"/v2/{REPOSITORY}/manifests/v1",
    f"/v2/{REPOSITORY}/manifests/v0",
    f"/v2/{REPOSITORY}/blobs/{digest_of(LAYER)}",
    f"/v2/{REPOSITORY}/referrers/{digest_of(LAYER)}",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("known", [True, False], ids=["alice", "a stranger"])
def test_no_answer_lets_a_browser_guess(target: str, known: bool, alice: Client) -> None:  # noqa: FBT001
    """X-Content-Type-Options once on everything, errors too; a Date, and a request id that the log has."""
    answer = (alice if known else Client(alice.server)).ask("GET", target)

    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("date").endswith(" GMT")
    assert answer.header("x-request-id")


def test_a_pushed_page_does_not_run_in_a_browser(alice: Client) -> None:
    """A blob is a download in a sandbox, whatever is in it."""
    digest = alice.push_blob(REPOSITORY, b"<script>alert(1)</script>")

    answer = alice.ask("GET", f"/v2/{REPOSITORY}/blobs/{digest}")

    assert answer.header("content-type") == OCTETS
    assert answer.header("content-disposition") == "attachment"
    assert "sandbox" in answer.header("content-security-policy")


def test_content_under_a_digest_is_cached_for_a_year_but_not_for_others(alice: Client) -> None:
    """It never changes, but whose it is does: no shared cache may keep it, and no proxy may compress it."""
    answer = alice.ask("GET", f"/v2/{REPOSITORY}/blobs/{digest_of(LAYER)}")

    directives = answer.header("cache-control").split(", ")
    assert {"max-age=31536000", "private", "no-transform"} <= set(directives)
    assert answer.header("etag") == f'"{digest_of(LAYER)}"'


def test_a_tag_is_never_cached_unasked(alice: Client) -> None:
    """No max-age on a manifest: a tag moves."""
    answer = alice.ask("GET", f"/v2/{REPOSITORY}/manifests/v1")

    assert not any("max-age" in value for value in answer.values("cache-control"))


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "application/json", "text/plain; charset=utf-8", "multipart/form-data", ""],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_the_content_type_of_an_upload_does_not_matter(
    method: str, content_type: str, alice: Client, name: str
) -> None:
    """`curl --data-binary` sends a form's; distribution refuses it."""
    headers = {"Content-Type": content_type}
    digest = digest_of(LAYER)
    if method == "POST":
        answer = alice.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", headers, LAYER)
    else:
        location = alice.begin_upload(name)
        query = f"?digest={digest}" if method == "PUT" else ""
        answer = alice.ask(method, location + query, headers, LAYER)

    assert answer.status == (202 if method == "PATCH" else 201)


def test_every_location_is_relative(alice: Client, name: str) -> None:
    """A path alone, whatever the request says of host and scheme: no proxy can make it wrong."""
    lies = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    lies |= {"Forwarded": "host=evil.example;proto=https", "X-Forwarded-Prefix": "/evil"}
    begun = alice.ask("POST", f"/v2/{name}/blobs/uploads/", lies, b"")
    location = begun.header("location")
    digest = digest_of(LAYER)
    body = encode(index())
    answers = [
        begun,
        alice.ask("PATCH", location, lies, LAYER),
        alice.ask("GET", location, lies),
        alice.ask("PATCH", location, {**lies, "Content-Range": "0-0"}, b"x"),
        alice.ask("PUT", f"{location}?digest={digest}", lies, b""),
        alice.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", lies, LAYER),
        alice.ask("POST", f"/v2/{name}/blobs/uploads/?mount={digest}&from={name}", lies, b""),
        alice.ask("PUT", f"/v2/{name}/manifests/v1", {**lies, "Content-Type": INDEX}, body),
    ]

    assert [answer.status for answer in answers] == [202, 202, 204, 416, 201, 201, 201, 201]
    for answer in answers:
        assert answer.header("location").startswith(f"/v2/{name}/")


def test_a_link_is_relative(alice: Client, name: str) -> None:
    """As every Location."""
    for tag in ("a", "b"):
        alice.push_manifest(name, tag, encode(index()), INDEX)

    answer = alice.ask("GET", f"/v2/{name}/tags/list?n=1", {"Host": "evil.example", "X-Forwarded-Proto": "https"})

    assert answer.header("link") == f'</v2/{name}/tags/list?n=1&last=a>; rel="next"'


@pytest.mark.parametrize("proto", ["HTTP/1.0", "HTTP/1.1"])
def test_a_request_without_a_body_length_has_no_body(proto: str, alice: Client, name: str) -> None:
    """POST as old scripts send it opens an upload."""
    with Line(alice.server) as line:
        line.send(head("POST", f"/v2/{name}/blobs/uploads/", alice.headers, proto))
        assert line.answer("POST").status == 202


def test_a_session_of_many_requests_on_one_connection(alice: Client, name: str) -> None:
    """Keep-alive through errors, bodies, HEADs and 204s: the answers stay in step."""
    digest = digest_of(LAYER)
    steps = [
        ("GET", f"/v2/{name}/tags/list", None, 404),
        ("POST", f"/v2/{name}/blobs/uploads/?digest={digest_of(b'no')}", LAYER, 400),
        ("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", LAYER, 201),
        ("HEAD", f"/v2/{name}/blobs/{digest}", None, 200),
        ("GET", f"/v2/{name}/blobs/{digest}", None, 200),
        ("HEAD", f"/v2/{name}/blobs/{digest_of(b'no')}", None, 404),
        ("GET", f"/v2/{name}/blobs/uploads/{'0' * 32}", None, 404),
        ("PUT", f"/v2/{name}/manifests/v1", encode(index()), 201),
        ("GET", f"/v2/{name}/manifests/v1", None, 200),
        ("DELETE", f"/v2/{name}/blobs/{digest}", None, 202),
        ("GET", f"/v2/{name}/blobs/{digest}", None, 404),
        ("GET", "/v2/", None, 200),
    ]
    with Line(alice.server) as line:
        for method, target, body, status in steps:
            line.send(message(method, target, {**alice.headers, "Content-Type": INDEX}, body))
            answer = line.answer(method)
            assert (answer.status, answer.closes) == (status, False), (method, target, answer)


def test_head_says_what_get_would(alice: Client) -> None:
    """The same status and headers without the body, for every target."""
    for target in TARGETS:
        get, head_ = alice.ask("GET", target), alice.ask("HEAD", target)
        changing = {"date", "x-request-id"}
        assert head_.status == get.status
        assert [pair for pair in head_.headers if pair[0] not in changing] == [
            pair for pair in get.headers if pair[0] not in changing
        ]
        assert head_.body == b""


# Below a prefix.


@pytest.fixture(scope="module")
def prefixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A registry at /registry/, with headers of its operator's."""
    environment = {
        "MOORAGE_HTTP_PREFIX": "/registry/",
        "MOORAGE_HTTP_HEADERS": "{X-Robots-Tag: [noindex], x-content-type-options: [other]}",
    }
    folder = tmp_path_factory.mktemp("prefixed")
    with Moorage(folder, "--workers", "1", users=USERS, environment=environment) as server:
        yield Client(server, "alice", USERS["alice"])


def test_below_a_prefix_everything_is_there_with_it(prefixed: Client, name: str) -> None:
    """Requests, Location and Link carry it."""
    base = f"/registry/v2/{name}"
    begun = prefixed.ask("POST", f"{base}/blobs/uploads/", {}, b"")
    done = prefixed.ask("PUT", f"{begun.header('location')}?digest={digest_of(LAYER)}", {}, LAYER)
    for tag in ("a", "b"):
        pushed = prefixed.ask("PUT", f"{base}/manifests/{tag}", {"Content-Type": INDEX}, encode(index()))
    page = prefixed.ask("GET", f"{base}/tags/list?n=1")
    catalog = prefixed.ask("GET", "/registry/v2/_catalog?n=1000")

    assert re.fullmatch(f"{base}/blobs/uploads/[0-9a-f]{{32}}", begun.header("location"))
    assert done.header("location") == f"{base}/blobs/{digest_of(LAYER)}"
    assert prefixed.ask("GET", done.header("location")).body == LAYER
    assert pushed.header("location") == f"{base}/manifests/{digest_of(encode(index()))}"
    assert page.header("link") == f'<{base}/tags/list?n=1&last=a>; rel="next"'
    assert name in catalog.json()["repositories"]
    assert prefixed.ask("GET", "/registry/v2/").status == prefixed.ask("GET", "/registry/v2").status == 200


def test_beside_a_prefix_v2_works_too(prefixed: Client, name: str) -> None:
    """No client can be told of a prefix; what is asked without it is answered without it."""
    begun = prefixed.ask("POST", f"/v2/{name}/blobs/uploads/", {}, b"")

    assert begun.header("location").startswith(f"/v2/{name}/")
    assert prefixed.ask("GET", begun.header("location")).status == 204
    assert prefixed.ask("GET", f"/registry{begun.header('location')}").status == 204


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/registry/v2/", 401),
        ("/v2/", 401),
        ("/", 200),
        ("/registry/", 200),
        ("/registry", 404),
        ("/registryv2/", 404),
        ("/other/v2/", 404),
        ("/registry/registry/v2/", 404),
        ("/v2/registry/v2/", 401),
    ],
)
def test_a_prefix_opens_nothing(path: str, status: int, prefixed: Client) -> None:
    """A stranger finds the same doors as elsewhere."""
    assert Client(prefixed.server).ask("GET", path).status == status


@pytest.mark.parametrize("path", ["/", "/nothing", "/v2/", "/registry/v2/_catalog"])
def test_the_operators_headers_are_on_every_answer(path: str, prefixed: Client) -> None:
    """http.headers, in place of the server's own of the same name."""
    answer = prefixed.ask("GET", path)

    assert answer.header("x-robots-tag") == "noindex"
    assert answer.header("x-content-type-options") == "other"
