"""What is stored is what was pushed; what readers could take for two things is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.content import CONFIG, INDEX, LAYER, MANIFEST, Client, descriptor, digest_of, encode, image, index
from tests.protocol.transcript import USERS
from tests.raw_http import Answer, Line, ask_raw, basic, chunked, head, message
from tests.servers import Moorage

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
EMPTY = "application/vnd.oci.empty.v1+json"
ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"

CONFIG_BYTES, LAYER_BYTES = b"{}", b"one layer"
FOUR_MIB = 4 * 1024 * 1024


@pytest.fixture
def base(alice: Client, name: str) -> str:
    """The test's repository, with a config and a layer."""
    for data in (CONFIG_BYTES, LAYER_BYTES):
        alice.push_blob(name, data)
    return name


def plain(**more: Any) -> dict[str, Any]:
    """The image of that config and that layer."""
    return {**image(CONFIG_BYTES, LAYER_BYTES), **more}


def docker_image() -> dict[str, Any]:
    """The same in Docker's schema 2."""
    return {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": descriptor(CONFIG_BYTES, DOCKER_CONFIG),
        "layers": [descriptor(LAYER_BYTES, DOCKER_LAYER)],
    }


def docker_list(*children: bytes) -> dict[str, Any]:
    """Docker's manifest list."""
    platform = {"architecture": "amd64", "os": "linux"}
    entries = [descriptor(child, DOCKER_MANIFEST, platform=platform) for child in children]
    return {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": entries}


def without(document: dict[str, Any], member: str) -> dict[str, Any]:
    """The document without that member."""
    return {key: value for key, value in document.items() if key != member}


def indented(document: dict[str, Any]) -> bytes:
    """As Docker writes it: with line ends, and members in an order of its own."""
    return json.dumps(dict(reversed(document.items())), indent=3).encode("utf-8")


BODIES = {
    "image": (encode(plain()), MANIFEST),
    "image, indented": (indented(plain()), MANIFEST),
    "image, unknown members": (encode(plain(custom={"deep": [1, 2.5, None, "ü"]})), MANIFEST),
    "image without mediaType": (encode(without(plain(), "mediaType")), MANIFEST),
    "image, trailing white space": (encode(plain()) + b"\n \n", MANIFEST),
    "image without layers": (encode(image(CONFIG_BYTES)), MANIFEST),
    "index without entries": (encode(index()), INDEX),
    "index without mediaType": (encode(without(index(), "mediaType")), INDEX),
    "schema 2": (indented(docker_image()), DOCKER_MANIFEST),
    "manifest list": (indented(docker_list()), DOCKER_LIST),
    "artifact manifest": (encode({"mediaType": ARTIFACT, "artifactType": "text/plain"}), ARTIFACT),
}


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("by", ["tag", "sha256", "sha512"])
def test_a_manifest_comes_back_byte_for_byte(case: str, by: str, base: str, alice: Client) -> None:
    """By whatever it is pushed: the bytes, the type and the digest are those of the push."""
    body, media_type = BODIES[case]
    algorithm = "sha512" if by == "sha512" else "sha256"
    reference = "v1" if by == "tag" else digest_of(body, algorithm)

    pushed = alice.push_manifest(base, reference, body, media_type)
    pulled = alice.ask("GET", f"/v2/{base}/manifests/{reference}")

    assert pushed.status == 201, pushed
    assert pushed.header("docker-content-digest") == digest_of(body, algorithm)
    assert pulled.body == body
    assert pulled.header("content-type") == media_type
    assert pulled.header("docker-content-digest") == digest_of(body, algorithm)
    assert alice.ask("GET", pushed.header("location")).body == body


def test_a_manifest_list_and_its_schema_2_images_come_back_byte_for_byte(base: str, alice: Client) -> None:
    """A Docker list is accepted once its images are there, and nothing in either is changed."""
    child = indented(docker_image())
    body = indented(docker_list(child))

    early = alice.push_manifest(base, "many", body, DOCKER_LIST)
    assert alice.push_manifest(base, digest_of(child), child, DOCKER_MANIFEST).status == 201
    later = alice.push_manifest(base, "many", body, DOCKER_LIST)

    assert (early.status, early.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])
    assert later.status == 201
    assert alice.ask("GET", f"/v2/{base}/manifests/many").body == body
    assert alice.ask("GET", f"/v2/{base}/manifests/{digest_of(child)}").body == child


