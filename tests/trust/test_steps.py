"""The shell lines, run as they are in a home folder of their own against a real server."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from moorage.trust.certificates import read_certificates, show_fingerprint
from moorage.trust.content import KEPT, bundle
from moorage.trust.place import Place, parse_place
from moorage.trust.shell import PASTE_HERE
from moorage.trust.steps import KEYS, step, steps, with_fingerprint
from tests.cli.terminal import Terminal
from tests.programs import need
from tests.trust.conftest import Server

PLACE = parse_place("registry.example.com:5000")
SHELLS = ("dash", "bash", "busybox")


def run(script: str, home: Path, shell: str = "dash") -> subprocess.CompletedProcess[str]:
    """What a shell makes of a pasted block, without a terminal."""
    command = [need(shell), "sh"] if shell == "busybox" else [need(shell)]
    environment = {"HOME": str(home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(
        command, input=script, capture_output=True, check=False, text=True, env=environment, start_new_session=True
    )


def pasted(place: Place, key: str, fingerprint: str) -> str:
    """The lines for a client, with the fingerprint in its place."""
    return with_fingerprint(step(place, key).install, fingerprint)


@pytest.fixture
def target(server: Server, home: Path) -> Path:
    """Where the lines for curl write."""
    return home / ".config" / "moorage" / f"{server.place.stem}.crt"


@pytest.mark.parametrize("key", KEYS)
def test_every_client_has_a_title_a_reason_lines_and_a_way_back(key: str) -> None:
    """Nothing is left out, and the key is the step's own."""
    found = step(PLACE, key)

    assert found.key == key
    assert all((found.title, found.why, found.install, found.undo, found.restart))
    assert PLACE.label in found.install or PLACE.stem in found.install


@pytest.mark.parametrize("key", KEYS)
def test_lines_fetch_and_compare_before_anything_else_and_hold_no_fingerprint(key: str) -> None:
    """Its place is empty, the fetch is from the registry, and no comment or tab disturbs a terminal."""
    install = step(PLACE, key).install

    assert install.count(PASTE_HERE) == 1
    assert f"{PLACE.url}/ca.crt" in install
    assert not re.search(r"\b[0-9A-Fa-f]{40,}\b", install)
    assert [line for line in install.splitlines() if line.lstrip().startswith("#") or "\t" in line] == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("key", [one.key for one in steps(PLACE) if one.language == "sh"])
