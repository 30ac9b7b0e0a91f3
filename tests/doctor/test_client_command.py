"""`moorage doctor --client`: what it prints, what it returns, and what it keeps to itself."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.cli.terminal import Terminal
from tests.doctor.fixtures import Canned
from tests.programs import need, need_root
from tests.servers import COMMAND, Moorage, free_port

LOGIN = ("ann", "correct horse")


@pytest.fixture(scope="module")
def moorage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moorage]:
    """A registry that is well."""
    with Moorage(tmp_path_factory.mktemp("moorage"), users=dict([LOGIN])) as server:
        yield server


def run(
    home: Path, *words: str | Path, stdin: str = "", prefix: Sequence[str] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    """The command in an empty home, where no engine has a login."""
    home.mkdir(exist_ok=True)
    environment = {"HOME": str(home), "PATH": str(home), **more}
    command = [*prefix, str(COMMAND), "doctor", *map(str, words)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment, cwd=home)


def test_all_is_well_is_exit_code_zero(moorage: Moorage, tmp_path: Path) -> None:
    """Plain ASCII lines in columns, a summary, and nothing on standard error."""
    done = run(tmp_path / "home", "--client", moorage.url, "--user", "ann", "--password-stdin", stdin="correct horse\n")

    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert re.fullmatch(r"all is well: \d+ things looked at(; not looked at: engines)?", lines[-1])
    columns = {found.end() if (found := re.match(r"((ok|-) +[a-z]+)? +", line)) else 0 for line in lines[:-1]}
    assert len(columns) == 1


def test_something_wrong_is_exit_code_nine(moorage: Moorage, tmp_path: Path) -> None:
    """The finding with its meaning and remedy, and what was left out in one line."""
    done = run(tmp_path / "home", "--client", moorage.url.replace("http:", "https:"))

    assert done.returncode == 9
    assert re.match(r"moorage: 1 thing is wrong, \d well; not looked at: clock, certificate, api, login", done.stderr)
    assert "speaks plain HTTP, not TLS" in done.stdout
    assert done.stdout.count("not looked at, because of what is wrong with tls") == 1
    assert f"> moorage doctor --client {moorage.url}\n" in done.stdout


def test_warnings_alone_are_exit_code_ten(moorage: Moorage, tmp_path: Path) -> None:
    """A certificate that lasts too long for a Mac is one."""
    with Canned(raw=b"") as server:
        url = f"http://127.0.0.1:{server.port}"
        quiet = run(tmp_path / "home", "--client", url)
        server.reply = lambda request: (401, {"WWW-Authenticate": 'Basic realm="a", Bearer realm="b"'}, b"{}")
        done = run(tmp_path / "home", "--client", url)

    assert quiet.returncode == 0, quiet.stdout + quiet.stderr
    assert done.returncode == 10
    assert re.match(r"moorage: 2 warnings, \d well", done.stderr)


def test_programs_get_json_alone(moorage: Moorage, tmp_path: Path) -> None:
    """One document on standard output, with every finding and its facts."""
    words = ("--json", "--client", moorage.url, "--user", "ann", "--password-stdin")
    done = run(tmp_path / "home", *words, stdin="correct horse")

    report = json.loads(done.stdout)
    assert (done.returncode, report["well"], report["counts"]["wrong"]) == (0, True, 0)
    assert [one["step"] for one in report["findings"]][:3] == ["name", "port", "tls"]
    assert set(report["findings"][0]) == {"step", "verdict", "what", "meaning", "remedy", "facts"}


def test_programs_get_json_of_what_is_wrong(tmp_path: Path) -> None:
    """And the summary for people on standard error."""
    port = free_port()
    done = run(tmp_path / "home", "--json", "--client", f"https://127.0.0.1:{port}")

    report = json.loads(done.stdout)
    refused = next(one for one in report["findings"] if one["verdict"] == "wrong")
    assert done.returncode == 9
    assert report["well"] is False
    assert refused["step"] == "port"
    assert refused["facts"]["state"] == "refused"
    assert any(f":{port}" in line for line in refused["remedy"])


def test_the_password_is_never_printed(moorage: Moorage, tmp_path: Path) -> None:
    """Right or wrong, in text or JSON."""
    for password in ("correct horse", "not this one"):
        for more in ((), ("--json",)):
            words = ("--client", moorage.url, "--user", "ann", "--password-stdin", *more)
            done = run(tmp_path / "home", *words, stdin=password)
            assert password not in done.stdout + done.stderr


def test_on_a_terminal_the_password_is_asked_for_and_words_have_colour(moorage: Moorage, tmp_path: Path) -> None:
    """What is typed is not shown."""
    words = [str(COMMAND), "doctor", "--client", moorage.url, "--user", "ann"]
    with Terminal(words, tmp_path, {"HOME": str(tmp_path), "TERM": "xterm"}) as terminal:
        terminal.wait_for("Password of ann at 127.0.0.1")
        terminal.enter("correct horse\n")
        text = terminal.wait_for("all is well")
        code = terminal.end()

    assert code == 0
    assert "\x1b[32mok     \x1b[0m  login" in text
    assert "correct horse" not in text


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("--client", "ftp://registry.test"), "is nothing that registries speak", 6),
        (("--client", "https://ann:secret@registry.test"), "--password-stdin", 6),
        (("--client", "https://registry.test/team/app"), "host and port alone", 6),
        (("--client", "https://registry.test", "--password-stdin"), "--password-stdin needs --user", 2),
        (("--client", "https://registry.test", "--user", "ann"), "no terminal to ask", 6),
        (("--client", "https://registry.test", "--repository", "Doctor"), "invalid repository name", 6),
        (("--client", "https://registry.test", "--resolver", "dns.test"), "a name server is written", 6),
        (("--client", "https://registry.test", "--cert", "/dev/null"), "", 2),
        (("--client", "https://registry.test", "--ca-file", "/nowhere.pem"), "/nowhere.pem", 2),
    ],
)
def test_what_cannot_be_done_is_said(words: tuple[str, ...], said: str, code: int, tmp_path: Path) -> None:
    """Nothing is walked."""
    done = run(tmp_path / "home", *words)

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "secret" not in done.stderr


def test_the_authorities_of_this_machine_count(tmp_path: Path) -> None:
    """Those that SSL_CERT_FILE names, as for Go's programs; without them nobody vouches for the certificate."""
    authority = Authority(tmp_path / "authority")
    with Moorage(tmp_path / "moorage", users=dict([LOGIN]), pair=authority.issue("127.0.0.1")) as server:
        unknown = run(tmp_path / "home", "--client", server.url)
        known = run(tmp_path / "home", "--client", server.url, SSL_CERT_FILE=str(authority.path))

    assert (unknown.returncode, known.returncode) == (9, 0)
    assert "this machine's own authorities vouch for" in known.stdout


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_an_authority_s_file_that_is_none_is_named(content: bytes, moorage: Moorage, tmp_path: Path) -> None:
    """By its path, before anything is walked."""
    (tmp_path / "ca.pem").write_bytes(content)

    done = run(tmp_path / "home", "--client", moorage.url, "--ca-file", tmp_path / "ca.pem")

    assert (done.returncode, done.stdout) == (6, "")
    assert "ca.pem" in done.stderr


