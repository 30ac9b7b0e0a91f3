"""Every endpoint's answers, success and failure: read a row as a request and what came back."""

from __future__ import annotations

import re

import pytest

from tests.content import CONFIG, INDEX, MANIFEST, OCTETS, Client, descriptor, digest_of, encode, image, index
from tests.protocol.transcript import Expected, Row, play

CONFIG_BYTES = b'{"architecture":"amd64","os":"linux"}'
LAYER = bytes(range(256)) * 8
IMAGE = encode(image(CONFIG_BYTES, LAYER))
SIGNATURE = encode(image(CONFIG_BYTES, LAYER, subject=descriptor(IMAGE, MANIFEST), annotations={"a": "b"}))
SIGNATURE_ENTRY = descriptor(SIGNATURE, MANIFEST, artifactType=CONFIG, annotations={"a": "b"})
ABSENT = digest_of(b"never pushed")
NEW = b"pushed by a row"
EMPTY = digest_of(b"")

UPLOAD = re.compile(r"/v2/lib/base/blobs/uploads/[0-9a-f]{32}")
UUID = re.compile(r"[0-9a-f]{32}")


@pytest.fixture(scope="module")
def world(alice: Client) -> dict[str, str]:
    """What the rows name: `lib/base` has an image, tagged v1, and a signature of it."""
    image_digest = alice.push_image("lib/base", "v1", LAYER, config=CONFIG_BYTES)
    assert alice.push_manifest("lib/base", digest_of(SIGNATURE), SIGNATURE).status == 201
    return {
        "name": "lib/base",
        "layer": digest_of(LAYER),
        "sha512": digest_of(LAYER, "sha512"),
        "image": image_digest,
        "signature": digest_of(SIGNATURE),
        "absent": ABSENT,
        "new": digest_of(NEW),
        "empty": EMPTY,
        "long": "a" * 256,
    }


BASE = [
    Row("GET /v2/", 200, {"Content-Type": "application/json", "Location": None}, gives=b"{}"),
    Row("GET /v2", 200, {"Content-Type": "application/json", "Location": None}, gives=b"{}"),
    Row("HEAD /v2/", 200, {"Content-Type": "application/json", "Content-Length": "2"}, gives=b""),
    Row("POST /v2/", 405, {"Allow": "GET, HEAD"}, codes=("UNSUPPORTED",)),
    Row("GET /v2//", 404, codes=("NAME_UNKNOWN",)),
    Row("GET /v2/lib/base", 404, codes=("NAME_UNKNOWN",)),
    Row("GET /v2/lib/base/", 404, codes=("NAME_UNKNOWN",)),
    Row("GET /v2/lib/base/manifests", 404, codes=("NAME_UNKNOWN",)),
    Row("GET /v2/lib/base/tags", 404, codes=("NAME_UNKNOWN",)),
    Row("GET /v2/lib/base/tags/list/", 404, codes=("NAME_UNKNOWN",)),
    Row("DELETE /v2/lib/base", 404, codes=("NAME_UNKNOWN",)),
]

_BLOB: dict[str, Expected] = {
    "Docker-Content-Digest": "{layer}",
    "Content-Length": "2048",
    "Content-Type": OCTETS,
    "Content-Encoding": None,
    "ETag": '"{layer}"',
    "Accept-Ranges": "bytes",
    "Cache-Control": re.compile("private, max-age=31536000.*"),
}

