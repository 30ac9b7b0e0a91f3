from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import ManifestInvalid
from moorage.oci.digest import Digest
from moorage.oci.manifest import MOST_DESCRIPTORS, Descriptor, parse_manifest
from moorage.oci.media_types import (
    DOCKER_CONFIG,
    DOCKER_FOREIGN_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    MANIFEST_TYPES,
    OCI_ARTIFACT,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_LAYER_NONDISTRIBUTABLE,
    OCI_MANIFEST,
)

CONFIG = Digest.of(b"config")
LAYER = Digest.of(b"layer")
OTHER = Digest.of(b"other", "sha512")


def descriptor(
    digest: Digest = LAYER, media_type: str = OCI_LAYER_GZIP, size: int = 5, **more: object
) -> dict[str, Any]:
    """A descriptor as JSON has it."""
    return {"mediaType": media_type, "digest": str(digest), "size": size, **more}


def image(**changes: object) -> dict[str, Any]:
    """An OCI image of two layers, with *changes*; None takes a member away."""
    members: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(CONFIG, OCI_CONFIG, 6),
        "layers": [descriptor(), descriptor(OTHER)],
        **changes,
    }
    return {name: value for name, value in members.items() if value is not None}


def index(**changes: object) -> dict[str, Any]:
    """An OCI index of two images, with *changes*; None takes a member away."""
    members: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            descriptor(LAYER, OCI_MANIFEST, platform={"architecture": "amd64", "os": "linux"}),
            descriptor(OTHER, OCI_MANIFEST, platform={"architecture": "arm64", "os": "linux", "variant": "v8"}),
        ],
        **changes,
    }
    return {name: value for name, value in members.items() if value is not None}


def body(document: object) -> bytes:
    """The document's bytes."""
    return json.dumps(document).encode()


def test_image() -> None:
    """An image names its config and layers, in order."""
    manifest = parse_manifest(body(image(annotations={"a": "b"})), OCI_MANIFEST)

    assert manifest.media_type == OCI_MANIFEST
    assert manifest.config == Descriptor(OCI_CONFIG, CONFIG, 6)
    assert [blob.digest for blob in manifest.blobs] == [CONFIG, LAYER, OTHER]
    assert manifest.children == manifest.nondistributable == ()
    assert manifest.subject is None
    assert manifest.annotations == {"a": "b"}


def test_index() -> None:
    """An index names its entries and nothing that is a blob by rule."""
    manifest = parse_manifest(body(index()), OCI_INDEX)

    assert manifest.media_type == OCI_INDEX
    assert [child.digest for child in manifest.children] == [LAYER, OTHER]
    assert manifest.blobs == ()
    assert manifest.config is None
    assert manifest.annotations == {}


@pytest.mark.parametrize(
    ("media_type", "config_type", "layer_type"),
    [(OCI_MANIFEST, OCI_CONFIG, OCI_LAYER_GZIP), (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER_GZIP)],
)
def test_image_kinds(media_type: str, config_type: str, layer_type: str) -> None:
    """OCI's and Docker's images are read alike."""
    document = image(
        mediaType=media_type, config=descriptor(CONFIG, config_type), layers=[descriptor(media_type=layer_type)]
    )

    manifest = parse_manifest(body(document), media_type)

    assert manifest.media_type == media_type
    assert [blob.media_type for blob in manifest.blobs] == [config_type, layer_type]


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_index_kinds(media_type: str) -> None:
    """OCI's indexes and Docker's lists are read alike."""
    manifest = parse_manifest(body(index(mediaType=media_type)), media_type)

    assert manifest.media_type == media_type
    assert len(manifest.children) == 2


