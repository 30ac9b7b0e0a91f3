from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dns.update
import pytest

from moorage.errors import CertificateFailed
from moorage.tls.dns.answers import DnsAnswers
from moorage.tls.dns.hook import Hook
from moorage.tls.dns.lookup import Lookup
from moorage.tls.dns.provider import Provider
from moorage.tls.dns.records import Record, Writer
from moorage.tls.dns.rfc2136 import Rfc2136, TsigKey
from moorage.tls.store import CertificateStore
from tests.acme.asking import QuickClock, check, issue, leftovers, options_for, refusal
from tests.acme.knot import KEY_NAME, KEY_SECRET, Knot
from tests.acme.pebble import Pebble

KEY = TsigKey(KEY_NAME, KEY_SECRET)
NAME = "_acme-challenge.a.example.org"


@pytest.fixture(autouse=True)
def forget_lexicon() -> Iterator[None]:
    """Unload dns-lexicon, whose modules warn whoever looks at all modules, as hypothesis does in other tests."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "lexicon"]:
        del sys.modules[name]


def answers(writer: Writer, knot: Knot, wait: float = 60.0) -> DnsAnswers:
    """Answers by *writer*, with *knot* as resolver and name server."""
    return DnsAnswers(writer, Lookup([knot.server], port=knot.port), wait, QuickClock())


def record(name: str = NAME, zone: str = "example.org", value: str = "value") -> Record:
    """A record to write."""
    return Record("a.example.org", name, zone, value, "token")


def failure(writer: Writer, record: Record) -> CertificateFailed:
    """How putting *record* fails."""
    with pytest.raises(CertificateFailed) as caught:
        writer.put(record)
    return caught.value


@pytest.mark.parametrize("name", ["a.example.org", "*.example.org"])
def test_names_and_wildcards_by_updates(tmp_path: Path, store: CertificateStore, name: str) -> None:
    """A signed update puts the record on a real name server, the authority sees it, and it is taken away again."""
    with (
        Knot(tmp_path / "knot", "example.org") as knot,
        Pebble(tmp_path / "p", dns_server=knot.server) as pebble,
    ):
        options = options_for(pebble, dns=answers(Rfc2136(knot.server, KEY), knot))
        issued = issue(options, store, name)

        check(issued, name, pebble.roots())
        assert knot.txt(f"_acme-challenge.{name.removeprefix('*.')}") == []
    assert leftovers(store) == []


def test_an_alias_is_followed(tmp_path: Path, store: CertificateStore) -> None:
    """Where `_acme-challenge` is an alias, the record goes where the alias leads to."""
    alias = {"example.org": ["_acme-challenge.a CNAME a.validation.example.org."]}
    with (
        Knot(tmp_path / "knot", "example.org", records=alias) as knot,
        Pebble(tmp_path / "p", dns_server=knot.server) as pebble,
    ):
        options = options_for(pebble, dns=answers(Rfc2136(knot.server, KEY), knot))
        issued = issue(options, store, "a.example.org")

        check(issued, "a.example.org", pebble.roots())


def test_an_alias_into_another_zone(tmp_path: Path) -> None:
    """An alias may lead to a zone that is there for validation only: that one is changed, and no other."""
    alias = {"example.org": ["_acme-challenge.a CNAME a.validation.example.net."]}
    with Knot(tmp_path / "knot", "example.org", "validation.example.net", records=alias) as knot:
        placed = answers(Rfc2136(knot.server, KEY), knot)

        async def put() -> None:
            await placed.put("a.example.org", "token", "value")
            await placed.wait("a.example.org", "value")

        asyncio.run(put())
        there = knot.txt("a.validation.example.net")
        asyncio.run(placed.remove("a.example.org", "token", "value", ""))

        assert there == ["value"]
        assert knot.txt("a.validation.example.net") == []


def test_aliases_in_a_circle_are_refused(tmp_path: Path) -> None:
    """A circle of aliases ends in words."""
    circle = {"example.org": ["_acme-challenge.a CNAME b.example.org.", "b CNAME _acme-challenge.a.example.org."]}
    with Knot(tmp_path / "knot", "example.org", records=circle) as knot:
        lookup = Lookup([knot.server], port=knot.port)

        with pytest.raises(CertificateFailed, match="alias of an alias"):
            lookup.place("a.example.org")


def test_other_records_of_the_same_name_stay(tmp_path: Path) -> None:
    """Two processes may validate one name: each takes away only its own record, and twice is once."""
    with Knot(tmp_path / "knot", "example.org") as knot:
        writer = Rfc2136(knot.server, KEY)
        mine, other = record(value="mine"), record(value="other")

        for one in (mine, mine, other):
            writer.put(one)
        both = sorted(knot.txt(NAME))
        writer.remove(mine, "")
        writer.remove(mine, "")

        assert both == ["mine", "other"]
        assert knot.txt(NAME) == ["other"]


@pytest.mark.parametrize(
    ("key", "rights", "zone", "words", "remedy"),
    [
        (TsigKey("other.key.", KEY_SECRET), "all", "example.org", "refuses", "acme.dns.key_name"),
        (TsigKey(KEY_NAME, "AAAA"), "all", "example.org", "refuses", "key_secret"),
        (TsigKey(KEY_NAME, KEY_SECRET, "hmac-sha512"), "all", "example.org", "refuses", "key_algorithm"),
        (TsigKey(KEY_NAME, "no base64!"), "all", "example.org", "cannot be used", "base64"),
        (None, "all", "example.org", "refuses to change", "acl"),
        (KEY, "none", "example.org", "refuses", "acme.dns.key_name"),
        (KEY, "all", "example.net", "has no zone for", "primary"),
    ],
)
def test_a_refused_update_says_why(
    tmp_path: Path, key: TsigKey | None, rights: str, zone: str, words: str, remedy: str
) -> None:
    """Wrong keys, missing rights and the wrong server are told apart."""
    with Knot(tmp_path / "knot", "example.org", updates=rights == "all") as knot:
        error = failure(Rfc2136(knot.server, key), record(f"_acme-challenge.{zone}"))

    assert error.kind == "dns"
    assert words in error.message
    assert remedy in error.remedy
    assert KEY_SECRET not in str(error)


@pytest.mark.parametrize("server", ["127.0.0.1:1", "no-such-host.invalid", "127.0.0.1:port", "[::1]:99999"])
def test_a_name_server_that_is_not_there(server: str) -> None:
    """A server that cannot be reached, or is no server, is named."""
    error = failure(Rfc2136(server, KEY), record())

    assert error.kind == "dns"
    assert f"the name server {server} cannot be asked" in error.message


def test_a_name_server_that_lags_is_named(tmp_path: Path, store: CertificateStore) -> None:
    """While one of the zone's name servers lacks the record the authority is not asked; the error names that one."""
    with (
        Knot(tmp_path / "a", "example.org", name_servers=("127.0.0.1", "127.0.0.2")) as knot,
        Knot(tmp_path / "b", "example.org", address="127.0.0.2", port=knot.port),
        Pebble(tmp_path / "p", dns_server=knot.server) as pebble,
    ):
        options = options_for(pebble, dns=answers(Rfc2136(knot.server, KEY), knot))
        error = refusal(options, store, "a.example.org")

        assert error.kind == "dns"
        assert "ns1.example.org (127.0.0.2)" in error.message
        assert "acme.dns.wait" in error.remedy
        assert knot.txt(NAME) == []
        assert pebble.count("Challenge") == 0 or "chalZ" not in pebble.log.read_text()
    assert leftovers(store) == []


