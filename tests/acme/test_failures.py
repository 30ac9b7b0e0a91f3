from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from moorage.errors import CertificateFailed
from moorage.tls.acme import AcmeIssuer, AcmeOptions, Waits
from moorage.tls.acme.account import directory_hash
from moorage.tls.acme.authority import Authority as Conversation
from moorage.tls.issuer import Issued
from moorage.tls.store import CertificateStore
from tests.acme.asking import QuickClock, check, issue, leftovers, only, options_for, refusal
from tests.acme.between import Between, Reply, problem
from tests.acme.doors import Doors
from tests.acme.pebble import Pebble
from tests.certificates import Authority, Pair, make_key
from tests.servers import free_port

HTML = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"


class Page:
    """A web server, with TLS if it has a pair, that answers everything alike."""

    def __init__(self, reply: Reply, pair: Pair | None = None) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *arguments: Any) -> None:
                pass

        class Server(HTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that does not like the certificate hangs up."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if pair is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def attempt(options: AcmeOptions, store: CertificateStore, name: str) -> Issued | CertificateFailed:
    """A certificate, or why there is none; nothing else may come out."""
    try:
        return issue(options, store, name)
    except CertificateFailed as error:
        return error


@pytest.fixture
def between(pebble: Pebble) -> Iterator[Between]:
    """Between us and the authority."""
    with Between(pebble) as between:
        yield between


def test_an_authority_that_is_down_and_comes_back(pebble: Pebble, store: CertificateStore, doors: Doors) -> None:
    """While it is down the error says so; back, it gives the certificate; nothing is asked for twice."""
    pebble.stop()
    down = refusal(options_for(pebble), store, "a.example")
    pebble.start()

    issued = issue(options_for(pebble), store, "a.example")

    assert (down.kind, down.again) == ("unreachable", True)
    assert "the connection is refused" in down.message
    check(issued, "a.example", pebble.roots())


@pytest.mark.slow
def test_an_outage_in_the_middle_of_an_order(
    pebble: Pebble, between: Between, store: CertificateStore, doors: Doors
) -> None:
    """At whatever request the authority goes away, it is said to be unreachable, and the same order is gone on with."""
    options = options_for(pebble, directory=between.directory)
    for step in range(1, 40):
        name = f"n{step}.example"
        seen, passed = len(between.seen), between.count("/order-plz")

        def fail(_: str, path: str, limit: int = seen + step) -> Reply | None:
            return problem("serverInternal", "down", 503) if len(between.seen) >= limit else None

        between.before = fail
        error = attempt(options, store, name)
        between.before = None
        if isinstance(error, Issued):
            break
        assert (error.kind, error.again) == ("serverInternal", True)
        check(issue(options, store, name), name, pebble.roots())
        assert between.count("/order-plz") == passed + 1
        assert leftovers(store) == []
    assert step > 6


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(200, HTML, {"Content-Type": "text/html"}), "an HTML page"),
        (Reply(200, b"", {}), "an empty body"),
        (Reply(200, b"[]", {}), "no object"),
        (Reply(200, b"{}", {}), "no ACME directory"),
        (Reply(200, b'{"newNonce": "/relative", "newAccount": "x:y", "newOrder": ""}', {}), "newNonce is no URL"),
        (Reply(200, b'{"new-reg": "https://localhost/", "new-authz": "https://localhost/"}', {}), "version 1"),
        (Reply(200, b"x" * (1 << 21), {}), "more than"),
        (Reply(404, HTML, {}), "HTTP 404 and an HTML page"),
        (Reply(404, b'{"type": "about:blank", "detail": "nothing here"}', {}), "HTTP 404"),
    ],
)
def test_a_directory_that_is_none(store: CertificateStore, reply: Reply, words: str) -> None:
    """Another server at the directory's URL is said to be that, with what it answered."""
    with Page(reply) as page:
        error = refusal(AcmeOptions(directory=f"http://127.0.0.1:{page.port}/directory"), store, "a.example")

    assert error.kind == "not-acme"
    assert f"http://127.0.0.1:{page.port}/directory is no ACME server" in error.message
    assert words in error.message
    assert "acme.directory" in error.remedy


