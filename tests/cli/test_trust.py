"""`moorage trust`, as a person and as a script uses it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.trust.certificates import Certificate, read_certificates, show_fingerprint
from moorage.trust.content import bundle
from moorage.trust.place import Place
from tests.certificates import Authority
from tests.cli.conftest import Command
from tests.cli.terminal import Terminal
from tests.programs import lacking
from tests.servers import COMMAND
from tests.trust.served import Answer, served

ASKED = "SHA-256 fingerprint, from the server's terminal: "
OTHER = "ab" * 32


class Registry:
    """A server on loopback with an authority of its own, and a folder that stands for the client's machine."""

    def __init__(self, place: Place, answer: Answer, ca: Certificate, machine: Path) -> None:
        self.place, self.answer, self.ca, self.machine = place, answer, ca, machine
        self.docker = machine / "etc/docker/certs.d" / place.label / "ca.crt"

    @property
    def words(self) -> list[str]:
        """The arguments that every call has."""
        return ["trust", "--root", str(self.machine), self.place.label]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.machine.rglob("*") if path.is_file())


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Nothing is installed on the client's machine."""
    authority = Authority(tmp_path / "authority")
    ca = read_certificates(authority.path.read_bytes())[0]
    machine = tmp_path / "machine"
    machine.mkdir()
    answer = Answer(ca.pem)
    with served(answer, authority.issue("127.0.0.1")) as place:
        yield Registry(place, answer, ca, machine)


def test_a_script_gives_the_fingerprint_and_undoes_it(moorage: Command, registry: Registry) -> None:
    """The file is where Docker looks, the person is told about restarts, and --undo leaves nothing."""
    fingerprint = show_fingerprint(registry.ca.fingerprint)

    done = moorage(*registry.words, "--client", "docker", "--fingerprint", fingerprint)
    written = registry.docker.read_bytes()
    undone = moorage(*registry.words, "--client", "docker", "--undo")
    again = moorage(*registry.words, "--undo")

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[:2] == [f"confirmed: {fingerprint}", f"{registry.docker}: written"]
    assert "docker: Nothing has to be restarted." in done.out
    assert f"then: docker login {registry.place.label}" in done.out
    assert written == bundle(registry.place, [registry.ca])
    assert (undone.code, undone.out) == (0, f"{registry.docker}: removed\n")
    assert (again.code, again.out) == (0, f"there is nothing of ours for {registry.place.label}\n")
    assert not registry.docker.parent.exists()


def test_a_person_is_asked_for_it(registry: Registry) -> None:
    """Pasted with colons; what the server sent is not shown before, so that nobody copies it from there."""
    fingerprint = show_fingerprint(registry.ca.fingerprint)

    with Terminal([COMMAND, *registry.words, "--client", "docker"], registry.machine) as terminal:
        before = terminal.wait_for(ASKED)
        terminal.enter(f"SHA256:{fingerprint}\n")
        code = terminal.end()

    assert code == 0
    assert fingerprint not in before
    assert registry.docker.exists()


def test_a_wrong_fingerprint_is_refused_with_what_it_may_mean(moorage: Command, registry: Registry) -> None:
    """Nothing is written, and the exit code is that of a command that cannot be done as typed."""
    done = moorage(*registry.words, "--client", "docker", "--client", "system", "--fingerprint", OTHER)

    assert done.code == 6
    assert "nothing was changed" in done.err
    assert "copied wrong" in done.err
    assert "answers in its place" in done.err
    assert registry.ca.fingerprint not in done.err.replace(":", "").lower()
    assert registry.files() == []


@pytest.mark.parametrize("pasted", ["", "yes", "ab:cd"])
def test_what_is_no_fingerprint_is_refused_at_the_terminal(registry: Registry, pasted: str) -> None:
    """Enter alone does not mean yes."""
    with Terminal([COMMAND, *registry.words, "--client", "docker"], registry.machine) as terminal:
        terminal.wait_for(ASKED)
        terminal.enter(f"{pasted}\n")
        code = terminal.end()

    assert code == 6
    assert "nothing was changed" in terminal.text
    assert registry.files() == []


def test_without_a_terminal_the_fingerprint_has_to_be_given(moorage: Command, registry: Registry) -> None:
    """Nothing is believed unasked."""
    done = moorage(*registry.words, "--client", "docker")

    assert done.code == 6
    assert "--fingerprint" in done.err
    assert registry.files() == []


