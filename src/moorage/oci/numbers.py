"""Numbers as the protocol writes them: ASCII digits, nothing else."""

from __future__ import annotations

import re
from typing import Final

_DIGITS: Final = re.compile(r"[0-9]{1,19}")
"""19 digits hold every value up to 2^63-1 (mandated by int64, which all the field's clients use)."""


def parse_decimal(text: str, most: int) -> int:
    """Return the whole number that *text* writes in 1 to 19 ASCII digits, at most *most*.

    Raises ValueError for anything else; `int` alone also takes signs, spaces, underscores and other scripts' digits.
    """
    if _DIGITS.fullmatch(text) is None:
        raise ValueError("not a whole number of 1 to 19 digits")
    value = int(text)
    if value > most:
        raise ValueError(f"larger than {most}")
    return value
