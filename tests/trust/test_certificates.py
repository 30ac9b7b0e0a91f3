"""PEM from strangers, and fingerprints as people paste them."""

from __future__ import annotations

import pytest

from moorage.trust.certificates import (
    MOST_CERTIFICATES,
    confirmed,
    parse_fingerprints,
    read_certificates,
    show_fingerprint,
)
from tests.certificates import Authority
from tests.trust.conftest import Server

DIGEST = "0a" * 31 + "ff"
COLONS = ":".join(["0A"] * 31 + ["FF"])


@pytest.mark.parametrize(
    "written",
    [
        DIGEST,
        DIGEST.upper(),
        COLONS,
        COLONS.lower(),
        f"  {COLONS}\n",
        f"SHA256:{DIGEST}",
        f"sha256:{COLONS}",
        f"SHA-256: {COLONS}",
        f"sha256 Fingerprint={COLONS}",
        f"SHA256 Fingerprint={COLONS}\n",
        COLONS.replace(":", " "),
        f"{COLONS},{DIGEST}",
    ],
)
def test_a_fingerprint_is_read_however_it_was_shown(written: str) -> None:
    """With colons or without, in either case, with the words that openssl and others put before it."""
    assert parse_fingerprints(written) == (DIGEST,)


def test_several_fingerprints_are_several() -> None:
    """An authority and the one before it are confirmed together, each once."""
    other = "11" * 32

    assert parse_fingerprints(f"SHA256:{COLONS}, SHA256:{other} {other}") == (DIGEST, other)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("SHA256:", "empty"),
        ("ab" * 20, "SHA-1"),
        (COLONS[:-3], "62 characters"),
        (DIGEST + "00", "66 characters"),
        (DIGEST[:-1] + "g", "hexadecimal"),
        ("yes", "hexadecimal"),
        (f"{DIGEST} y", "hexadecimal"),
    ],
)
def test_what_is_no_fingerprint_is_refused(written: str, said: str) -> None:
    """The sentence says what is wrong with it; half a fingerprint is none."""
    with pytest.raises(ValueError, match=said):
        parse_fingerprints(written)


def test_a_fingerprint_is_what_openssl_says_it_is(authorities: tuple[Authority, Authority]) -> None:
    """SHA-256 of the certificate's DER, shown with colons."""
    from cryptography.hazmat.primitives import hashes

    found = read_certificates(authorities[0].path.read_bytes())

    assert [one.fingerprint for one in found] == [authorities[0].root.fingerprint(hashes.SHA256()).hex()]
    assert parse_fingerprints(show_fingerprint(found[0].fingerprint)) == (found[0].fingerprint,)


def test_a_bundle_has_each_certificate_once_and_its_words_are_passed_over(server: Server) -> None:
    """What stands between the certificates, doubles and line ends do not matter."""
    text = b"# comment\r\n" + server.ca.pem.replace(b"\n", b"\r\n") + b"words\n" + server.old.pem + server.ca.pem

    assert read_certificates(text) == (server.ca, server.old)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "no certificate"),
        (b"<!DOCTYPE html><title>Log in</title>", "HTML"),
        (b"\n<html>", "HTML"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
        (b"\x30\x82\x01\x0a", "DER"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "none"),
        (b"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n", "base64"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA", "no certificate"),
    ],
)
def test_what_is_no_certificate_is_called_what_it_is(text: bytes, said: str) -> None:
    """A page of HTML, a key, DER, an empty answer."""
    with pytest.raises(ValueError, match=said):
        read_certificates(text)


def test_too_many_certificates_are_refused() -> None:
    """Nobody has to look through a whole store."""
    one = b"-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n"

    with pytest.raises(ValueError, match="more than"):
        read_certificates(b"".join(one % (b"AAA%c" % (65 + number)) for number in range(MOST_CERTIFICATES + 1)))


def test_only_what_a_fingerprint_confirms_is_believed(server: Server) -> None:
    """One of two is taken alone; a fingerprint that nothing has ends it, even beside one that fits."""
    offered = (server.ca, server.old)

    assert confirmed(offered, [server.old.fingerprint]) == (server.old,)
    assert confirmed(offered, [server.ca.fingerprint, server.old.fingerprint]) == offered
    with pytest.raises(LookupError):
        confirmed(offered, [server.ca.fingerprint, DIGEST])