def test_only_installed_clients_are_served_unless_one_is_named(moorage: Command, registry: Registry) -> None:
    """With all-found a machine without any is told how to name one; the system's store is never among them."""
    nobody = moorage(*registry.words, "--fingerprint", registry.ca.fingerprint)
    program = registry.machine / "usr/bin/skopeo"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    podman = moorage(*registry.words, "--fingerprint", registry.ca.fingerprint)

    assert nobody.code == 6
    assert "--client docker" in nobody.err
    assert podman.code == 0
    assert [str(path.relative_to(registry.machine)) for path in registry.machine.rglob("*.crt")] == [
        f"etc/containers/certs.d/{registry.place.label}/ca.crt"
    ]


def test_an_authority_that_was_not_confirmed_is_left_out_and_told(
    moorage: Command, registry: Registry, tmp_path: Path
) -> None:
    """A server that changes its authority offers two."""
    other = Authority(tmp_path / "other").path.read_bytes()
    registry.answer.body = other + registry.ca.pem

    done = moorage(*registry.words, "--client", "docker", "--fingerprint", registry.ca.fingerprint)

    assert done.code == 0
    assert "offers 1 more" in done.err
    assert registry.docker.read_bytes() == bundle(registry.place, [registry.ca])


def test_the_store_below_another_root_is_not_brought_up_to_date(moorage: Command, registry: Registry) -> None:
    """What has to be run there is said."""
    done = moorage(*registry.words, "--client", "system", "--fingerprint", registry.ca.fingerprint)

    assert done.code == 0
    assert "run there: update-ca-certificates" in done.out


def test_another_hosts_toml_stays_and_the_line_to_add_is_told(moorage: Command, registry: Registry) -> None:
    """Whoever has mirrors in it keeps them."""
    folder = registry.machine / "etc/containerd/certs.d" / registry.place.label
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text("theirs")

    done = moorage(*registry.words, "--client", "containerd", "--fingerprint", registry.ca.fingerprint)

    assert done.code == 0
    assert f'  ca = "/etc/containerd/certs.d/{registry.place.label}/ca.crt"' in done.err
    assert (folder / "hosts.toml").read_text() == "theirs"
    assert (folder / "ca.crt").exists()


def test_what_clients_will_still_refuse_is_told(moorage: Command, registry: Registry, tmp_path: Path) -> None:
    """The right authority does not help a certificate for another name."""
    pair = Authority(tmp_path / "wrong").issue("registry.example.com")
    ca = read_certificates(pair.ca.read_bytes())[0]
    with served(Answer(ca.pem), pair) as place:
        words = ("--root", registry.machine, "--client", "docker", "--fingerprint", ca.fingerprint)
        done = moorage("trust", place.label, *words)

    assert done.code == 0
    assert f"warning: clients will still refuse {place.label}: IP address mismatch" in done.err


@pytest.mark.parametrize("host", ["../etc", "registry/team", "-", "a b", "under_score:5000"])
def test_what_is_no_host_is_refused(moorage: Command, registry: Registry, host: str) -> None:
    """Before anything is fetched."""
    options = ("--root", registry.machine, "--client", "docker", "--fingerprint", OTHER)
    done = moorage("trust", *options, "--", host)

    assert done.code == 6
    assert "written" in done.err
    assert registry.files() == []


def test_a_server_without_an_authority_and_none_at_all_are_told_apart(moorage: Command, registry: Registry) -> None:
    """Both end with the code for certificates that cannot be had."""
    options = ("--root", str(registry.machine), "--client", "docker", "--fingerprint", OTHER)
    registry.answer.status = 404

    without = moorage("trust", *options, registry.place.label)
    nobody = moorage("trust", *options, "127.0.0.1:1")

    assert (without.code, nobody.code) == (8, 8)
    assert "no authority of its own" in without.err
    assert "cannot be fetched" in nobody.err


def test_without_rights_the_line_with_sudo_is_given(registry: Registry, tmp_path: Path) -> None:
    """With the fingerprint that was pasted, so that it need not be pasted again; and nothing is written."""
    if os.geteuid() != 0:
        lacking("only root can become another user")
    registry.machine.chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    command = [str(COMMAND), *registry.words, "--client", "docker", "--fingerprint", registry.ca.fingerprint]

    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command],
        capture_output=True,
        check=False,
        text=True,
        cwd="/",
        env={**os.environ, "HOME": str(tmp_path)},
    )

    assert done.returncode == 6
    assert f"run this: sudo {COMMAND} trust --root {registry.machine}" in done.stderr
    assert registry.ca.fingerprint in done.stderr
    assert registry.files() == []