def test_a_name_server_that_cannot_be_asked_is_the_authoritys_to_judge(tmp_path: Path, store: CertificateStore) -> None:
    """A firewall may keep us from the zone's name servers: after the wait it is asked all the same."""
    with (
        Knot(tmp_path / "a", "example.org", name_servers=("127.0.0.1", "127.0.0.3")) as knot,
        Pebble(tmp_path / "p", dns_server=knot.server) as pebble,
    ):
        options = options_for(pebble, dns=answers(Rfc2136(knot.server, KEY), knot, wait=4.0))
        issued = issue(options, store, "a.example.org")

        check(issued, "a.example.org", pebble.roots())


SCRIPT = """#!/bin/sh
env | grep '^CERTBOT_' | sort >>{log}
echo -- >>{log}
{work}
"""


def script(path: Path, log: Path, work: str) -> Path:
    """A program that notes its environment and does *work*."""
    path.write_text(SCRIPT.format(log=log, work=work))
    path.chmod(0o755)
    return path


def test_a_hook_puts_the_record_as_certbots_do(tmp_path: Path, store: CertificateStore) -> None:
    """Hooks get certbot's variables, and the second one what the first one printed."""
    log = tmp_path / "log"
    with Knot(tmp_path / "knot", "example.org") as knot, Pebble(tmp_path / "p", dns_server=knot.server) as pebble:
        program = tmp_path / "update.py"
        program.write_text(
            "import sys, dns.update, dns.query, dns.tsig, dns.name\n"
            f"key = dns.tsig.Key(dns.name.from_text('{KEY_NAME}'), '{KEY_SECRET}', 'hmac-sha256')\n"
            "update = dns.update.UpdateMessage('example.org', keyring=key)\n"
            "verb, name, value = sys.argv[1:]\n"
            "rest = (60, 'TXT', value) if verb == 'add' else ('TXT', value)\n"
            "getattr(update, verb)(name + '.', *rest)\n"
            f"dns.query.tcp(update, '{knot.address}', port={knot.port}, timeout=10)\n"
        )
        call = f"{sys.executable} {program} %s _acme-challenge.$CERTBOT_DOMAIN $CERTBOT_VALIDATION"
        auth = script(tmp_path / "auth", log, call % "add" + "\necho record 17")
        cleanup = script(tmp_path / "cleanup", log, call % "delete")
        options = options_for(pebble, dns=answers(Hook(auth, cleanup), knot))
        issued = issue(options, store, "*.example.org")

        check(issued, "*.example.org", pebble.roots())
        assert knot.txt("_acme-challenge.example.org") == []
    put, removed, _ = log.read_text().split("--\n")
    assert "CERTBOT_DOMAIN=example.org\nCERTBOT_REMAINING_CHALLENGES=0\nCERTBOT_TOKEN=" in put
    assert "CERTBOT_ALL_DOMAINS=example.org\n" in put
    assert "CERTBOT_AUTH_OUTPUT" not in put
    assert "CERTBOT_AUTH_OUTPUT=record 17\n" in removed
    assert put.split("CERTBOT_VALIDATION=")[1] == removed.split("CERTBOT_VALIDATION=")[1]


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("#!/bin/sh\necho 'no such zone' >&2\nexit 3\n", 0o755, "exited with 3 for a.example.org: no such zone"),
        ("#!/bin/sh\nkill -9 $$\n", 0o755, "was ended by signal 9"),
        ("#!/bin/sh\nsleep 600 & sleep 600\n", 0o755, "has not ended after 1 seconds"),
        ("#!/nowhere/sh\n", 0o755, "cannot be run: No such file or directory"),
        ("no program\n", 0o755, "cannot be run: Exec format error"),
        ("#!/bin/sh\n", 0o644, "cannot be run: Permission denied"),
        (None, 0, "cannot be run: No such file or directory"),
    ],
)
def test_a_hook_that_fails_is_quoted(tmp_path: Path, content: str | None, mode: int, words: str) -> None:
    """A hook that fails, hangs or is no program: the error has its path and what it said."""
    path = tmp_path / "hook"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)

    error = failure(Hook(path, seconds=1.0), record())

    assert error.kind == "dns"
    assert f"acme.dns.auth_hook {path} {words}" in error.message
    assert error.remedy