@pytest.mark.parametrize(
    ("content_type", "document"),
    [
        (f"{MANIFEST}; charset=utf-8", plain()),
        (f"{MANIFEST};charset=utf-8", without(plain(), "mediaType")),
        (f"{INDEX} ; a=b", index()),
        (f"{DOCKER_MANIFEST}; charset=utf-8", docker_image()),
    ],
)
def test_parameters_of_the_content_type_are_not_kept(
    content_type: str, document: dict[str, Any], base: str, alice: Client
) -> None:
    """Old Docker clients compare the type of an answer as text."""
    pushed = alice.push_manifest(base, "v1", encode(document), content_type)

    assert pushed.status == 201
    assert alice.ask("GET", f"/v2/{base}/manifests/v1").header("content-type") == content_type.partition(";")[0].strip()


def test_without_a_content_type_the_manifest_says_what_it_is(base: str, alice: Client) -> None:
    """The type is inferred from mediaType; where that is missing too, the push is refused."""
    told = alice.ask("PUT", f"/v2/{base}/manifests/told", {}, encode(plain()))
    untold = alice.ask("PUT", f"/v2/{base}/manifests/untold", {}, encode(without(plain(), "mediaType")))

    assert told.status == 201
    assert alice.ask("GET", f"/v2/{base}/manifests/told").header("content-type") == MANIFEST
    assert (untold.status, untold.codes) == (400, ["MANIFEST_INVALID"])


REFUSED = {
    "mediaType is not the Content-Type": (plain(), DOCKER_MANIFEST),
    "an index sent as an image": (index(), MANIFEST),
    "an image sent as an index, no mediaType": (without(plain(), "mediaType"), INDEX),
    "an index sent as an image, no mediaType": (without(index(), "mediaType"), MANIFEST),
    "manifests beside layers, sent as an image": ({**without(plain(), "mediaType"), "manifests": []}, MANIFEST),
    "manifests beside layers, sent as an index": ({**without(plain(), "mediaType"), "manifests": []}, INDEX),
    "config in an index": (index(config=descriptor(CONFIG_BYTES, CONFIG)), INDEX),
    "layers in an index": (index(layers=[]), INDEX),
    "fsLayers in an image": (plain(fsLayers=[]), MANIFEST),
    "blobs in an index": (index(blobs=[]), INDEX),
    "application/json": (plain(), "application/json"),
    "application/octet-stream": (without(plain(), "mediaType"), "application/octet-stream"),
    "schemaVersion 3": (plain(schemaVersion=3), MANIFEST),
    "schemaVersion as text": (plain(schemaVersion="2"), MANIFEST),
    "no config": (without(plain(), "config"), MANIFEST),
    "no layers": (without(plain(), "layers"), MANIFEST),
    "no manifests": (without(index(), "manifests"), INDEX),
    "an array": ([plain()], MANIFEST),
    "a wrong size": (plain(config={**descriptor(CONFIG_BYTES, CONFIG), "size": 3}), MANIFEST),
    "a broken digest": (plain(config={**descriptor(CONFIG_BYTES, CONFIG), "digest": "sha256:abc"}), MANIFEST),
    "data that is not the content": (
        plain(config={**descriptor(CONFIG_BYTES, CONFIG), "data": "W10="}),
        MANIFEST,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_one_manifest_is_refused(case: str, base: str, alice: Client) -> None:
    """400 MANIFEST_INVALID (CVE-2021-41190 among others), and nothing is stored."""
    document, media_type = REFUSED[case]
    body = encode(document)

    answer = alice.push_manifest(base, "v1", body, media_type)

    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
    assert alice.ask("HEAD", f"/v2/{base}/manifests/v1").status == 404
    assert alice.ask("HEAD", f"/v2/{base}/manifests/{digest_of(body)}").status == 404


@pytest.mark.parametrize(
    "body",
    [
        b'{"schemaVersion":2,"mediaType":"%s","manifests":[],"manifests":[]}' % INDEX.encode(),
        b'{"schemaVersion":2,"mediaType":"%s","manifests":[],"Manifests":[]}' % INDEX.encode(),
        b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}{}' % INDEX.encode(),
        b'\xef\xbb\xbf{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % INDEX.encode(),
        b'{"schemaVersion":2,"mediaType":"%s","manifests":[],"x":NaN}' % INDEX.encode(),
        b'{"schemaVersion":2,"mediaType":"%s","manifests":[],"x":"\xff"}' % INDEX.encode(),
    ],
    ids=["a member twice", "a member in two cases", "two documents", "a byte order mark", "NaN", "no UTF-8"],
)
def test_json_that_readers_take_differently_is_refused(body: bytes, base: str, alice: Client) -> None:
    """400 MANIFEST_INVALID for what one client reads so and another so."""
    answer = alice.push_manifest(base, "v1", body, INDEX)

    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])