BLOBS = [
    Row("GET /v2/{name}/blobs/{layer}", 200, _BLOB, gives=LAYER),
    Row("HEAD /v2/{name}/blobs/{layer}", 200, _BLOB, gives=b""),
    Row("GET /v2/{name}/blobs/{layer}?ns=docker.io", 200, _BLOB, gives=LAYER),
    Row("GET /v2/{name}/blobs/{layer}", 200, _BLOB, headers={"Accept": "text/html"}, gives=LAYER, says="any Accept"),
    Row("GET /v2/{name}/blobs/{layer}", 200, _BLOB, headers={"Accept-Encoding": "gzip"}, says="never compressed"),
    Row(
        "GET /v2/{name}/blobs/{layer}",
        206,
        {"Content-Range": "bytes 5-9/2048", "Content-Length": "5", "Docker-Content-Digest": "{layer}"},
        headers={"Range": "bytes=5-9"},
        gives=LAYER[5:10],
    ),
    Row("GET /v2/{name}/blobs/{layer}", 416, codes=("RANGE_INVALID",), headers={"Range": "bytes=2048-"}),
    Row("GET /v2/{name}/blobs/{layer}", 304, {"ETag": '"{layer}"'}, headers={"If-None-Match": '"{layer}"'}),
    Row("GET /v2/{name}/blobs/{absent}", 404, codes=("BLOB_UNKNOWN",)),
    Row("HEAD /v2/{name}/blobs/{absent}", 404, {"Content-Type": "application/json"}, gives=b""),
    Row("GET /v2/no/such/blobs/{layer}", 404, codes=("BLOB_UNKNOWN",), says="a repository that has not this blob"),
    Row("GET /v2/{name}/blobs/{sha512}", 404, codes=("BLOB_UNKNOWN",), says="known by its other digest"),
    Row("GET /v2/{name}/blobs/sha256:abc", 400, codes=("DIGEST_INVALID",)),
    Row("GET /v2/{name}/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", 400, codes=("DIGEST_INVALID",)),
    Row("GET /v2/{name}/blobs/v1", 400, codes=("DIGEST_INVALID",)),
    Row("GET /v2/Lib/blobs/{layer}", 400, codes=("NAME_INVALID",)),
    Row("GET /v2/{long}/blobs/{layer}", 400, codes=("NAME_INVALID",)),
    Row("PUT /v2/{name}/blobs/{layer}", 405, {"Allow": "GET, HEAD, DELETE"}, codes=("UNSUPPORTED",), body=b""),
    Row("DELETE /v2/{name}/blobs/{absent}", 404, codes=("BLOB_UNKNOWN",)),
    Row("DELETE /v2/{name}/blobs/sha256:abc", 400, codes=("DIGEST_INVALID",)),
    Row("DELETE /v2/no/such/blobs/{layer}", 404, codes=("BLOB_UNKNOWN",)),
]

_IMAGE: dict[str, Expected] = {
    "Content-Type": MANIFEST,
    "Content-Length": str(len(IMAGE)),
    "Docker-Content-Digest": "{image}",
    "ETag": '"{image}"',
}