def test_a_client_certificate_that_is_none_is_named(moorage: Moorage, tmp_path: Path) -> None:
    """A key of another certificate, too."""
    one, other = (Authority(tmp_path / name).issue("ann", client=True) for name in "ab")

    done = run(tmp_path / "home", "--client", moorage.url, "--cert", one.certificate, "--key", other.key)

    assert (done.returncode, done.stdout) == (6, "")
    assert str(one.certificate) in done.stderr


def test_a_stale_aaaa_record_of_a_real_hosts_file_is_named(moorage: Moorage, tmp_path: Path) -> None:
    """A machine whose own /etc/hosts has both addresses, of which one answers."""
    need_root()
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n::1 stale.test\n127.0.0.1 stale.test\n")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.9\n")
    mounts = " && ".join(f"mount --bind {tmp_path}/{name} /etc/{name}" for name in ("hosts", "resolv.conf"))
    script = f'PATH=/bin:/usr/bin; {mounts} && exec env PATH={tmp_path} "$@"'
    prefix = (need("unshare"), "-m", need("sh"), "-c", script, "sh")

    done = run(tmp_path / "home", "--client", f"http://stale.test:{moorage.port}", prefix=prefix)

    assert done.returncode == 10, done.stdout + done.stderr
    assert "stale.test is ::1 (loopback), 127.0.0.1 (loopback), says the hosts file" in done.stdout
    assert f"::1 (loopback) does not answer at port {moorage.port}" in done.stdout
    assert "remove the AAAA record of ::1" in done.stdout


def test_what_was_pushed_is_removed_also_after_ctrl_c(moorage: Moorage, tmp_path: Path) -> None:
    """Interrupted in the middle of a slow upload, it still tidies up, and ends at once."""
    words = [str(COMMAND), "doctor", "--client", moorage.url, "--user", "ann", "--thorough"]
    with Terminal(words, tmp_path, {"HOME": str(tmp_path)}) as terminal:
        terminal.wait_for("Password of ann")
        terminal.enter("correct horse\n")
        terminal.wait_for("a part of a blob can be fetched")
        terminal.interrupt()
        code = terminal.end()

    assert code == 130
    with sqlite3.connect(moorage.data / "moorage" / "moorage.db") as database:
        for table in ("tags", "manifests", "uploads"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    database.close()
