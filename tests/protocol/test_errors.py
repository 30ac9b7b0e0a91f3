"""Every error of the tree as an answer, in the protocol's words and statuses."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from moorage import errors
from moorage.errors import BadRequest, RegistryError
from moorage.v2.answers import Answers
from tests.content import Client, digest_of, encode, image
from tests.protocol.transcript import USERS
from tests.raw_http import ask_raw, chunked, head
from tests.servers import Moorage


def leaves(base: type[RegistryError] = RegistryError) -> Iterator[type[RegistryError]]:
    """Every error that a request can end with."""
    for found in base.__subclasses__():
        yield from leaves(found)
        yield found


CODES = {
    "Unauthorized": ("UNAUTHORIZED", 401),
    "Denied": ("DENIED", 403),
    "NameInvalid": ("NAME_INVALID", 400),
    "NameUnknown": ("NAME_UNKNOWN", 404),
    "TagInvalid": ("TAG_INVALID", 400),
    "ManifestInvalid": ("MANIFEST_INVALID", 400),
    "ManifestUnverified": ("MANIFEST_UNVERIFIED", 400),
    "ManifestUnknown": ("MANIFEST_UNKNOWN", 404),
    "ManifestBlobUnknown": ("MANIFEST_BLOB_UNKNOWN", 400),
    "BlobUnknown": ("BLOB_UNKNOWN", 404),
    "BlobUploadUnknown": ("BLOB_UPLOAD_UNKNOWN", 404),
    "BlobUploadInvalid": ("BLOB_UPLOAD_INVALID", 400),
    "UploadBusy": ("BLOB_UPLOAD_INVALID", 409),
    "DigestInvalid": ("DIGEST_INVALID", 400),
    "SizeInvalid": ("SIZE_INVALID", 400),
    "TooLarge": ("SIZE_INVALID", 413),
    "RangeInvalid": ("RANGE_INVALID", 416),
    "PaginationNumberInvalid": ("PAGINATION_NUMBER_INVALID", 400),
    "Unsupported": ("UNSUPPORTED", 405),
    "TooManyRequests": ("TOOMANYREQUESTS", 429),
    "StorageFull": ("UNAVAILABLE", 507),
    "Unavailable": ("UNAVAILABLE", 503),
}


def test_the_table_has_every_error() -> None:
    """A new leaf needs its row."""
    assert {found.__name__ for found in leaves()} == set(CODES)


@pytest.mark.parametrize("name", CODES)
def test_an_error_is_answered_with_its_code_and_status(name: str) -> None:
    """As JSON with code, message and detail; a challenge, Allow or Retry-After only where it belongs."""
    kind: type[RegistryError] = getattr(errors, name)

    response = Answers("realm").error(kind(detail={"a": 1}))

    code, status = CODES[name]
    lines = response.head.decode().split("\r\n")
    assert response.status == status
    assert json.loads(response.body) == {"errors": [{"code": code, "message": kind.default, "detail": {"a": 1}}]}
    assert "Content-Type: application/json" in lines
    assert "Docker-Distribution-Api-Version: registry/2.0" in lines
    assert lines.count('WWW-Authenticate: Basic realm="realm"') == (status == 401)
    assert any(line.startswith("Allow:") for line in lines) == (status == 405)
    assert any(line.startswith("Retry-After:") for line in lines) == (status == 429)


def test_what_cannot_be_understood_has_a_body_too() -> None:
    """Clients print it."""
    response = Answers("realm").error(BadRequest(414, "too long"))

    assert response.status == 414
    assert json.loads(response.body)["errors"][0]["message"] == "too long"


@pytest.mark.parametrize("realm", ['a "quoted" realm', "back\\slash"])
def test_the_realm_is_a_quoted_string(realm: str) -> None:
    """RFC 9110, 5.6.4."""
    response = Answers(realm).error(errors.Unauthorized())

    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    assert f'WWW-Authenticate: Basic realm="{quoted}"\r\n'.encode() in response.head


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A registry whose blobs have at most 1,000 bytes."""
    environment = {"MOORAGE_HTTP_LIMITS_BLOB_BYTES": "1000"}
    folder = tmp_path_factory.mktemp("limited")
    with Moorage(folder, "--workers", "1", users=USERS, environment=environment) as server:
        yield Client(server, "alice", USERS["alice"])


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_blob_beyond_its_limit_is_413(method: str, announced: bool, limited: Client, name: str) -> None:  # noqa: FBT001
    """With a code, however it is sent; just the limit is fine."""
    for size, expected in ((1000, {201, 202}), (1001, {413})):
        data = bytes(size)
        target = f"/v2/{name}/blobs/uploads/" if method == "POST" else limited.begin_upload(name)
        target += "" if method == "PATCH" else f"?digest={digest_of(data)}"
        if announced:
            answer = limited.ask(method, target, {}, data)
        else:
            headers = {**limited.headers, "Transfer-Encoding": "chunked"}
            answer = ask_raw(limited.server, head(method, target, headers) + chunked(data, 300), method)
        assert answer.status in expected
        assert answer.status != 413 or answer.codes == ["SIZE_INVALID"]


def test_a_message_never_repeats_what_the_client_kept_secret(alice: Client, name: str) -> None:
    """The password and the Authorization header are in no answer."""
    for method, target in (("GET", f"/v2/{name}/manifests/v1"), ("GET", "/v2/x"), ("POST", "/v2/")):
        answer = alice.ask(method, target, {}, None if method == "GET" else b"")
        assert USERS["alice"].encode() not in answer.body
        assert alice.headers["Authorization"].split()[1].encode() not in answer.body


def test_what_a_message_quotes_is_cut_and_printable(alice: Client, name: str) -> None:
    """A terminal that shows it is not controlled by who wrote the manifest."""
    evil = "\x1b]0;evil\x07" + "x" * 5000
    body = encode({**image(b"{}"), "mediaType": evil})

    answer = alice.ask("PUT", f"/v2/{name}/manifests/v1", {}, body)

    message = answer.json()["errors"][0]["message"]
    assert answer.codes == ["MANIFEST_INVALID"]
    assert message.isprintable()
    assert len(message) < 500
