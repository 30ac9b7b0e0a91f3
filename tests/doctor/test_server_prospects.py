"""Certificates from an ACME server: a real authority, a real name server, a real server and what is in its way."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from moorage.app import Folders
from moorage.clock import SystemClock
from moorage.doctor.accounts import account, me
from moorage.doctor.client.names import Address, NameServer
from moorage.doctor.finding import Finding, Verdict
from moorage.doctor.server.acme import Authority, ask_authority, judge_state, look_at_states
from moorage.doctor.server.caa import Records, find_records, judge
from moorage.doctor.server.certificate_files import Surroundings
from moorage.doctor.server.dns_challenge import look_at_writer
from moorage.doctor.server.prospects import Outlook, judge_addresses, look_at_domain
from moorage.errors import CertificateFailed
from moorage.settings.model import Settings
from moorage.tls import renewal, state
from moorage.tls.state import State
from moorage.tls.store import CertificateStore
from tests.acme.pebble import Dns, Pebble
from tests.doctor.findings import all_of, bad, let_in, naming, only, own_folder
from tests.programs import need_root
from tests.servers import Moorage, free_port

NAME = "registry.example.com"
HOUR = 3600 * 1_000_000


@dataclass(frozen=True)
class Nothing:
    """A machine without a resolver of its own."""

    own: list[NameServer] = field(default_factory=list)

    def lookup(self, host: str) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def hosts_file(self, host: str) -> list[Address]:
        return []

    def servers(self) -> list[NameServer]:
        return self.own

    def search(self) -> list[str]:
        return []


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's, which other users cannot be let in to."""
    with own_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """An authority, and the name server by which it validates."""
    folder = tmp_path_factory.mktemp("pebble")
    with Pebble(folder, external_accounts=None) as made:
        yield made


@pytest.fixture
def dns(pebble: Pebble) -> Iterator[Dns]:
    """Its name server, on which NAME is 127.0.0.1; everything is as before afterwards."""
    yield pebble.dns
    pebble.dns.address(NAME)
    pebble.dns.caa("example.com", None)
    pebble.dns.caa(NAME, None)
    pebble.dns.servfail(NAME, on=False)
    pebble.dns.default("127.0.0.1")


def settings_for(pebble: Pebble, data: Path, **acme: Any) -> Settings:
    """Settings of a server that has its certificate from *pebble*."""
    return Settings.model_validate(
        {
            "data": data,
            "tls": {"domains": [NAME]},
            "acme": {"directory": pebble.directory, "ca_file": pebble.ca_file, **acme},
        }
    )


def around() -> Surroundings:
    """Now, as this user."""
    return Surroundings(me(), SystemClock().now())


@pytest.fixture
def outlook(pebble: Pebble, dns: Dns, tmp_path: Path) -> Outlook:
    """What the doctor judges with, while no server runs."""
    settings = settings_for(pebble, tmp_path / "data")
    store = CertificateStore(Folders(settings.data).tls)
    server = NameServer("127.0.0.1", dns.port)
    return Outlook(
        settings, store, around(), Nothing(), (server,), Authority(("pebble.test",)), served=False, timeout=10.0
    )


def looked(outlook: Outlook, domain: str = NAME) -> list[Finding]:
    """What is said of a domain."""
    return all_of(look_at_domain(domain, outlook))


@contextmanager
def page(port: int, status: int, headers: dict[str, str]) -> Iterator[None]:
    """Another web server, which answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_can_be_found_has_good_prospects(pebble: Pebble, outlook: Outlook, tmp_path: Path) -> None:
    """Its certificate was really issued, its own token is really fetched, and there is nothing to complain of."""
    port = free_port()
    options = ["--domain", NAME, "--acme-directory", pebble.directory, "--acme-ca-file", str(pebble.ca_file)]
    plain = ["--tls-plain-listen", f"127.0.0.1:{pebble.http_port}"]
    server = Moorage(tmp_path, *options, *plain, users={"ann": "correct horse"}, port=port)
    server.pair = pebble._pair  # only says that TLS is spoken, for the wait until it answers
    with server:
        settings = settings_for(pebble, server.data)
        store = CertificateStore(Folders(server.data).tls)
        _await(lambda: store.has(NAME))
        sight = replace(outlook, settings=settings, store=store, served=True, http_port=pebble.http_port)
        authority, said = _ask(settings)
        states = list(look_at_states(settings, store, around()))
        found = looked(replace(sight, authority=authority))
        left = list((store.folder / "challenges" / "http").iterdir())

    assert bad([*said, *states, *found]) == []
    assert "the next renewal is due on" in states[-1].what
    assert any("is answered by this server" in one.what for one in found)
    assert left == []


def _ask(settings: Settings) -> tuple[Authority | None, list[Finding]]:
    return asyncio.run(ask_authority(settings, SystemClock().now()))


def _await(done: Any) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def test_a_name_that_does_not_exist_is_named(pebble: Pebble, outlook: Outlook, dns: Dns) -> None:
    """Misspelt, or not yet in the zone."""
    dns.default("")

    assert "has no address" in only(looked(outlook)).what


def test_a_stale_aaaa_record_is_named(outlook: Outlook, dns: Dns) -> None:
    """The commonest reason of all: A is right, and AAAA leads to the machine before."""
    dns.address(NAME, "127.0.0.1", "2a01:4f8::7")

    one = only(looked(outlook))

    assert "its AAAA record is 2a01:4f8::7, and this machine has no public IPv6 address" in one.what


@pytest.mark.parametrize(
    ("address", "said"),
    [("10.1.2.3", "which is private"), ("127.0.0.1", "which is loopback"), ("8.8.8.8", "")],
)
def test_what_the_internet_cannot_reach_is_named(address: str, said: str) -> None:
    """An address inside is no use to an authority outside; a public one may be a router's."""
    found = bad(judge_addresses(NAME, [address], public=True))

    assert [said in one.what for one in found] == ([True] if said else [])