def test_a_directory_with_trouble_of_its_own(store: CertificateStore) -> None:
    """A maintenance page is trouble of the authority's, and says when to come back."""
    with Page(Reply(503, HTML, {"Retry-After": "120"})) as page:
        error = refusal(AcmeOptions(directory=f"http://127.0.0.1:{page.port}/directory"), store, "a.example")

    assert (error.kind, error.again, error.retry_after) == ("serverInternal", True, 120.0)


def test_a_secure_directory_may_not_lead_to_plain_http(
    pebble: Pebble, between: Between, store: CertificateStore
) -> None:
    """What is fetched by https does not send us on without it."""

    def change(_: str, path: str, reply: Reply) -> Reply | None:
        return Reply(200, reply.body.replace(b"https://", b"http://"), reply.headers) if path == "/dir" else None

    between.after = change
    error = refusal(options_for(pebble, directory=between.directory), store, "a.example")

    assert error.kind == "not-acme"
    assert "plain http" in error.message


@pytest.mark.parametrize(
    ("directory", "words", "remedy"),
    [
        ("https://no-such-host.invalid/directory", "its name does not resolve", "how acme.directory is spelled"),
        ("https://127.0.0.1:1/directory", "the connection is refused", "port in acme.directory"),
    ],
)
def test_an_authority_that_is_not_there(store: CertificateStore, directory: str, words: str, remedy: str) -> None:
    """An unreachable directory is named, with what to look at."""
    error = refusal(AcmeOptions(directory=directory), store, "a.example")

    assert (error.kind, error.again) == ("unreachable", True)
    assert words in error.message
    assert remedy in error.remedy


def test_an_authority_whose_certificate_nobody_trusts(pebble: Pebble, store: CertificateStore) -> None:
    """A private authority's own certificate needs acme.ca_file, and the error says so."""
    error = refusal(options_for(pebble, ca_file=None), store, "a.example")

    assert error.kind == "unreachable"
    assert "is not trusted" in error.message
    assert "acme.ca_file" in error.remedy


def test_a_certificate_for_another_name(tmp_path: Path, store: CertificateStore) -> None:
    """A directory at a name that its certificate is not for is told from one that is not trusted."""
    authority = Authority(tmp_path / "ca")
    with Page(Reply(200, b"{}"), authority.issue("other.example")) as page:
        options = AcmeOptions(directory=f"https://localhost:{page.port}/", ca_file=authority.path)
        error = refusal(options, store, "a.example")

    assert error.kind == "unreachable"
    assert "acme.directory must have the name" in error.remedy


@pytest.mark.parametrize(("days", "state"), [(10, "not valid yet"), (-10, "no longer valid")])
def test_a_clock_that_makes_the_directory_untrusted(
    tmp_path: Path, store: CertificateStore, days: int, state: str
) -> None:
    """A directory's certificate outside its time is most often our own clock."""
    authority = Authority(tmp_path / "ca")
    with Page(Reply(200, b"{}"), _dated(authority, days)) as page:
        options = AcmeOptions(directory=f"https://localhost:{page.port}/", ca_file=authority.path)
        error = refusal(options, store, "a.example")

    assert error.kind == "clock"
    assert state in error.message
    assert "timedatectl" in error.remedy


def _dated(authority: Authority, days: int) -> Pair:
    """A certificate for localhost that is good for a day, *days* from now."""
    key, start = make_key(), datetime.now(UTC) + timedelta(days=days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.root.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .sign(authority.key, hashes.SHA256())
    )
    pair = Pair(authority.folder / "dated.crt", authority.folder / "dated.key", authority.path)
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair


