from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from moorage.clock import SystemClock
from moorage.tls.client_ca import ClientAuthority
from moorage.tls.signing import load_signer, moment
from moorage.tls.store import CertificateStore
from tests.certificates import Authority, Pair
from tests.programs import Shell
from tests.servers import Moorage

USERS = {"ann": "ann's password", "bob": "bob's password"}
PING = "/v2/"
UPLOADS = "/v2/a/b/blobs/uploads/"
SECONDS = 30.0


@dataclass
class House:
    """A server that asks for certificates, its clients' authority, and curl."""

    server: Moorage
    authority: Authority
    folder: Path

    @property
    def clients(self) -> ClientAuthority:
        return ClientAuthority(CertificateStore(self.server.data / "moorage" / "tls"), SystemClock())

    def issue(self, name: str, days: int = 30) -> Pair:
        """A certificate for *name*, as `moorage cert issue-client` makes it."""
        client, issued = self.clients.issue(name, days)
        return self.keep(client.serial, issued.chain, issued.key)

    def keep(self, stem: str, chain: bytes, key: bytes) -> Pair:
        pair = Pair(self.folder / f"{stem}.cert", self.folder / f"{stem}.key", self.authority.path)
        pair.certificate.write_bytes(chain)
        pair.key.write_bytes(key)
        return pair

    def curl(self, path: str, shown: Pair | None = None, *options: str) -> list[str]:
        """curl's command for *path*, with the status alone as output."""
        with_pair = ["--cert", str(shown.certificate), "--key", str(shown.key)] if shown else []
        said = ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", str(self.authority.path)]
        return ["curl", *said, *with_pair, *options, f"{self.server.url}{path}"]

    def status(self, path: str, shown: Pair | None = None, *options: str) -> int:
        return int(Shell(self.folder / "home")(*self.curl(path, shown, *options)))

    def refused(self, shown: Pair | None = None, *options: str) -> str:
        """What curl says when the connection itself is refused."""
        return Shell(self.folder / "home").fails(*self.curl(PING, shown, *options))

    def connection(self, shown: Pair | None) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.authority.path))
        if shown:
            context.load_cert_chain(shown.certificate, shown.key)
        return http.client.HTTPSConnection(self.server.address, self.server.port, context=context, timeout=SECONDS)

    def principals(self, path: str) -> list[str]:
        """Whom the access log names for requests of *path* that were let in, the oldest first."""
        deadline = time.monotonic() + SECONDS
        while True:
            lines = [json.loads(line) for line in self.server.log.read_text().splitlines() if line.startswith("{")]
            found = [line for line in lines if line.get("path") == path]
            if found or time.monotonic() > deadline:
                return [str(line.get("principal", "")) for line in found if int(line["status"]) < 400]
            time.sleep(0.05)


def _house(
    folder: Path,
    principal: str = "cn",
    auth: str = "require-and-verify",
    *,
    cas: Path | None = None,
    own: bool = True,
    passwords: bool = True,
) -> House:
    authority = Authority(folder / "authority")
    environment = {"MOORAGE_TLS_CLIENT_PRINCIPAL": principal, "MOORAGE_TLS_CLIENT_AUTH": auth}
    if cas:
        environment["MOORAGE_TLS_CLIENT_CAS"] = str(cas)
    server = Moorage(
        folder / "server",
        *(["--tls-own-clients"] if own else []),
        users=USERS if passwords else {},
        pair=authority.issue("127.0.0.1"),
        environment=environment,
    )
    return House(server, authority, folder)


