from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import PaginationNumberInvalid
from moorage.oci.numbers import parse_decimal
from moorage.oci.pagination import parse_count

NOT_NUMBERS = [
    "",
    " ",
    "-1",
    "+1",
    "1 ",
    " 1",
    "\n5 ",
    "5\n",
    "1_000",
    "1.0",
    "1e9",
    "0x10",
    "abc",
    "１",
    "１２",
    "²",
    "٣",
    "\0",
    "\ud800",
    "9" * 20,
    "0" * 20,
    "9" * 5_000,
    "9" * 1_000_000,
]


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_not_a_number(text: str) -> None:
    """What `int` would take beyond ASCII digits is refused, and so is a number too long to be one."""
    with pytest.raises(ValueError, match="digits"):
        parse_decimal(text, 10**19)


@given(st.integers(0, 10**19 - 1))
def test_number(value: int) -> None:
    """Every number up to the limit is read, and one above the limit is not."""
    assert parse_decimal(str(value), value) == value
    with pytest.raises(ValueError, match="larger than"):
        parse_decimal(str(value), value - 1)


def test_no_count() -> None:
    """A list request without `n` has no count."""
    assert parse_count(None, 100) is None


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("1", 1), ("007", 7), ("99", 99), ("100", 100), ("101", 100), ("1000000000", 100), ("9" * 19, 100)],
)
def test_count(text: str, count: int) -> None:
    """`n` is read, and lowered to what the registry gives at most."""
    assert parse_count(text, 100) == count


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_count_refused(text: str) -> None:
    """A malformed `n` is PAGINATION_NUMBER_INVALID, with a short printable message."""
    with pytest.raises(PaginationNumberInvalid) as caught:
        parse_count(text, 100)

    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200
