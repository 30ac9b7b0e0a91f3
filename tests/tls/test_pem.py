from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import ConfigurationError
from moorage.tls.pem import MOST_BYTES, read_chain, read_file, read_pair

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
NOW = datetime(2026, 11, 23, tzinfo=UTC)
URL = "http://e7.example.com/"


def name(common: str, organisation: str = "") -> x509.Name:
    """A subject with these two parts."""
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def sign(subject: x509.Name, issuer: x509.Name, key: Key, by: Key, *extensions: x509.ExtensionType) -> x509.Certificate:
    """A certificate for *key* from the day before NOW, for ninety days."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(0x1234)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=89))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(by, hashes.SHA256())


class Given:
    """A root, an intermediate authority and a server's certificate, as a public authority makes them."""

    def __init__(self) -> None:
        root, between = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
        self.key = ec.generate_private_key(ec.SECP256R1())
        authority = x509.BasicConstraints(ca=True, path_length=0)
        self.root = sign(name("Root"), name("Root"), root, root, x509.BasicConstraints(ca=True, path_length=1))
        self.between = sign(name("E7", "Let's Encrypt"), name("Root"), between, root, authority)
        location = x509.UniformResourceIdentifier(URL)
        self.leaf = sign(
            name("a.example.com"),
            self.between.subject,
            self.key,
            between,
            x509.SubjectAlternativeName([x509.DNSName("A.example.com"), x509.DNSName("*.b.example.com")]),
            x509.AuthorityInformationAccess(
                [x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, location)]
            ),
        )


GIVEN = Given()