class PowerDns(ThreadingHTTPServer):
    """The few calls of PowerDNS' API that dns-lexicon makes, over *knot*'s zone."""

    def __init__(self, knot: Knot) -> None:
        self.sets: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(200, {"kind": "Native", "name": "example.org.", "rrsets": server.sets})

            def do_PATCH(self) -> None:
                if self.headers["X-API-Key"] != "the-token":
                    self._send(401, {"error": "Unauthorized: the-secret"})
                    return
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for one in body["rrsets"]:
                    server.sets = [{k: v for k, v in one.items() if k != "changetype"}] if one["records"] else []
                    server.apply(knot, one)
                self._send(204, None)

            def _send(self, status: int, body: Any) -> None:
                self.send_response(status)
                data = b"" if body is None else json.dumps(body).encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @staticmethod
    def apply(knot: Knot, change: dict[str, Any]) -> None:
        """Bring the change to the real name server."""
        key = dns.tsig.Key(dns.name.from_text(KEY_NAME), KEY_SECRET, "hmac-sha256")
        update = dns.update.UpdateMessage("example.org", keyring=key)
        update.delete(change["name"], "TXT")
        for one in change["records"]:
            update.add(change["name"], 60, "TXT", one["content"])
        dns.query.tcp(update, knot.address, port=knot.port, timeout=10)


def test_a_providers_api_through_lexicon(tmp_path: Path, store: CertificateStore) -> None:
    """The record is put and taken away by a provider's API; a refused token is said, and not shown."""
    with Knot(tmp_path / "knot", "example.org") as knot, Pebble(tmp_path / "p", dns_server=knot.server) as pebble:
        api = PowerDns(knot)
        place = f"http://127.0.0.1:{api.server_address[1]}"
        try:
            good = Provider("powerdns", {"pdns_server": place, "auth_token": "the-token"})
            issued = issue(options_for(pebble, dns=answers(good, knot)), store, "*.example.org")
            check(issued, "*.example.org", pebble.roots())
            left = api.sets
            bad = Provider("powerdns", {"pdns_server": place, "auth_token": "wrong-token"})
            error = failure(bad, record())
        finally:
            api.shutdown()
            api.server_close()

    assert left == []
    assert error.kind == "dns"
    assert "the provider powerdns does not change" in error.message
    assert "401" in error.message
    assert "wrong-token" not in str(error)


def test_a_provider_that_nobody_knows() -> None:
    """A provider's name that dns-lexicon does not have is said to be that."""
    error = failure(Provider("clodflare", {}), record())

    assert "clodflare" in error.message
    assert "acme.dns.provider" in error.remedy


@pytest.mark.parametrize("resolver", ["localhost", "1.2.3", "127.0.0.1:", "[::1"])
def test_a_resolver_that_is_no_address(resolver: str) -> None:
    """A resolver is an address, and the error shows how one is written."""
    with pytest.raises(CertificateFailed, match="no address of a name server") as caught:
        Lookup([resolver]).zone("a.example.org")

    assert "192.0.2.53" in caught.value.remedy


def test_no_resolver_answers(tmp_path: Path) -> None:
    """Without any answer the record goes to the plain name, and the wait ends."""
    clock = QuickClock()
    lookup = Lookup(["127.0.0.1:1"], lifetime=0.1)
    waiting = DnsAnswers(Hook(tmp_path / "unused"), lookup, 3.0, clock)

    asyncio.run(waiting.wait("a.example.org", "value"))

    assert lookup.place("a.example.org") == NAME
    assert clock.slept
