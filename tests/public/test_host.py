from __future__ import annotations

from urllib.parse import urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from moorage.public.face import host_of

# What a browser or a parser may understand otherwise than we do.
TRICKS = st.text(st.sampled_from("ab1.:@/\\?#[]%-_ \t\0\u00e9\uff0f"), max_size=20)


@given(st.one_of(st.text(max_size=40), TRICKS))
@example("registry.test@evil.example")
@example("[::1]@evil.example")
@example("evil.example\\@registry.test")
def test_whatever_is_sent_a_url_has_that_host_and_nothing_else(header: str) -> None:
    """A host that is taken from a header stands in a URL as its host: no user, port, path or second host comes in."""
    host = host_of(header)

    if host is not None:
        parts = urlsplit(f"https://{host}:8443/path")
        assert parts.netloc == f"{host}:8443"
        assert parts.hostname == host.strip("[]").lower()
        assert (parts.port, parts.path, parts.username, parts.query, parts.fragment) == (8443, "/path", None, "", "")
        assert header.lower().startswith(host.lower()) or host.startswith("[")


@given(st.ip_addresses(), st.one_of(st.none(), st.integers(0, 65535)))
def test_every_address_is_a_host(address: object, port: int | None) -> None:
    """With a port or without, IPv6 in brackets."""
    text = f"[{address}]" if ":" in str(address) else str(address)

    assert host_of(text if port is None else f"{text}:{port}") == text
