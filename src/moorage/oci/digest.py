"""Content digests: the two registered algorithms, in text, as database keys, and computed."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from moorage.errors import DataError, DigestInvalid
from moorage.oci.excerpt import excerpt

if TYPE_CHECKING:
    from hashlib import _Hash

ALGORITHMS: Final = ("sha256", "sha512")
"""image-spec, descriptor.md, "Registered algorithms"; blake3 is only reserved there."""

_GRAMMAR: Final = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")
_KEY_BYTES: Final = {"sha256": b"\x01", "sha512": b"\x02"}
_KEY_FORMS: Final = {(1, 33): "sha256", (2, 65): "sha512"}
_REMEMBERED: Final = 16384
"""Parsed digests kept, about 400 bytes each (arbitrary)."""


class Digest(NamedTuple):
    """`algorithm:hex`, lower case, of a registered algorithm; equal digests are equal values.

    Make one with `parse`, `of` or `from_key`; the constructor itself checks nothing.
    It is a tuple: format it with an f-string or `str`, never with `%`.
    """

    algorithm: str
    hex: str

    @staticmethod
    def parse(text: str) -> Digest:
        """Return the digest that *text* writes; raises DigestInvalid (image-spec, descriptor.md, "Digests")."""
        return _parse(text)

    @staticmethod
    def of(data: bytes, algorithm: str = "sha256") -> Digest:
        """Return the digest of *data*; raises DigestInvalid for an unknown algorithm."""
        state = hasher(algorithm)
        state.update(data)
        return Digest(algorithm, state.hexdigest())

    @staticmethod
    def from_key(key: bytes) -> Digest:
        """Return the digest whose `key` is *key*; raises DataError, since keys come only from our own database."""
        algorithm = _KEY_FORMS.get((key[0], len(key))) if key else None
        if algorithm is None:
            raise DataError(f"not a digest key: {bytes(key[:80]).hex()}")
        return Digest(algorithm, key[1:].hex())

    @property
    def key(self) -> bytes:
        """The form kept in databases: one byte for the algorithm (1 sha256, 2 sha512), then the raw digest."""
        return _KEY_BYTES[self.algorithm] + bytes.fromhex(self.hex)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@lru_cache(maxsize=_REMEMBERED)
def _parse(text: str) -> Digest:
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise DigestInvalid(f"not a sha256 or sha512 digest: {excerpt(text)}")
    return Digest(match[1] or match[3], match[2] or match[4])


def parse_algorithm(text: str) -> str:
    """Return *text* if it names one of `ALGORITHMS`, exactly; raises DigestInvalid."""
    if text not in ALGORITHMS:
        raise DigestInvalid(f"unknown digest algorithm {excerpt(text)}: this registry knows {' and '.join(ALGORITHMS)}")
    return text


def hasher(algorithm: str) -> _Hash:
    """Return a new running hash; raises DigestInvalid for an unknown algorithm."""
    return hashlib.new(parse_algorithm(algorithm))
