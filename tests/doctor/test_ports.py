"""Ports that are closed, silent or somebody else's, and addresses that lead nowhere."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from moorage.doctor.finding import Verdict
from tests.doctor.fixtures import HOST, Canned, Table, options, the, troubles, walked
from tests.programs import lacking
from tests.servers import free_port


@contextmanager
def full(address: str = "127.0.0.1") -> Iterator[int]:
    """A port whose listener takes no more connections, so that the next one gets no answer."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        listener.listen(0)
        waiting = []
        for _ in range(8):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            waiting.append(client)
        try:
            yield listener.getsockname()[1]
        finally:
            for client in waiting:
                client.close()


def own_address() -> str:
    """An address of this machine beside loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            lacking("this machine has no address beside loopback")
        address: str = probe.getsockname()[0]
        return address


def test_a_closed_port_is_refused() -> None:
    """The machine is there, the program is not."""
    port = free_port()
    found = walked(options(f"https://{HOST}:{port}"))

    [(step, verdict, what)] = troubles(found)
    finding = the(found, what)
    assert (step, verdict) == ("port", "wrong")
    assert f"refuses connections at port {port}" in what
    assert "connection refused" in finding.meaning
    assert f"on the server: ss -ltnp 'sport = :{port}'" in finding.remedy
    assert {one.verdict for one in found if one.step not in {"name", "port"}} == {Verdict.SKIPPED}


def test_a_server_that_listens_on_loopback_alone_is_named() -> None:
    """On the server itself another of its addresses refuses what 127.0.0.1 takes."""
    with Canned() as server:
        names = Table({HOST: ("127.0.0.3",)}, {})
        found = walked(options(server.url, names=names))

    finding = the(found, "though 127.0.0.1 takes them")
    assert f"moorage serve --listen 0.0.0.0:{server.port} ..." in finding.remedy


def test_a_port_that_drops_what_comes_is_named() -> None:
    """No answer at all, as behind a firewall."""
    with full() as port:
        found = walked(options(f"https://{HOST}:{port}", timeout=1.0), "port")

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("port", "wrong")
    assert "does not answer at port" in what
    assert "firewall" in the(found, what).meaning


def test_an_address_without_a_way_is_named() -> None:
    """A network that no route leads to; multicast is one on every machine."""
    found = walked(options("https://[fe80::1234]", timeout=1.0), "port")

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("port", "wrong")
    assert "fe80::1234" in what


def test_a_stale_aaaa_record_is_named() -> None:
    """IPv4 answers, IPv6 does not: clients may try either first."""
    with Canned() as server:
        names = Table({HOST: ("::1", "127.0.0.1")}, {})
        found = walked(options(server.url, names=names), "api")

    [(step, verdict, what)] = [one for one in troubles(found) if one[0] == "port"]
    finding = the(found, what)
    assert (step, verdict) == ("port", "warning")
    assert what.startswith("::1 (loopback) does not answer")
    assert "AAAA record is stale" in finding.meaning
    assert "remove the AAAA record of ::1, or let the server listen there" in finding.remedy


def test_one_of_two_servers_that_is_down_is_named() -> None:
    """The rest of the walk goes by the other one."""
    with Canned() as server:
        names = Table({HOST: ("127.0.0.4", "127.0.0.1")}, {})
        found = walked(options(server.url, names=names), "api")

    assert the(found, "127.0.0.4 (loopback) does not answer").verdict is Verdict.WARNING
    assert the(found, "a registry answers").verdict is Verdict.OK


def test_plain_http_where_tls_is_meant_is_named() -> None:
    """`http: server gave HTTP response to HTTPS client`."""
    with Canned() as server:
        found = walked(options(server.url.replace("http:", "https:")), "api")

    [(step, verdict, what)] = troubles(found)
    finding = the(found, what)
    assert (step, verdict) == ("tls", "wrong")
    assert "speaks plain HTTP, not TLS" in what
    assert "server gave HTTP response to HTTPS client" in finding.meaning
    assert any("insecure-registries" in line for line in finding.remedy)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_another_protocol_is_named(scheme: str) -> None:
    """A port that greets as a mail server or SSH does."""
    with Canned(raw=b"SSH-2.0-OpenSSH_9.2\r\n") as server:
        found = walked(options(f"{scheme}://{HOST}:{server.port}"), "api")

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("tls", "wrong")
    assert "SSH-2.0-OpenSSH" in what


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_port_that_takes_connections_and_says_nothing_is_named(scheme: str) -> None:
    """The program hangs."""
    with Canned(silent=True) as server:
        found = walked(options(f"{scheme}://{HOST}:{server.port}", timeout=1.0), "api")

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("tls", "wrong")
    assert "nothing is answered" in what


def test_plain_http_beyond_this_machine_is_a_warning() -> None:
    """It works, and shows passwords to whoever listens in."""
    with Canned(address=own_address()) as server:
        names = Table({HOST: (own_address(),)}, {})
        found = walked(options(server.url, names=names), "tls")

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("tls", "warning")
    assert "whoever listens in" in what


def test_a_proxy_of_this_environment_that_inner_addresses_are_sent_to_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Clients go by it; it cannot reach the inner network. Its password is not shown."""
    monkeypatch.setenv("http_proxy", "http://user:secret@proxy.test:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    with Canned() as server:
        found = walked(options(server.url), "port")

    [(_, verdict, what)] = troubles(found)
    assert verdict == "warning"
    assert "HTTP_PROXY (proxy.test:3128) is set here" in what


def test_a_proxy_that_is_told_to_leave_the_host_alone_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY names it."""
    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    monkeypatch.setenv("no_proxy", f"other.test,{HOST}")
    with Canned() as server:
        found = walked(options(server.url), "port")

    assert troubles(found) == []