MANIFESTS = [
    Row("GET /v2/{name}/manifests/v1", 200, _IMAGE, gives=IMAGE),
    Row("HEAD /v2/{name}/manifests/v1", 200, _IMAGE, gives=b""),
    Row("GET /v2/{name}/manifests/{image}", 200, _IMAGE, gives=IMAGE),
    Row("HEAD /v2/{name}/manifests/{image}", 200, _IMAGE, gives=b""),
    Row("GET /v2/{name}/manifests/v1?ns=quay.io", 200, _IMAGE, gives=IMAGE),
    Row("GET /v2/{name}/manifests/v1", 200, _IMAGE, headers={"Accept": INDEX}, gives=IMAGE, says="another Accept"),
    Row("GET /v2/{name}/manifests/v1", 304, {"ETag": '"{image}"'}, headers={"If-None-Match": '"{image}"'}, gives=b""),
    Row("HEAD /v2/{name}/manifests/v1", 304, {"ETag": '"{image}"'}, headers={"If-None-Match": '"{image}"'}),
    Row("GET /v2/{name}/manifests/v2", 404, codes=("MANIFEST_UNKNOWN",)),
    Row("HEAD /v2/{name}/manifests/v2", 404, {"Content-Type": "application/json"}, gives=b""),
    Row("GET /v2/{name}/manifests/V1", 404, codes=("MANIFEST_UNKNOWN",), says="tags differ by case"),
    Row("GET /v2/{name}/manifests/{absent}", 404, codes=("MANIFEST_UNKNOWN",)),
    Row("GET /v2/{name}/manifests/{layer}", 404, codes=("MANIFEST_UNKNOWN",), says="a blob is no manifest"),
    Row("GET /v2/no/such/manifests/v1", 404, codes=("MANIFEST_UNKNOWN",)),
    Row("GET /v2/{name}/manifests/sha256:abc", 400, codes=("DIGEST_INVALID",)),
    Row("GET /v2/{name}/manifests/.v1", 400, codes=("TAG_INVALID",)),
    Row("POST /v2/{name}/manifests/v1", 405, {"Allow": "GET, HEAD, PUT, DELETE"}, codes=("UNSUPPORTED",)),
    Row(
        "PUT /v2/{name}/manifests/v1",
        201,
        {"Location": "/v2/lib/base/manifests/{image}", "Docker-Content-Digest": "{image}", "OCI-Subject": None},
        headers={"Content-Type": MANIFEST},
        body=IMAGE,
    ),
    Row(
        "PUT /v2/{name}/manifests/{signature}",
        201,
        {"Location": "/v2/lib/base/manifests/{signature}", "OCI-Subject": "{image}"},
        headers={"Content-Type": MANIFEST},
        body=SIGNATURE,
    ),
    Row("PUT /v2/{name}/manifests/v1", 400, codes=("MANIFEST_INVALID",), headers={"Content-Type": MANIFEST}, body=b""),
    Row("PUT /v2/{name}/manifests/v1", 400, codes=("MANIFEST_INVALID",), headers={"Content-Type": MANIFEST}, body=b"{"),
    Row(
        "PUT /v2/{name}/manifests/{absent}",
        400,
        codes=("DIGEST_INVALID",),
        headers={"Content-Type": MANIFEST},
        body=IMAGE,
    ),
    Row("PUT /v2/{name}/manifests/-v1", 400, codes=("TAG_INVALID",), headers={"Content-Type": MANIFEST}, body=IMAGE),
    Row("PUT /v2/lib//base/manifests/v1", 400, codes=("NAME_INVALID",), headers={"Content-Type": MANIFEST}, body=IMAGE),
    Row(
        "PUT /v2/lib/other/manifests/v1",
        400,
        codes=("MANIFEST_BLOB_UNKNOWN",),
        headers={"Content-Type": MANIFEST},
        body=IMAGE,
    ),
    Row("DELETE /v2/{name}/manifests/nothing", 404, codes=("MANIFEST_UNKNOWN",)),
    Row("DELETE /v2/{name}/manifests/{absent}", 404, codes=("MANIFEST_UNKNOWN",)),
    Row("DELETE /v2/no/such/manifests/v1", 404, codes=("MANIFEST_UNKNOWN",)),
    Row("DELETE /v2/{name}/manifests/sha256:abc", 400, codes=("DIGEST_INVALID",)),
]

_OPEN: dict[str, Expected] = {"Location": UPLOAD, "Range": "0-0", "Docker-Upload-UUID": UUID, "Content-Length": "0"}
_NEW: dict[str, Expected] = {
    "Location": "/v2/lib/base/blobs/{new}",
    "Docker-Content-Digest": "{new}",
    "Content-Length": "0",
}
_LAYER: dict[str, Expected] = {"Location": "/v2/lib/base/blobs/{layer}", "Docker-Content-Digest": "{layer}"}
_MOUNTED: dict[str, Expected] = {"Location": "/v2/lib/target/blobs/{layer}", "Docker-Content-Digest": "{layer}"}
_UNMOUNTED: dict[str, Expected] = {
    "Location": re.compile("/v2/lib/target/blobs/uploads/[0-9a-f]{32}"),
    "Docker-Upload-UUID": UUID,
}
_NO_UPLOAD = "/v2/{name}/blobs/uploads/00000000000000000000000000000000"

