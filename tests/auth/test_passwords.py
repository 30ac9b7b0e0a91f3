from __future__ import annotations

import math
import re

import bcrypt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moorage.auth import passwords
from moorage.errors import UserError

BCRYPT = passwords.hash_bcrypt("correct horse", 4)
ARGON2 = passwords.hash_argon2("correct horse")

# Made by Apache's htpasswd 2.4.
APACHE = "$2y$05$biUtpN8JHgCe9clSD7SQMuSq8KfjVepTQLDXx78n97c.I6YrNTCRm"


@pytest.mark.parametrize("stored", [BCRYPT, ARGON2])
@pytest.mark.parametrize(
    "wrong", ["", "correct hors", "correct horse ", "Correct horse", "\0", "correct horse\0", "🐎"]
)
def test_only_the_password_fits(stored: str, wrong: str) -> None:
    """Of both kinds of hash exactly the password itself is accepted."""
    assert passwords.verify(stored, "correct horse")
    assert not passwords.verify(stored, wrong)


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2x$", "$2y$"])
def test_every_bcrypt_prefix_verifies(prefix: str) -> None:
    """PHP, Go, Python and Apache write four prefixes for one algorithm."""
    stored = prefix + APACHE[4:]

    assert passwords.verify(stored, "password")
    assert not passwords.verify(stored, "passwort")


def test_bcrypt_with_a_nul_is_refused() -> None:
    """Behind a NUL bcrypt repeats its key, so "a", NUL, "a" has the hash of "a" and must still be wrong."""
    stored = passwords.hash_bcrypt("a", 4)

    assert passwords.verify(stored, "a")
    assert not passwords.verify(stored, "a\0a")


def test_an_empty_password_never_fits() -> None:
    """Even where a file holds the bcrypt hash of nothing, nobody gets in by it."""
    stored = bcrypt.hashpw(b"", bcrypt.gensalt(4)).decode()

    assert bcrypt.checkpw(b"", stored.encode())
    assert not passwords.verify(stored, "")
    assert not passwords.verify(stored, "\0")


def test_bcrypt_sees_72_bytes() -> None:
    """Longer passwords are cut for verifying, as Apache and registry:2 do, and refused for a new hash."""
    stored = passwords.hash_bcrypt("x" * 72, 4)

    assert passwords.verify(stored, "x" * 72)
    assert passwords.verify(stored, "x" * 80)
    assert not passwords.verify(stored, "x" * 71)
    with pytest.raises(UserError, match="72 bytes"):
        passwords.hash_bcrypt("ä" * 37, 4)


@pytest.mark.parametrize("password", ["", "a\0b", "line\nbreak", "tab\t", "\x7f", "\ud800"])
def test_unusable_passwords_are_not_set(password: str) -> None:
    """What no client can send as Basic credentials (RFC 7617, 2) is refused by both hashes."""
    with pytest.raises(UserError):
        passwords.hash_bcrypt(password, 4)
    with pytest.raises(UserError):
        passwords.hash_argon2(password)


@pytest.mark.parametrize("cost", [-1, 0, 3, 18, 31, 32])
def test_costs_outside_the_range_are_refused(cost: int) -> None:
    """A cost that takes seconds to minutes, or is none of bcrypt's, is refused before anything is computed."""
    with pytest.raises(UserError, match="from 4 to 17"):
        passwords.hash_bcrypt("password", cost)


@given(
    st.one_of(
        st.text(max_size=80),
        st.from_regex(r"\$2[abxy]\$04\$[./A-Za-z0-9]{53}", fullmatch=True),
        st.from_regex(r"\$argon2id\$v=19\$m=[0-9]{1,3},t=[0-3],p=[0-3]\$[A-Za-z0-9+/]{0,30}\$.{0,44}", fullmatch=True),
    ),
    st.text(max_size=100),
)
@example("$2b$04$" + "A" * 53, "x")
@example("$2b$99$" + "." * 53, "x")
@example("$argon2id$", "x")
@example("$argon2id$é", "x")
@example(BCRYPT + "\n", "correct horse")
@example(BCRYPT, "\ud800")
def test_verify_never_raises_nor_accepts_garbage(stored: str, password: str) -> None:
    """Whatever is stored and whatever is sent, the answer is no."""
    assert passwords.verify(stored, password) is False


@pytest.mark.parametrize("cost", [4, 5, 10])
def test_a_bcrypt_decoy_is_a_real_hash_of_its_cost(cost: int) -> None:
    """A decoy has the form and the cost of a real hash, bcrypt takes it, and it is the hash of nothing known."""
    decoy = passwords.decoy_bcrypt(cost)

    assert passwords.bcrypt_cost(decoy) == cost
    assert len(decoy) == len(BCRYPT)
    assert not passwords.verify(decoy, "password")


def test_an_argon2_decoy_is_a_real_hash_of_todays_parameters() -> None:
    """A decoy parses, with the parameters and lengths of a new hash, and is the hash of nothing known."""
    decoy = passwords.decoy_argon2()

    assert not passwords.needs_rehash(decoy)
    assert [len(part) for part in decoy.split("$")] == [len(part) for part in ARGON2.split("$")]
    assert not passwords.verify(decoy, "password")


@pytest.mark.parametrize(
    ("stored", "outdated"),
    [(ARGON2, False), (BCRYPT, True), (ARGON2.replace("t=2", "t=1"), True), ("$argon2id$junk", True), ("", True)],
)
def test_what_needs_a_new_hash(stored: str, outdated: bool) -> None:  # noqa: FBT001
    """Everything but argon2id with today's parameters is to be replaced at the next chance."""
    assert passwords.needs_rehash(stored) is outdated


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (APACHE, "bcrypt hash"),
        (APACHE[:-1], "damaged bcrypt hash"),
        ("$2y$32$" + APACHE[7:], "damaged bcrypt hash"),
        ("$apr1$mYBnYy8P$T0DjeAWL3jRhaVsUsEYBT.", "MD5 hash (apr1)"),
        ("$1$salt$qJH7.N4xYta3aEG/dfqo/0", "MD5 hash (crypt)"),
        ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "SHA-1 hash"),
        ("{SSHA}c2FsdA==", "LDAP hash"),
        ("$5$salt$hash", "SHA-256 hash (crypt)"),
        ("$6$salt$hash", "SHA-512 hash (crypt)"),
        ("$y$j9T$salt$hash", "yescrypt hash"),
        (ARGON2, "argon2 hash"),
        ("rqXexS6ZhobKA", "DES hash (crypt)"),
        ("", "no hash"),
        ("hunter2", "hash of an unknown kind, or plain text"),
    ],
)
def test_kinds_of_hashes_are_named(stored: str, kind: str) -> None:
    """Each common kind has its name, and no name repeats what is stored: that may be a plain password."""
    assert passwords.hash_kind(stored) == kind


def test_generated_passwords_are_readable_and_strong() -> None:
    """Each password has at least 96 bits, no letter that looks like another, and nothing that a shell would touch."""
    generated = {passwords.generate_password() for _ in range(200)}

    alphabet = set("".join(generated)) - {"-"}
    assert len(generated) == 200
    assert all(re.fullmatch(r"[a-z2-9]{5}(-[a-z2-9]{5}){3}", password) for password in generated)
    assert not alphabet & set("il1o0")
    assert 20 * math.log2(len(alphabet)) > 96
