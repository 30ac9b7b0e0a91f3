from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import DigestInvalid, TagInvalid
from moorage.oci.digest import Digest
from moorage.oci.reference import parse_reference, parse_tag

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text",
    [
        "latest",
        "Latest",
        "CON",
        "aux.",
        "_",
        "_x",
        "0",
        "1.2.3-rc_4",
        "a..b",
        "v1.",
        "v1-",
        f"sha256-{HEX}",
        f"sha256-{HEX}.sig",
        "a" * 128,
    ],
)
def test_tag(text: str) -> None:
    """What the grammar of distribution-spec produces is a tag, and so is a reference without a colon."""
    assert parse_tag(text) == text
    assert parse_reference(text) == text
    assert not isinstance(parse_reference(text), Digest)


def test_case_matters() -> None:
    """Tags that differ by case alone are two tags."""
    assert parse_tag("Latest") != parse_tag("latest")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "-x",
        ".x",
        "a/b",
        "a b",
        "a+b",
        "a@b",
        "a\n",
        "\na",
        "a\0",
        "a\r\nX",
        "é",
        "１",
        "\udcff",
        "a" * 129,
        "a" * 1_000_000,
        "%2e",
    ],
)
def test_malformed_tag(text: str) -> None:
    """Everything else is TAG_INVALID, whether a tag or a reference is wanted."""
    for parse in (parse_tag, parse_reference):
        with pytest.raises(TagInvalid) as caught:
            parse(text)

        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 900


def test_colon_is_no_tag() -> None:
    """A colon never stands in a tag, not even in one that is a digest: `tag=` of a push takes tags alone."""
    with pytest.raises(TagInvalid):
        parse_tag(f"sha256:{HEX}")


def test_digest() -> None:
    """A reference with a colon is a digest."""
    reference = parse_reference(f"sha256:{HEX}")

    assert isinstance(reference, Digest)
    assert reference.hex == HEX


@pytest.mark.parametrize(
    "text", ["a:b", ":", "latest:", f"sha256:{HEX}\n", "sha256:baddigeststring", f"md5:{HEX[:32]}"]
)
def test_malformed_digest(text: str) -> None:
    """A reference with a colon is never taken for a tag."""
    with pytest.raises(DigestInvalid):
        parse_reference(text)


@given(st.text(max_size=140))
def test_returns_what_was_sent(text: str) -> None:
    """Any text is refused by one of the two errors, or comes back as it was."""
    try:
        reference = parse_reference(text)
    except (TagInvalid, DigestInvalid):
        return

    assert str(reference) == text
