from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.tls.hello import ACME_PROTOCOL, Hello, read_hello

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{1,10}){0,3}", fullmatch=True)
PROTOCOLS = st.lists(st.binary(min_size=1, max_size=30), max_size=6)


def real_hello(name: str | None, protocols: list[str], *, version: ssl.TLSVersion | None = None) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(protocols)
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def vector(size: int, content: bytes) -> bytes:
    """A length in *size* bytes and what it counts."""
    return len(content).to_bytes(size, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    """One extension."""
    return kind.to_bytes(2, "big") + vector(2, content)


def alpn(protocols: list[bytes]) -> bytes:
    """The extension that offers *protocols*."""
    return extension(16, vector(2, b"".join(vector(1, name) for name in protocols)))


def server_name(name: bytes) -> bytes:
    """The extension that asks for *name*."""
    return extension(0, vector(2, b"\0" + vector(2, name)))


def message(extensions: bytes | None) -> bytes:
    """A ClientHello with these extensions, or of a client that knows none."""
    body = b"\x03\x03" + bytes(32) + vector(1, b"s" * 32) + vector(2, b"\x13\x01") + vector(1, b"\0")
    return b"\x01" + vector(3, body + (b"" if extensions is None else vector(2, extensions)))


def records(content: bytes, *sizes: int) -> bytes:
    """*content* in records of these sizes, the rest in one."""
    out = b""
    for size in (size for size in sizes if content):
        out += b"\x16\x03\x01" + vector(2, content[:size])
        content = content[size:]
    return out + (b"\x16\x03\x01" + vector(2, content) if content else b"")


@pytest.mark.parametrize("version", [None, ssl.TLSVersion.TLSv1_2])
@pytest.mark.parametrize("name", [None, "registry.example.com", "xn--bcher-kva.example"])
@pytest.mark.parametrize("protocols", [[], ["http/1.1"], ["h2", "http/1.1"], ["acme-tls/1"]])
def test_hello_of_openssl(version: ssl.TLSVersion | None, name: str | None, protocols: list[str]) -> None:
    """What a real client sends is understood: the name, and the protocols in its order."""
    found = read_hello(real_hello(name, protocols, version=version))

    assert found == Hello(name or "", tuple(protocol.encode() for protocol in protocols))


@pytest.mark.parametrize(
    ("protocols", "validates"),
    [
        ([ACME_PROTOCOL], True),
        ([], False),
        ([b"http/1.1"], False),
        ([ACME_PROTOCOL, b"http/1.1"], False),
        ([ACME_PROTOCOL, ACME_PROTOCOL], False),
        ([b"acme-tls/2"], False),
    ],
)
def test_only_the_protocol_of_acme_alone_validates(protocols: list[bytes], *, validates: bool) -> None:
    """A client that would also speak HTTP is a client."""
    found = read_hello(records(message(server_name(b"a.example") + (alpn(protocols) if protocols else b""))))

    assert found is not None
    assert found.validates == validates


@given(NAMES, PROTOCOLS, st.lists(st.integers(1, 60), max_size=8))
def test_hello_in_any_pieces(name: str, protocols: list[bytes], sizes: list[int]) -> None:
    """However it is cut into records, it says the same; every beginning of it asks for more."""
    extensions = extension(10, b"\0\2\0\x1d") + server_name(name.upper().encode()) + alpn(protocols)
    data = records(message(extensions), *sizes)

    found = read_hello(data + b"\x17what comes next")

    assert found == Hello(name, tuple(protocols))
    assert {read_hello(data[:end]) for end in range(len(data))} == {None}


@pytest.mark.parametrize("extensions", [None, b""])
def test_hello_without_extensions(extensions: bytes | None) -> None:
    """A client that asks for nothing is understood so."""
    assert read_hello(records(message(extensions))) == Hello("", ())


@given(st.binary(max_size=400))
def test_any_bytes_are_a_hello_or_not(data: bytes) -> None:
    """Whatever comes, the answer is a hello, a wish for more, or ValueError."""
    for start in (b"", b"\x16\x03\x01", b"\x16\x03\x01\0\x80\x01\0\0\x7c\x03\x03"):
        try:
            found = read_hello(start + data)
        except ValueError:
            continue
        assert found is None or isinstance(found, Hello)


@given(st.data())
def test_a_spoilt_hello_is_no_accident(data: st.DataObject) -> None:
    """One changed byte in a real hello leads to nothing but a hello, a wish for more, or ValueError."""
    hello = bytearray(real_hello("registry.example.com", ["h2", "http/1.1"]))
    hello[data.draw(st.integers(0, len(hello) - 1))] = data.draw(st.integers(0, 255))

    try:
        found = read_hello(bytes(hello))
    except ValueError:
        return
    assert found is None or isinstance(found, Hello)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x15\x03\x01\0\2\1\0",
        b"\x16\x02\x01",
        b"\x16\x03\x01\0\0",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\0\4\2\0\0\0",
        records(b"\x01" + vector(3, b"short")),
        records(message(extension(0, b"\xff"))),
        records(message(server_name("bücher".encode()))),
        records(message(server_name(b"a") + server_name(b"b"))),
        records(message(alpn([b"x"]) + b"\0")),
        records(message(extension(16, vector(2, b"\0")))),
        records(message(extension(16, vector(2, b"\1x") + b"more"))),
    ],
)
def test_what_is_no_hello(data: bytes) -> None:
    """Another protocol, another record, another message, and lengths that lie are told at once."""
    with pytest.raises(ValueError, match=r"."):
        read_hello(data)
