"""Referrers tags: how they are named, written, and known again."""

from __future__ import annotations

import json

import pytest

from moorage.oci.digest import Digest
from moorage.oci.manifest import parse_stored_manifest
from moorage.oci.name import MOST_BYTES as LONGEST_NAME
from moorage.oci.name import parse_name
from moorage.oci.reference import parse_tag
from moorage.oci.referrers_tag import LONGEST_HEAD, MOST_BYTES, build, read_mark, subject_of, tag_of

NAME = parse_name("team/app")
SUBJECT = Digest.of(b"subject")
ENTRY = json.dumps({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": str(SUBJECT), "size": 7})


def test_a_tag_leads_to_its_subject_and_back() -> None:
    """The tag is the digest with a dash for its colon (distribution-spec, "Referrers Tag Schema")."""
    tag = tag_of(SUBJECT)

    assert tag == f"sha256-{SUBJECT.hex}"
    assert subject_of(tag) == SUBJECT


@pytest.mark.parametrize("tag", ["latest", "sha256-abc", f"sha256-{SUBJECT.hex}.sig", f"sha512-{SUBJECT.hex}"])
def test_other_tags_have_no_subject(tag: str) -> None:
    """Neither cosign's own tags nor parts of digests are referrers tags."""
    assert subject_of(parse_tag(tag)) is None


def test_nobody_looks_for_a_sha512_tag() -> None:
    """Clients cut such digests differently."""
    assert tag_of(Digest.of(b"subject", "sha512")) is None


def test_what_is_built_is_an_index_that_is_known_again() -> None:
    """It holds the descriptors as they are, and its first bytes say whose they are, also for the longest name."""
    longest = parse_name("a" * LONGEST_NAME)

    body = build(longest, SUBJECT, [ENTRY.encode()])

    assert [child.digest for child in parse_stored_manifest(body).children] == [SUBJECT]
    assert read_mark(body[:LONGEST_HEAD]) == (longest, SUBJECT)


def test_a_list_stays_a_manifest_of_a_size_that_all_take() -> None:
    """What would make it larger than 4 MiB is left out."""
    body = build(NAME, SUBJECT, [ENTRY.encode()] * 40_000)

    assert MOST_BYTES - 1024 < len(body) <= MOST_BYTES
    json.loads(body)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b'{"schemaVersion":2}',
        b'{"annotations":{"org.moorage.referrers-of":"team/app"}',
        b'{"annotations":{"org.moorage.referrers-of":"Team/App@sha256:' + SUBJECT.hex.encode() + b'"}',
        b'{"annotations":{"org.moorage.referrers-of":"../../x@sha256:' + SUBJECT.hex.encode() + b'"}',
    ],
)
def test_other_bytes_are_not_ours(head: bytes) -> None:
    """A mark that names no repository, or none that can be, is none."""
    assert read_mark(head) is None