def test_buildkit_cache_index() -> None:
    """BuildKit's cache indexes list layers and a config among their manifests; they are children like any other."""
    document = index(
        manifests=[descriptor(), descriptor(CONFIG, "application/vnd.buildkit.cacheconfig.v0", annotations={"x": "y"})]
    )

    manifest = parse_manifest(body(document), OCI_INDEX)

    assert [child.media_type for child in manifest.children] == [
        OCI_LAYER_GZIP,
        "application/vnd.buildkit.cacheconfig.v0",
    ]
    assert manifest.children[1].annotations == {"x": "y"}


def test_artifact_manifest() -> None:
    """The withdrawn artifact manifest, without schemaVersion and config, is kept for those who still have it."""
    document = {
        "mediaType": OCI_ARTIFACT,
        "artifactType": "application/vnd.example.sbom.v1",
        "blobs": [descriptor()],
        "subject": descriptor(OTHER, OCI_MANIFEST),
    }

    manifest = parse_manifest(body(document), OCI_ARTIFACT)

    assert [blob.digest for blob in manifest.blobs] == [LAYER]
    assert manifest.subject is not None
    assert manifest.artifact_type == "application/vnd.example.sbom.v1"
    assert parse_manifest(body({"mediaType": OCI_ARTIFACT}), None).blobs == ()


def test_subject() -> None:
    """A subject is read from images and indexes, and need not exist."""
    subject = descriptor(OTHER, OCI_MANIFEST, 7)

    for document in (image(subject=subject), index(subject=subject)):
        assert parse_manifest(body(document), None).subject == Descriptor(OCI_MANIFEST, OTHER, 7)


@pytest.mark.parametrize(
    ("document", "artifact_type"),
    [
        (image(), OCI_CONFIG),
        (image(artifactType=""), OCI_CONFIG),
        (image(artifactType="application/vnd.example+type"), "application/vnd.example+type"),
        (
            image(config=descriptor(CONFIG, "application/vnd.cncf.helm.config.v1+json")),
            "application/vnd.cncf.helm.config.v1+json",
        ),
        (index(), None),
        (index(artifactType=""), None),
        (index(artifactType="application/vnd.example+type"), "application/vnd.example+type"),
    ],
)
def test_artifact_type(document: dict[str, Any], artifact_type: str | None) -> None:
    """An image without an artifact type has its config's; an index without one has none."""
    assert parse_manifest(body(document), None).artifact_type == artifact_type


def test_nondistributable_layers() -> None:
    """Layers that live elsewhere are not among the blobs that must be present; the config always is."""
    layers = [
        descriptor(media_type=f"{OCI_LAYER_NONDISTRIBUTABLE}+gzip", urls=["https://example.com/layer"]),
        descriptor(OTHER),
        descriptor(media_type=f"{DOCKER_FOREIGN_LAYER}.gzip", urls=["file:///etc/passwd", "http://169.254.169.254/"]),
    ]

    manifest = parse_manifest(body(image(layers=layers)), None)

    assert [blob.digest for blob in manifest.blobs] == [CONFIG, OTHER]
    assert [layer.digest for layer in manifest.nondistributable] == [LAYER, LAYER]
    assert manifest.nondistributable[1].urls == ("file:///etc/passwd", "http://169.254.169.254/")


def test_conformance_data_sets() -> None:
    """The shapes that the conformance program pushes are read: no layers, nothing but `{}`, empty, nested, custom."""
    empty = descriptor(Digest.of(b"{}"), OCI_EMPTY, 2, data="e30=")

    no_layers = parse_manifest(body(image(layers=[])), OCI_MANIFEST)
    only_empty = parse_manifest(body(image(config=empty, layers=[empty], artifactType="a/b")), OCI_MANIFEST)
    empty_index = parse_manifest(body(index(manifests=[])), OCI_INDEX)
    nested = parse_manifest(body(index(manifests=[descriptor(OTHER, OCI_INDEX)])), OCI_INDEX)
    custom = parse_manifest(body({**image(), "org.example": "x", "deep": {"a": [1, 2.5, None]}}), OCI_MANIFEST)

    assert [blob.digest for blob in no_layers.blobs] == [CONFIG]
    assert [blob.digest for blob in only_empty.blobs] == [Digest.of(b"{}")] * 2
    assert empty_index.children == ()
    assert nested.children[0].media_type == OCI_INDEX
    assert len(custom.blobs) == 3


