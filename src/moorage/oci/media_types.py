"""Media types of manifests and of what they name."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from moorage.errors import ManifestInvalid
from moorage.oci.excerpt import excerpt

# image-spec, media-types.md
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_LAYER_NONDISTRIBUTABLE: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"

# image-spec 1.1.0-rc1 to rc3, withdrawn before 1.1; some registries and clients still hold such manifests
OCI_ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"

# distribution's "Image Manifest Version 2, Schema 2"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_PLUGIN_CONFIG: Final = "application/vnd.docker.plugin.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"

# Docker schema 1, refused
DOCKER_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

OCTET_STREAM: Final = "application/octet-stream"

IMAGE_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEX_TYPES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES: Final = IMAGE_TYPES | INDEX_TYPES | {OCI_ARTIFACT}
SCHEMA1_TYPES: Final = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})

NONDISTRIBUTABLE: Final = (OCI_LAYER_NONDISTRIBUTABLE, DOCKER_FOREIGN_LAYER)
"""Prefixes: a compression may follow, as `+gzip`, `+zstd` or `.gzip`."""

MOST_CHARACTERS: Final = 255
"""RFC 6838, 4.2: 127 for each of the two names, and the slash."""

_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_TYPE: Final = re.compile(rf"{_NAME}/{_NAME}")
_TYPE_AND_PARAMETERS: Final = re.compile(rf"{_NAME}/{_NAME}(?:[ \t]*;[ -~\t]*)?")


@lru_cache(maxsize=256)
def parse_media_type(header: str) -> str:
    """Return the `type/subtype` of a Content-Type header as it was sent, without its parameters.

    Raises ManifestInvalid unless both are names of RFC 6838, 4.2, in at most 255 characters for the whole header.
    """
    media_type = header.partition(";")[0].strip(" \t")
    if len(header) > MOST_CHARACTERS or _TYPE.fullmatch(media_type) is None:
        raise ManifestInvalid(f"not a media type: {excerpt(header)}")
    return media_type


def is_media_type(text: str) -> bool:
    """Tell whether *text* may stand in a descriptor's `mediaType` or an `artifactType`.

    image-spec's schema takes RFC 6838 names alone; parameters are let through, because clients copy them from file
    name tables (`text/plain; charset=utf-8`).
    """
    return len(text) <= MOST_CHARACTERS and _may_be_named(text)


@lru_cache(maxsize=1024)
def _may_be_named(text: str) -> bool:
    # Apart from the length, so that no megabyte of a hostile manifest is remembered.
    return _TYPE_AND_PARAMETERS.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def is_nondistributable(media_type: str) -> bool:
    """Tell whether a layer of this type is fetched from its `urls` and need never be pushed (image-spec, layer.md)."""
    return media_type.startswith(NONDISTRIBUTABLE)
