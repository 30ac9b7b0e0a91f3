from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.oci.digest import Digest
from moorage.oci.etag import if_range, none_match

DIGEST = Digest.of(b"content")
OTHER = Digest.of(b"other")
LONG = Digest.of(b"content", "sha512")


@pytest.mark.parametrize(
    "header",
    [
        f'"{DIGEST}"',
        f'W/"{DIGEST}"',
        str(DIGEST),
        f"W/{DIGEST}",
        "*",
        " * ",
        f'"{OTHER}", "{DIGEST}"',
        f'"{OTHER}","{DIGEST}"',
        f'W/"{OTHER}" ,\tW/"{DIGEST}" ',
        f'"a,b", "{DIGEST}"',
        f",,{DIGEST},,",
        f'"{OTHER}", ' * 1000 + f'"{DIGEST}"',
    ],
)
def test_match(header: str) -> None:
    """A list that names the digest, weakly or without quotes too, or a star, makes the answer 304."""
    assert none_match(header, DIGEST)


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        ",",
        '""',
        '"',
        f'"{OTHER}"',
        f'"{LONG}"',
        f'"{DIGEST.hex}"',
        f'"x,{DIGEST},y"',
        f'"{DIGEST} "',
        f'"{DIGEST}0"',
        str(DIGEST).upper(),
        '"*"',
        "*, x",
        '"' * 100_001,
        'W/"' * 100_000,
        "W/" * 100_000,
        '"\ud800"',
    ],
)
def test_no_match(header: str) -> None:
    """Anything else is another content, read in one pass however long."""
    assert not none_match(header, DIGEST)


@given(st.lists(st.text(alphabet=st.characters(codec="latin-1", exclude_characters='"'))))
def test_found_in_any_list(others: list[str]) -> None:
    """Whatever stands beside it in quotes, the digest is found, and only if it is there."""
    header = ", ".join(f'"{other}"' for other in [*others, str(DIGEST)])

    assert none_match(header, DIGEST)
    assert not none_match(header, OTHER)


@given(st.text())
def test_never_raises(header: str) -> None:
    """Any header has an answer."""
    assert none_match(header, DIGEST) in {True, False}
    assert if_range(header, DIGEST) is (header.strip(" \t") == f'"{DIGEST}"')


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        (f'"{DIGEST}"', True),
        (f' "{DIGEST}"', True),
        (f'W/"{DIGEST}"', False),
        (str(DIGEST), False),
        (f'"{OTHER}"', False),
        ("Tue, 15 Nov 1994 12:45:26 GMT", False),
        ("*", False),
        ("", False),
    ],
)
def test_if_range(header: str, answer: bool) -> None:  # noqa: FBT001 -- a column of the table
    """Only the strong tag of this very content lets a range count."""
    assert if_range(header, DIGEST) is answer
