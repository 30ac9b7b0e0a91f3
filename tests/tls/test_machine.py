from __future__ import annotations

import ipaddress
import json
import subprocess
import sys

import pytest

from moorage.tls.machine import Names, configured_names, host_names, interface_addresses
from tests.clients.hosts import Cable
from tests.programs import need, need_root

HERE = ("localhost", "127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("listen", "url", "names", "domains", "given", "found"),
    [
        ([""], None, [], [], (), ("box", "box.lan", "10.0.0.7", "fd00::7", *HERE)),
        (["0.0.0.0"], None, [], [], (), ("box", "box.lan", "10.0.0.7", "fd00::7", *HERE)),
        (["::"], None, [], [], (), ("box", "box.lan", "10.0.0.7", "fd00::7", *HERE)),
        (["10.0.0.7"], None, [], [], ("10.0.0.7",), ()),
        (["Registry.LAN"], None, [], [], ("registry.lan",), ()),
        (["127.0.0.1"], None, ["a.lan"], [], ("a.lan", "127.0.0.1"), ("localhost", "::1")),
        (["localhost"], None, ["a.lan"], [], ("a.lan", "localhost"), ("127.0.0.1", "::1")),
        (["fe80::1%eth0"], None, [], [], ("fe80::1",), ()),
        (["10.0.0.7"], "https://Reg.Example.com:8443/base", [], [], ("reg.example.com", "10.0.0.7"), ()),
        (["10.0.0.7"], "https://[2001:DB8::1]:8443", [], [], ("2001:db8::1", "10.0.0.7"), ()),
        (["10.0.0.7"], None, ["b.lan", "10.0.0.7"], ["c.example"], ("b.lan", "10.0.0.7", "c.example"), ()),
        (["", "10.0.0.7"], None, ["box"], [], ("box", "10.0.0.7"), ("box.lan", "fd00::7", *HERE)),
    ],
)
def test_names_are_given_or_found_and_each_is_there_once(
    listen: list[str],
    url: str | None,
    names: list[str],
    domains: list[str],
    given: tuple[str, ...],
    found: tuple[str, ...],
) -> None:
    """What is written in the settings is given; what a listener at every address adds was found on the machine."""
    assert configured_names(listen, url, names, domains, ["box", "box.lan"], ["10.0.0.7", "fd00::7"]) == Names(
        given, found
    )


def test_a_machine_called_what_no_domain_may_be_is_left_out() -> None:
    """An underscore in the machine's name keeps the server from nothing."""
    assert configured_names([""], None, [], [], ["my_host", ""], []) == Names((), HERE)


def test_an_external_url_that_no_certificate_can_be_for_is_refused() -> None:
    """The sentence says how a domain is written."""
    with pytest.raises(ValueError, match="a domain is labels of letters"):
        configured_names([""], "https://my_registry:5000", [], [], [], [])


def test_the_machine_has_a_name() -> None:
    """The short name is always among them."""
    names = host_names()

    assert names
    assert all(names)


def test_addresses_are_those_that_ip_shows() -> None:
    """Loopback, link-local, temporary and deprecated addresses are left out."""
    shown = json.loads(subprocess.check_output([need("ip"), "-json", "address"]))

    expected = {
        row["local"]
        for device in shown
        for row in device["addr_info"]
        if row["scope"] == "global"
        and not {"temporary", "deprecated", "tentative", "dadfailed"} & row.keys()
        and not ipaddress.ip_address(row["local"]).is_multicast
    }
    assert set(interface_addresses()) == expected


def test_an_address_that_changes_by_itself_is_left_out() -> None:
    """Of a link with a lasting, a deprecated, a link-local and a point-to-point address, ours that last are found."""
    need_root()
    script = "from moorage.tls.machine import interface_addresses as found;print(*found())"
    with Cable() as cable:
        ip = [*cable.near.prefix, need("ip")]
        for words in (
            ["address", "add", "10.92.0.1", "peer", "10.92.0.2", "dev", "wire"],
            ["address", "add", "fd91::1/64", "dev", "wire", "nodad"],
            ["address", "add", "fd91::2/64", "dev", "wire", "nodad", "preferred_lft", "0"],
            ["address", "add", "169.254.7.7/16", "dev", "wire"],
        ):
            subprocess.run([*ip, *words], check=True)

        told = subprocess.check_output([*cable.near.prefix, sys.executable, "-c", script], text=True)

    assert told.split() == ["10.91.0.1", "10.92.0.1", "fd91::1"]
