from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import ManifestInvalid
from moorage.oci import media_types
from moorage.oci.media_types import OCI_MANIFEST, is_media_type, is_nondistributable, parse_media_type


@pytest.mark.parametrize(
    ("header", "media_type"),
    [
        (OCI_MANIFEST, OCI_MANIFEST),
        (f"{OCI_MANIFEST};charset=utf-8", OCI_MANIFEST),
        (f"{OCI_MANIFEST} ; charset=utf-8; q=1", OCI_MANIFEST),
        (f" {OCI_MANIFEST}\t", OCI_MANIFEST),
        (f"{OCI_MANIFEST};", OCI_MANIFEST),
        ("Text/Plain", "Text/Plain"),
        ("a/b", "a/b"),
        (f"{'a' * 127}/{'b' * 127}", f"{'a' * 127}/{'b' * 127}"),
    ],
)
def test_header(header: str, media_type: str) -> None:
    """A Content-Type gives its type as sent, without parameters."""
    assert parse_media_type(header) == media_type


NOT_TYPES = [
    "",
    "/",
    "text",
    "text/",
    "/html",
    "a/b/c",
    "a b/c",
    "a/b c",
    "a/b\n",
    "a/b\r\nX: y",
    "a/\0",
    ".a/b",
    "a/+b",
    "*/*",
    "a/b, c/d",
    "é/b",
    "a/１",
    "a/\ud800",
    "a/" + "b" * 128,
    "a" * 128 + "/b",
    "a/" + "b" * 8192,
]


@pytest.mark.parametrize("header", [*NOT_TYPES, ";", "; a/b", "a/b;" + "x" * 252])
def test_malformed_header(header: str) -> None:
    """What is not one type of RFC 6838 in 255 characters is MANIFEST_INVALID."""
    with pytest.raises(ManifestInvalid) as caught:
        parse_media_type(header)

    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 900


@pytest.mark.parametrize(
    "text", [OCI_MANIFEST, "text/plain; charset=utf-8", "text/plain;charset=utf-8", "a/b", "A/B.c+d"]
)
def test_media_type(text: str) -> None:
    """A descriptor may name any type, with parameters as clients copy them from file name tables."""
    assert is_media_type(text)


@pytest.mark.parametrize("text", [*NOT_TYPES, " a/b", "a/b ", "a/b;\n", "a/b;\0", "a/b;é", "a/b;" + "x" * 252])
def test_no_media_type(text: str) -> None:
    """What could break out of a header or a terminal, or is too long, is no media type."""
    assert not is_media_type(text)


@given(st.text(alphabet="a/;+ =\n", max_size=12))
def test_header_and_descriptor_agree(text: str) -> None:
    """What a descriptor may hold, a header may hold too."""
    if is_media_type(text):
        assert text.startswith(parse_media_type(text))


@pytest.mark.parametrize(
    ("media_type", "answer"),
    [
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", True),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", True),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar", True),
        ("application/vnd.oci.image.layer.v1.tar+gzip", False),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", False),
        ("application/octet-stream", False),
        ("", False),
    ],
)
def test_nondistributable(media_type: str, answer: bool) -> None:  # noqa: FBT001 -- a column of the table
    """Foreign and nondistributable layers are known in every compression."""
    assert is_nondistributable(media_type) is answer


def test_kinds_are_disjoint() -> None:
    """No type is of two kinds."""
    assert not media_types.IMAGE_TYPES & media_types.INDEX_TYPES
    assert not media_types.MANIFEST_TYPES & media_types.SCHEMA1_TYPES


def test_nothing_long_is_remembered() -> None:
    """Refused types of megabytes leave nothing in the memory of those already judged."""
    before = media_types._may_be_named.cache_info().currsize

    for number in range(10):
        assert not is_media_type(f"a/b{number};" + "x" * 1_000_000)

    assert media_types._may_be_named.cache_info().currsize == before