def test_large_manifest() -> None:
    """A manifest of 3.9 MB, nearly all of it annotations, is read."""
    annotations = {f"org.example.{number}": "x" * 10_000 for number in range(390)}

    assert parse_manifest(body(image(annotations=annotations)), OCI_MANIFEST).annotations == annotations


def test_annotations_are_any_text() -> None:
    """Markup, terminal escapes and direction marks are only text; whoever shows them escapes them."""
    annotations = {"": "", "<script>": "\u202e\x1b[31m\r\n", "long": "x" * 1_000_000, "😀": '"'}

    assert parse_manifest(body(image(annotations=annotations)), None).annotations == annotations


def test_null_is_absent() -> None:
    """Go writes null for what it does not have; that is the same as not writing it."""
    nothing = dict.fromkeys(("subject", "annotations", "artifactType"))
    plain = descriptor() | dict.fromkeys(("urls", "annotations", "data", "artifactType", "platform"))

    with_nulls = parse_manifest(body(image(layers=[plain]) | nothing), None)

    assert with_nulls == parse_manifest(body(image(layers=[descriptor()])), None)
    assert parse_manifest(body(image() | {"layers": None}), None).blobs == (Descriptor(OCI_CONFIG, CONFIG, 6),)
    assert parse_manifest(body(index() | {"manifests": None}), None).children == ()


@pytest.mark.parametrize("media_type", sorted(MANIFEST_TYPES))
@pytest.mark.parametrize("header", ["{}", "{}; charset=utf-8", " {} ;x=y"])
def test_type_by_header(media_type: str, header: str) -> None:
    """Without a mediaType member the header alone says what the manifest is."""
    document = {OCI_INDEX: index, DOCKER_LIST: index, OCI_ARTIFACT: dict}.get(media_type, image)()
    document.pop("mediaType", None)

    assert parse_manifest(body(document), header.format(media_type)).media_type == media_type


@pytest.mark.parametrize("content_type", [None, ""])
def test_type_by_member(content_type: str | None) -> None:
    """Without a header the member alone says it, and without either nothing does."""
    assert parse_manifest(body(index()), content_type).media_type == OCI_INDEX
    with pytest.raises(ManifestInvalid, match="neither"):
        parse_manifest(body(image(mediaType=None)), content_type)


@pytest.mark.parametrize(
    ("member", "content_type"),
    [
        (OCI_MANIFEST, OCI_INDEX),
        (OCI_MANIFEST, DOCKER_MANIFEST),
        (OCI_INDEX, OCI_MANIFEST),
        (OCI_MANIFEST.upper(), OCI_MANIFEST),
        (f"{OCI_MANIFEST}; x=y", OCI_MANIFEST),
        ("", OCI_MANIFEST),
        (["x"], OCI_MANIFEST),
        ({}, OCI_MANIFEST),
        (2, OCI_MANIFEST),
        (2, None),
        (OCI_MANIFEST, "text/html"),
        (OCI_MANIFEST, "application/json"),
        (OCI_MANIFEST, "application/octet-stream"),
        (OCI_MANIFEST, "nonsense"),
        (OCI_MANIFEST, "x" * 8192),
        (OCI_MANIFEST, ";"),
        (OCI_MANIFEST, "*/*"),
        (OCI_MANIFEST, f"{OCI_MANIFEST}, {OCI_INDEX}"),
        ("text/html", "text/html"),
        (OCI_CONFIG, OCI_CONFIG),
        ("application/vnd.oci.image.manifest.v2+json", None),
        (None, "application/vnd.oci.image.manifest.v2+json"),
    ],
)
def test_type_refused(member: object, content_type: str | None) -> None:
    """A header and a member that differ, and a type that is no manifest's, are refused."""
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(body(image(mediaType=member)), content_type)

    assert caught.value.message.isprintable()


