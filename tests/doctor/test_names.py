"""Names and the servers that know them, with name servers that lie, fail or say nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from moorage.doctor.client.names import NameServer, SystemNames, is_own, kind_of, parse_name_server
from moorage.doctor.client.target import parse_target
from moorage.doctor.finding import Finding, Verdict
from moorage.errors import UserError
from tests.doctor.fixtures import HOST, Table, options, the, troubles, walked
from tests.doctor.liar import Liar

URL = f"https://{HOST}"


def named(table: Table, *extra: NameServer, timeout: float = 30.0) -> list[Finding]:
    """What the first step finds with these names, *extra* name servers asked too."""
    return walked(options(URL, names=table, resolvers=extra, timeout=timeout), "name")


def known(*addresses: str, asked: tuple[NameServer, ...] = (), hosts: tuple[str, ...] = ()) -> Table:
    """A machine on which the name has these addresses."""
    return Table({HOST: addresses} if addresses else {}, {HOST: hosts} if hosts else {}, asked)


def test_what_system_and_name_server_agree_on_is_well() -> None:
    """The addresses are shown with what they are, and an alias by which they came."""
    with Liar({HOST: ["10.1.2.3"]}, alias="lb.example.net") as server:
        found = named(known("10.1.2.3", asked=(server.server,)))

    assert troubles(found) == []
    the(found, f"{HOST} is 10.1.2.3 (private), says this machine's resolver")
    the(found, "says the same by way of lb.example.net")


@pytest.mark.parametrize(
    ("liar", "what", "meaning"),
    [
        (Liar(), f"{HOST} does not exist", "no such host"),
        (Liar({HOST: []}), "has neither", "no such host"),
        (Liar(code="SERVFAIL"), "fails with SERVFAIL", "server misbehaving"),
        (Liar(code="REFUSED"), "fails with REFUSED", "name servers are not"),
        (Liar(garbage=True), "no name server answers as it should", "name servers are not"),
        (Liar({HOST: ["10.1.2.3"]}), "is known to a name server, but not to the programs", "nsswitch.conf"),
    ],
    ids=["nxdomain", "no-addresses", "servfail", "refused", "garbage", "only-straight"],
)
def test_a_name_that_cannot_be_resolved_is_wrong(liar: Liar, what: str, meaning: str) -> None:
    """The name servers say why, and nothing after that step is looked at."""
    with liar as server:
        chosen = options(URL, names=known(asked=(server.server,)), timeout=2.0)
        found = walked(chosen)

    [(step, verdict, sentence)] = troubles(found)
    assert (step, verdict) == ("name", "wrong")
    assert what in sentence
    assert meaning in the(found, sentence).meaning
    assert {one.verdict for one in found[1:]} == {Verdict.SKIPPED}


def test_a_name_server_that_says_nothing_is_told() -> None:
    """It times out; the other one knows the name."""
    with Liar({HOST: ["10.1.2.3"]}) as good, Liar(silent=True) as silent:
        found = named(known("10.1.2.3", asked=(silent.server, good.server)), timeout=1.0)

    [(_, verdict, what)] = troubles(found)
    assert verdict == "warning"
    assert f"not every name server of this machine answers: {silent.server} does not answer" in what


def test_a_name_server_that_fails_for_aaaa_alone_does_no_harm() -> None:
    """Old balancers answer A, and fail for AAAA."""
    with Liar({HOST: ["10.1.2.3"]}, codes={"AAAA": "SERVFAIL"}) as server:
        found = named(known("10.1.2.3", asked=(server.server,)))

    assert troubles(found) == []


def test_a_split_horizon_is_seen_between_name_servers() -> None:
    """The name server outside says another address than the one inside."""
    with Liar({HOST: ["10.1.2.3"]}) as inside, Liar({HOST: ["93.184.216.34"]}) as outside:
        found = named(known("10.1.2.3", asked=(inside.server,)), outside.server)

    [(_, verdict, what)] = troubles(found)
    assert verdict == "warning"
    assert f"name servers disagree on {HOST}" in what
    assert "93.184.216.34" in what


def test_public_addresses_that_change_from_answer_to_answer_are_no_fault() -> None:
    """Large services show a few of many."""
    with Liar({HOST: ["93.184.216.34"]}) as one, Liar({HOST: ["93.184.215.14"]}) as other:
        found = named(known("93.184.216.99", asked=(one.server, other.server)))

    assert troubles(found) == []


def test_a_name_server_outside_that_does_not_know_the_name_is_told() -> None:
    """A name of the inner network alone."""
    with Liar({HOST: ["10.1.2.3"]}) as inside, Liar() as outside:
        found = named(known("10.1.2.3", asked=(inside.server,)), outside.server)

    assert "no such name (NXDOMAIN)" in the(found, "name servers disagree").what


def test_an_old_line_in_the_hosts_file_is_told() -> None:
    """This machine goes elsewhere than all others."""
    with Liar({HOST: ["10.1.2.3"]}) as server:
        found = named(known("10.9.9.9", asked=(server.server,), hosts=("10.9.9.9",)))

    [(_, verdict, what)] = troubles(found)
    assert verdict == "warning"
    assert "the hosts file sends this machine to 10.9.9.9, DNS sends others to 10.1.2.3" in what


def test_a_name_of_the_hosts_file_alone_is_no_fault() -> None:
    """A small network without name servers of its own; others are told to need the line, too."""
    with Liar() as server:
        found = named(known("10.1.2.3", asked=(server.server,), hosts=("10.1.2.3",)))

    assert troubles(found) == []
    assert "only this machine's hosts file knows the name" in the(found, "hosts file knows").what


def test_a_name_server_that_a_hosts_file_makes_needless_is_only_mentioned() -> None:
    """It does not answer, but nobody needs it for this name."""
    with Liar(silent=True) as server:
        found = named(known("10.1.2.3", asked=(server.server,), hosts=("10.1.2.3",)), timeout=1.0)

    assert troubles(found) == []


def test_something_on_this_machine_that_answers_in_place_of_dns_is_told() -> None:
    """Proxy programs hand out addresses of their own (fake-ip)."""
    with Liar({HOST: ["93.184.216.34"]}) as server:
        found = named(known("198.18.0.7", asked=(server.server,)))

    assert [verdict for _, verdict, _ in troubles(found)] == ["warning", "warning"]
    assert "fake-ip" in the(found, "belongs to nobody").meaning
    assert "this machine goes to 198.18.0.7, but" in the(found, "this machine goes to").what


def test_no_address_of_a_server_is_wrong() -> None:
    """Blockers answer 0.0.0.0."""
    found = named(known("0.0.0.0", hosts=("0.0.0.0",)))

    assert the(found, "0.0.0.0 is no address of a server").verdict is Verdict.WRONG


def test_an_address_needs_no_name() -> None:
    """Nothing is asked, also with name servers that would lie."""
    with Liar(code="SERVFAIL") as server:
        found = walked(options("https://127.0.0.1", names=Table(asked=(server.server,))), "name")

    assert troubles(found) == []
    the(found, "127.0.0.1 (loopback) is an address")


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("10.0.0.5", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("8.8.8.8", "public"),
        ("2606:4700::1111", "public"),
        ("169.254.1.1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("198.18.0.1", "reserved"),
        ("203.0.113.7", "reserved"),
        ("2001:db8::1", "reserved"),
        ("0.0.0.0", "unspecified"),
        ("224.0.0.1", "multicast"),
    ],
)
def test_addresses_are_told_apart(address: str, kind: str) -> None:
    """What an address is for."""
    assert kind_of(address) == kind


def test_only_this_machine_s_addresses_are_its_own() -> None:
    """Nobody else's address can be bound."""
    assert [is_own(one) for one in ("127.0.0.1", "192.0.2.1", "0.0.0.0")] == [True, False, False]


