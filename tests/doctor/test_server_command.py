"""`moorage doctor` where the server runs: no false alarm on servers that are well, and faults by their names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from moorage.auth.passwords import hash_bcrypt
from tests.certificates import Authority
from tests.clients.hosts import Cable
from tests.doctor.findings import let_in, own_folder
from tests.programs import lacking, need, need_root
from tests.servers import COMMAND, Moorage

NOBODY = 65534
WELL, WRONG, WARNED = 0, 9, 10
PASSWORD = "correct horse"
CLIENT = {"name", "port", "tls", "clock", "api", "login", "push", "pull", "proxy"}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's, which other users cannot be let in to."""
    with own_folder() as folder:
        yield folder


@dataclass(frozen=True)
class Said:
    """What one call of the command said."""

    code: int
    findings: Sequence[Mapping[str, Any]]
    errors: str

    @property
    def troubles(self) -> list[tuple[str, str]]:
        """Step and sentence of what is wrong or worth a warning."""
        return [(one["step"], one["what"]) for one in self.findings if one["verdict"] in {"wrong", "warning"}]

    @property
    def looked_at(self) -> set[str]:
        """Steps in which something was well."""
        return {one["step"] for one in self.findings if one["verdict"] == "ok"}


def doctor(folder: Path, *options: str | Path, stdin: str = "", prefix: Sequence[str] = (), **environment: str) -> Said:
    """Run the command in *folder*, in a home of its own."""
    done = subprocess.run(
        [*prefix, COMMAND, "doctor", "--json", *options],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=180,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), **environment},
    )
    findings = json.loads(done.stdout)["findings"] if done.stdout.startswith("{") else []
    return Said(done.returncode, findings, done.stderr)


def on(server: Moorage, *more: str) -> list[str]:
    """The options of *server*, for the doctor too."""
    return [*server.command()[2 + len(server.prefix) :], *more]


def as_user(server: Moorage) -> list[str]:
    """Options by which the doctor logs in."""
    return ["--user", server.user, "--password-stdin"]


def test_a_plain_server_is_well(tmp_path: Path) -> None:
    """The defaults, with the administrator of the first start: the ground and the whole way of a client."""
    with Moorage(tmp_path / "server") as server:
        said = doctor(tmp_path, *on(server), *as_user(server), stdin=server.password)

    assert said.troubles == []
    assert said.code == WELL
    assert said.looked_at >= CLIENT | {"settings", "server", "folder", "database", "users", "ports", "machine"}


def test_a_server_that_does_not_run_is_well(tmp_path: Path) -> None:
    """Before the first start, and nothing is made by the look."""
    said = doctor(tmp_path, "--data", tmp_path / "data")

    assert said.troubles == []
    assert said.code == WELL
    assert not (tmp_path / "data").exists()


def test_a_server_with_htpasswd_and_certificate_files_is_well(tmp_path: Path) -> None:
    """As in the tutorials; the certificate's name leads to this server without any DNS."""
    authority = Authority(tmp_path / "authority")
    pair = authority.issue("registry.example.com")
    with Moorage(tmp_path / "server", users={"ann": PASSWORD}, pair=pair) as server:
        (server.folder / "htpasswd").write_text(f"ann:{hash_bcrypt(PASSWORD)}\n")
        said = doctor(tmp_path, *on(server, "--ca-file", str(pair.ca)), *as_user(server), stdin=PASSWORD)

    assert said.troubles == []
    assert said.looked_at >= CLIENT | {"certificates", "certificate"}
    assert said.code == WELL


def test_a_server_with_certbots_folder_is_well(tmp_path: Path) -> None:
    """`live/NAME` with links, its plan for renewal, and a line for cron on this machine."""
    need_root()
    authority = Authority(tmp_path / "authority")
    name = "registry.example.com"
    home = tmp_path / "letsencrypt"
    archive, live = home / "archive" / name, home / "live" / name
    for folder in (archive, live, home / "renewal", tmp_path / "cron.d"):
        folder.mkdir(parents=True)
    pair = authority.issue(name)
    (archive / "fullchain1.pem").write_bytes(pair.certificate.read_bytes() + pair.ca.read_bytes())
    shutil.copy(pair.key, archive / "privkey1.pem")
    for kind in ("fullchain", "privkey"):
        (live / f"{kind}.pem").symlink_to(f"../../archive/{name}/{kind}1.pem")
    (home / "renewal" / f"{name}.conf").write_text("version = 2.1\n[renewalparams]\nauthenticator = webroot\n")
    (tmp_path / "cron.d" / "certbot").write_text("0 */12 * * * root certbot -q renew\n")
    over = f'mount --bind {tmp_path / "cron.d"} /etc/cron.d && exec "$@"'
    if not Path("/etc/cron.d").is_dir():
        lacking("there is no /etc/cron.d to mount over")
    server = Moorage(tmp_path / "server", "--tls-certificate", str(live), users={"ann": PASSWORD})
    server.pair = pair  # only says that TLS is spoken, for the wait until it answers
    with server:
        (server.folder / "htpasswd").write_text(f"ann:{hash_bcrypt(PASSWORD)}\n")
        options = [*on(server, "--ca-file", str(pair.ca)), *as_user(server)]
        said = doctor(tmp_path, *options, stdin=PASSWORD, prefix=["unshare", "-m", "sh", "-c", over, "sh"])

    assert said.troubles == []
    assert any("certbot renews registry.example.com (webroot), by cron" in one["what"] for one in said.findings)


