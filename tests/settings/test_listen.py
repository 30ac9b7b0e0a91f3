from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.settings.listen import TcpAddress, UnixAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("127.0.0.1:5000", TcpAddress("127.0.0.1", 5000), True),
        ("127.3.2.1:0", TcpAddress("127.3.2.1", 0), True),
        ("localhost:5000", TcpAddress("localhost", 5000), True),
        ("[::1]:5000", TcpAddress("::1", 5000), True),
        ("[0:0:0:0:0:0:0:1]:5000", TcpAddress("::1", 5000), True),
        ("unix:/run/moorage.sock", UnixAddress("/run/moorage.sock"), True),
        ("unix:///run/moorage.sock", UnixAddress("/run/moorage.sock"), True),
        ("unix:moorage.sock", UnixAddress("moorage.sock"), True),
        (":5000", TcpAddress("", 5000), False),
        ("0.0.0.0:443", TcpAddress("0.0.0.0", 443), False),
        ("[::]:65535", TcpAddress("::", 65535), False),
        ("registry.example.com:443", TcpAddress("registry.example.com", 443), False),
        ("[::ffff:10.0.0.1]:1", TcpAddress("::ffff:a00:1", 1), False),
    ],
)
def test_addresses_are_read_and_judged(text: str, address: object, loopback: bool) -> None:  # noqa: FBT001 a table's column
    """Each form of an address, and whether another machine could connect to it."""
    parsed = parse_address(text)

    assert parsed == address
    assert parsed.loopback is loopback


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5000",
        "127.0.0.1",
        "localhost:",
        "localhost:http",
        "localhost:65536",
        "localhost:-1",
        "localhost:５０００",
        "::1:5000",
        "[::1]",
        "[nonsense]:5000",
        "[fe80::1%eth0%]:5000",
        "a b:5000",
        "http://localhost:5000",
        "unix:",
        "unix:/",
        "unix:/run/..",
        "unix:/run/a\0b",
        "unix:/" + "a" * 108,
        "a:1\n",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Missing ports, ports out of range, IPv6 without brackets, URLs, paths that no socket can have."""
    with pytest.raises(ValueError, match=r".+"):
        parse_address(text)


@given(st.from_regex(r"[a-z0-9.]{0,20}:[0-9]{1,4}|unix:/[a-z]{1,50}|\[[0-9a-f:]{2,20}\]:[0-9]{1,4}", fullmatch=True))
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    """The text of an address is an address again, and the same one."""
    try:
        address = parse_address(text)
    except ValueError:
        return

    assert parse_address(str(address)) == address
