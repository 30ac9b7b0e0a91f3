from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Unauthorized
from moorage.oci.credentials import MOST_BYTES, parse_basic, parse_user


def basic(credentials: bytes) -> bytes:
    """The header that carries these credentials."""
    return b"Basic " + b64encode(credentials)


@pytest.mark.parametrize(
    ("header", "credentials"),
    [
        (b"Basic dXNlcjpwYXNz", ("user", "pass")),
        (b"basic dXNlcjpwYXNz", ("user", "pass")),
        (b"BASIC   dXNlcjpwYXNz ", ("user", "pass")),
        (basic(b"user:pa:ss:"), ("user", "pa:ss:")),
        (basic(b"user:"), ("user", "")),
        (basic(b":password"), ("", "password")),
        (basic(b"user: p a s s "), ("user", " p a s s ")),
        (basic("usér:pässwörd😀".encode()), ("usér", "pässwörd😀")),
        (basic(b"user:" + b"x" * 100), ("user", "x" * 100)),
    ],
)
def test_credentials(header: bytes, credentials: tuple[str, str]) -> None:
    """The first colon ends the user; the rest is the password, whatever it holds."""
    assert parse_basic(header) == credentials


def test_nobody() -> None:
    """What podman, skopeo and buildah send when they have no credentials is nobody, not a wrong password."""
    assert parse_basic(b"Basic Og==") is None


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b" ",
        b"Basic",
        b"Basic ",
        b"Basic\tdXNlcjpwYXNz",
        b"Basic:dXNlcjpwYXNz",
        b"BasicdXNlcjpwYXNz",
        b" Basic dXNlcjpwYXNz",
        b"Bearer dXNlcjpwYXNz",
        b"Digest username=x",
        b"dXNlcjpwYXNz",
        b"Basic dXNlcg==",  # no colon
        b"Basic dXNlcjpwYXN",  # length
        b"Basic Og=",
        b"Basic Og",
        b"Basic Og===",
        b"Basic =Og=",
        b"Basic dXNlcjpwYXNz!",
        b"Basic dXNl\ncjpwYXNz",
        b"Basic dXNl cjpwYXNz",
        b"Basic dXNlcjpwYXNz, Basic dXNlcjpwYXNz",
        b"Basic dXNlcjpwYXNzOg==Og==",
        b"Basic _-__",  # the URL's alphabet
        b"Basic \xff\xfe",
        basic(b"us\xffer:pass"),
        basic(b"user:pa\xe4ss"),
        basic(b"user:\xed\xa0\x80"),
        basic(b"us\x00er:pass"),
        basic(b"us\ner:pass"),
        basic(b"us\x7fer:pass"),
        basic(b"\x1b[31muser:pass"),
        basic(b"user:pa\x00ss"),
        basic(b"user:" + b"x" * MOST_BYTES),
        b"Basic " + b"A" * 1_000_000,
    ],
)
def test_malformed(header: bytes) -> None:
    """Everything else is 401, and the message repeats nothing of the header."""
    with pytest.raises(Unauthorized) as caught:
        parse_basic(header)

    assert "dXNl" not in caught.value.message
    assert caught.value.detail is None


@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters=":"), max_size=50),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=50),
)
def test_returns(user: str, password: str) -> None:
    """Whatever a client may encode comes back."""
    header = basic(f"{user}:{password}".encode())

    assert parse_basic(header) == ((user, password) if user or password else None)


@given(st.binary(), st.booleans())
def test_never_raises_anything_else(tail: bytes, encoded: bool) -> None:  # noqa: FBT001 -- drawn by hypothesis
    """Any bytes are credentials, nobody, or 401."""
    try:
        credentials = parse_basic(basic(tail) if encoded else b"Basic " + tail)
    except Unauthorized:
        return

    assert credentials is None or ":" not in credentials[0]


@pytest.mark.parametrize(
    ("header", "user"),
    [(b"alice", "alice"), (b" alice\t", "alice"), ("王".encode(), "王"), (b"a b", "a b"), (b"", None), (b"  ", None)],
)
def test_a_proxy_names_a_user(header: bytes, user: str | None) -> None:
    """A proxy's header is a user's name in UTF-8, or nobody's."""
    assert parse_user(header) == user


@pytest.mark.parametrize("header", [b"\xff", b"a\x00b", b"a\x1bb", b"a" * (MOST_BYTES + 1)])
def test_what_no_user_can_be_called_is_refused(header: bytes) -> None:
    """What is no text, or could forge a line of the log, names nobody and lets nobody in."""
    with pytest.raises(Unauthorized):
        parse_user(header)
