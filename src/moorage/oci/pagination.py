"""`n`, the number of items that a page of a list may hold."""

from __future__ import annotations

from typing import Final

from moorage.errors import PaginationNumberInvalid
from moorage.oci.excerpt import excerpt
from moorage.oci.numbers import parse_decimal

_ANY: Final = 10**19


def parse_count(text: str | None, most: int) -> int | None:
    """Return how many items the client asks for, *most* if it asks for more, None if it does not say.

    Raises PaginationNumberInvalid unless *text* is 1 to 19 ASCII digits; 0 is a page without items
    (distribution-spec, "Listing tags").
    """
    if text is None:
        return None
    try:
        return min(parse_decimal(text, _ANY), most)
    except ValueError as error:
        raise PaginationNumberInvalid(f"invalid n {excerpt(text)}: {error}") from None