@pytest.fixture(scope="module")
def required(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Every client has to show a certificate, whose common name is the user."""
    house = _house(tmp_path_factory.mktemp("required"))
    with house.server:
        yield house


@pytest.fixture(scope="module")
def optional(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A certificate that is shown has to be good; who shows none has to know a password."""
    house = _house(tmp_path_factory.mktemp("optional"), auth="verify-if-given")
    with house.server:
        yield house


@pytest.mark.parametrize("version", ["--tlsv1.3", "--tls-max=1.2"])
def test_a_certificate_lets_its_client_in_without_a_password(required: House, version: str) -> None:
    """It may push, and the log names it."""
    option = version.split("=")
    shown = required.issue("ann")

    assert required.status(PING, shown, *option) == 200
    assert required.status(UPLOADS, shown, *option, "-X", "POST") == 202

    assert set(required.principals(UPLOADS)) == {"ann"}


def test_who_has_no_certificate_is_not_let_in_and_told_why(required: House) -> None:
    """A password does not help."""
    for options in ((), ("-u", f"ann:{USERS['ann']}")):
        assert "certificate required" in required.refused(None, *options)


def test_a_certificate_of_another_authority_is_refused(required: House, optional: House, tmp_path: Path) -> None:
    """Whether certificates are required or not, and though the other authority has the same name."""
    stranger = ClientAuthority(CertificateStore(tmp_path / "tls"), SystemClock())
    _, issued = stranger.issue("ann", 30)
    for house in (required, optional):
        shown = house.keep("stranger", issued.chain, issued.key)

        assert "unknown ca" in house.refused(shown)


def test_a_server_certificate_is_none_for_clients(required: House) -> None:
    """Nor is one that the authority of the server's own certificate has signed."""
    assert "unknown ca" in required.refused(required.server.pair)


def test_an_expired_certificate_is_refused(required: House) -> None:
    """By the TLS library, in the handshake."""
    [folder] = required.clients.bundle.parent.glob("0*")
    signer = load_signer((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    now = moment(SystemClock().now())
    issued = signer.sign("late", [], "client", now - timedelta(hours=9), now - timedelta(hours=1))

    said = required.refused(required.keep("late", issued.chain, issued.key))

    assert "certificate expired" in said


def test_a_revoked_certificate_is_refused_at_once_and_on_open_connections(required: House) -> None:
    """By a sentence that says so; other certificates of the same name stay good."""
    first, second = required.issue("carol"), required.issue("carol")
    open_before = required.connection(first)
    assert _get(open_before, PING)[0] == 200

    required.clients.revoke("carol", first.certificate.stem)

    _wait_until(lambda: _get(open_before, PING)[0] == 403)
    status, body = _get(open_before, PING)
    assert status == 403
    assert "this client certificate is revoked" in body
    assert required.status(PING, first) == 403
    assert required.status(PING, first, "-u", f"ann:{USERS['ann']}") == 403
    assert required.status(PING, second) == 200
    open_before.close()


def test_a_session_from_before_the_revocation_does_not_help(required: House) -> None:
    """A resumed session verifies nothing again; the certificate that began it is known all the same."""
    shown = required.issue("dave")
    context = ssl.create_default_context(cafile=str(required.authority.path))
    context.load_cert_chain(shown.certificate, shown.key)
    status, session, _ = _ask(required, context)
    assert status == 200
    required.clients.revoke("dave")
    _wait_until(lambda: required.status(PING, shown) == 403)

    status, _, resumed = _ask(required, context, session)

    assert resumed
    assert status == 403


def test_a_password_decides_where_one_is_given(required: House) -> None:
    """A wrong one is refused whatever certificate is shown; a right one makes the request its user's."""
    shown = required.issue("ann")

    assert required.status(PING, shown, "-u", "ann:wrong") == 401
    assert required.status(PING, shown, "-u", "nobody:at all") == 401
    assert required.status("/v2/c/d/blobs/uploads/", shown, "-X", "POST", "-u", f"bob:{USERS['bob']}") == 202
    assert required.principals("/v2/c/d/blobs/uploads/") == ["bob"]
    # What podman sends where it has no password.
    assert required.status(PING, shown, "-u", ":") == 200


def test_the_user_of_the_same_name_with_a_password_is_another_one(optional: House) -> None:
    """What the certificate's began, the password's cannot go on with, nor the other way."""
    shown = optional.issue("ann")
    with_password = ("-u", f"ann:{USERS['ann']}")
    for mine, others in (((shown,), (None, *with_password)), ((None, *with_password), (shown,))):
        begun = Shell(optional.folder / "home")(*optional.curl(UPLOADS, *mine, "-X", "POST", "-D", "-"))
        location = next(line.split()[1] for line in begun.splitlines() if line.lower().startswith("location:"))

        assert optional.status(location, *mine) == 204
        assert optional.status(location, *others) == 404


def test_where_certificates_are_optional_a_password_does_too(optional: House) -> None:
    """And nothing at all is a stranger's."""
    assert optional.status(PING) == 401
    assert optional.status(PING, None, "-u", f"ann:{USERS['ann']}") == 200
    assert optional.status(PING, optional.issue("ann")) == 200


def test_a_name_that_no_user_can_have_is_a_strangers(tmp_path: Path) -> None:
    """A good certificate without a name of the chosen kind opens the connection, and no more."""
    house = _house(tmp_path, principal="email")
    with house.server:
        assert house.status(PING, house.issue("ann")) == 401
        assert house.status(PING, house.issue("ann@example.com")) == 200
        assert house.status(PING, house.issue("ann"), "-u", f"ann:{USERS['ann']}") == 200


@pytest.mark.parametrize(("principal", "expected"), [("dns", "ci.example.com"), ("cn", "ci.example.com")])
def test_certificates_of_other_authorities_are_mapped_too(tmp_path: Path, principal: str, expected: str) -> None:
    """Those of tls.client_cas, with or without the server's own."""
    other = Authority(tmp_path / "other", "Company CA")
    house = _house(tmp_path, principal=principal, cas=other.path, own=False)
    with house.server:
        shown = other.issue("ci.example.com", "second.example.com", client=True)

        assert house.status(UPLOADS, shown, "-X", "POST") == 202
        assert house.principals(UPLOADS) == [expected]
        assert "unknown ca" in house.refused(house.issue("ann"))
        assert "unsupported certificate" in house.refused(other.issue("ci.example.com", client=False))


def test_where_the_password_decides_the_certificate_only_opens_the_connection(tmp_path: Path) -> None:
    """With tls.client_principal none; one that is revoked opens nothing."""
    house = _house(tmp_path, principal="none")
    with house.server:
        shown = house.issue("ann")
        password = ("-u", f"bob:{USERS['bob']}")

        assert house.status(PING, shown) == 401
        assert house.status(PING, shown, *password) == 200
        house.clients.revoke("ann")
        _wait_until(lambda: house.status(PING, shown, *password) == 403)


def test_without_passwords_the_certificate_is_all_there_is(tmp_path: Path) -> None:
    """With --auth none: a revoked one keeps its client out still."""
    house = _house(tmp_path, passwords=False)
    with house.server:
        shown = house.issue("ann")

        assert house.status(UPLOADS, shown, "-X", "POST") == 202
        assert house.principals(UPLOADS) == ["ann"]
        house.clients.revoke("ann")
        _wait_until(lambda: house.status(UPLOADS, shown, "-X", "POST") == 403)


def test_revocations_outlive_a_restart_and_a_broken_list_is_refused(tmp_path: Path) -> None:
    """Nobody is let in again because a file was lost in the middle of a night."""
    house = _house(tmp_path)
    with house.server:
        shown = house.issue("ann")
        house.clients.revoke("ann")
        assert house.server.stop() == 0
    with house.server:
        assert house.status(PING, shown) == 403
        assert house.server.stop() == 0
    (house.server.data / "moorage" / "tls" / "clients" / "clients.json").write_text("{")

    done = subprocess.run(house.server.command(), capture_output=True, text=True, timeout=SECONDS, check=False)

    assert done.returncode not in {0, 1}
    assert "not the list of clients that moorage writes" in done.stderr


def _ask(
    house: House, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[int, ssl.SSLSession | None, bool | None]:
    """The status of a ping, the session after it, and whether *session* was resumed."""
    with socket.create_connection((house.server.address, house.server.port), SECONDS) as plain:
        with context.wrap_socket(plain, server_hostname=house.server.address, session=session) as secure:
            secure.sendall(f"GET {PING} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = secure.recv(65536)
            return int(answer.split()[1]), secure.session, secure.session_reused


def _get(connection: http.client.HTTPSConnection, path: str) -> tuple[int, str]:
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode()


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)