def test_a_server_with_a_private_authority_is_well(tmp_path: Path) -> None:
    """Two ports below 1024 on a host of its own, no certificate given: its own authority is trusted by its file."""
    with Cable() as cable:
        address = cable.near.address
        server = Moorage(tmp_path / "server", address=address, port=443, prefix=cable.near.prefix)
        server.pair = Authority(tmp_path / "unused").issue("unused")  # only says that TLS is spoken
        server.options = []
        with server:
            said = doctor(
                tmp_path, *on(server), *as_user(server), stdin=server.password, prefix=list(cable.near.prefix)
            )

    assert said.troubles == []
    assert said.looked_at >= CLIENT | {"certificates", "certificate"}
    assert said.code == WELL


def test_the_server_of_another_user_is_looked_at_with_that_users_eyes(tmp_path: Path) -> None:
    """Root asks; the server is nobody's, as is all that it has, and nothing becomes root's."""
    need_root()
    let_in(tmp_path / "server")
    (tmp_path / "server").mkdir()
    os.chown(tmp_path / "server", NOBODY, NOBODY)
    prefix = [need("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    if subprocess.run([*prefix, str(COMMAND), "version"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this checkout lies where other users cannot come")
    authority = Authority(tmp_path / "authority")
    pair = authority.issue("registry.example.com")
    os.chown(pair.key, NOBODY, NOBODY)
    with Moorage(tmp_path / "server", pair=pair, prefix=prefix) as server:
        said = doctor(tmp_path, *on(server, "--ca-file", str(pair.ca)))
        owners = {path.stat().st_uid for path in server.data.rglob("*")}

    assert said.troubles == []
    assert owners == {NOBODY}


def test_a_stranger_gets_no_false_alarm(tmp_path: Path) -> None:
    """Whoever is neither root nor the server's user is told what he cannot see, and nothing breaks off."""
    need_root()
    let_in(tmp_path / "server")
    prefix = [need("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    if subprocess.run([*prefix, str(COMMAND), "version"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this checkout lies where other users cannot come")
    pair = Authority(tmp_path / "authority").issue("127.0.0.1")
    with Moorage(tmp_path / "server", users={"ann": PASSWORD}, pair=pair) as server:
        (server.folder / "htpasswd").chmod(0o600)
        running = doctor(tmp_path, *on(server, "--ca-file", str(pair.ca)), prefix=prefix)
    stopped = doctor(tmp_path, *on(server), prefix=prefix)

    assert running.troubles == []
    assert stopped.troubles == []
    assert {one["step"] for one in running.findings if one["verdict"] == "skipped"} >= {"folder", "database", "users"}


def test_a_server_that_root_runs_as_somebody_else_is_well(tmp_path: Path) -> None:
    """Root binds the address and reads the key and the password file; the rest is another user's."""
    need_root()
    let_in(tmp_path / "server")
    pair = Authority(tmp_path / "authority").issue("registry.example.com")
    with Moorage(tmp_path / "server", "--run-as", "nobody", users={"ann": PASSWORD}, pair=pair) as server:
        (server.folder / "htpasswd").write_text(f"ann:{hash_bcrypt(PASSWORD)}\n")
        (server.folder / "htpasswd").chmod(0o600)
        running = doctor(tmp_path, *on(server, "--ca-file", str(pair.ca)))
    stopped = doctor(tmp_path, *on(server))

    assert running.troubles == []
    assert stopped.troubles == []
    assert any("belongs to nobody, and the server runs as nobody" in one["what"] for one in running.findings)


def test_what_is_wrong_is_told_together(tmp_path: Path) -> None:
    """Faults in several places: each is named, and none hides the others."""
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "htpasswd").mkdir()
    (tmp_path / "moorage.yml").write_text("database: postgresql://moorage:geheim@127.0.0.1:1/registry\n")
    (tmp_path / "moorage.yml").chmod(0o644)

    said = doctor(
        tmp_path, "--data", data, "--htpasswd", tmp_path / "htpasswd", "--listen", "192.0.2.1:5000", "--allow-plaintext"
    )

    assert said.code == WRONG
    steps = [step for step, _ in said.troubles]
    assert {"database", "users", "ports"} <= set(steps)
    assert "geheim" not in json.dumps(said.findings) + said.errors


def test_warnings_have_an_exit_code_of_their_own(tmp_path: Path) -> None:
    """Nothing is wrong, and something should be seen to."""
    said = doctor(tmp_path, "--data", tmp_path / "data", MOORAGE_LISTENN=":5000")

    assert said.code == WARNED
    assert [step for step, _ in said.troubles] == ["settings"]


def test_settings_that_cannot_be_read_are_a_finding(tmp_path: Path) -> None:
    """Nothing else is looked at then, and the place of the fault is told."""
    (tmp_path / "moorage.yml").write_text("workers: many\n")

    said = doctor(tmp_path)

    assert said.code == WRONG
    assert [one["step"] for one in said.findings] == ["settings"]
    assert said.findings[0]["what"].startswith("moorage.yml:1: workers")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["https://registry.example.com"], "moorage doctor --client URL"),
        (["--client", "https://registry.example.com", "--data", "x"], "leave out the server's"),
        (["--client", "https://registry.example.com", "config.yml"], "leave out the server's"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, words: list[str], said: str) -> None:
    """A URL without --client, and a server's options with it."""
    refused = doctor(tmp_path, *words)

    assert refused.code == 2
    assert said in refused.errors


def test_it_reads_settings_as_serve_does(tmp_path: Path) -> None:
    """The classic way included."""
    (tmp_path / "config.yml").write_text(
        "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nhttp: {addr: 127.0.0.1:0}\n"
    )

    said = doctor(tmp_path, "config.yml")

    assert said.troubles == []
    assert "(--classic)" in said.findings[0]["what"]