def test_null_media_type() -> None:
    """A mediaType of null is no type."""
    with pytest.raises(ManifestInvalid):
        parse_manifest(body(image() | {"mediaType": None}), None)


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        ({"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": [], "signatures": []}, None),
        ({"schemaVersion": 1, "name": "a", "fsLayers": []}, DOCKER_SCHEMA1_SIGNED),
        ({"schemaVersion": 1, "name": "a", "fsLayers": []}, DOCKER_SCHEMA1),
        ({"schemaVersion": 1, "mediaType": DOCKER_SCHEMA1}, None),
        ({"schemaVersion": 2, "mediaType": DOCKER_SCHEMA1_SIGNED}, None),
        (image(schemaVersion=1), OCI_MANIFEST),
        (image(), DOCKER_SCHEMA1_SIGNED),
        ("anything", DOCKER_SCHEMA1_SIGNED),
    ],
)
def test_schema1(document: object, content_type: str | None) -> None:
    """Docker schema 1 is refused in words that say what to do."""
    with pytest.raises(ManifestInvalid, match="Docker schema 1 is not supported: rebuild"):
        parse_manifest(body(document), content_type)


@pytest.mark.parametrize("version", ["2", 2.0, True, False, None, 0, 3, -2, [2], {}, 2**53 - 1])
@pytest.mark.parametrize("make", [image, index])
def test_schema_version(version: object, make: Any) -> None:
    """schemaVersion is the number 2 and nothing that only equals it."""
    with pytest.raises(ManifestInvalid, match="schemaVersion"):
        parse_manifest(body(make(schemaVersion=version)), None)


@pytest.mark.parametrize("version", ["2", 2.0, True, 3])
def test_artifact_schema_version(version: object) -> None:
    """A version that the artifact manifest need not have must still be right."""
    with pytest.raises(ManifestInvalid, match="schemaVersion"):
        parse_manifest(body({"mediaType": OCI_ARTIFACT, "schemaVersion": version}), None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"2",
        b"true",
        b"{",
        b"{}",
        b"NaN",
        b'{"schemaVersion":NaN}',
        b'{"schemaVersion":1e999}',
        b"\xef\xbb\xbf" + body(image()),
        json.dumps(image()).encode("utf-16"),
        body(image()) + b"x",
        body(image()) + body(image()),
        body(image()).replace(b"gzip", b"gz\xff"),
        body(image())[:-1] + b',"schemaVersion":2}',
        body(image())[:-1] + b',"x":"\\ud800"}',
        body(image())[:-1] + b',"x":9007199254740993}',
        body(image())[:-1] + b',"x":' + b"9" * 10_000 + b"}",
        body(image())[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 100_000,
    ],
    ids=lambda raw: f"{raw[-20:]!r}-{len(raw)}",
)
def test_not_a_manifest(raw: bytes) -> None:
    """What is not strict JSON of a manifest is MANIFEST_INVALID, in few and printable words."""
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(raw, OCI_MANIFEST)

    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "document",
    [
        image(manifests=[]),
        image(manifests=[descriptor()]),
        image() | {"manifests": None},
        image(fsLayers=[]),
        index(layers=[]),
        index() | {"layers": None},
        index(config=descriptor()),
        index(fsLayers=[]),
        index(blobs=[]),
        {"mediaType": OCI_ARTIFACT, "blobs": [], "layers": []},
        {"mediaType": OCI_ARTIFACT, "blobs": [], "manifests": []},
        {"mediaType": OCI_ARTIFACT, "blobs": [], "config": descriptor()},
    ],
)
def test_ambiguous(document: dict[str, Any]) -> None:
    """A document that one client may take for an image and another for an index is refused (CVE-2021-41190)."""
    with pytest.raises(ManifestInvalid, match="has no member"):
        parse_manifest(body(document), None)


