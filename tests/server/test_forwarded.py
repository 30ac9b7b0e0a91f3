"""Only trusted proxies are believed about who the client is."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.server.forwarded import Network, client_address, trusts

TRUSTED: list[Network] = [ip_network("10.0.0.0/8"), ip_network("fd00::/8"), "unix"]


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("fd00::1", True),
        ("::ffff:10.1.2.3", True),
        ("unix", True),
        ("not an address", False),
    ],
)
def test_a_proxy_is_trusted_by_its_network(peer: str, expected: bool) -> None:  # noqa: FBT001
    """An address counts by its network, also written as an IPv6 one, a unix socket by its name."""
    assert trusts(TRUSTED, peer) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "10.0.0.1"),
        ({b"x-forwarded-for": b"192.0.2.7"}, "192.0.2.7"),
        ({b"x-forwarded-for": b"192.0.2.7, 10.0.0.9"}, "192.0.2.7"),
        ({b"x-forwarded-for": b"1.1.1.1, 192.0.2.7, 10.0.0.9"}, "192.0.2.7"),
        ({b"x-forwarded-for": b"192.0.2.7:51234"}, "192.0.2.7"),
        ({b"x-forwarded-for": b"[2001:db8::1]:443"}, "2001:db8::1"),
        ({b"x-forwarded-for": b"evil, 10.0.0.9"}, "10.0.0.9"),
        ({b"x-forwarded-for": b"1.1.1.1\r\nX: y"}, "10.0.0.1"),
        ({b"x-forwarded-for": b""}, "10.0.0.1"),
        ({b"x-forwarded-for": b"fe80::1%any text"}, "10.0.0.1"),
        (
            {b"forwarded": b'for=192.0.2.60;proto=http;by=203.0.113.43, For="[2001:db8:cafe::17]:4711"'},
            "2001:db8:cafe::17",
        ),
        ({b"forwarded": b"for=_hidden, for=unknown"}, "10.0.0.1"),
        ({b"forwarded": b'for="a\xff"'}, "10.0.0.1"),
    ],
)
def test_the_client_is_the_first_that_is_not_trusted(headers: dict[bytes, bytes], expected: str) -> None:
    """The chain is read from its end, and ends at the first address that no trusted proxy vouches for."""
    assert client_address(TRUSTED, "10.0.0.1", headers) == expected


@given(st.binary(max_size=200), st.sampled_from([b"x-forwarded-for", b"forwarded"]))
def test_nothing_in_a_header_fails_or_leaves_the_form_of_an_address(value: bytes, name: bytes) -> None:
    """Whatever a header says, the result is an address."""
    found = client_address(TRUSTED, "10.0.0.1", {name: value})

    assert set(found) <= set("0123456789abcdef:.")
