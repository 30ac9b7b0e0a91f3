"""Password hashes: bcrypt as htpasswd files hold it, argon2id as the database does.

Every function here that hashes takes milliseconds to seconds of CPU: none belongs on an event loop.
"""

from __future__ import annotations

import base64
import re
import secrets
from typing import Final

import argon2
import bcrypt

from moorage.errors import UserError

BCRYPT_COST: Final = 10
"""About 50 ms. Apache's tool takes 5 (2 ms), which a stolen file does not survive; here a password that was right once
is not hashed again, so that the cost is paid once and not for each request."""

BCRYPT_COSTS: Final = range(4, 18)
"""What Apache's tool offers; 17 takes seven seconds. Every cost that bcrypt knows (4 to 31) is verified."""

MOST_BCRYPT_BYTES: Final = 72
"""Blowfish's key schedule reads no more."""

# OWASP's first choice for argon2id: 19 MiB, two passes, one lane. More memory would be better against guessing and is
# not taken because each check in flight holds it, in each worker, on machines of 512 MiB.
_ARGON2: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1, hash_len=32, salt_len=16)

_BCRYPT: Final = re.compile(r"\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_BCRYPT_DIGITS: Final = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

# What else is found in such files, by the first pattern that fits (crypt(5), Apache's "Password Formats").
_KINDS: Final = (
    (re.compile(r""), "no hash"),
    (re.compile(r"\$2.*"), "damaged bcrypt hash"),
    (re.compile(r"\$apr1\$.*"), "MD5 hash (apr1)"),
    (re.compile(r"\$1\$.*"), "MD5 hash (crypt)"),
    (re.compile(r"\{SHA\}.*"), "SHA-1 hash"),
    (re.compile(r"\{[A-Za-z0-9-]+\}.*"), "LDAP hash"),
    (re.compile(r"\$5\$.*"), "SHA-256 hash (crypt)"),
    (re.compile(r"\$6\$.*"), "SHA-512 hash (crypt)"),
    (re.compile(r"\$g?y\$.*"), "yescrypt hash"),
    (re.compile(r"\$7\$.*"), "scrypt hash"),
    (re.compile(r"\$argon2.*"), "argon2 hash"),
    (re.compile(r"[./A-Za-z0-9]{13}"), "DES hash (crypt)"),
)

# Without i, l, o, 0 and 1, which are mistaken for each other.
_READABLE: Final = "abcdefghjkmnpqrstuvwxyz23456789"


def unusable(password: str) -> str | None:
    """Why *password* cannot be set, or None.

    RFC 7617, 2: no control characters; text that is not UTF-8 cannot be sent. An empty one is nobody's wish.
    """
    if not password:
        return "the password is empty"
    if _CONTROL.search(password):
        return "the password contains control characters"
    try:
        password.encode()
    except UnicodeEncodeError:
        return "the password is not UTF-8"
    return None


def hash_bcrypt(password: str, cost: int = BCRYPT_COST) -> str:
    """Return a new `$2y$` hash, 60 characters, which Apache and registry:2 read too.

    Raises UserError for a password that is `unusable` or has more than MOST_BCRYPT_BYTES bytes, and for a cost
    outside BCRYPT_COSTS.
    """
    if reason := unusable(password):
        raise UserError(reason)
    if len(password.encode()) > MOST_BCRYPT_BYTES:
        raise UserError(f"bcrypt takes at most {MOST_BCRYPT_BYTES} bytes of a password")
    if cost not in BCRYPT_COSTS:
        raise UserError(f"the cost of bcrypt goes from {BCRYPT_COSTS[0]} to {BCRYPT_COSTS[-1]}")
    return bcrypt.hashpw(password.encode(), _bcrypt_salt(cost)).decode()


def hash_argon2(password: str) -> str:
    """Return a new argon2id hash in PHC form, about 100 characters. Raises UserError for an `unusable` password."""
    if reason := unusable(password):
        raise UserError(reason)
    return _ARGON2.hash(password)


def verify(stored: str, password: str) -> bool:
    """Whether *password* is the one that *stored*, bcrypt or argon2id, was made of; never raises.

    The whole work is done for every password: for a wrong one, and for one that can never be right, which is an empty
    one or one with a NUL (bcrypt repeats its key behind a NUL, so that "a", NUL, "a" would pass for "a"). Of a password
    beyond 72 bytes bcrypt sees the first 72, as with Apache and registry:2.
    """
    raw = password.encode("utf-8", "surrogatepass")
    if _BCRYPT.fullmatch(stored):
        same = bcrypt.checkpw(raw[:MOST_BCRYPT_BYTES], stored.encode())
    elif stored.startswith("$argon2id$"):
        try:
            same = _ARGON2.verify(stored, raw)
        except (argon2.exceptions.Argon2Error, argon2.exceptions.InvalidHashError, UnicodeEncodeError):
            same = False
    else:
        same = False
    return same and raw != b"" and b"\0" not in raw


def needs_rehash(stored: str) -> bool:
    """Whether *stored* is anything but argon2id with today's parameters."""
    try:
        return not stored.startswith("$argon2id$") or _ARGON2.check_needs_rehash(stored)
    except argon2.exceptions.InvalidHashError:
        return True


def bcrypt_cost(stored: str) -> int | None:
    """The cost of a bcrypt hash; None for everything else, a damaged bcrypt hash included."""
    match = _BCRYPT.fullmatch(stored)
    return int(match[1]) if match else None


def hash_kind(stored: str) -> str:
    """What *stored* looks like, in words, without any of it: it may be a plain password."""
    if bcrypt_cost(stored) is not None:
        return "bcrypt hash"
    return next(
        (kind for pattern, kind in _KINDS if pattern.fullmatch(stored)), "hash of an unknown kind, or plain text"
    )


def decoy_bcrypt(cost: int) -> str:
    """A hash of no password that takes as long to check as a real one of that cost; made in microseconds."""
    digits = "".join(secrets.choice(_BCRYPT_DIGITS) for _ in range(31))
    return _bcrypt_salt(cost).decode() + digits


def decoy_argon2() -> str:
    """A hash of no password that takes as long to check as one of `hash_argon2`; made in microseconds."""
    salt, digest = (base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=") for length in (16, 32))
    parameters = f"m={_ARGON2.memory_cost},t={_ARGON2.time_cost},p={_ARGON2.parallelism}"
    return f"$argon2id$v={argon2.low_level.ARGON2_VERSION}${parameters}${salt}${digest}"


def generate_password() -> str:
    """Return four groups of five letters and digits, 99 bits, that can be read aloud and need no quotes in a shell."""
    return "-".join("".join(secrets.choice(_READABLE) for _ in range(5)) for _ in range(4))


def _bcrypt_salt(cost: int) -> bytes:
    # $2y$ is what Apache writes; the algorithm is that of $2b$.
    return b"$2y$" + bcrypt.gensalt(cost)[4:]
