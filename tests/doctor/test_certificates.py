"""Certificates with one mistake each: the doctor names it, and only it."""

from __future__ import annotations

import socket
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from moorage.doctor.finding import Verdict
from tests.doctor.fixtures import Canned, Table, file_of, options, the, troubles, unauthorized, walked
from tests.doctor.odd_certificates import Maker, Mistake, der, pem

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """A root and an intermediate authority."""
    return Maker(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize(
    ("mistake", "verdict", "what", "meaning"),
    [
        (Mistake(begins=-30 * DAY, ends=-14 * DAY), "wrong", "14 days ago", "has expired or is not yet valid"),
        (Mistake(begins=3 * DAY, ends=90 * DAY), "wrong", "is not in force before", "not yet valid"),
        (
            Mistake(names=None),
            "wrong",
            "no alternative names, only the common name registry.test",
            "legacy Common Name",
        ),
        (Mistake(names=["other.test"]), "wrong", "for other.test, not for registry.test", "valid for other.test, not"),
        (Mistake(names=["*.registry.test"]), "wrong", "does not cover registry.test", "one label exactly"),
        (Mistake(names=["registry.test:5000"]), "wrong", "with a port in the name", "has to be registry.test"),
        (Mistake(usage=ExtendedKeyUsageOID.CLIENT_AUTH), "wrong", "lacks serverAuth", "incompatible key usage"),
        (Mistake(sha1=True), "wrong", "is signed with SHA1", "insecure algorithm"),
        (Mistake(rsa_bits=1024), "warning", "has an RSA key of 1024 bits", "2048"),
        (Mistake(ends=3 * DAY, begins=-87 * DAY), "warning", "expires in 2 days", "should have been renewed"),
        (Mistake(ends=3650 * DAY), "warning", "macOS takes none of more than 825", "Docker Desktop"),
        (Mistake(must_staple=True), "warning", "must-staple", "OCSP"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_mistake_is_named(maker: Maker, mistake: Mistake, verdict: str, what: str, meaning: str) -> None:
    """Each mistake gives one finding that is not well, with its sentence, what clients say of it and a remedy."""
    with Canned(maker.make(mistake)) as server:
        found = walked(options(server.url, ca_file=maker.path), "certificate")

    [(step, said, sentence)] = troubles(found)
    finding = the(found, what)
    assert (step, said) == ("certificate", verdict)
    assert what in sentence
    assert meaning in finding.meaning
    assert finding.remedy


def test_a_good_certificate_is_well(maker: Maker) -> None:
    """With its intermediate, for the right name, from an authority that was given: nothing to say."""
    with Canned(maker.make(Mistake())) as server:
        found = walked(options(server.url, ca_file=maker.path), "certificate")

    assert troubles(found) == []
    assert the(found, "the certificate is for registry.test").verdict is Verdict.OK
    assert the(found, "vouches for").facts["trusted_by"] == str(maker.path)


def test_all_mistakes_of_one_certificate_are_named(maker: Maker) -> None:
    """An expired certificate for another name from an unknown authority has three faults, not one."""
    with Canned(maker.make(Mistake(names=["other.test"], begins=-30 * DAY, ends=-2 * DAY))) as server:
        found = walked(options(server.url), "certificate")

    sentences = [what for _, _, what in troubles(found)]
    assert len(sentences) == 3
    assert "for other.test, not for registry.test" in sentences[0]
    assert "expired on" in sentences[1]
    assert "nobody here trusts" in sentences[2]


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["DNS:127.0.0.1"], "has 127.0.0.1 as a DNS name (DNS:127.0.0.1), where IP:127.0.0.1 is needed"),
        (["registry.test"], "is for registry.test, not for the address 127.0.0.1"),
    ],
)
def test_an_address_needs_an_ip_entry(maker: Maker, names: list[str], what: str) -> None:
    """A registry that is reached by its address: its certificate has no IP SAN, or has it as a DNS name."""
    with Canned(maker.make(Mistake(names=names))) as server:
        found = walked(options(f"https://127.0.0.1:{server.port}", ca_file=maker.path), "certificate")

    finding = the(found, what)
    assert finding.verdict is Verdict.WRONG
    assert "doesn't contain any IP SANs" in finding.meaning
    assert any("subjectAltName=IP:127.0.0.1" in line for line in finding.remedy)


def test_a_missing_intermediate_is_found_where_the_certificate_says(maker: Maker) -> None:
    """Only the leaf is sent; its caIssuers address proves what is missing."""

    def publish(request: bytes) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/pkix-cert"}, der(maker.middle)

    with Canned(reply=publish) as authority:
        where = f"http://127.0.0.1:{authority.port}/intermediate.der"
        with Canned(maker.make(Mistake(aia=where), chain=False)) as server:
            found = walked(options(server.url, ca_file=maker.path), "certificate")

    [(_, verdict, what)] = troubles(found)
    finding = the(found, what)
    assert verdict == "wrong"
    assert "an intermediate certificate is missing" in what
    assert "It is there: CN=Odd Intermediate" in finding.meaning
    assert any(where in line for line in finding.remedy)


def test_an_unknown_authority_is_named_with_the_folder_for_it(maker: Maker) -> None:
    """A private authority that nobody here knows."""
    with Canned(maker.make(Mistake(), subordinate=False)) as server:
        found = walked(options(server.url), "certificate")

    [(_, _, what)] = troubles(found)
    finding = the(found, what)
    assert "nobody here trusts the authority that signed it, CN=Odd Root" in what
    assert "certificate signed by unknown authority" in finding.meaning
    assert any(f"/etc/docker/certs.d/registry.test:{server.port}/ca.crt" in line for line in finding.remedy)


def test_the_authority_that_the_registry_offers_is_spoken_of(maker: Maker) -> None:
    """Where /ca.crt has the authority, `moorage trust` is the remedy."""

    def offer(request: bytes) -> tuple[int, dict[str, str], bytes]:
        if request.startswith(b"GET /ca.crt "):
            return 200, {"Content-Type": "application/x-pem-file"}, pem(maker.root)
        return 401, *unauthorized(request)[1:]  # type: ignore[return-value]

    with Canned(maker.make(Mistake(), subordinate=False), offer) as server:
        found = walked(options(server.url), "certificate")

    finding = the(found, "nobody here trusts")
    assert finding.facts["authority_offered"] is True
    assert f"sudo moorage trust registry.test:{server.port}" in finding.remedy


def test_a_self_signed_certificate_is_called_so(maker: Maker) -> None:
    """A certificate that is its own authority."""
    with Canned(maker.make(Mistake(self_signed=True))) as server:
        found = walked(options(server.url), "certificate")

    [(_, verdict, what)] = troubles(found)
    assert (verdict, what) == ("wrong", "the certificate is self-signed, and nobody here trusts it")


def test_a_self_signed_certificate_that_was_given_is_trusted(maker: Maker) -> None:
    """As Go does, the certificate itself may be the authority that is trusted."""
    pair = maker.make(Mistake(self_signed=True))
    with Canned(pair) as server:
        found = walked(options(server.url, ca_file=pair.certificate), "certificate")

    assert troubles(found) == []


def test_an_expired_intermediate_is_named(tmp_path: Path) -> None:
    """The certificate itself is in force."""
    maker = Maker(tmp_path)
    maker.intermediate(ends=-2 * DAY)
    with Canned(maker.make(Mistake())) as server:
        found = walked(options(server.url, ca_file=maker.path), "certificate")

    [(_, verdict, what)] = troubles(found)
    assert verdict == "wrong"
    assert "the intermediate certificate Odd Intermediate expired on" in what


def test_an_authority_that_may_not_sign_for_this_name_is_named(tmp_path: Path) -> None:
    """Name constraints of an intermediate, which clients of today heed."""
    maker = Maker(tmp_path)
    maker.intermediate(only="other.test")
    with Canned(maker.make(Mistake())) as server:
        found = walked(options(server.url, ca_file=maker.path), "certificate")

    [(_, verdict, what)] = troubles(found)
    assert verdict == "wrong"
    assert "the certificate is refused: permitted subtree violation" in what


def test_the_folders_of_engines_are_looked_into(maker: Maker, tmp_path: Path) -> None:
    """What docker trusts for this registry alone is good for docker, and said to be."""
    with Canned(maker.make(Mistake())) as server:
        authority = f"registry.test:{server.port}"
        file_of(tmp_path, f"docker/certs.d/{authority}/ca.crt", maker.path.read_bytes())
        found = walked(options(server.url, certs_folders=(tmp_path / "docker/certs.d",)), "certificate")

    assert troubles(found) == []
    assert "which Docker on this machine trusts" in the(found, "signed by").what


def test_the_clock_of_this_machine_is_told_from_the_certificate(maker: Maker) -> None:
    """A certificate that is in force by the server's clock, and not by ours, is not the one to blame."""
    with Canned(maker.make(Mistake(begins=3 * DAY, ends=90 * DAY)), ahead=5 * 86400) as server:
        found = walked(options(server.url, ca_file=maker.path), "certificate")

    assert the(found, "this machine's clock is 5 days behind the server's").step == "clock"
    finding = the(found, "in force by the server's clock, but not by this machine's")
    assert "sudo timedatectl set-ntp true" in finding.remedy


def test_another_certificate_without_a_server_name_is_no_fault(maker: Maker) -> None:
    """A server of several sites shows its default one to clients that send no SNI; for ours it is right."""
    right, other = maker.make(Mistake()), maker.make(Mistake(names=["other.test"]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(other.certificate, other.key)
    named = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    named.load_cert_chain(right.certificate, right.key)

    def choose(stream: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name == "registry.test":
            stream.context = named

    context.sni_callback = choose
    with Canned(context=context) as server:
        found = walked(options(server.url, ca_file=maker.path), "certificate")

    assert troubles(found) == []
    assert the(found, "no server name (SNI)").facts["fingerprint"]


def test_different_certificates_at_two_addresses_are_noticed(maker: Maker) -> None:
    """One of two addresses was forgotten at the last renewal."""
    good, old = maker.make(Mistake()), maker.make(Mistake(begins=-90 * DAY, ends=-DAY))
    names = Table(known={"registry.test": ("127.0.0.1", "127.0.0.2")}, hosts={})
    with Canned(good) as first, Canned(old, address="127.0.0.2", port=first.port):
        found = walked(options(first.url, ca_file=maker.path, names=names), "certificate")

    assert [what for _, _, what in troubles(found)] == [the(found, "at 127.0.0.2: the certificate expired on").what]
    the(found, "at 127.0.0.1: the certificate is in force")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_is_wanted_is_spoken_of(maker: Maker, version: ssl.TLSVersion) -> None:
    """Mutual TLS without a pair of ours: refused in the handshake, or with the first request after it."""
    pair = maker.make(Mistake())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(maker.path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version
    with Canned(context=context) as server:
        found = walked(options(server.url, ca_file=maker.path), "api")

    [(step, verdict, what)] = troubles(found)
    finding = the(found, what)
    assert (step, verdict) == ("tls", "wrong")
    assert "certificate of the client's own" in what
    assert any("--cert" in line or "openssl s_client" in line for line in finding.remedy)


def test_no_password_is_sent_where_the_certificate_is_wrong(maker: Maker) -> None:
    """Whoever may sit in between gets no password from the doctor."""
    seen: list[bytes] = []

    def watch(request: bytes) -> tuple[int, dict[str, str], bytes]:
        seen.append(request)
        return unauthorized(request)  # type: ignore[return-value]

    with Canned(maker.make(Mistake(names=["other.test"])), watch) as server:
        found = walked(options(server.url, ("ann", "secret"), ca_file=maker.path))

    assert seen
    assert not [
        request for request in seen if b"uthorization:" in request.partition(b"\r\n\r\n")[0].replace(b"WWW", b"")
    ]
    assert {one.step for one in found if one.verdict is Verdict.SKIPPED} >= {"login", "push", "pull", "proxy"}


def test_a_closed_listener_helps_nobody() -> None:
    """The servers of these tests end with their context."""
    with Canned() as server:
        pass

    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), 5)