def pem(*certificates: x509.Certificate) -> bytes:
    """A file with these certificates."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def key_pem(key: Key = GIVEN.key, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    """A file with this key."""
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def encrypted(form: PrivateFormat) -> bytes:
    """A file with the key under a passphrase."""
    return GIVEN.key.private_bytes(Encoding.PEM, form, serialization.BestAvailableEncryption(b"secret"))


CHAIN = pem(GIVEN.leaf, GIVEN.between)
KEY = key_pem()
DER = GIVEN.leaf.public_bytes(Encoding.DER)
PFX = pkcs12.serialize_key_and_certificates(
    b"x", GIVEN.key, GIVEN.leaf, [GIVEN.between], serialization.BestAvailableEncryption(b"secret")
)
CSR = x509.CertificateSigningRequestBuilder().subject_name(name("a")).sign(GIVEN.key, hashes.SHA256())
SSH = GIVEN.key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def complaint(work: Callable[[], object]) -> str:
    """What is said about what *work* cannot use."""
    with pytest.raises(ConfigurationError) as caught:
        work()
    return str(caught.value)


def test_a_sound_pair_says_what_clients_will_see() -> None:
    """Names, issuer, validity, fingerprint and chain are read, and there is nothing to warn of."""
    found = read_pair(CHAIN, KEY, chain_source="chain.pem", key_source="key.pem")

    leaf = found.leaf
    assert leaf.names == ("a.example.com", "*.b.example.com")
    assert (leaf.subject, leaf.issuer, leaf.serial) == ("a.example.com", "Let's Encrypt, E7", 0x1234)
    assert leaf.not_before == int((NOW - timedelta(days=1)).timestamp()) * 1_000_000
    assert leaf.not_after == int((NOW + timedelta(days=89)).timestamp()) * 1_000_000
    assert leaf.fingerprint == GIVEN.leaf.fingerprint(hashes.SHA256()).hex(":").upper()
    assert (leaf.key, leaf.authority, leaf.self_signed, leaf.issuer_urls) == ("ECDSA P-256", False, False, (URL,))
    assert [one.subject for one in found.rest] == ["Let's Encrypt, E7"]
    assert found.rest[0].authority
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("asked", "answer"),
    [("a.example.com", "yes"), ("x.b.example.com", "yes"), ("b.example.com", "no"), ("192.0.2.1", "no")],
)
def test_a_certificate_covers_its_names_and_no_other(asked: str, answer: str) -> None:
    """A wildcard stands for one label."""
    assert read_chain(CHAIN, "chain.pem").leaf.covers(asked) is (answer == "yes")


@pytest.mark.parametrize(
    ("days", "says"), [(-2, "is not valid before 2026-11-22 00:00 UTC"), (0, None), (89, "expired on 2027-02-20")]
)
def test_a_certificate_says_when_it_is_out_of_time(days: int, says: str | None) -> None:
    """The first moment and the last are told apart, and a wrong clock is thought of."""
    moment = int((NOW + timedelta(days=days)).timestamp()) * 1_000_000

    found = read_chain(CHAIN, "chain.pem").leaf.out_of_time(moment)

    assert (found or "").startswith(says) if says else found is None


@pytest.mark.parametrize(
    "text",
    [
        CHAIN.replace(b"\n", b"\r\n"),
        b"subject=a\n" + CHAIN + b"\nthe end\n",
        b"  \n" + CHAIN.rstrip(),
        KEY + CHAIN,
        CHAIN.replace(b"\n", b" \n"),
    ],
    ids=["Windows line ends", "text around", "no newline at the end", "key in the same file", "trailing blanks"],
)
def test_text_around_the_blocks_and_line_ends_do_not_matter(text: bytes) -> None:
    """What OpenSSL reads is read."""
    assert len(read_pair(text, KEY, chain_source="c", key_source="k").rest) == 1


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_key_may_have_either_form(form: PrivateFormat) -> None:
    """PKCS #8, and what older programs write, with the curve's parameters before it."""
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"

    assert read_pair(CHAIN, parameters + key_pem(form=form), chain_source="c", key_source="k").leaf.serial == 0x1234


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "chain.pem: is empty"),
        (b" \n", "is empty"),
        (b"hello\n", "is not PEM"),
        (KEY, "holds a private key and no certificate: are the two files swapped?"),
        (CSR.public_bytes(Encoding.PEM), "a request for a certificate (CSR)"),
        (DER, "openssl x509 -inform der -in chain.pem -out"),
        (PFX, "openssl pkcs12 -in chain.pem"),
        (pkcs7.serialize_certificates([GIVEN.leaf], Encoding.PEM), "openssl pkcs7 -print_certs -in chain.pem"),
        (pkcs7.serialize_certificates([GIVEN.leaf], Encoding.DER), "openssl pkcs7 -inform der -print_certs"),
        (CHAIN.decode().encode("utf-16"), "is UTF-16"),
        (b"\xef\xbb\xbf" + CHAIN, "byte order mark"),
        (CHAIN[:300], "no complete -----BEGIN CERTIFICATE-----"),
        (
            pem(GIVEN.leaf) + pem(GIVEN.between).replace(b"MII", b"MIJ", 1),
            "certificate number 2 in the file is damaged",
        ),
        (pem(GIVEN.leaf).replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), "openssl x509 -in chain.pem"),
    ],
)
def test_what_is_no_certificate_is_named(data: bytes, says: str) -> None:
    """The file, what it is instead, and the command that makes the right one of it."""
    said = complaint(lambda: read_pair(data, KEY, chain_source="chain.pem", key_source="key.pem"))

    assert said.startswith("chain.pem: ")
    assert says in said


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "key.pem: is empty"),
        (CHAIN, "holds a certificate without its key"),
        (encrypted(PrivateFormat.PKCS8), "the key is encrypted"),
        (encrypted(PrivateFormat.TraditionalOpenSSL), "openssl pkey -in key.pem"),
        (GIVEN.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), "is a key in DER"),
        (
            GIVEN.key.private_bytes(
                Encoding.DER, PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
            ),
            "is a key in DER",
        ),
        (PFX, "is PKCS #12"),
        (GIVEN.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "a public key"),
        (SSH, "is a key for SSH"),
        (KEY.replace(b"MIG", b"MIH", 1), "the key is damaged"),
        (key_pem(ec.generate_private_key(ec.SECP256R1())), "is not that of the certificate in chain.pem"),
        (key_pem(rsa.generate_private_key(65537, 2048)), "(RSA 2048, and the certificate's is ECDSA P-256)"),
    ],
)
def test_what_is_no_key_of_the_certificate_is_named(data: bytes, says: str) -> None:
    """The file, what is wrong with it, and what to do."""
    said = complaint(lambda: read_pair(CHAIN, data, chain_source="chain.pem", key_source="key.pem"))

    assert said.startswith("key.pem: ")
    assert says in said
    assert "secret" not in said