@pytest.mark.parametrize("days", [-30, 30])
def test_two_clocks_that_differ(pebble: Pebble, between: Between, store: CertificateStore, days: int) -> None:
    """A clock that is off by days is said before anything is ordered: the certificate would not fit it."""

    def change(_: str, path: str, reply: Reply) -> Reply | None:
        reply.headers["Date"] = format_datetime(datetime.now(UTC) + timedelta(days=days), usegmt=True)
        return reply if path == "/dir" else None

    between.after = change
    error = refusal(options_for(pebble, directory=between.directory), store, "a.example")

    assert error.kind == "clock"
    assert "the clock of this machine says" in error.message
    assert between.count("/order-plz") == 0


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_file_that_is_none(pebble: Pebble, store: CertificateStore, tmp_path: Path, content: bytes | None) -> None:
    """A missing or useless acme.ca_file is named."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)

    error = refusal(options_for(pebble, ca_file=path), store, "a.example")

    assert error.kind == "local"
    assert str(path) in error.message
    assert "acme.ca_file" in error.remedy


def test_plain_http_where_tls_is_expected(store: CertificateStore) -> None:
    """https to a port without TLS is said to be that."""
    with Page(Reply(200, b"{}")) as page:
        error = refusal(AcmeOptions(directory=f"https://127.0.0.1:{page.port}/"), store, "a.example")

    assert error.kind == "unreachable"
    assert "TLS" in error.message


def test_a_store_that_cannot_be_written(pebble: Pebble, tmp_path: Path) -> None:
    """A file where a folder belongs: the error is ours, and names the store."""
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "accounts").write_text("")

    error = refusal(options_for(pebble), CertificateStore(tmp_path / "tls"), "a.example")

    assert error.kind == "local"
    assert str(tmp_path / "tls") in error.message


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [("3600", 3600.0), (format_datetime(datetime(2040, 1, 1, 1, tzinfo=UTC), usegmt=True), 3600.0), ("soon", None)],
)
def test_a_limit_of_the_authority(
    pebble: Pebble, between: Between, store: CertificateStore, wait: str, seconds: float | None
) -> None:
    """A rate limit carries when to come back, as a number or as a date by the authority's own clock."""

    def limit(_: str, path: str) -> Reply | None:
        if path != "/order-plz":
            return None
        reply = problem("rateLimited", "too many certificates already issued", 429)
        reply.headers |= {"Retry-After": wait, "Date": format_datetime(datetime(2040, 1, 1, tzinfo=UTC), usegmt=True)}
        return reply

    between.before = limit
    error = refusal(options_for(pebble, directory=between.directory), store, "a.example")

    assert (error.kind, error.again, error.retry_after) == ("rateLimited", True, seconds)
    assert "too many certificates already issued" in error.message
    assert "--dry-run" in error.remedy


def test_nonces_that_are_never_right(pebble: Pebble, between: Between, store: CertificateStore) -> None:
    """An authority that refuses every nonce is given up, in words."""
    between.before = lambda method, _: problem("badNonce", "no", 400) if method == "POST" else None

    error = refusal(options_for(pebble, directory=between.directory), store, "a.example")

    assert error.kind == "badNonce"


@pytest.mark.parametrize(
    ("kind", "detail", "remedy"),
    [
        ("dns", "DNS problem: NXDOMAIN looking up A for a.example", "must exist in the public DNS"),
        ("caa", "CAA record for a.example prevents issuance", "dig CAA a.example"),
        ("connection", "Timeout during connect (likely firewall problem)", "port 80 of a.example"),
        ("unauthorized", "Invalid response from http://a.example: 404", "something else answers http://a.example/"),
        ("incorrectResponse", "no", "something else answers http://a.example/"),
        ("tls", "remote error: tls: handshake failure", "something else answers http://a.example/"),
    ],
)
def test_why_a_challenge_failed(
    pebble: Pebble, between: Between, store: CertificateStore, doors: Doors, kind: str, detail: str, remedy: str
) -> None:
    """What the authority found at the name comes out as what to look at there."""

    def change(_: str, path: str, reply: Reply) -> Reply | None:
        if not path.startswith("/authZ/"):
            return None
        document = json.loads(reply.body)
        # A refused nonce is no authorization.
        if "challenges" not in document or document["status"] == "pending":
            return None
        document["status"] = "invalid"
        for challenge in document["challenges"]:
            if challenge["type"] == "http-01":
                challenge |= {"status": "invalid", "error": json.loads(problem(kind, detail).body)}
        return Reply(200, json.dumps(document).encode(), reply.headers)

    between.after = change
    error = refusal(options_for(pebble, directory=between.directory), store, "a.example")
    between.after = None
    issued = issue(options_for(pebble, directory=between.directory), store, "a.example")

    assert (error.kind, error.again) == (kind, True)
    assert f"a.example (http-01 failed, {kind}): {detail}" in error.message
    assert remedy in error.remedy
    check(issued, "a.example", pebble.roots())
    assert leftovers(store) == []