def test_a_private_authority_may_come_from_inside() -> None:
    """With an authority of one's own an address inside is right."""
    assert bad(judge_addresses(NAME, ["10.1.2.3"], public=False)) == []


def test_name_servers_that_disagree_are_named(pebble: Pebble, outlook: Outlook, dns: Dns, tmp_path: Path) -> None:
    """Inside another answer than outside: what the authority sees is what the one outside says."""
    (tmp_path / "inside").mkdir()
    dns.address(NAME, "192.0.2.9")
    with Pebble(tmp_path / "inside") as inside:
        inside.dns.address(NAME, "127.0.0.1")
        names = Nothing([NameServer("127.0.0.1", inside.dns.port)])
        found = looked(replace(outlook, names=names))

    one = naming(found, "name servers disagree")
    assert f"127.0.0.1:{inside.dns.port}: 127.0.0.1" in one.what
    assert f"127.0.0.1:{dns.port}: 192.0.2.9" in one.what


def test_a_name_server_that_fails_is_no_verdict(outlook: Outlook, dns: Dns) -> None:
    """It says nothing of the name."""
    dns.servfail(NAME)

    found = looked(outlook)

    assert bad(found) == []
    assert any("servfail" in one.what for one in found)


def test_a_closed_port_is_named(outlook: Outlook) -> None:
    """The server runs, and nothing listens where the authority comes."""
    one = only(looked(replace(outlook, served=True, http_port=free_port())))

    assert "of 127.0.0.1, which is this machine, cannot be reached: Connection refused" in one.what


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (200, {}, "somebody else answers challenges: 200"),
        (404, {"Server": "nginx/1.22.1"}, "somebody else answers challenges: 404"),
        (302, {"Location": "https://login.example/"}, "a challenge is redirected to https://login.example/"),
    ],
)
def test_another_server_in_front_is_named(outlook: Outlook, status: int, headers: dict[str, str], said: str) -> None:
    """It has port 80, and the authority would talk to it."""
    port = free_port()
    with page(port, status, headers):
        one = only(looked(replace(outlook, served=True, http_port=port)))

    assert said in one.what


def test_a_wildcard_needs_dns_01(outlook: Outlook) -> None:
    """No other challenge shows it."""
    assert "a wildcard is shown by dns-01 alone" in only(looked(outlook, "*.example.com")).what


@pytest.mark.parametrize("domain", [NAME, "example.com"])
def test_a_caa_record_that_forbids_is_found_on_the_way_up(outlook: Outlook, dns: Dns, domain: str) -> None:
    """Of the name itself, or of the domain above."""
    dns.caa(domain, "letsencrypt.org")

    one = only(looked(outlook))

    assert one.what == f"CAA records of {domain} allow letsencrypt.org, and the authority is pebble.test"
    assert one.remedy == (f'{domain}. IN CAA 0 issue "pebble.test"    ; a record to add to the zone',)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("pebble.test", ""),
        ("pebble.test; validationmethods=http-01", ""),
        ("pebble.test; validationmethods=dns-01", "and not by http-01"),
        ("pebble.test; accounturi=https://pebble.test/acct/7", "names the one account"),
        (";", "allow ;, and the authority is pebble.test"),
    ],
)
def test_caa_records_are_read_as_authorities_do(outlook: Outlook, dns: Dns, value: str, said: str) -> None:
    """Allowed, allowed by another challenge or another account, and nobody at all (RFC 8659, RFC 8657)."""
    dns.caa(NAME, value)

    found = bad(looked(outlook))

    assert [said in one.what for one in found] == ([True] if said else [])


def test_a_record_for_wildcards_counts_for_wildcards_alone() -> None:
    """RFC 8659, 4.3: issuewild has the last word for them, and none for others."""
    records = ((False, "issue", "pebble.test"), (False, "issuewild", "other.test"))

    plain = judge(NAME, Records(NAME, records), ["pebble.test"], "dns-01")
    wild = judge("*.example.com", Records("example.com", records), ["pebble.test"], "dns-01")

    assert bad(plain) == []
    assert "other.test" in only(wild).what


def test_caa_records_that_cannot_be_asked_for_are_no_verdict(dns: Dns) -> None:
    """A name server that does not answer."""
    found = asyncio.run(find_records(NAME, NameServer("127.0.0.1", 1), 1.0))

    assert [one.verdict for one in judge(NAME, found, ["x"], "http-01")] == [Verdict.SKIPPED]