def test_the_system_s_files_are_read(tmp_path: Path) -> None:
    """Comments, several names on a line, upper case; the last search line counts."""
    hosts, resolv = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text("# 10.0.0.1 registry.test\n10.0.0.2\tother Registry.TEST # here\n::5 registry.test\n\n")
    resolv.write_text("; old\nsearch a.test\nnameserver 9.9.9.9\nnameserver fd00::1\nsearch b.test c.test\n")

    names = SystemNames(hosts, resolv)

    assert names.hosts_file(HOST) == ["10.0.0.2", "::5"]
    assert names.servers() == [NameServer("9.9.9.9"), NameServer("fd00::1")]
    assert names.search() == ["b.test", "c.test"]


def test_without_files_the_system_s_defaults_hold(tmp_path: Path) -> None:
    """resolv.conf(5): then the name server on this machine is asked."""
    names = SystemNames(tmp_path / "none", tmp_path / "none")

    assert (names.hosts_file(HOST), names.servers(), names.search()) == ([], [NameServer("127.0.0.1")], [])


def test_the_system_s_resolver_is_asked() -> None:
    """localhost is known everywhere; a name below .invalid nowhere (RFC 6761)."""
    assert "127.0.0.1" in SystemNames().lookup("localhost")
    with pytest.raises(socket.gaierror):
        SystemNames(Path(os.devnull)).lookup("nothing.invalid")


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("9.9.9.9", NameServer("9.9.9.9")),
        ("9.9.9.9:5353", NameServer("9.9.9.9", 5353)),
        ("fd00::1", NameServer("fd00::1")),
        ("[fd00::1]:5353", NameServer("fd00::1", 5353)),
        ("[fd00::1]", NameServer("fd00::1")),
    ],
)
def test_name_servers_are_given_by_address(text: str, server: NameServer) -> None:
    """With a port or without."""
    assert parse_name_server(text) == server


@pytest.mark.parametrize("text", ["", "dns.test", "9.9.9.9:x", "9.9.9.9:0", "9.9.9.9:99999", "[::1", "1.2.3"])
def test_what_is_no_name_server_is_refused(text: str) -> None:
    """By a sentence that says how it is written."""
    with pytest.raises(UserError, match=r"name server"):
        parse_name_server(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Registry.Example.com", "https://registry.example.com"),
        ("registry.example.com:5000", "https://registry.example.com:5000"),
        ("https://registry.example.com:443/v2/", "https://registry.example.com"),
        ("http://registry.example.com:80/", "http://registry.example.com"),
        ("https://[2001:DB8::1]:5000", "https://[2001:db8::1]:5000"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("https://registry.example.com.", "https://registry.example.com"),
    ],
)
def test_targets_are_understood(text: str, url: str) -> None:
    """As users write them."""
    assert parse_target(text).url == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://",
        "ftp://registry.example.com",
        "https://ann:secret@registry.example.com",
        "https://registry.example.com/team/app",
        "https://registry.example.com?x=1",
        "https://registry.example.com:99999",
        "https://registry.example.com:0",
        "https://*.example.com",
        "https://bad_name!",
        "http://[::1",
    ],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    """By a sentence that says how it is written, and without the password that may have been in it."""
    with pytest.raises(UserError) as refused:
        parse_target(text)

    assert "secret" not in str(refused.value)