def test_an_order_that_fails_at_the_end(
    pebble: Pebble, between: Between, store: CertificateStore, doors: Doors
) -> None:
    """An order that turns invalid says why, is forgotten, and the next attempt makes a new one."""

    def change(_: str, path: str, reply: Reply) -> Reply | None:
        document = json.loads(reply.body) if path.startswith(("/my-order/", "/finalize-order/")) else {}
        if document.get("status") not in ("processing", "valid"):
            return None
        document |= {"status": "invalid", "error": json.loads(problem("caa", "CAA forbids it").body)}
        return Reply(200, json.dumps(document).encode(), reply.headers)

    between.after = change
    options = options_for(pebble, directory=between.directory)
    error = refusal(options, store, "a.example")
    between.after = None
    issued = issue(options, store, "a.example")

    assert error.kind == "caa"
    assert "CAA forbids it" in error.message
    check(issued, "a.example", pebble.roots())
    assert between.count("/order-plz") == 2


def test_a_certificate_that_was_not_asked_for(
    pebble: Pebble, between: Between, store: CertificateStore, doors: Doors, tmp_path: Path
) -> None:
    """A certificate for another key or name, or none at all, is never handed over."""
    other = issue(options_for(pebble), CertificateStore(store.folder), "other.example").chain
    options = options_for(pebble, directory=between.directory)
    errors = []
    for body in (other, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", HTML):

        def change(_: str, path: str, reply: Reply, body: bytes = body) -> Reply | None:
            return Reply(200, body, reply.headers) if path.startswith("/certZ/") else None

        between.after = change
        errors.append(refusal(options, store, "a.example"))
    between.after = None

    check(issue(options, store, "a.example"), "a.example", pebble.roots())
    assert [error.kind for error in errors] == ["not-acme"] * 4
    assert "for another key" in errors[0].message


def test_a_closed_account(pebble: Pebble, store: CertificateStore, doors: Doors) -> None:
    """A deactivated account is said to be refused, with the folder to move away; then a new one is made."""
    options = options_for(pebble)
    issue(options, store, "a.example")
    conversation = Conversation(options, store, QuickClock().now)
    conversation.connect()
    conversation.sign_in("a.example")
    conversation._network.send(conversation.account.url, {"status": "deactivated"})
    conversation.close()

    error = refusal(options, store, "b.example")
    folder = store.folder / "accounts" / directory_hash(options.directory)
    folder.rename(folder.with_name("away"))
    issued = issue(options, store, "b.example")

    assert error.kind == "unauthorized"
    assert error.again is False
    assert str(folder) in error.remedy
    check(issued, "b.example", pebble.roots())


STATUSES = [200, 201, 302, 400, 403, 404, 409, 500]
GARBAGE = [b"", b"null", b"[]", b"{}", HTML, b'{"status": 5, "authorizations": [7], "finalize": null}', b"\xff\xfe{"]


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_nonsense_at_any_step_is_a_failure_in_words(
    pebble: Pebble, between: Between, store: CertificateStore, doors: Doors, number: int
) -> None:
    """Whatever an authority answers to whichever request, it comes out as CertificateFailed, and can be tried again."""
    options = options_for(pebble, directory=between.directory)
    for step in range(1, 60):
        last = len(between.passed) + step
        nonsense = Reply(STATUSES[(step + number) % len(STATUSES)], GARBAGE[number], {"Replay-Nonce": "!"})

        def spoil(_: str, path: str, reply: Reply, last: int = last, nonsense: Reply = nonsense) -> Reply | None:
            return nonsense if len(between.passed) == last else None

        between.after = spoil
        result = attempt(options, store, "a.example")
        if isinstance(result, Issued) and len(between.passed) < last:
            break
    between.after = None

    assert isinstance(result, Issued)
    check(result, "a.example", pebble.roots())
    assert leftovers(store) == []


def test_a_cancelled_call_leaves_no_answer_behind(
    pebble: Pebble, between: Between, store: CertificateStore, doors: Doors
) -> None:
    """Whoever stops waiting takes the answers away, and the next one goes on with the order."""
    options = options_for(pebble, directory=between.directory)
    # It would look for the answer that is not there any more.
    between.before = lambda _, path: Reply(200, b"{}") if path.startswith("/chalZ/") else None

    async def stop_early() -> None:
        task = asyncio.ensure_future(AcmeIssuer(options, store, QuickClock()).issue("a.example"))
        while not any(path.startswith("/chalZ/") for _, path in between.seen):
            assert not task.done()
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(stop_early())
    left = leftovers(store)
    between.before = None
    issued = issue(options, store, "a.example")

    assert left == []
    check(issued, "a.example", pebble.roots())
    assert between.count("/order-plz") == 1


def test_an_authority_that_never_decides_is_not_waited_for(
    pebble: Pebble, between: Between, store: CertificateStore, doors: Doors
) -> None:
    """The wait for a verdict ends, the order is kept, and the next attempt goes on with it."""
    options = options_for(pebble, directory=between.directory)
    # It is told that the challenge is answered, and does nothing about it.
    between.before = lambda _, path: Reply(200, b"{}") if path.startswith("/chalZ/") else None
    errors = [refusal(options, store, "a.example") for _ in range(2)]
    between.before = None
    issued = issue(options, store, "a.example")

    assert {(error.kind, error.again) for error in errors} == {("serverInternal", True)}
    assert "has not decided about the validation for a.example in 300 seconds" in errors[0].message
    assert "the order is kept" in errors[0].remedy
    check(issued, "a.example", pebble.roots())
    assert between.count("/order-plz") == 1


def test_a_rehearsal_hands_nothing_over_twice(pebble: Pebble, store: CertificateStore, doors: Doors) -> None:
    """What was thrown away is ordered anew; what was lost on the way to the store is handed over again, for an hour."""
    clock = QuickClock()
    options = options_for(pebble)

    kept = [issue(options, store, "a.example", clock=clock) for _ in range(2)]
    clock.ahead += 3601
    later = issue(options, store, "a.example", clock=clock)
    thrown = [issue(only(options, rehearsal=True), store, "b.example", clock=clock) for _ in range(2)]

    assert kept[0] == kept[1]
    assert later.key != kept[0].key
    assert thrown[0].key != thrown[1].key


STUCK = """
import asyncio, socket, sys
from pathlib import Path
from moorage.clock import SystemClock
from moorage.tls.acme import AcmeIssuer, AcmeOptions
from moorage.tls.store import CertificateStore

listener = socket.create_server(("127.0.0.1", 0))
options = AcmeOptions(directory=f"http://127.0.0.1:{listener.getsockname()[1]}/directory")

async def main():
    issuer = AcmeIssuer(options, CertificateStore(Path(sys.argv[1])), SystemClock())
    task = asyncio.ensure_future(issuer.issue("a.example"))
    await asyncio.to_thread(listener.accept)
    task.cancel()

asyncio.run(main())
"""


def test_no_exit_waits_for_a_silent_authority(tmp_path: Path) -> None:
    """A process that is told to end while an authority is silent ends, and not after the 45 seconds of a request."""
    done = subprocess.run([sys.executable, "-c", STUCK, tmp_path / "tls"], capture_output=True, timeout=35, check=False)

    assert (done.returncode, done.stderr) == (0, b"")


def test_an_unused_port_is_never_waited_for(store: CertificateStore) -> None:
    """A directory behind a firewall that drops everything ends in time: the limit for one answer is the caller's."""
    # Documentation's own network (RFC 5737): nothing answers there.
    options = AcmeOptions(directory=f"https://192.0.2.1:{free_port()}/", waits=Waits(network=0.2))
    error = refusal(options, store, "a.example")

    assert error.kind == "unreachable"