def test_every_shell_can_parse_the_lines(key: str, shell: str) -> None:
    """The inner script too, which is only read when it runs."""
    for script in (step(PLACE, key).install, step(PLACE, key).undo):
        inner = script.removeprefix("sh <<'END'\n").removesuffix("END")
        command = [need(shell), "sh"] if shell == "busybox" else [need(shell)]

        for text in (script, inner):
            read = subprocess.run([*command, "-n"], input=text, capture_output=True, check=False, text=True)
            assert (read.returncode, read.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_right_fingerprint_installs_and_undo_removes(server: Server, home: Path, target: Path, shell: str) -> None:
    """What is written is what the command would write; afterwards nothing is left, not even the folder."""
    done = run(pasted(server.place, "curl", show_fingerprint(server.ca.fingerprint)), home, shell)
    written = target.read_bytes()
    again = run(pasted(server.place, "curl", server.ca.fingerprint), home, shell)
    undone = run(step(server.place, "curl").undo, home, shell)

    assert (done.returncode, done.stderr) == (0, "")
    assert str(target) in done.stdout
    assert written == bundle(server.place, [server.ca])
    assert again.returncode == 0
    assert (undone.returncode, undone.stderr) == (0, "")
    assert not target.parent.exists()


@pytest.mark.parametrize(
    ("fingerprint", "said"),
    [
        ("", "no SHA-256 fingerprint"),
        ("   ", "no SHA-256 fingerprint"),
        ("ab" * 20, "no SHA-256 fingerprint"),
        ("ab" * 32, "ANOTHER FINGERPRINT"),
        (":".join(["AB"] * 32), "ANOTHER FINGERPRINT"),
        ("*", "no SHA-256 fingerprint"),
        ("$(touch pwned)", "no SHA-256 fingerprint"),
        (".*", "no SHA-256 fingerprint"),
    ],
)
def test_an_empty_or_wrong_fingerprint_writes_nothing(server: Server, home: Path, fingerprint: str, said: str) -> None:
    """The lines end with a sentence and an error, and the home folder is as it was."""
    done = run(pasted(server.place, "curl", fingerprint), home)

    assert done.returncode != 0
    assert said in done.stderr
    assert list(home.iterdir()) == []


def test_one_wrong_fingerprint_of_two_writes_nothing(server: Server, home: Path) -> None:
    """What one confirms does not make up for what the other does not."""
    done = run(pasted(server.place, "curl", f"{server.ca.fingerprint} {'ab' * 32}"), home)

    assert "ANOTHER FINGERPRINT" in done.stderr
    assert list(home.iterdir()) == []


def test_of_two_authorities_only_the_confirmed_one_is_written(server: Server, home: Path, target: Path) -> None:
    """And both, if both were confirmed."""
    server.answer.body = server.old.pem + server.ca.pem

    run(pasted(server.place, "curl", server.ca.fingerprint), home)
    one = read_certificates(target.read_bytes())
    run(pasted(server.place, "curl", f"SHA256:{server.ca.fingerprint}, {server.old.fingerprint}"), home)
    both = read_certificates(target.read_bytes())

    assert one == (server.ca,)
    assert both == (server.ca, server.old)


@pytest.mark.parametrize("label", ["TRUSTED CERTIFICATE", "X509 CERTIFICATE", "CERTIFICATE"])
@pytest.mark.parametrize("between", ["!\n", "=\n", " \n", "-\n", ""])
@pytest.mark.parametrize("indent", ["", " "])
def test_nothing_is_smuggled_in_beside_a_confirmed_certificate(
    server: Server, home: Path, target: Path, label: str, between: str, indent: str
) -> None:
    """Whatever stands between the lines of the real certificate, only the bytes that were hashed are written."""
    real, evil = (one.pem.decode().splitlines(keepends=True) for one in (server.ca, server.old))
    smuggled = [f"{indent}-----BEGIN {label}-----\n", *evil[1:-1], f"{indent}-----END {label}-----\n"]
    server.answer.body = "".join([*real[:-1], between, *smuggled, real[-1]]).encode()

    done = run(pasted(server.place, "curl", server.ca.fingerprint), home)

    if done.returncode == 0:
        assert target.read_bytes() == bundle(server.place, [server.ca])
    else:
        assert list(home.iterdir()) == []


@pytest.mark.parametrize(("body", "status"), [(b"<html>Log in</html>", 200), (b"", 200), (b"gone", 404), (b"no", 302)])
def test_what_is_no_certificate_is_not_installed(server: Server, home: Path, body: bytes, status: int) -> None:
    """A hotspot's page, an empty answer, an error."""
    server.answer.body, server.answer.status = body, status

    done = run(pasted(server.place, "curl", server.ca.fingerprint), home)

    assert done.returncode != 0
    assert list(home.iterdir()) == []


def test_a_file_of_somebody_else_is_kept_and_comes_back(server: Server, home: Path, target: Path) -> None:
    """It is moved aside under a name that says why, and undo puts it back."""
    target.parent.mkdir(parents=True)
    target.write_text("mine\n")

    run(pasted(server.place, "curl", server.ca.fingerprint), home)
    kept = target.with_name(target.name + KEPT).read_text()
    run(step(server.place, "curl").undo, home)

    assert kept == "mine\n"
    assert target.read_text() == "mine\n"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_undo_leaves_a_file_of_somebody_else(server: Server, home: Path, target: Path) -> None:
    """What we did not write is not ours to delete."""
    target.parent.mkdir(parents=True)
    target.write_text("mine\n")

    run(step(server.place, "curl").undo, home)

    assert target.read_text() == "mine\n"


def test_two_files_of_somebody_else_stop_it(server: Server, home: Path, target: Path) -> None:
    """Nothing is overwritten where there is no name left to keep it by."""
    target.parent.mkdir(parents=True)
    target.write_text("mine\n")
    target.with_name(target.name + KEPT).write_text("mine too\n")

    done = run(pasted(server.place, "curl", server.ca.fingerprint), home)

    assert done.returncode != 0
    assert "Move one away" in done.stderr
    assert target.read_text() == "mine\n"


def test_the_lines_for_macos_compare_too(server: Server, home: Path) -> None:
    """Their own tools, openssl and shasum, come to the same, and a wrong one ends before the keychain is touched."""
    need("shasum")
    install = step(server.place, "docker-mac").install.replace("sudo security", "echo security")

    wrong = run(with_fingerprint(install, "ab" * 32), home)
    right = run(with_fingerprint(install, server.ca.fingerprint), home)

    assert "ANOTHER FINGERPRINT" in wrong.stderr
    assert wrong.stdout == ""
    assert (right.returncode, right.stderr) == (0, "")
    assert re.fullmatch(r"security add-trusted-cert .*/[0-9a-f]{64}\.confirmed\n", right.stdout)


def test_the_files_for_buildkit_name_the_authority_by_its_whole_path(server: Server, home: Path) -> None:
    """buildx reads the configuration from any folder."""
    run(pasted(server.place, "buildkit", server.ca.fingerprint), home)

    folder = home / ".config" / "moorage"
    toml = (folder / f"{server.place.stem}.buildkitd.toml").read_text()
    assert f'[registry."{server.place.label}"]\n  ca = ["{folder}/{server.place.stem}.crt"]\n' in toml
    run(step(server.place, "buildkit").undo, home)
    assert not folder.exists()


def test_minikube_finds_it_where_it_looks(server: Server, home: Path) -> None:
    """In ~/.minikube/certs, which stays when the file goes."""
    run(pasted(server.place, "minikube", server.ca.fingerprint), home)
    written = [path.name for path in (home / ".minikube" / "certs").iterdir()]
    run(step(server.place, "minikube").undo, home)

    assert written == [f"moorage-{server.place.stem}.crt"]
    assert list((home / ".minikube" / "certs").iterdir()) == []


@pytest.mark.parametrize("shell", ["bash --norc -i", "dash -i"])
@pytest.mark.parametrize("right", [True, False])
def test_pasted_as_they_are_the_lines_ask_for_the_fingerprint(
    server: Server,
    home: Path,
    target: Path,
    shell: str,
    right: bool,  # noqa: FBT001
) -> None:
    """Into a terminal, with nothing filled in; the user's own shell goes on afterwards, whatever the answer."""
    program, *options = shell.split()
    environment = {"HOME": str(home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PS1": "ready ", "TERM": "dumb"}
    answer = show_fingerprint(server.ca.fingerprint) if right else ""

    with Terminal([need(program), *options], home, environment) as terminal:
        terminal.wait_for("ready ")
        terminal.enter(step(server.place, "curl").install + "\n")
        terminal.enter(f"{answer}\n")
        terminal.wait_for(f"Written: {target}\n" if right else "Nothing was changed.\n")
        terminal.enter("echo still $((40 + 2))\n")
        terminal.wait_for("still 42")

    assert target.exists() == right