UPLOADS = [
    Row("POST /v2/{name}/blobs/uploads/", 202, _OPEN, body=b""),
    Row("POST /v2/{name}/blobs/uploads", 202, _OPEN, body=b"", says="without the last slash"),
    Row("POST /v2/{name}/blobs/uploads/", 202, _OPEN, headers={"Content-Type": "application/json"}, body=b""),
    Row("POST /v2/{name}/blobs/uploads/?digest={new}", 201, _NEW, headers={"Content-Type": OCTETS}, body=NEW),
    Row("POST /v2/{name}/blobs/uploads/?digest={layer}", 400, codes=("DIGEST_INVALID",), body=NEW),
    Row("POST /v2/{name}/blobs/uploads/?digest=sha256:abc", 400, codes=("DIGEST_INVALID",), body=NEW),
    Row("POST /v2/{name}/blobs/uploads/?digest={new}&digest={new}", 400, codes=("DIGEST_INVALID",), body=NEW),
    Row("POST /v2/{name}/blobs/uploads/?digest={empty}", 201, body=b"", says="the empty blob"),
    Row("POST /v2/{name}/blobs/uploads/?digest-algorithm=sha512", 202, _OPEN, body=b""),
    Row("POST /v2/{name}/blobs/uploads/?digest-algorithm=sha256", 202, _OPEN, body=b""),
    Row("POST /v2/{name}/blobs/uploads/?digest-algorithm=md5", 400, codes=("DIGEST_INVALID",), body=b""),
    Row("POST /v2/{name}/blobs/uploads/?mount={layer}&from={name}", 201, _LAYER, body=b""),
    Row("POST /v2/lib/target/blobs/uploads/?mount={layer}&from=lib/base", 201, _MOUNTED, body=b""),
    Row("POST /v2/lib/target/blobs/uploads/?mount={layer}", 201, _MOUNTED, body=b""),
    Row("POST /v2/lib/target/blobs/uploads/?mount={absent}&from=lib/base", 202, _UNMOUNTED, body=b""),
    Row("POST /v2/lib/target/blobs/uploads/?mount={layer}&from=No/Name", 202, _UNMOUNTED, body=b""),
    Row("POST /v2/lib/target/blobs/uploads/?mount=sha256:abc&from=lib/base", 400, codes=("DIGEST_INVALID",), body=b""),
    Row("POST /v2/Lib/blobs/uploads/", 400, codes=("NAME_INVALID",), body=b""),
    Row("GET /v2/{name}/blobs/uploads/", 405, {"Allow": "POST"}, codes=("UNSUPPORTED",)),
    Row(f"GET {_NO_UPLOAD}", 404, codes=("BLOB_UPLOAD_UNKNOWN",)),
    Row("GET /v2/{name}/blobs/uploads/..", 404, codes=("BLOB_UPLOAD_UNKNOWN",)),
    Row(f"PATCH {_NO_UPLOAD}", 404, codes=("BLOB_UPLOAD_UNKNOWN",), body=NEW),
    Row(f"PUT {_NO_UPLOAD}?digest={{new}}", 404, codes=("BLOB_UPLOAD_UNKNOWN",), body=NEW),
    Row(f"PUT {_NO_UPLOAD}", 400, codes=("DIGEST_INVALID",), body=NEW, says="without a digest"),
    Row(f"DELETE {_NO_UPLOAD}", 404, codes=("BLOB_UPLOAD_UNKNOWN",)),
    Row(f"POST {_NO_UPLOAD}", 405, {"Allow": "GET, HEAD, PATCH, PUT, DELETE"}, codes=("UNSUPPORTED",), body=b""),
]

_JSON: dict[str, Expected] = {"Content-Type": "application/json", "Link": None}
_INDEX: dict[str, Expected] = {"Content-Type": INDEX, "Link": None, "OCI-Filters-Applied": None}
_FILTERED: dict[str, Expected] = {"Content-Type": INDEX, "OCI-Filters-Applied": "artifactType"}
_ONE = encode(index(SIGNATURE_ENTRY)).replace(b": ", b":").replace(b", ", b",")
_NONE = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'

