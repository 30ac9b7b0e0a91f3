from __future__ import annotations

from pathlib import Path

import pytest

from moorage.clock import SystemClock
from moorage.tls.private_ca import PrivateAuthority
from moorage.tls.store import CertificateStore
from tests.programs import Shell
from tests.servers import COMMAND, Moorage

USERS = {"alice": "c0rrect-horse"}


class Client:
    """curl with a file of authorities that it trusts; it finds every name on loopback."""

    def __init__(self, server: Moorage, trusted: Path) -> None:
        self.server = server
        self.trusted = trusted
        self.shell = Shell(server.folder / "home")

    def command(self, name: str) -> list[str]:
        found = f"{name}:{self.server.port}:{self.server.address}"
        said = ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", str(self.trusted)]
        return ["curl", *said, "--resolve", found, f"https://{name}:{self.server.port}/v2/"]

    def reaches(self, *names: str) -> bool:
        return {self.shell(*self.command(name)) for name in names} == {"401"}

    def refuses(self, name: str) -> str:
        return self.shell.fails(*self.command(name))


def _server(folder: Path, *names: str, port: int | None = None) -> Moorage:
    options = [word for name in names for word in ("--tls-name", name)]
    return Moorage(folder, *options, users=USERS, port=port)


def _given_out(server: Moorage, path: Path) -> Path:
    """What `/ca.crt` has, fetched in the clear."""
    path.write_text(Shell(server.folder / "home")("curl", "-sS", f"http://{server.host}/ca.crt") + "\n")
    return path


def test_old_clients_notice_nothing_until_the_old_authority_is_retired(tmp_path: Path) -> None:
    """A name beside the old ones takes a new authority, which only those need to trust who use the name."""
    folder = tmp_path / "server"
    with _server(folder, "a.lan") as server:
        old = Client(server, _given_out(server, tmp_path / "old.crt"))
        assert old.reaches("a.lan", "localhost", "127.0.0.1")
        assert server.stop() == 0

    with _server(folder, "a.lan", "b.lan", port=server.port) as server:
        both = Client(server, _given_out(server, tmp_path / "both.crt"))
        assert old.reaches("a.lan", "localhost", "127.0.0.1")
        assert "unable to get local issuer certificate" in old.refuses("b.lan") or "self-signed" in old.refuses("b.lan")
        assert both.reaches("a.lan", "b.lan", "localhost", "127.0.0.1")
        assert "made a private authority beside the one before" in server.log.read_text()
        assert server.stop() == 0

    authority = PrivateAuthority(CertificateStore(server.data / "moorage" / "tls"), SystemClock())
    shown = authority.fingerprints()[1]
    Shell(tmp_path / "home")(COMMAND, "cert", "retire-authority", shown, "--data", server.data)
    with _server(folder, "a.lan", "b.lan", port=server.port) as server:
        new = Client(server, _given_out(server, tmp_path / "new.crt"))
        assert new.reaches("a.lan", "b.lan", "127.0.0.1")
        assert both.reaches("a.lan", "b.lan", "127.0.0.1")
        assert "self-signed" in old.refuses("a.lan") or "unable to get" in old.refuses("a.lan")


def test_a_server_at_every_address_is_trusted_by_its_names_and_addresses(tmp_path: Path) -> None:
    """Without any name in its settings; a name that was never its own is not in the certificate."""
    folder = tmp_path / "server"
    with Moorage(folder, users=USERS, address="0.0.0.0") as server:
        server.address = "127.0.0.1"
        client = Client(server, _given_out(server, tmp_path / "ca.crt"))

        assert client.reaches("localhost", "127.0.0.1")
        assert "no alternative certificate subject name matches" in client.refuses("registry.lan")
        [shown] = PrivateAuthority(CertificateStore(server.data / "moorage" / "tls"), SystemClock()).fingerprints()
        assert shown in server.log.read_text()


@pytest.mark.parametrize("damage", ["ca.crt", "ca.key"])
def test_a_server_with_a_damaged_authority_does_not_start_with_another(tmp_path: Path, damage: str) -> None:
    """It says which file, and that a backup mends it."""
    with _server(tmp_path / "server", "a.lan") as server:
        assert server.stop() == 0
    [path] = (server.data / "moorage" / "tls" / "authority").glob(f"*/{damage}")
    path.write_bytes(b"")

    with pytest.raises(AssertionError, match="from a backup"):
        server.start()

    assert str(path.parent) in server.log.read_text()
