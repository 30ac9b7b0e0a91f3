"""Addresses: who listens there, who may, and the firewall in front."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from moorage.app import Folders
from moorage.doctor.accounts import account, me
from moorage.doctor.finding import Finding, Verdict
from moorage.doctor.processes import Process, listening, owners, parse_listening
from moorage.doctor.server.firewall import look_at_firewall, refuses
from moorage.doctor.server.ports import find_sockets, look_at_ports
from moorage.doctor.server.running import find_running
from moorage.settings.native import load_native
from tests.clients.hosts import Cable
from tests.doctor.findings import bad, naming, only
from tests.programs import need, need_root
from tests.servers import ROOT, Moorage, free_port

NOBODY = 65534
_SECONDS = 30.0


def looked(
    data: Path, *listen: str, uid: int | None = None, options: Mapping[str, object] | None = None
) -> list[Finding]:
    """What is said of these addresses, for a server of this user or another."""
    loaded = load_native(None, {}, {"data": str(data), "listen": list(listen), **(options or {})})
    running = find_running(Folders(data))
    user = me() if uid is None else account(uid)
    return list(look_at_ports(loaded, running, user, find_sockets(loaded, running)))


@contextmanager
def stranger(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Another program that listens on *port*."""
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            deadline = time.monotonic() + _SECONDS
            while not any(one.port == port for one in listening()):
                assert time.monotonic() < deadline, "it never listened"
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


def test_a_free_port_is_well(tmp_path: Path) -> None:
    """Before the start, and the look leaves it free."""
    port = free_port()

    found = looked(tmp_path, f"127.0.0.1:{port}")

    assert bad(found) == []
    socket.create_server(("127.0.0.1", port)).close()


def test_the_servers_own_port_is_well(tmp_path: Path) -> None:
    """A worker of the tree listens there, or the parent; which does not matter."""
    with Moorage(tmp_path, users={}) as server:
        found = looked(server.data, server.host)

    assert bad(found) == []
    assert "the server listens there" in found[0].what


def test_a_program_that_has_the_port_is_named(tmp_path: Path) -> None:
    """With its process and its command, from the kernel's own tables."""
    port = free_port()
    with stranger(port) as process:
        one = only(looked(tmp_path, f"127.0.0.1:{port}"))

    assert f"another program listens there: process {process.pid} of" in one.what
    assert "socket.create_server" in one.what
    assert one.remedy[0] == f"kill {process.pid}"
    assert one.facts["pid"] == process.pid


def test_a_stranger_on_every_address_is_in_the_way_too(tmp_path: Path) -> None:
    """What listens on 0.0.0.0 has 127.0.0.1 as well."""
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]

        one = only(looked(tmp_path, f"127.0.0.1:{port}"))

    assert "another program listens there" in one.what


def test_a_server_that_was_started_elsewhere_is_told_where(tmp_path: Path) -> None:
    """The settings name another port than the one that the running server has."""
    other = free_port()
    with Moorage(tmp_path, users={}) as server:
        one = only(looked(server.data, f"127.0.0.1:{other}"))

    assert "nobody listens there, although a server runs" in one.what
    assert f"It listens at 127.0.0.1:{server.port}." in one.meaning


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    """As after a move, or with a router's public address."""
    one = only(looked(tmp_path, "192.0.2.77:5000"))

    assert "this machine does not have that address" in one.what


def test_a_host_that_nobody_knows_is_named(tmp_path: Path) -> None:
    """A misspelt name is no address."""
    loaded = looked(tmp_path, "no-such-host.invalid:5000", options={"allow_plaintext": True})

    assert "the name no-such-host.invalid is not known" in naming(loaded, "no-such-host").what


def test_ports_below_1024_need_a_right(tmp_path: Path) -> None:
    """An ordinary user may not listen there, and root, who asks, may."""
    need_root()
    port = next(number for number in range(1023, 900, -1) if not any(one.port == number for one in listening()))

    ours, theirs = looked(tmp_path, f"127.0.0.1:{port}"), looked(tmp_path, f"127.0.0.1:{port}", uid=NOBODY)

    assert bad(ours) == []
    assert "nobody may not listen on a port below 1024" in only(theirs).what
    assert only(theirs).remedy[0].startswith("AmbientCapabilities=CAP_NET_BIND_SERVICE")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"allow_plaintext": True}, "can be reached from other machines without TLS"),
        ({"allow_plaintext": True, "auth.kind": "none"}, ""),
    ],
)
def test_passwords_in_the_clear_are_a_warning(tmp_path: Path, options: dict[str, object], said: str) -> None:
    """Where somebody has allowed it, it still is one; without passwords there are none to be read."""
    found = bad(looked(tmp_path, f"0.0.0.0:{free_port()}", options=options))

    assert [said in one.what for one in found] == ([True] if said else [])


