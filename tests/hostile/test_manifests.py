"""Manifests that are none, contradict themselves, or are meant to break whoever reads them."""

from __future__ import annotations

import base64
import threading
from typing import Any

import pytest

from tests.content import CONFIG, INDEX, LAYER, MANIFEST, descriptor, digest_of, encode, image, index, noise
from tests.hostile.target import REPOSITORY, Target
from tests.raw_http import Answer, Line, chunked, head

GOOD = image(b"{}")
MIB = 1 << 20


def _with(**members: Any) -> bytes:
    return encode(GOOD | members)


def _config(**members: Any) -> bytes:
    return encode(GOOD | {"config": GOOD["config"] | members})


def _raw(**members: str) -> bytes:
    """The manifest with members whose values are JSON as it stands here."""
    text = encode(GOOD).decode()[:-1] + "".join(f', "{name}": {value}' for name, value in members.items()) + "}"
    return text.encode()


NO_JSON = [
    ("an empty body", b""),
    ("white space", b"  \n"),
    ("null", b"null"),
    ("an array", b"[]"),
    ("a string", b'"x"'),
    ("a number", b"2"),
    ("an object that does not end", b"{"),
    ("NaN", _raw(x="NaN")),
    ("Infinity", _raw(x="Infinity")),
    ("minus Infinity", _raw(x="-Infinity")),
    ("1e999", _raw(x="1e999")),
    ("minus 1e999", _raw(x="-1e999")),
    ("a byte order mark", b"\xef\xbb\xbf" + encode(GOOD)),
    ("UTF-16 with a byte order mark", encode(GOOD).decode().encode("utf-16")),
    ("UTF-16 without one", encode(GOOD).decode().encode("utf-16-le")),
    ("UTF-32", encode(GOOD).decode().encode("utf-32")),
    ("something behind the end", encode(GOOD) + b"x"),
    ("a second document", encode(GOOD) * 2),
    ("a comment", encode(GOOD) + b" // fine"),
    ("a NUL behind the end", encode(GOOD) + b"\0"),
    ("bytes that are no UTF-8 in a string", _raw(x='"?"').replace(b"?", b"\xff")),
    ("an overlong slash in a string", _raw(x='"?"').replace(b"?", b"\xc0\xaf")),
    ("a surrogate encoded in UTF-8", _raw(x='"?"').replace(b"?", b"\xed\xa0\x80")),
    ("a lone surrogate by escape", _raw(x='"\\ud800"')),
    ("a lone surrogate in a member's name", _raw(**{"\\ud800": "1"})),
    ("a surrogate pair in the wrong order", _raw(x='"\\udc00\\ud800"')),
    ("a raw line feed in a string", _raw(x='"a\nb"')),
    ("100,000 arrays in one another", b"[" * 100_000),
    ("100,000 arrays in a member", _raw(x="[" * 100_000 + "]" * 100_000)),
    ("100,000 objects in one another", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    ("a million empty arrays", _raw(x="[" + "[]," * 1_000_000 + "[]]")),
    ("a number of 10,000 digits", _raw(x="9" * 10_000)),
    ("a number of 4,001 digits, which Python still reads", _raw(x="9" * 4_001)),
    ("a number of 4 million digits", _raw(x="9" * 4_000_000)),
    ("a float of a million digits and an exponent", _raw(x="1." + "1" * 1_000_000 + "e400")),
    ("an integer of 2^53", _raw(x=str(2**53))),
    ("an integer of -2^64", _raw(x=str(-(2**64)))),
    ("a member twice", _raw(x="1", schemaVersion="2")),
    ("a member twice, once in escapes", _raw(**{"schemaVersio\\u006e": "2"})),
    ("a member twice, deep inside", _raw(x='{"a": {"b": 1, "b": 1}}')),
    ("a form", b"a=b&c=d"),
    ("HTML", b"<html></html>"),
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"),
]

CONTRADICTIONS = [
    ("layers and manifests", encode(GOOD | {"manifests": []})),
    ("layers and fsLayers", encode(GOOD | {"fsLayers": []})),
    ("members that Go reads as layers", encode(GOOD | {"Layers": []})),
    ("no config", encode({key: value for key, value in GOOD.items() if key != "config"})),
    ("config is null", _with(config=None)),
    ("config is an array", _with(config=[])),
    ("layers is an object", _with(layers={})),
    ("layers is a string", _with(layers="abc")),
    ("layers holds null", _with(layers=[None])),
    ("layers holds a number", _with(layers=[1])),
    ("layers is nested", _with(layers=[[]])),
    ("no schemaVersion", encode({key: value for key, value in GOOD.items() if key != "schemaVersion"})),
    ("schemaVersion 1", _with(schemaVersion=1)),
    ("schemaVersion 3", _with(schemaVersion=3)),
    ("schemaVersion as text", _with(schemaVersion="2")),
    ("schemaVersion 2.0", _with(schemaVersion=2.0)),
    ("schemaVersion true", _with(schemaVersion=True)),
    ("schemaVersion null", _with(schemaVersion=None)),
    ("mediaType of an index", _with(mediaType=INDEX)),
    ("mediaType a number", _with(mediaType=5)),
    ("mediaType an object", _with(mediaType={})),
    ("a size below zero", _config(size=-1)),
    ("a size of minus zero point zero", _config(size=-0.0)),
    ("a size of 2^63", _config(size=2**63)),
    ("a size of 1e30", _config(size=1e30)),
    ("a size that is a float", _config(size=2.0)),
    ("a size as text", _config(size="2")),
    ("a size of true", _config(size=True)),
    ("a size of null", _config(size=None)),
    ("a size that is not the blob's", _config(size=3)),
    ("a digest that is no digest", _config(digest="sha256:abc")),
    ("a digest that is a path", _config(digest="sha256:../../etc/passwd")),
    ("a digest with a line feed", _config(digest=GOOD["config"]["digest"] + "\n")),
    ("a digest that is a number", _config(digest=5)),
    ("a digest of an unknown algorithm", _config(digest="md5:d41d8cd98f00b204e9800998ecf8427e")),
    ("data that is not base64", _config(data="@@@@")),
    ("data with junk that Python's decoder drops", _config(data="e3=0")),
    ("data of another content", _config(data=base64.b64encode(b"[]").decode())),
    ("data that is too long", _config(data=base64.b64encode(b"{} ").decode())),
    ("data that is a number", _config(data=1)),
    ("data beyond ASCII", _config(data="é")),
    ("a media type without a slash", _config(mediaType="json")),
    ("a media type of 300 characters", _config(mediaType="a/" + "b" * 298)),
    ("a media type with a line end", _config(mediaType="a/b\r\nX-Evil: 1")),
    ("a media type that is empty", _config(mediaType="")),
    ("an artifactType without a slash", _with(artifactType="sbom")),
    ("an artifactType of 300 characters", _with(artifactType="a/" + "b" * 298)),
    ("an artifactType that is a number", _with(artifactType=1)),
    ("an artifactType with a line end", _with(artifactType="a/b\r\nX-Evil: 1")),
    ("a subject with a bad digest", _with(subject={"mediaType": MANIFEST, "digest": "sha256:xyz", "size": 1})),
    ("a subject that is text", _with(subject="sha256:" + "0" * 64)),
    ("urls that are no array", _config(urls="http://example.com")),
    ("urls that are no text", _config(urls=[1])),
    ("annotations that are an array", _with(annotations=[])),
    ("annotations that are no text", _with(annotations={"a": 1})),
    ("annotations with a NUL", _with(annotations={"a": "b\0c"})),
    ("10,001 layers", _with(layers=[GOOD["config"]] * 10_001)),
]


@pytest.mark.parametrize(("words", "body"), NO_JSON + CONTRADICTIONS, ids=[row[0] for row in NO_JSON + CONTRADICTIONS])
def test_bad_manifest_is_refused(target: Target, words: str, body: bytes) -> None:
    """What is not a manifest that all clients read alike is refused with MANIFEST_INVALID, and no tag is set."""
    target.alice.push_blob("manifests/bad", b"{}")

    answer = target.alice.push_manifest("manifests/bad", "t", body)

    assert answer.status == 400, words
    assert answer.codes == ["MANIFEST_INVALID"]
    assert target.alice.ask("GET", "/v2/manifests/bad/manifests/t").status == 404


BAD_TYPES = [
    ("HTML", "text/html"),
    ("plain JSON", "application/json"),
    ("an index's", INDEX),
    ("nothing like a type", "nonsense"),
    ("two types", f"{MANIFEST}, {INDEX}"),
    ("8 KiB", "application/" + "x" * 8192),
    ("bytes beyond ASCII", "application/é"),
    ("schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
    ("upper case", MANIFEST.upper()),
]


@pytest.mark.parametrize(("words", "media_type"), BAD_TYPES, ids=[row[0] for row in BAD_TYPES])
def test_bad_content_type_is_refused(target: Target, words: str, media_type: str) -> None:
    """A Content-Type that is not the manifest's own, or none at all, is refused."""
    target.alice.push_blob("manifests/bad", b"{}")

    answer = target.alice.push_manifest("manifests/bad", "t", encode(GOOD), media_type)

    assert answer.status in {400, 415}, words
    assert answer.codes == ["MANIFEST_INVALID"]


def test_two_content_types_are_refused(target: Target) -> None:
    """Of two Content-Type headers none is believed."""
    headers = [*target.alice.headers.items(), ("Content-Type", MANIFEST), ("Content-Type", INDEX)]
    body = encode(GOOD)
    with Line(target.server) as line:
        line.send(head("PUT", "/v2/manifests/bad/manifests/t", [*headers, ("Content-Length", str(len(body)))]) + body)

        answer = line.answer()

    assert answer.codes == ["MANIFEST_INVALID"]


def test_missing_content_type_needs_a_media_type_in_the_document(target: Target) -> None:
    """Without a Content-Type the document's own mediaType counts; without either the push is refused."""
    target.alice.push_blob("manifests/untyped", b"{}")
    untyped = encode({key: value for key, value in GOOD.items() if key != "mediaType"})
    path = "/v2/manifests/untyped/manifests/t"

    refused = target.alice.ask("PUT", path, None, untyped)
    taken = target.alice.ask("PUT", path, None, encode(GOOD))

    assert refused.codes == ["MANIFEST_INVALID"]
    assert taken.status == 201
    assert target.alice.ask("GET", path).header("content-type") == MANIFEST


def test_parameters_of_the_content_type_are_not_kept(target: Target) -> None:
    """`; charset=utf-8` is accepted and comes back to nobody: old clients compare the type as text."""
    target.alice.push_blob("manifests/parameters", b"{}")

    pushed = target.alice.push_manifest("manifests/parameters", "t", encode(GOOD), f"{MANIFEST}; charset=utf-8")
    found = target.alice.ask("GET", "/v2/manifests/parameters/manifests/t")

    assert pushed.status == 201
    assert found.header("content-type") == MANIFEST


def test_manifest_of_just_the_limit_is_taken(target: Target) -> None:
    """4 MiB to the byte is a manifest, and comes back byte by byte."""
    target.alice.push_blob("manifests/large", b"{}")
    body = encode(GOOD)
    body += b" " * (4 * MIB - len(body))

    pushed = target.alice.push_manifest("manifests/large", "t", body)
    found = target.alice.ask("GET", "/v2/manifests/large/manifests/t")

    assert pushed.status == 201
    assert found.body == body


@pytest.mark.parametrize("how", ["with its length", "in chunks", "in one chunk"])
def test_manifest_beyond_the_limit_is_413(target: Target, how: str) -> None:
    """One byte more than 4 MiB is too large, whether its length was announced or not."""
    body = encode(GOOD) + b" " * (4 * MIB)
    length = [("Content-Length", str(len(body)))] if how == "with its length" else [("Transfer-Encoding", "chunked")]
    headers = [*target.alice.headers.items(), ("Content-Type", MANIFEST), *length]
    sent = body if how == "with its length" else chunked(body, 65536 if how == "in chunks" else len(body))
    with Line(target.server) as line:
        line.send(head("PUT", "/v2/manifests/large/manifests/over", headers))
        line.send_until_refused(sent, len(sent))

        answer = line.answer()

    assert answer.status == 413
    assert answer.codes == ["SIZE_INVALID"]


def test_endless_manifest_is_413(target: Target) -> None:
    """A chunked manifest that never ends is refused on the way, and the connection closed."""
    headers = {**target.alice.headers, "Content-Type": MANIFEST, "Transfer-Encoding": "chunked"}
    with Line(target.server) as line:
        line.send(head("PUT", "/v2/manifests/large/manifests/endless", headers))

        taken = line.send_until_refused(b"10000\r\n" + b" " * 65536 + b"\r\n", 64 * MIB)

        assert line.answer().status == 413
    assert taken < 32 * MIB


def test_missing_layer_is_named(target: Target) -> None:
    """A layer that was never pushed is refused with MANIFEST_BLOB_UNKNOWN and its digest."""
    target.alice.push_blob("manifests/missing", b"{}")
    lost = noise(100, seed=7)

    answer = target.alice.push_manifest("manifests/missing", "t", encode(image(b"{}", lost)))

    assert answer.status == 400
    assert answer.codes == ["MANIFEST_BLOB_UNKNOWN"]
    assert digest_of(lost).encode() in answer.body


def test_layer_of_another_repository_is_missing_too(target: Target) -> None:
    """A layer that only another repository has gets the same answer: content shared inside shows nowhere."""
    target.alice.push_blob("manifests/missing", b"{}")
    lost = noise(100, seed=8)

    other = target.alice.push_manifest("manifests/missing", "t", encode(image(b"{}", target.layer)))
    nowhere = target.alice.push_manifest("manifests/missing", "t", encode(image(b"{}", lost)))

    assert (other.status, other.codes) == (nowhere.status, nowhere.codes)
    assert other.body.replace(digest_of(target.layer).encode(), b"?") == nowhere.body.replace(
        digest_of(lost).encode(), b"?"
    )


def test_missing_child_of_an_index_is_refused(target: Target) -> None:
    """An index over a manifest that only another repository has is refused."""
    child = {"mediaType": MANIFEST, "digest": target.manifest_digest, "size": len(target.manifest)}

    answer = target.alice.push_manifest("manifests/missing", "t", encode(index(child)), INDEX)

    assert answer.codes == ["MANIFEST_BLOB_UNKNOWN"]


def test_index_with_10_000_children_is_taken(target: Target) -> None:
    """As many entries as are allowed, all the same child: no walk makes it dear."""
    child = {"mediaType": MANIFEST, "digest": target.manifest_digest, "size": len(target.manifest)}

    answer = target.alice.push_manifest(REPOSITORY, "many", encode(index(*[child] * 10_000)), INDEX)

    assert answer.status == 201
    assert target.alice.ask("DELETE", f"/v2/{REPOSITORY}/manifests/many").status == 202


def test_tower_of_indexes_is_taken(target: Target) -> None:
    """An index of an index of an index ... 100 deep: each is checked against its child alone."""
    data, media_type = target.manifest, MANIFEST
    for level in range(100):
        data = encode(index(descriptor(data, media_type), annotations={"level": str(level)}))
        media_type = INDEX

        answer = target.alice.push_manifest(REPOSITORY, digest_of(data), data, INDEX)

        assert answer.status == 201, answer


def test_missing_subject_is_accepted(target: Target) -> None:
    """A subject is often pushed later: the referrer is taken, and listed at once."""
    target.alice.push_blob("manifests/subject", b"{}")
    subject = {"mediaType": MANIFEST, "digest": "sha256:" + "a" * 64, "size": 12}
    body = encode(GOOD | {"subject": subject, "artifactType": "application/x-sbom"})

    pushed = target.alice.push_manifest("manifests/subject", digest_of(body), body)
    listed = target.alice.ask("GET", f"/v2/manifests/subject/referrers/{subject['digest']}")

    assert pushed.status == 201
    assert pushed.header("oci-subject") == subject["digest"]
    assert [entry["digest"] for entry in listed.json()["manifests"]] == [digest_of(body)]


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "http://169.254.169.254/latest/meta-data/", "http://[::1]:1/", "javascript:alert(1)", ""],
)
def test_urls_are_never_fetched(target: Target, url: str) -> None:
    """A layer's URL is stored as it is or refused; the bytes behind it never become a blob."""
    foreign = descriptor(b"foreign", LAYER.replace("layer", "layer.nondistributable"), urls=[url])
    target.alice.push_blob("manifests/urls", b"{}")

    answer = target.alice.push_manifest("manifests/urls", "t", encode(GOOD | {"layers": [foreign]}))

    assert answer.status in {201, 400}
    assert target.alice.ask("GET", f"/v2/manifests/urls/blobs/{foreign['digest']}").status == 404


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("a megabyte", "x" * MIB),
        ("markup", "<script>alert(1)</script>"),
        ("a right-to-left override", "\u202egpj.exe"),
        ("terminal escapes", "\x1b[2J\x1b]0;owned\x07"),
        ("a C1 control", "\x9b2J"),
        ("an emoji beyond the first plane", "\U0001f433"),
    ],
    ids=lambda value: value if len(value) < 40 and value.isprintable() else "",
)
def test_any_text_in_annotations_comes_back(target: Target, words: str, value: str) -> None:
    """Annotations may hold any text: it is kept, and listed with the referrer as valid JSON."""
    target.alice.push_blob("manifests/annotations", b"{}")
    subject = {"mediaType": MANIFEST, "digest": digest_of(words.encode()), "size": 1}
    body = encode(GOOD | {"annotations": {"text": value}, "subject": subject})

    pushed = target.alice.push_manifest("manifests/annotations", digest_of(body), body)
    found = target.alice.ask("GET", f"/v2/manifests/annotations/manifests/{digest_of(body)}")
    listed = target.alice.ask("GET", f"/v2/manifests/annotations/referrers/{subject['digest']}")

    assert pushed.status == 201
    assert found.body == body
    assert listed.json()["manifests"][0]["annotations"] == {"text": value}