@pytest.mark.parametrize(
    "document",
    [
        image(Layers=[]),
        image(Manifests=[]),
        image(MEDIATYPE=OCI_INDEX),
        image() | {"layer\u017f": []},  # the long s is an s to Go
        index() | {"manife\u017fts": []},
        image(config=descriptor() | {"Digest": str(OTHER)}),
        image(layers=[descriptor() | {"SIZE": 1}]),
    ],
)
def test_case_twins(document: dict[str, Any]) -> None:
    """A member that Go's JSON reader takes for another by case alone is refused: clients would see another image."""
    with pytest.raises(ManifestInvalid, match="it is written"):
        parse_manifest(body(document), None)


@pytest.mark.parametrize(
    "document",
    [
        image(config=None),
        image() | {"config": None},
        image(config=[]),
        image(config="x"),
        image(layers=None),
        image(layers={}),
        image(layers="x"),
        image(layers=[None]),
        image(layers=[[]]),
        image(layers=["sha256:x"]),
        index(manifests=None),
        index(manifests={}),
        image(subject=[]),
        image(subject="x"),
        image(subject={}),
        image(subject=descriptor() | {"digest": "sha256:bad"}),
        index(subject=descriptor() | {"digest": f"md5:{'0' * 32}"}),
        image(annotations=[]),
        image(annotations="x"),
        image(annotations={"a": 1}),
        image(annotations={"a": None}),
        image(annotations={"a": ["b"]}),
        image(annotations={"a": "\0"}),
        image(annotations={"\0": "a"}),
        image(artifactType="nothing"),
        image(artifactType="a/" + "b" * 298),
        image(artifactType="a/b\r\nX: y"),
        image(artifactType=1),
        image(artifactType=["a/b"]),
        index(artifactType="nothing"),
        image(layers=[descriptor()] * (MOST_DESCRIPTORS + 1)),
        index(manifests=[descriptor()] * (MOST_DESCRIPTORS + 1)),
    ],
    ids=lambda document: json.dumps(document)[-40:],
)
def test_members_refused(document: dict[str, Any]) -> None:
    """Members of the wrong kind are MANIFEST_INVALID."""
    with pytest.raises(ManifestInvalid):
        parse_manifest(body(document), None)


WRONG: dict[str, list[object]] = {
    "size": [-1, 5.0, 1e30, "5", True, None, [], {}],
    "mediaType": [None, "", "nothing", "a/" + "b" * 298, 1, [], {}, "a/b\n"],
    "digest": [None, "", "sha256:", f"sha256:{LAYER.hex[1:]}", str(LAYER).upper(), f"{LAYER}\n", 1, [], {}],
    "urls": ["x", {}, [1], [None], 1],
    "annotations": ["x", [], {"a": 1}, {"a": "\0"}],
    "artifactType": ["nothing", 1, [], {}],
    "data": [1, [], {}, "", "!", "bGF5ZXI", "bGF5ZXI=\n", "b3RoZXI=", "bGF5ZXIx", "é"],
}


@pytest.mark.parametrize(("member", "value"), [(member, value) for member, values in WRONG.items() for value in values])
@pytest.mark.parametrize("place", ["config", "layers", "manifests", "subject"])
def test_descriptor_refused(member: str, value: object, place: str) -> None:
    """A descriptor is refused for each member that is wrong, wherever it stands, and the message says where."""
    wrong = descriptor() | {member: value}
    document = {
        "config": image(config=wrong),
        "layers": image(layers=[descriptor(), wrong]),
        "manifests": index(manifests=[descriptor(), wrong]),
        "subject": index(subject=wrong),
    }[place]

    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(body(document), None)

    assert caught.value.message.startswith({"layers": "layers[1]", "manifests": "manifests[1]"}.get(place, place))
    assert f".{member}" in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("size", [2**53, 2**63 - 1, 2**63, 2**64, 10**30, 10**400])