def test_a_proxy_in_front_speaks_tls(tmp_path: Path) -> None:
    """Whoever names an https address is behind one, and is left in peace."""
    file = tmp_path / "moorage.yml"
    file.write_text(
        f"listen: 0.0.0.0:{free_port()}\nallow_plaintext: true\nhttp: {{external_url: https://r.example}}\n"
    )
    loaded = load_native(file, {}, {"data": str(tmp_path)})
    running = find_running(Folders(tmp_path))

    assert bad(look_at_ports(loaded, running, me(), find_sockets(loaded, running))) == []


def test_a_unix_socket_is_looked_at(tmp_path: Path) -> None:
    """Its folder has to be there, and what lies there has to be a socket."""
    file = tmp_path / "file"
    file.touch()

    assert "there is no folder" in only(looked(tmp_path, f"unix:{tmp_path}/none/socket")).what
    assert "it is no socket" in only(looked(tmp_path, f"unix:{file}")).what
    assert bad(looked(tmp_path, f"unix:{tmp_path}/new.socket")) == []


def test_listeners_are_read_as_the_kernel_writes_them() -> None:
    """IPv4 and IPv6, in the byte order of the machine; established connections are none."""
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        found = {str(one): one for one in listening()}
        wanted = [f"127.0.0.1:{four.getsockname()[1]}", f"[::1]:{six.getsockname()[1]}"]
        whose = owners(found[name] for name in wanted)

    assert all(name in found for name in wanted)
    assert all([process.pid for process in processes] == [os.getpid()] for processes in whose.values())
    assert list(parse_listening("garbage\nmore garbage\n")) == []


RULES = {
    "open": "-P INPUT ACCEPT\n",
    "closed": "-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n",
    "closed by its last rule": "-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -j DROP\n",
    "let in": "-P INPUT DROP\n-A INPUT -p tcp -m tcp --dport 5000 -j ACCEPT\n",
    "let in among others": "-P INPUT DROP\n-A INPUT -p tcp -m multiport --dports 80,443,4999:5001 -j ACCEPT\n",
    "let in from some": "-P INPUT DROP\n-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 5000 -j ACCEPT\n",
    "somebody's own chain": "-P INPUT DROP\n-A INPUT -j my-rules\n",
    "other protocol": "-P INPUT DROP\n-A INPUT -p udp -m udp --dport 5000 -j ACCEPT\n",
}


@pytest.mark.parametrize("name", RULES)
def test_rules_are_judged_carefully(name: str) -> None:
    """A port is said to be closed only where nothing in the chain can let it in."""
    assert refuses(RULES[name], 5000) is (name in {"closed", "closed by its last rule", "other protocol"})


def test_a_firewall_that_drops_is_named(tmp_path: Path) -> None:
    """A real one, in a network of its own: the port is closed to everybody, and the rule that opens it is told."""
    iptables = need("iptables")
    with Cable() as cable:
        run = [*cable.near.prefix, iptables]
        subprocess.run([*run, "-P", "INPUT", "DROP"], check=True)
        closed = _look(cable.near.prefix)
        subprocess.run([*run, "-I", "INPUT", "-p", "tcp", "--dport", "5000", "-j", "ACCEPT"], check=True)
        opened = _look(cable.near.prefix)

    assert "iptables drops what comes in" in closed
    assert "sudo iptables -I INPUT -p tcp --dport 5000 -j ACCEPT" in closed
    assert opened == ""


def _look(prefix: tuple[str, ...]) -> str:
    code = (
        "from moorage.doctor.server.firewall import look_at_firewall\n"
        "for one in look_at_firewall([5000]): print(one.what, *one.remedy)"
    )
    done = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


def test_no_firewall_is_well() -> None:
    """Nothing is said where nothing is seen."""
    assert [one for one in look_at_firewall([]) if one.verdict is not Verdict.OK] == []


@pytest.mark.parametrize(
    "words",
    [
        ["mysqld", "--password=geheim"],
        ["redis-server", "--requirepass", "geheim"],
        ["moorage", "serve", "--database", "postgresql://a:geheim@h/d"],
        ["moorage", "serve", "--acme-eab-hmac-key", "geheim"],
        ["tool", "-secret=geheim"],
    ],
)
def test_a_strangers_command_is_shown_without_its_secrets(words: list[str]) -> None:
    """What another program was given on its command line is not for a report that somebody pastes."""
    assert "geheim" not in Process(7, words[0], tuple(words), 0).line
