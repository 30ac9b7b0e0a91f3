"""Manifests: read far enough to know what they name; their bytes are kept exactly as they came."""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from dataclasses import dataclass, field
from typing import Any, Final

from moorage.errors import DigestInvalid, ManifestInvalid
from moorage.oci.digest import Digest
from moorage.oci.excerpt import excerpt
from moorage.oci.media_types import (
    IMAGE_TYPES,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1_TYPES,
    is_media_type,
    is_nondistributable,
    parse_media_type,
)
from moorage.oci.strict_json import JsonInvalid, parse_json

MOST_DESCRIPTORS: Final = 10_000
"""Layers, blobs or index entries of one manifest (arbitrary; the largest seen in the field have some hundreds)."""

SCHEMA1_REFUSED: Final = (
    "Docker schema 1 is not supported: rebuild the image or push it again with a client of 2017 or later"
    " (Docker 17.06, podman, skopeo, buildah)"
)

_MEMBERS: Final = frozenset(
    ("schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "blobs", "subject", "annotations")
) | {"fsLayers"}
_DESCRIPTOR_MEMBERS: Final = frozenset(
    ("mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform")
)
_FOLDED: Final = {member.casefold(): member for member in _MEMBERS | _DESCRIPTOR_MEMBERS}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says about one other piece of content (image-spec, descriptor.md).

    *size* is in bytes, at most `strict_json.MOST_INTEGER`. *platform* is an operating system and an architecture, where
    both are given.
    """

    media_type: str
    digest: Digest
    size: int
    artifact_type: str | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    platform: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or index, as far as a registry acts on it.

    *media_type* is one of `media_types.MANIFEST_TYPES`. *blobs* are the config and the layers that must be present in
    the repository, in order and perhaps repeated; *nondistributable* are the layers that need not be. *children* are an
    index's entries: manifests, or layer blobs in the cache indexes that BuildKit pushes, so whoever looks for one looks
    among both. *subject* need not exist. *artifact_type* is what the referrers list says: the manifest's own, else an
    image's config media type, else None (distribution-spec, "Listing Referrers").
    """

    media_type: str
    config: Descriptor | None
    blobs: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str | None
    annotations: dict[str, str]
    nondistributable: tuple[Descriptor, ...] = ()


def parse_manifest(body: bytes, content_type: str | None) -> Manifest:
    """Return what *body* says; *content_type* is the request's header, or None if it had none.

    Raises ManifestInvalid for everything that is not a manifest which all clients read alike: not strict JSON, a type
    this registry does not keep, a `mediaType` that differs from the header, members of both an image and an index
    (CVE-2021-41190), wrong members or descriptors, and Docker schema 1. Unknown members are let through.
    """
    sent_type = parse_media_type(content_type) if content_type else None
    if sent_type in SCHEMA1_TYPES:
        raise ManifestInvalid(SCHEMA1_REFUSED)
    return _read(_document(body), sent_type)


def parse_stored_manifest(body: bytes) -> Manifest:
    """Return what *body* says that another registry has kept, which keeps no media types.

    One that names no type itself is an index where it has `manifests`, else an image: so distribution reads it. Raises
    ManifestInvalid as `parse_manifest` does, for Docker schema 1 with the words of SCHEMA1_REFUSED.
    """
    document = _document(body)
    own_type = document.get("mediaType")
    if own_type is None or own_type == "":
        document.pop("mediaType", None)
        return _read(document, OCI_INDEX if "manifests" in document else OCI_MANIFEST)
    return _read(document, None)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = parse_json(body)
    except JsonInvalid as error:
        raise ManifestInvalid(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ManifestInvalid("a manifest is a JSON object")
    _refuse_case_twins(document, _MEMBERS, "the manifest")
    return document


def _read(document: dict[str, Any], sent_type: str | None) -> Manifest:
    media_type = _type(document, sent_type)
    if media_type in IMAGE_TYPES:
        return _image(document, media_type)
    if media_type in INDEX_TYPES:
        return _index(document, media_type)
    return _artifact(document, media_type)


def _type(document: dict[str, Any], sent_type: str | None) -> str:
    """Return the manifest's media type, agreed between the header and the document."""
    version = document.get("schemaVersion")
    own_type = document.get("mediaType", sent_type)
    if (type(version) is int and version == 1) or (isinstance(own_type, str) and own_type in SCHEMA1_TYPES):
        raise ManifestInvalid(SCHEMA1_REFUSED)
    if own_type is None:
        raise ManifestInvalid("neither a Content-Type header nor a mediaType member says what this is")
    if not isinstance(own_type, str):
        raise ManifestInvalid("mediaType is not a string")
    if sent_type is not None and own_type != sent_type:
        raise ManifestInvalid(f"mediaType {excerpt(own_type, 128)} is not the Content-Type {excerpt(sent_type, 128)}")
    if own_type not in MANIFEST_TYPES:
        raise ManifestInvalid(f"{excerpt(own_type, 128)} is not a manifest type that this registry keeps")
    if own_type == OCI_ARTIFACT and "schemaVersion" not in document:
        return own_type  # its specification had no such member
    if type(version) is not int or version != 2:  # `2.0 == 2` in Python
        raise ManifestInvalid("schemaVersion is not 2")
    return own_type


def _image(document: dict[str, Any], media_type: str) -> Manifest:
    _refuse(document, media_type, "manifests", "fsLayers")
    if "config" not in document:
        raise ManifestInvalid("config is missing")
    config = _descriptor(document["config"], "config")
    layers = _descriptors(document, "layers")
    return Manifest(
        media_type=media_type,
        config=config,
        blobs=(config, *[layer for layer in layers if not is_nondistributable(layer.media_type)]),
        children=(),
        subject=_subject(document),
        artifact_type=_artifact_type(document, "artifactType") or config.media_type,
        annotations=_annotations(document, "annotations"),
        nondistributable=tuple([layer for layer in layers if is_nondistributable(layer.media_type)]),
    )


def _index(document: dict[str, Any], media_type: str) -> Manifest:
    _refuse(document, media_type, "config", "layers", "blobs", "fsLayers")
    return Manifest(
        media_type=media_type,
        config=None,
        blobs=(),
        children=_descriptors(document, "manifests"),
        subject=_subject(document),
        artifact_type=_artifact_type(document, "artifactType"),
        annotations=_annotations(document, "annotations"),
    )


def _artifact(document: dict[str, Any], media_type: str) -> Manifest:
    _refuse(document, media_type, "manifests", "config", "layers", "fsLayers")
    return Manifest(
        media_type=media_type,
        config=None,
        blobs=_descriptors(document, "blobs") if "blobs" in document else (),
        children=(),
        subject=_subject(document),
        artifact_type=_artifact_type(document, "artifactType"),
        annotations=_annotations(document, "annotations"),
    )


def _refuse(document: dict[str, Any], media_type: str, *members: str) -> None:
    for member in members:
        if member in document:
            raise ManifestInvalid(f"{media_type} has no member {member}")


def _refuse_case_twins(members: dict[str, Any], known: frozenset[str], where: str) -> None:
    """Refuse `Layers` for `layers`: Go's JSON reader, which most clients use, takes one for the other."""
    if members.keys() <= known:
        return
    for name in members:
        if name not in known and _FOLDED.get(name.casefold()) in known:
            raise ManifestInvalid(f"{where} has a member {excerpt(name)}: it is written {_FOLDED[name.casefold()]}")


def _descriptors(document: dict[str, Any], member: str) -> tuple[Descriptor, ...]:
    """Return the descriptors of an array; null is one without elements, as Go writes it."""
    if member not in document:
        raise ManifestInvalid(f"{member} is missing")
    values = document[member]
    if values is None:
        return ()
    if not isinstance(values, list):
        raise ManifestInvalid(f"{member} is not an array")
    if len(values) > MOST_DESCRIPTORS:
        raise ManifestInvalid(f"{member} has more than {MOST_DESCRIPTORS} elements")
    return tuple(_descriptor(value, f"{member}[{position}]") for position, value in enumerate(values))


def _subject(document: dict[str, Any]) -> Descriptor | None:
    subject = document.get("subject")
    return None if subject is None else _descriptor(subject, "subject")


def _descriptor(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{where} is not a descriptor")
    _refuse_case_twins(value, _DESCRIPTOR_MEMBERS, where)
    media_type, text, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or not is_media_type(media_type):
        raise ManifestInvalid(f"{where}.mediaType is not a media type")
    if not isinstance(text, str):
        raise ManifestInvalid(f"{where}.digest is not a string")
    try:
        digest = Digest.parse(text)
    except DigestInvalid as error:
        raise ManifestInvalid(f"{where}.digest: {error.message}") from None
    if type(size) is not int or size < 0:
        raise ManifestInvalid(f"{where}.size is not a number of bytes")
    if len(value) == 3:
        return Descriptor(media_type, digest, size)
    if value.get("data") is not None:
        _check_data(value["data"], digest, size, where)
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size=size,
        artifact_type=_artifact_type(value, f"{where}.artifactType"),
        annotations=_annotations(value, f"{where}.annotations"),
        urls=_urls(value.get("urls"), where),
        platform=_platform(value.get("platform")),
    )


def _check_data(data: object, digest: Digest, size: int, where: str) -> None:
    """Refuse an embedded copy of the content that is not the content (image-spec, "Embedded Content")."""
    try:
        content = a2b_base64(data, strict_mode=True) if isinstance(data, str) else None
    except (Base64Error, ValueError):
        content = None
    if content is None or len(content) != size or Digest.of(content, digest.algorithm) != digest:
        raise ManifestInvalid(f"{where}.data is not the base64 of the content that digest and size name")


def _artifact_type(members: dict[str, Any], where: str) -> str | None:
    """Return the artifact type; distribution-spec treats an empty one as none."""
    value = members.get("artifactType")
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not is_media_type(value):
        raise ManifestInvalid(f"{where} is not a media type")
    return value


def _annotations(members: dict[str, Any], where: str) -> dict[str, str]:
    """Return the annotations, any text to any text; a NUL is refused because databases cannot keep it."""
    values = members.get("annotations")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ManifestInvalid(f"{where} is not an object")
    for key, value in values.items():
        if not isinstance(value, str) or "\0" in value or "\0" in key:
            raise ManifestInvalid(f"{where} has a member {excerpt(key)} that is not text")
    return values


def _urls(values: object, where: str) -> tuple[str, ...]:
    """Return where else the content may be; a registry never fetches them."""
    if values is None:
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ManifestInvalid(f"{where}.urls is not an array of strings")
    return tuple(values)


def _platform(value: object) -> tuple[str, str] | None:
    """Return operating system and architecture (image-spec, image-index.md); what is no platform counts as none."""
    if not isinstance(value, dict):
        return None
    system, architecture = value.get("os"), value.get("architecture")
    return (system, architecture) if isinstance(system, str) and isinstance(architecture, str) else None
