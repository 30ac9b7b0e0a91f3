from __future__ import annotations

import ssl
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import CertificateFailed
from moorage.tls.acme.certificates import certificate_id, checked_chain, is_fresh, make_request, new_key
from moorage.tls.acme.challenges import server_name, validation_pair
from moorage.tls.acme.network import retry_after
from moorage.tls.acme.options import AcmeOptions
from moorage.tls.acme.orders import Answered, Order, OrderFiles
from moorage.tls.acme.problems import explain, parse_problem
from moorage.tls.store import CertificateStore
from tests.acme.asking import check, issue, leftovers, options_for
from tests.acme.doors import Doors
from tests.acme.pebble import Pebble
from tests.certificates import make_key

ERROR = "urn:ietf:params:acme:error:"


def certificate(serial: int, identifier: bytes, days: float = 90.0) -> bytes:
    """A certificate with this serial number and authority key identifier, good for *days* from now."""
    key, now = make_key(), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.AuthorityKeyIdentifier(identifier, None, None), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("serial", "identifier"),
    [
        (0x87654321, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"),
        (0x7F, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.fw"),
        (0x80, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIA"),
    ],
)
def test_certificates_are_named_as_in_the_rfc(serial: int, identifier: str) -> None:
    """The first is the example of RFC 9773, 4.1; a leading zero stands only where DER has one."""
    chain = certificate(serial, bytes.fromhex("69885b6b87464041e1b37b847ba0ae2cde01c8d4"))

    assert certificate_id(chain) == identifier


def test_a_certificate_is_fresh_for_a_third_of_its_life() -> None:
    """What a dead process had got long ago is not handed over as new."""
    chain, now = certificate(1, b"x", days=90), int(datetime.now(UTC).timestamp() * 1e6)

    fresh = [is_fresh(chain, now + days * 86_400_000_000) for days in (0, 29, 31, 100)]

    assert fresh == [True, True, False, False]
    assert not is_fresh(b"nothing", now)


@pytest.mark.parametrize("name", ["b.example", "*.example", "example", "192.0.2.1"])
def test_a_certificate_for_another_name_is_not_taken(name: str) -> None:
    """The right key is not enough: the name that was asked for must be in it as such."""
    key, now = make_key(), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("A.example.")]), critical=False)
    )
    body = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    with pytest.raises(CertificateFailed, match=r"its certificate is for A\.example"):
        checked_chain(body, private, name, "ca.example")
    assert checked_chain(body, private, "a.example", "ca.example") == body


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
@pytest.mark.parametrize("name", ["a.example", "*.a.example", "192.0.2.1", "2001:db8::1"])
def test_a_request_has_one_name_and_nothing_else(name: str, kind: Any) -> None:
    """Authorities refuse what they cannot place: there is the alternative name, and no other name or extension."""
    request = x509.load_der_x509_csr(make_request(name, new_key(kind)))

    (extension,) = request.extensions
    assert [str(one.value) for one in extension.value] == [name]
    assert request.subject == x509.Name([])
    assert request.is_signature_valid