def test_the_servers_own_certificate_comes_first() -> None:
    """Another order is refused: the key says which one is the server's."""
    said = complaint(
        lambda: read_pair(pem(GIVEN.between, GIVEN.leaf), KEY, chain_source="chain.pem", key_source="key.pem")
    )

    assert "chain.pem: the server's own certificate has to be the first in the file, and it is number 2" in said


def test_a_short_rsa_key_is_refused_before_openssl_does() -> None:
    """1024 bits are too few for every server and client of today."""
    key = rsa.generate_private_key(65537, 1024)
    leaf = sign(name("a"), name("a"), key, key, x509.SubjectAlternativeName([x509.DNSName("a")]))

    said = complaint(lambda: read_pair(pem(leaf), key_pem(key), chain_source="chain.pem", key_source="key.pem"))

    assert "an RSA key of 1024 bits is too short" in said


def _private_leaf(*extensions: x509.ExtensionType) -> x509.Certificate:
    by = ec.generate_private_key(ec.SECP256R1())
    return sign(name("a"), name("Our CA"), GIVEN.key, by, *extensions)


NAMED = x509.SubjectAlternativeName([x509.DNSName("a")])


@pytest.mark.parametrize(
    ("certificates", "warnings"),
    [
        ((GIVEN.leaf,), ["the intermediate one, Let's Encrypt, E7, is missing"]),
        ((_private_leaf(NAMED),), ["right only if Our CA is what the clients trust"]),
        ((sign(name("a"), name("a"), GIVEN.key, GIVEN.key, NAMED),), []),
        ((sign(name("a"), name("a"), GIVEN.key, GIVEN.key),), ["no subjectAltName"]),
        ((GIVEN.leaf, GIVEN.root), ["certificate number 1 was signed by Let's Encrypt, E7, and number 2 is Root"]),
        ((GIVEN.leaf, GIVEN.between, GIVEN.root), []),
        ((GIVEN.leaf, GIVEN.root, GIVEN.between), ["number 2 is Root"]),
    ],
)
def test_what_some_clients_refuse_is_a_warning(certificates: tuple[x509.Certificate, ...], warnings: list[str]) -> None:
    """A missing intermediate, a wrong order, no alternative name: the pair can be used, and is told about."""
    found = read_pair(pem(*certificates), KEY, chain_source="c", key_source="k").warnings

    assert len(found) == len(warnings)
    assert all(says in said for says, said in zip(warnings, found, strict=True))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a dangling link, a folder, certbot's folder, too large."""
    (tmp_path / "link").symlink_to("../archive/cert1.pem")
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "fullchain.pem").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"x" * (MOST_BYTES + 1))

    said = {entry: complaint(lambda entry=entry: read_file(tmp_path / entry)) for entry in _ENTRIES}  # type: ignore[misc]

    assert all(text.startswith(f"{tmp_path / entry}: ") for entry, text in said.items())
    assert [says for entry, says in _ENTRIES.items() if says not in said[entry]] == []


_ENTRIES = {
    "absent": "there is no such file",
    "link": "is a link to ../archive/cert1.pem, which is not there",
    "folder": "is a folder, not a file",
    "live": "the files in it are fullchain.pem and privkey.pem",
    "large": "too large",
    "large/below": "there is no such file",
}


@given(st.binary(max_size=400), st.sampled_from([b"", b"-----BEGIN CERTIFICATE-----\n", b"\x30\x82", CHAIN[:700]]))
def test_any_bytes_end_in_a_sentence_or_in_facts(noise: bytes, before: bytes) -> None:
    """Nothing that is read brings anything else about."""
    said = []

    for data, key in ((before + noise, KEY), (CHAIN, before + noise)):
        try:
            read_pair(data, key, chain_source="file", key_source="file")
        except ConfigurationError as error:
            said.append(str(error))

    assert all(text.startswith("file: ") for text in said)


def test_openssl_agrees_that_the_pair_is_one(tmp_path: Path) -> None:
    """The pair that is accepted here is one to OpenSSL, too."""
    (tmp_path / "chain.pem").write_bytes(CHAIN)
    (tmp_path / "key.pem").write_bytes(KEY)

    public = [
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=tmp_path).stdout
        for words in (["x509", "-in", "chain.pem", "-pubkey", "-noout"], ["pkey", "-in", "key.pem", "-pubout"])
    ]

    assert public[0] == public[1]