@pytest.mark.parametrize("media_type", [SCHEMA1, SCHEMA1_SIGNED, "application/json"])
def test_docker_schema_1_is_refused_with_a_clear_message(media_type: str, base: str, alice: Client) -> None:
    """Whoever still pushes it is told what it is, and what to do."""
    body = encode({"schemaVersion": 1, "name": base, "tag": "v1", "fsLayers": [], "history": [], "signatures": []})

    answer = alice.push_manifest(base, "v1", body, media_type)

    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
    assert "Docker schema 1 is not supported" in answer.json()["errors"][0]["message"]


def test_the_same_bytes_cannot_be_pushed_as_another_type(base: str, alice: Client) -> None:
    """One digest has one media type in a repository; the second is 400, and the first stays."""
    body = encode(without(plain(), "mediaType"))
    assert alice.push_manifest(base, "v1", body, MANIFEST).status == 201

    answer = alice.push_manifest(base, "v2", body, DOCKER_MANIFEST)

    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
    assert alice.ask("HEAD", f"/v2/{base}/manifests/v2").status == 404
    assert alice.ask("HEAD", f"/v2/{base}/manifests/v1").header("content-type") == MANIFEST


@pytest.mark.parametrize("which", [CONFIG_BYTES, LAYER_BYTES], ids=["config", "layer"])
def test_a_manifest_whose_content_is_missing_is_refused(which: bytes, alice: Client, name: str) -> None:
    """400 MANIFEST_BLOB_UNKNOWN with the digest: a push that lost a layer fails while its owner looks."""
    alice.push_blob(name, LAYER_BYTES if which == CONFIG_BYTES else CONFIG_BYTES)

    answer = alice.push_manifest(name, "v1", encode(plain()))

    assert (answer.status, answer.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])
    assert answer.json()["errors"][0]["detail"] == {"digest": digest_of(which)}


def test_content_of_another_repository_does_not_count(base: str, alice: Client) -> None:
    """A repository has what was pushed or mounted to it, whatever lies in the store."""
    answer = alice.push_manifest(f"{base}-other", "v1", encode(plain()))

    assert (answer.status, answer.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])
    assert alice.ask("GET", f"/v2/{base}-other/tags/list").status == 404


@pytest.mark.parametrize("media_type", [NONDISTRIBUTABLE, DOCKER_FOREIGN])
def test_layers_from_elsewhere_need_not_be_here(media_type: str, base: str, alice: Client) -> None:
    """Windows base layers are fetched from their `urls`; the registry never has them."""
    foreign = descriptor(b"of another vendor", media_type, urls=["https://layers.example/1"])
    kind = {"mediaType": DOCKER_MANIFEST} if media_type == DOCKER_FOREIGN else {}
    body = encode(plain(layers=[foreign, descriptor(LAYER_BYTES, LAYER)], **kind))

    answer = alice.push_manifest(base, "v1", body, kind.get("mediaType", MANIFEST))

    assert answer.status == 201
    assert alice.ask("GET", f"/v2/{base}/manifests/v1").body == body


def test_a_blob_named_twice_counts_once(base: str, alice: Client) -> None:
    """An artifact without content names the empty JSON as its config and as its layer."""
    empty = descriptor(CONFIG_BYTES, EMPTY)
    body = encode(plain(config=empty, layers=[empty, empty], artifactType="text/plain"))

    assert alice.push_manifest(base, "v1", body).status == 201


def large(size: int) -> bytes:
    """An index of exactly *size* bytes."""
    short = encode(index(annotations={"filler": ""}))
    return encode(index(annotations={"filler": "x" * (size - len(short))}))