@pytest.mark.parametrize(
    ("name", "sni"),
    [
        ("a.example", "a.example"),
        ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
        ("2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
    ],
)
def test_addresses_are_validated_by_their_reverse_names(name: str, sni: str) -> None:
    """An authority cannot send an address as SNI: it sends the reverse name (RFC 8738, 6)."""
    assert server_name(name) == sni


def test_the_validation_certificate_is_that_of_the_rfc() -> None:
    """One alternative name, and the digest in a critical extension as a DER octet string (RFC 8737, 3)."""
    chain, _ = validation_pair("a.example", bytes(range(32)))

    made = x509.load_pem_x509_certificate(chain)
    extension = made.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    assert extension.value.value == b"\x04\x20" + bytes(range(32))
    assert made.issuer == made.subject


@pytest.mark.parametrize(
    ("document", "kind", "words"),
    [
        ({"type": ERROR + "caa", "detail": "no"}, "caa", "no"),
        (
            {"type": ERROR + "malformed", "detail": "x", "subproblems": [{"type": ERROR + "caa", "detail": "y"}]},
            "caa",
            "y",
        ),
        (
            {
                "type": ERROR + "compound",
                "subproblems": [
                    {"type": ERROR + "dns", "detail": "one", "identifier": {"type": "dns", "value": "b.example"}},
                    {"type": ERROR + "caa", "detail": "two"},
                ],
            },
            "dns",
            "b.example: one; two",
        ),
        (
            {"type": ERROR + "rateLimited", "detail": "d", "subproblems": [{"detail": "more"}]},
            "rateLimited",
            "d (more)",
        ),
        ({"type": "https://example.com/own", "title": "theirs"}, "https://example.com/own", "theirs"),
        ({"type": "about:blank", "detail": "plain"}, "serverInternal", "plain"),
        ({"type": 5, "detail": ["x"], "subproblems": {}, "identifier": 7}, "serverInternal", "serverInternal"),
        ({"detail": "long " * 1000}, "serverInternal", "..."),
        ({"detail": "two\nlines\x1b[2J"}, "serverInternal", "two lines"),
        (None, "serverInternal", "serverInternal"),
    ],
)
def test_problem_documents_of_any_shape(document: object, kind: str, words: str) -> None:
    """The kind and the words come from where they stand, and nothing in them reaches a terminal as control codes."""
    error = explain(parse_problem(document), "a.example", "ca.example")

    assert error.kind == kind
    assert words in error.message
    assert error.message.isprintable()
    assert len(error.message) < 1000


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_no_document_breaks_the_words(document: object) -> None:
    """Whatever JSON an authority sends is some problem."""
    for one in (document, {"type": document, "detail": document, "subproblems": document, "identifier": document}):
        assert explain(parse_problem(one), "a.example", "ca.example").message


@given(st.text())
def test_retry_after_of_any_text(text: str) -> None:
    """Seconds that can be waited, or None."""
    seconds = retry_after({"Retry-After": text, "Date": text}, 0)

    assert seconds is None or 0 <= seconds <= 30 * 86400


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"format": 2}',
        b'{"format": 1}',
        b'{"format": 1, "url": 7, "made": 0, "finished": null}',
    ],
)
def test_an_order_that_cannot_be_read_is_none(store: CertificateStore, content: bytes) -> None:
    """A damaged note costs a new order, no more."""
    options = AcmeOptions(directory="https://ca.example/")
    files = OrderFiles(store, options.directory, "a.example")
    files.begin(Order("a.example", "account", "ecdsa", None, made=1), b"key")
    assert files.load(options, "account") is not None

    (files.folder / "order.json").write_bytes(content)
    (files.folder / "challenge.json").write_bytes(content)

    assert files.load(options, "account") is None
    assert files.answered() is None


@pytest.mark.parametrize("change", ["account", "key_type", "profile"])
def test_an_order_for_something_else_is_not_gone_on_with(store: CertificateStore, change: str) -> None:
    """Another account, key type or profile needs another order."""
    options = AcmeOptions(directory="https://ca.example/")
    files = OrderFiles(store, options.directory, "a.example")
    values: dict[str, Any] = {"account": "account", "key_type": "ecdsa", "profile": None} | {change: "other"}
    files.begin(Order("a.example", **values, made=1), b"key")

    assert files.load(options, "account") is None


def test_an_answer_of_a_forgotten_order_is_taken_away(pebble: Pebble, store: CertificateStore, doors: Doors) -> None:
    """What a dead process put for an order that is gone is taken away before anything new is put."""
    options = options_for(pebble)
    files = OrderFiles(store, options.directory, "a.example")
    store.answer_http("old-token", "old")
    files.note(Answered("http-01", "a.example", "old-token"))

    issued = issue(options, store, "a.example")

    check(issued, "a.example", pebble.roots())
    assert leftovers(store) == []
    assert store.http_answer("old-token") is None


def test_a_lists_absence_costs_no_certificate(pebble: Pebble, store: CertificateStore, doors: Doors) -> None:
    """An authority whose list of orders is an error page still gives a certificate after a lost answer."""
    options = options_for(pebble)
    issue(options, store, "b.example")
    (path,) = (store.folder / "accounts").rglob("account.json")
    text = path.read_text()
    files = OrderFiles(store, options.directory, "a.example")
    context = ssl.create_default_context(cafile=str(pebble.ca_file))
    with urllib.request.urlopen(pebble.directory, timeout=20, context=context) as answer:
        assert answer.status == 200
    path.write_text(text.replace("/list-orderz/", "/no-such-list/"))
    account = text.split('"url": "')[1].split('"')[0]
    files.begin(Order("a.example", account, "ecdsa", "default", made=1), new_key("ecdsa"))

    check(issue(options, store, "a.example"), "a.example", pebble.roots())
