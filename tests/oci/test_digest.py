from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import DataError, DigestInvalid
from moorage.oci.digest import ALGORITHMS, Digest, hasher, parse_algorithm

EMPTY_256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
EMPTY_512 = (
    "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
    "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
)

digests = st.one_of(
    st.builds(Digest.of, st.binary(max_size=40)),
    st.builds(Digest.of, st.binary(max_size=40), st.just("sha512")),
)


@pytest.mark.parametrize(("algorithm", "hexadecimal"), [("sha256", EMPTY_256), ("sha512", EMPTY_512)])
def test_registered(algorithm: str, hexadecimal: str) -> None:
    """Both registered algorithms are read, written, computed, and told apart."""
    digest = Digest.parse(f"{algorithm}:{hexadecimal}")

    assert digest == (algorithm, hexadecimal)
    assert f"{digest}" == str(digest) == f"{algorithm}:{hexadecimal}"
    assert Digest.of(b"", algorithm) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256:",
        "sha256",
        EMPTY_256,
        f"sha256:{EMPTY_256[1:]}",
        f"sha256:{EMPTY_256}0",
        f"sha256:{EMPTY_256.upper()}",
        f"SHA256:{EMPTY_256}",
        f"sha256:{EMPTY_256}\n",
        f" sha256:{EMPTY_256}",
        f"sha256:{EMPTY_256}  ",
        f"sha256: {EMPTY_256}",
        f"sha256:{EMPTY_256[:-1]}g",
        f"sha256:{EMPTY_256[:-1]}１",  # a digit, but not an ASCII one
        f"sha256:{EMPTY_256[:-2]} 5",
        f"sha256:{EMPTY_256}:",
        f"sha256:sha256:{EMPTY_256}",
        f"sha256:{EMPTY_512}",
        f"sha512:{EMPTY_256}",
        "sha256:../../../../etc/passwd",
        "sha256:baddigeststring",
        f"sha256+b64:{EMPTY_256}",
        f"sha384:{'0' * 96}",
        f"sha1:{'0' * 40}",
        f"md5:{'0' * 32}",
        f"blake3:{EMPTY_256}",
        f"sha256:{'0' * 1_000_000}",
        "sha256:\ud800",
        "\0" * 71,
    ],
)
def test_malformed(text: str) -> None:
    """Anything else is DIGEST_INVALID, and the message is short and printable whatever was sent."""
    with pytest.raises(DigestInvalid) as caught:
        Digest.parse(text)

    assert len(caught.value.message) < 600
    assert caught.value.message.isprintable()


@given(digests)
def test_key_returns(digest: Digest) -> None:
    """A digest survives its text and its database key, whose first byte names the algorithm."""
    key = digest.key

    assert Digest.from_key(key) == Digest.parse(str(digest)) == digest
    assert key[0] == {"sha256": 1, "sha512": 2}[digest.algorithm]
    assert key[1:].hex() == digest.hex


@given(st.text(alphabet="sha256:0ef \n", max_size=80))
def test_accepts_only_what_it_writes(text: str) -> None:
    """A text is refused, or is exactly the text of the digest that was read."""
    try:
        digest = Digest.parse(text)
    except DigestInvalid:
        return

    assert str(digest) == text


@pytest.mark.parametrize("key", [b"", b"\x01", b"\x01" * 32, b"\x01" * 34, b"\x02" * 33, b"\x03" * 33, b"\x00" * 65])
def test_broken_key(key: bytes) -> None:
    """A key that no digest has is damage in our own database, not the client's mistake."""
    with pytest.raises(DataError):
        Digest.from_key(key)


@given(st.lists(st.binary(max_size=20)), st.sampled_from(ALGORITHMS))
def test_hasher_runs(pieces: list[bytes], algorithm: str) -> None:
    """A hash fed piece by piece is the digest of the whole."""
    state = hasher(algorithm)

    for piece in pieces:
        state.update(piece)

    assert Digest.of(b"".join(pieces), algorithm) == Digest(algorithm, state.hexdigest())
    assert state.digest() == hashlib.new(algorithm, b"".join(pieces)).digest()


@pytest.mark.parametrize("use", [parse_algorithm, hasher, lambda text: Digest.of(b"", text)])
@pytest.mark.parametrize("text", ["", "md5", "SHA256", "sha256 ", "sha384", "shake_128", "sha512\n", "x" * 10_000])
def test_unknown_algorithm(use: Callable[[str], object], text: str) -> None:
    """An algorithm that hashlib knows but the protocol does not is refused like one that nobody knows."""
    with pytest.raises(DigestInvalid):
        use(text)


@pytest.mark.parametrize("text", ALGORITHMS)
def test_known_algorithm(text: str) -> None:
    """`digest-algorithm=` takes the two names as they are written in digests."""
    assert parse_algorithm(text) == text