@pytest.mark.parametrize("size", [300_000, FOUR_MIB - 1, FOUR_MIB])
def test_a_manifest_may_have_4_mib(size: int, base: str, alice: Client) -> None:
    """The specification asks registries to take at least so much."""
    body = large(size)

    answer = alice.push_manifest(base, "large", body, INDEX)

    assert answer.status == 201
    assert (
        hashlib.sha256(alice.ask("GET", f"/v2/{base}/manifests/large").body).digest() == hashlib.sha256(body).digest()
    )


def test_a_larger_manifest_is_refused(base: str, alice: Client) -> None:
    """413 and a code, whether or not its length is told before."""
    body = large(FOUR_MIB + 1)

    told = alice.push_manifest(base, "large", body, INDEX)
    untold = push_in_chunks(alice, f"/v2/{base}/manifests/large", body)

    assert (told.status, told.codes) == (413, ["SIZE_INVALID"])
    assert (untold.status, untold.codes) == (413, ["SIZE_INVALID"])
    assert alice.ask("HEAD", f"/v2/{base}/manifests/large").status == 404


def push_in_chunks(client: Client, target: str, body: bytes) -> Answer:
    """PUT *body* with Transfer-Encoding: chunked."""
    headers = {**client.headers, "Content-Type": INDEX, "Transfer-Encoding": "chunked"}
    return ask_raw(client.server, head("PUT", target, headers) + chunked(body, 60_000), "PUT")


def test_two_content_types_are_refused(base: str, alice: Client) -> None:
    """Which of the two it is would depend on who reads it."""
    headers = [*alice.headers.items(), ("Content-Type", MANIFEST), ("Content-Type", INDEX)]
    answer = ask_raw(alice.server, message("PUT", f"/v2/{base}/manifests/v1", headers, encode(plain())), "PUT")

    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])


def test_a_manifest_pushed_again_changes_nothing(base: str, alice: Client) -> None:
    """201 each time; one tag, one manifest."""
    answers = [alice.push_manifest(base, "v1", encode(plain())) for _ in range(3)]

    assert [answer.status for answer in answers] == [201, 201, 201]
    assert alice.ask("GET", f"/v2/{base}/tags/list").json()["tags"] == ["v1"]


def test_a_tag_moves_at_once_on_every_worker(base: str, alice: Client) -> None:
    """What a push answered is what the next pull gets, whichever process it meets."""
    for round_ in range(20):
        body = encode(plain(annotations={"round": str(round_)}))
        assert alice.push_manifest(base, "moving", body).status == 201
        seen = {alice.ask("HEAD", f"/v2/{base}/manifests/moving").header("docker-content-digest") for _ in range(4)}
        assert seen == {digest_of(body)}


# Tags as parameters of a push by digest.


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_tags_as_parameters_of_a_push_by_digest(algorithm: str, base: str, alice: Client) -> None:
    """Each is named in an OCI-Tag of its own and leads to the digest of the push, in the push's algorithm."""
    body = encode(plain())
    digest = digest_of(body, algorithm)
    names = [f"t{number}" for number in range(12)]

    query = "&".join(f"tag={tag}" for tag in names)
    answer = alice.push_manifest(base, f"{digest}?{query}", body)

    assert answer.status == 201
    assert answer.values("oci-tag") == names
    assert answer.header("location") == f"/v2/{base}/manifests/{digest}"
    pulled = [alice.ask("HEAD", f"/v2/{base}/manifests/{tag}") for tag in names]
    assert {head.header("docker-content-digest") for head in pulled} == {digest}


def test_a_bad_tag_among_the_parameters_stores_nothing(base: str, alice: Client) -> None:
    """All of a push or nothing of it."""
    body = encode(plain())

    answer = alice.push_manifest(base, f"{digest_of(body)}?tag=good&tag=-bad", body)

    assert (answer.status, answer.codes) == (400, ["TAG_INVALID"])
    assert alice.ask("HEAD", f"/v2/{base}/manifests/{digest_of(body)}").status == 404
    assert alice.ask("HEAD", f"/v2/{base}/manifests/good").status == 404


def test_the_same_tag_twice_is_one(base: str, alice: Client) -> None:
    """It is named once."""
    body = encode(plain())

    answer = alice.push_manifest(base, f"{digest_of(body)}?tag=v1&tag=v1", body)

    assert answer.values("oci-tag") == ["v1"]