def test_a_directory_that_cannot_be_had_is_named(pebble: Pebble, tmp_path: Path) -> None:
    """Nobody answers; somebody answers with a web page; its certificate is from an unknown authority."""
    down = settings_for(pebble, tmp_path, directory=f"https://localhost:{free_port()}/dir")
    port = free_port()
    html = settings_for(pebble, tmp_path, directory=f"http://localhost:{port}/")
    strange = Settings.model_validate({"data": tmp_path, "acme": {"directory": pebble.directory}})

    with page(port, 200, {"Content-Type": "text/html"}):
        said = [_ask(one)[1] for one in (down, html, strange)]

    assert "the connection is refused" in only(said[0]).what
    assert "is no ACME server" in only(said[1]).what
    assert "is not trusted" in only(said[2]).what


def test_what_the_authority_does_not_offer_is_named(pebble: Pebble, tmp_path: Path) -> None:
    """A profile that it does not have, with those that it has."""
    one = only(_ask(settings_for(pebble, tmp_path, profile="tlsserver"))[1])

    assert "has no profile tlsserver" in one.what
    assert "--acme-profile default" in " ".join(one.remedy)


def test_a_clock_that_is_off_is_seen_by_the_authoritys(pebble: Pebble, tmp_path: Path) -> None:
    """In which direction, and by how much."""
    settings = settings_for(pebble, tmp_path)
    _, said = asyncio.run(ask_authority(settings, SystemClock().now() + 2 * HOUR))

    assert "s ahead of that of localhost" in only(said).what


def test_a_hook_has_to_be_there_and_to_be_run_by_the_servers_user(tmp_path: Path) -> None:
    """Root, who asks, could run what the server cannot."""
    need_root()
    let_in(tmp_path / "hook")
    tmp_path.chmod(0o755)
    hook = tmp_path / "hook"
    dns = Settings.model_validate({"acme": {"dns": {"method": "hook", "auth_hook": hook}}}).acme.dns
    missing = only(look_at_writer(dns, account(65534)))
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o700)
    closed = only(look_at_writer(dns, account(65534)))
    hook.chmod(0o755)

    assert missing.what == f"the hook {hook} is missing"
    assert closed.what == f"the hook {hook} cannot be run by nobody"
    assert bad(look_at_writer(dns, account(65534))) == []


def test_a_provider_needs_its_package() -> None:
    """Which is an extra."""
    dns = Settings.model_validate({"acme": {"dns": {"method": "provider", "provider": "cloudflare"}}}).acme.dns

    said = [one.what for one in look_at_writer(dns, me())]

    installed = importlib.util.find_spec("lexicon") is not None
    assert said == (
        ["dns-lexicon is installed, for cloudflare"]
        if installed
        else ["acme.dns.provider is cloudflare, and dns-lexicon is not installed"]
    )


FAILED = CertificateFailed(
    "acme.test gives no certificate for registry.example.com (http-01 failed, connection): timeout",
    kind="connection",
    remedy="port 80 of registry.example.com must lead to this server",
    retry_after=7200.0,
)


def known(now: int, failures: int) -> State:
    """What is remembered after so many failed tries."""
    found = renewal.with_settings(State(name=NAME), "settings", "acme.test")
    for number in range(failures):
        found = renewal.failed(found, FAILED, now - (failures - number) * 60_000_000, staging=False)
    return found


@pytest.mark.parametrize(("has", "verdict"), [(False, Verdict.WRONG), (True, Verdict.WARNING)])
def test_the_last_problem_and_the_next_attempt_are_told(*, has: bool, verdict: Verdict) -> None:
    """In words, with the remedy, also how long the authority wants to be left alone."""
    now = SystemClock().now()

    one = only(judge_state(NAME, known(now, 3), now, issuer="acme.test", has=has, staging=None))

    assert one.verdict is verdict
    assert "3 attempts have failed, the last on" in one.what
    assert "(http-01 failed, connection)" in one.what
    assert "the next attempt is in 119 minutes" in one.meaning or "the next attempt is in 118 minutes" in one.meaning
    assert "The authority wants none before" in one.meaning
    assert one.remedy[0] == "port 80 of registry.example.com must lead to this server"


def test_no_attempt_yet_is_well(tmp_path: Path) -> None:
    """Before the first start nothing was asked for."""
    found = list(judge_state(NAME, State(), SystemClock().now(), issuer="acme.test", has=False, staging=None))

    assert [one.verdict for one in found] == [Verdict.SKIPPED]


def test_states_are_read_from_the_data_folder(pebble: Pebble, tmp_path: Path) -> None:
    """As the server writes them."""
    settings = settings_for(pebble, tmp_path)
    store = CertificateStore(Folders(tmp_path).tls)
    now = SystemClock().now()
    state.save(store, NAME, known(now, 1))

    one = only(look_at_states(settings, store, around()))

    assert one.facts["kind"] == "connection"
    assert json.loads((store.folder / "states" / f"{NAME}.json").read_text())["failures"] == 1
