"""The Authorization header."""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Final

from moorage.errors import Unauthorized

MOST_BYTES: Final = 8192
"""The whole header value (arbitrary; a user and a password need a hundred)."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def parse_user(header: bytes) -> str | None:
    """Return the user whom a proxy names in a header of its own; None where it names nobody.

    Raises Unauthorized for text that is not UTF-8, control characters, and more than MOST_BYTES bytes.
    """
    try:
        user = header.strip(b" \t").decode("utf-8")
    except UnicodeDecodeError:
        raise Unauthorized("the proxy's user name is not UTF-8") from None
    if len(header) > MOST_BYTES or _CONTROL.search(user):
        raise Unauthorized("the proxy's user name cannot be one")
    return user or None


def parse_basic(header: bytes) -> tuple[str, str] | None:
    """Return the user and the password of a Basic Authorization header (RFC 7617); the password may contain colons.

    None if both are empty: containers/image (podman, skopeo, buildah) sends that for "no credentials".

    Raises Unauthorized for every other scheme, base64 with anything beside its alphabet and padding, a missing colon,
    text that is not UTF-8, control characters in the user, a NUL in the password, and more than MOST_BYTES bytes.
    """
    if len(header) > MOST_BYTES:
        raise Unauthorized("the Authorization header is too long")
    scheme, _, encoded = header.partition(b" ")
    if scheme.lower() != b"basic":
        raise Unauthorized("this registry takes Basic credentials only")
    try:
        user, colon, password = a2b_base64(encoded.strip(b" "), strict_mode=True).decode("utf-8").partition(":")
    except (Base64Error, UnicodeDecodeError):
        raise Unauthorized("the credentials are not base64 of UTF-8") from None
    if not colon or _CONTROL.search(user) or "\0" in password:
        raise Unauthorized("the credentials are not user:password")
    return (user, password) if user or password else None