def test_too_many_tags_are_too_long_a_target(base: str, alice: Client) -> None:
    """414, as the specification says for what does not fit."""
    body = encode(plain())
    query = "&".join(f"tag=t{number}" for number in range(101))

    answer = alice.push_manifest(base, f"{digest_of(body)}?{query}", body)

    assert answer.status == 414
    assert alice.ask("HEAD", f"/v2/{base}/manifests/{digest_of(body)}").status == 404


def test_a_push_by_tag_names_no_oci_tag(base: str, alice: Client) -> None:
    """The header tells clients that the parameters were understood."""
    assert alice.push_manifest(base, "v1", encode(plain())).values("oci-tag") == []


# Settings.


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A registry with rules of its own for manifests."""
    settings = tmp_path_factory.mktemp("strict") / "moorage.yml"
    settings.write_text(
        """
        http: {limits: {manifest_bytes: 2048}}
        validation:
          urls_allow: ["^https://layers\\\\.example/"]
          urls_deny: ["/private/"]
          index_platforms: list
          platforms: [{os: linux, architecture: amd64}]
        """
    )
    with Moorage(settings.parent / "server", "--config", str(settings), "--workers", "1", users=USERS) as server:
        yield Client(server, "alice", USERS["alice"])


def test_the_size_limit_is_a_setting(strict: Client, name: str) -> None:
    """http.limits.manifest_bytes."""
    assert strict.push_manifest(name, "fits", large(2048), INDEX).status == 201
    assert strict.push_manifest(name, "not", large(2049), INDEX).status == 413


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("https://layers.example/1", 201),
        ("https://layers.example/private/1", 400),
        ("https://layers.example.evil/1", 400),
        ("http://layers.example/1", 400),
    ],
)
def test_the_urls_of_layers_are_a_setting(url: str, status: int, strict: Client, name: str) -> None:
    """validation.urls_allow and validation.urls_deny."""
    strict.push_blob(name, CONFIG_BYTES)
    foreign = descriptor(b"elsewhere", NONDISTRIBUTABLE, urls=[url])

    answer = strict.push_manifest(name, "v1", encode(plain(layers=[foreign])))

    assert answer.status == status
    assert status == 201 or answer.codes == ["MANIFEST_INVALID"]


@pytest.mark.parametrize(("architecture", "status"), [("amd64", 400), ("arm64", 201)])
def test_the_platforms_that_an_index_must_have_are_a_setting(
    architecture: str, status: int, strict: Client, name: str
) -> None:
    """validation.index_platforms: list, and validation.platforms."""
    absent = descriptor(b"absent", MANIFEST, platform={"os": "linux", "architecture": architecture})

    answer = strict.push_manifest(name, "v1", encode(index(absent)), INDEX)

    assert answer.status == status
    assert status == 201 or answer.codes == ["MANIFEST_BLOB_UNKNOWN"]


def test_sparse_manifests_are_a_setting(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """validation.sparse lets a mirror of some platforms have whole indexes, and still checks what is there."""
    environment = {"MOORAGE_VALIDATION_SPARSE": "true"}
    with Moorage(tmp_path_factory.mktemp("sparse"), "--workers", "1", users={}, environment=environment) as server:
        client = Client(server)

        sparse_image = client.push_manifest(name, "image", encode(plain()))
        sparse_index = client.push_manifest(name, "index", encode(index(descriptor(b"absent", MANIFEST))), INDEX)
        client.push_blob(name, CONFIG_BYTES)
        wrong = plain(config={**descriptor(CONFIG_BYTES, CONFIG), "size": 3})
        wrong_size = client.push_manifest(name, "wrong", encode(wrong))

    assert sparse_image.status == 201
    assert sparse_index.status == 201
    assert (wrong_size.status, wrong_size.codes) == (400, ["MANIFEST_INVALID"])


def test_who_pushes_is_asked_before_the_body(server: Moorage, name: str) -> None:
    """A stranger's megabytes are refused by their headers: with Expect, none of them is sent."""
    headers = {"Content-Type": MANIFEST, "Content-Length": str(FOUR_MIB), "Expect": "100-continue"}
    with Line(server) as line:
        line.send(head("PUT", f"/v2/{name}/manifests/v1", {**headers, "Authorization": basic("alice", "wrong")}))
        answer = line.answer("PUT")

    assert answer.status == 401