def test_huge_size(size: int) -> None:
    """A size beyond what all JSON readers read alike is refused."""
    with pytest.raises(ManifestInvalid, match="integer"):
        parse_manifest(body(image(layers=[descriptor(size=size)])), None)


@pytest.mark.parametrize("member", ["mediaType", "digest", "size"])
def test_descriptor_lacks(member: str) -> None:
    """A descriptor has its three members."""
    wrong = descriptor()
    del wrong[member]

    with pytest.raises(ManifestInvalid, match=rf"layers\[0\]\.{member}"):
        parse_manifest(body(image(layers=[wrong])), None)


@given(st.binary(max_size=100), st.sampled_from(["sha256", "sha512"]))
def test_data(content: bytes, algorithm: str) -> None:
    """Embedded content is accepted if it is the content, and refused if it is one bit or one byte off."""
    digest, data = Digest.of(content, algorithm), b64encode(content).decode()
    right = descriptor(digest, size=len(content), data=data)
    longer = descriptor(digest, size=len(content) + 1, data=data)
    other = descriptor(Digest.of(content + b"x", algorithm), size=len(content), data=data)

    assert parse_manifest(body(image(layers=[right])), None).blobs[1].digest == digest
    for wrong in (longer, other):
        with pytest.raises(ManifestInvalid, match=r"layers\[0\]\.data"):
            parse_manifest(body(image(layers=[wrong])), None)


def test_most_descriptors() -> None:
    """The limit itself is within it."""
    many = [descriptor()] * MOST_DESCRIPTORS

    assert len(parse_manifest(body(image(layers=many)), None).blobs) == MOST_DESCRIPTORS + 1
    assert len(parse_manifest(body(index(manifests=many)), None).children) == MOST_DESCRIPTORS


def test_descriptor_keeps_what_referrers_need() -> None:
    """A descriptor's own artifact type and annotations are read."""
    child = descriptor(artifactType="a/b", annotations={"k": "v"}, size=2**53 - 1)

    manifest = parse_manifest(body(index(manifests=[child])), None)

    assert manifest.children == (Descriptor(OCI_LAYER_GZIP, LAYER, 2**53 - 1, "a/b", {"k": "v"}),)


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([str(LAYER), "a/b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["mediaType", "digest", "size", "data", "urls", "annotations"]), inner)
    ),
    max_leaves=12,
)
MEMBERS = ["mediaType", "config", "layers", "manifests", "subject", "annotations", "artifactType", "schemaVersion", "x"]


@given(st.sampled_from([image(), index()]), st.dictionaries(st.sampled_from(MEMBERS), junk, max_size=3))
def test_never_raises_anything_else(document: dict[str, Any], changes: dict[str, Any]) -> None:
    """Whatever stands in whichever member, the answer is a manifest or MANIFEST_INVALID."""
    try:
        manifest = parse_manifest(body(document | changes), None)
    except ManifestInvalid:
        return

    assert manifest.media_type in MANIFEST_TYPES
    assert all(0 <= item.size < 2**63 for item in manifest.blobs + manifest.children)


@given(st.binary(max_size=4), st.integers(0, 500), st.integers(0, 4))
def test_damaged(patch: bytes, position: int, dropped: int) -> None:
    """A manifest damaged anywhere is refused, or still names digests that were or could have been there."""
    raw = body(image(subject=descriptor(OTHER)))

    try:
        manifest = parse_manifest(raw[:position] + patch + raw[position + dropped :], OCI_MANIFEST)
    except ManifestInvalid:
        return

    assert manifest.media_type == OCI_MANIFEST
    assert all(Digest.parse(str(blob.digest)) == blob.digest for blob in manifest.blobs)