LISTINGS = [
    Row("GET /v2/{name}/tags/list", 200, _JSON, gives=b'{"name":"lib/base","tags":["v1"]}'),
    Row("HEAD /v2/{name}/tags/list", 200, _JSON, gives=b""),
    Row("GET /v2/{name}/tags/list?n=0", 200, _JSON, gives=b'{"name":"lib/base","tags":[]}'),
    Row("GET /v2/{name}/tags/list?n=x", 400, codes=("PAGINATION_NUMBER_INVALID",)),
    Row("GET /v2/{name}/tags/list?n=-1", 400, codes=("PAGINATION_NUMBER_INVALID",)),
    Row("GET /v2/{name}/tags/list?n=1&n=2", 400, codes=("UNSUPPORTED",)),
    Row("GET /v2/no/such/tags/list", 404, codes=("NAME_UNKNOWN",)),
    Row("GET /v2/a%20b/tags/list", 400, codes=("NAME_INVALID",)),
    Row("DELETE /v2/{name}/tags/list", 405, {"Allow": "GET, HEAD"}, codes=("UNSUPPORTED",)),
    Row("GET /v2/_catalog?n=x", 400, codes=("PAGINATION_NUMBER_INVALID",)),
    Row("GET /v2/_catalog?n=1001", 400, codes=("PAGINATION_NUMBER_INVALID",), says="more than listing.catalog_..."),
    Row("GET /v2/_catalog?last=zzz", 200, _JSON, gives=b'{"repositories":[]}'),
    Row("HEAD /v2/_catalog", 200, gives=b""),
    Row("POST /v2/_catalog", 405, {"Allow": "GET, HEAD"}, codes=("UNSUPPORTED",), body=b""),
    Row("GET /v2/{name}/referrers/{image}", 200, _INDEX, gives=_ONE),
    Row("HEAD /v2/{name}/referrers/{image}", 200, _INDEX, gives=b""),
    Row(f"GET /v2/{{name}}/referrers/{{image}}?artifactType={CONFIG}", 200, _FILTERED, gives=_ONE, says="a bare +"),
    Row("GET /v2/{name}/referrers/{image}?artifactType=text%2Fplain", 200, _FILTERED, gives=_NONE),
    Row("GET /v2/{name}/referrers/{absent}", 200, _INDEX, gives=_NONE),
    Row("GET /v2/no/such/referrers/{absent}", 200, _INDEX, gives=_NONE),
    Row("GET /v2/{name}/referrers/v1", 400, codes=("DIGEST_INVALID",)),
    Row("GET /v2/{name}/referrers/sha256:abc", 400, codes=("DIGEST_INVALID",)),
    Row("PUT /v2/{name}/referrers/{image}", 405, {"Allow": "GET, HEAD"}, codes=("UNSUPPORTED",), body=b""),
]


@pytest.mark.parametrize("row", [*BASE, *BLOBS, *MANIFESTS, *UPLOADS, *LISTINGS], ids=str)
def test_the_endpoint_answers_so(row: Row, alice: Client, world: dict[str, str]) -> None:
    """A request has the answer that stands beside it."""
    play(alice, row, world)


def test_the_catalog_lists_what_was_pushed_to(alice: Client, world: dict[str, str]) -> None:
    """A repository is in the catalog once it has content."""
    answer = play(alice, Row("GET /v2/_catalog", 200, _JSON), world)

    assert world["name"] in answer.json()["repositories"]
    assert "no/such" not in answer.json()["repositories"]


def test_every_error_has_code_message_and_detail(alice: Client) -> None:
    """An error body is what the specification draws: a list under `errors` of objects with these three members."""
    answer = alice.ask("GET", "/v2/lib/base/blobs/" + ABSENT)

    assert answer.json() == {
        "errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": {"digest": ABSENT}}]
    }