def test_manifest_under_another_digest_is_refused(target: Target) -> None:
    """A PUT by a digest that the body does not have is DIGEST_INVALID, and neither is stored."""
    target.alice.push_blob("manifests/other", b"{}")
    claimed = digest_of(b"something else")

    answer = target.alice.push_manifest("manifests/other", claimed, encode(GOOD))

    assert answer.codes == ["DIGEST_INVALID"]
    assert target.alice.ask("GET", f"/v2/manifests/other/manifests/{claimed}").status == 404
    assert target.alice.ask("GET", f"/v2/manifests/other/manifests/{digest_of(encode(GOOD))}").status == 404


def test_one_digest_has_one_media_type(target: Target) -> None:
    """The same bytes cannot be pushed again as something else (CVE-2021-41190)."""
    repository = "manifests/twofold"
    target.alice.push_blob(repository, b"{}")
    body = encode({key: value for key, value in GOOD.items() if key != "mediaType"})
    docker = "application/vnd.docker.distribution.manifest.v2+json"

    first = target.alice.push_manifest(repository, "t", body, MANIFEST)
    second = target.alice.push_manifest(repository, "t", body, docker)

    assert first.status == 201
    assert second.codes == ["MANIFEST_INVALID"]
    assert target.alice.ask("GET", f"/v2/{repository}/manifests/t").header("content-type") == MANIFEST


def test_two_pushes_of_a_tag_at_once_keep_both_manifests(target: Target) -> None:
    """The tag names one of them; both are there by digest."""
    repository = "manifests/race"
    target.alice.push_blob(repository, b"{}")
    bodies = [encode(GOOD | {"annotations": {"n": str(number)}}) for number in range(16)]
    answers: list[Answer] = []

    def push(body: bytes) -> None:
        answers.append(target.alice.push_manifest(repository, "t", body))

    threads = [threading.Thread(target=push, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tagged = target.alice.ask("GET", f"/v2/{repository}/manifests/t")

    assert {answer.status for answer in answers} == {201}
    assert tagged.body in bodies
    for body in bodies:
        assert target.alice.ask("GET", f"/v2/{repository}/manifests/{digest_of(body)}").body == body


def test_config_may_be_a_layer(target: Target) -> None:
    """A manifest whose config and layer are the same two bytes is an artifact like others."""
    target.alice.push_blob("manifests/same", b"{}")
    twice = descriptor(b"{}", CONFIG)

    answer = target.alice.push_manifest("manifests/same", "t", encode(GOOD | {"config": twice, "layers": [twice]}))

    assert answer.status == 201
