from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moorage.errors import StartRefused
from moorage.server.refusals import look_at_file_systems
from tests.certificates import Authority
from tests.cli.conftest import Command
from tests.cli.terminal import Terminal
from tests.programs import need
from tests.raw_http import ask, ask_raw, basic, message
from tests.servers import COMMAND, Moorage, free_port
from tests.volumes import Volume

# What root may do although the file system or the kernel says no.
_PRIVILEGES = "-dac_override,-dac_read_search,-net_bind_service"


def unprivileged() -> list[str]:
    """What to put before a command, so that it may no more than an ordinary user."""
    if os.geteuid() != 0:
        return []
    return [need("setpriv"), f"--inh-caps={_PRIVILEGES}", f"--bounding-set={_PRIVILEGES}"]


def environment() -> dict[str, str]:
    """This process's variables without settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MOORAGE_", "REGISTRY_"))}


def refused(folder: Path, *options: str | Path) -> tuple[int, str]:
    """Exit code and last line of a server that does not start, without a traceback."""
    words = [*unprivileged(), COMMAND, "serve", "--data", folder / "data", *options]
    done = subprocess.run(words, capture_output=True, check=False, cwd=folder, env=environment(), text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()[-1]


def events(server: Moorage, *levels: str) -> list[str]:
    """The messages of the log beside requests, of those levels."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    return [line["message"] for line in lines if line["event"] == "message" and line["level"] in (levels or {"info"})]


class OnTerminal(Terminal):
    """`moorage serve` on a terminal, until its port accepts."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.address, self.port = "127.0.0.1", free_port()
        super().__init__([COMMAND, "serve", "--listen", f"127.0.0.1:{self.port}", *options], folder)
        self.wait_for("listening on")


def log_in(server: OnTerminal | Moorage, password: str) -> int:
    """The status that admin gets with *password*."""
    return ask(server, "GET", "/v2/", {"Authorization": basic("admin", password)}).status


def test_a_first_start_on_a_terminal_shows_the_password_once(tmp_path: Path) -> None:
    """The lines to copy come once, the password is right and nowhere in the folder; the next start shows nothing."""
    with OnTerminal(tmp_path) as server:
        shown = server.text
        password = re.search(r"^ +password +(\S+)$", shown, re.MULTILINE)
        assert password is not None
        status = log_in(server, password[1])
        server.interrupt()
        first = server.end()
    with OnTerminal(tmp_path) as server:
        again = server.text
        still = log_in(server, password[1])
        server.interrupt()
        server.end()

    host = re.findall(r"docker login (\S+) -u admin", shown)[0]
    assert [line.strip() for line in shown.splitlines() if line.strip().startswith("docker")] == [
        f"docker login {host} -u admin",
        f"docker tag IMAGE {host}/IMAGE",
        f"docker push {host}/IMAGE",
        f"docker pull {host}/IMAGE",
    ]
    assert re.search(rf"^ +{COMMAND} user add NAME$", shown, re.MULTILINE)
    assert (status, still, first) == (200, 200, 0)
    assert "password" not in again
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and password[1].encode() in path.read_bytes()]


def test_a_terminal_gets_text_and_ctrl_c_is_quiet(tmp_path: Path) -> None:
    """On a terminal the log is for people, a Ctrl-C ends everything, and no traceback is to be seen."""
    with OnTerminal(tmp_path, "--auth", "none") as server:
        ask(server, "GET", "/v2/")
        server.wait_for("status=200")
        server.interrupt()
        code = server.end()

    assert code == 0
    assert re.search(r"^\d{4}-\d\d-\d\dT[\d:.]+Z info +listening on", server.text, re.MULTILINE)
    assert not [line for line in server.text.splitlines() if line.startswith("{")]
    assert "Traceback" not in server.text


def test_a_chosen_log_format_holds_on_a_terminal(tmp_path: Path) -> None:
    """Who asks for JSON gets JSON everywhere."""
    with OnTerminal(tmp_path, "--auth", "none", "--log-format", "json") as server:
        text = server.wait_for('workers"}\n')

    assert {json.loads(line)["event"] for line in text.splitlines()} == {"message"}


def await_work(terminal: Terminal, seconds: float) -> None:
    """Return once the program has worked for so long: moments of a start, however busy the machine is."""
    deadline = time.monotonic() + 30
    while True:
        ticks = Path(f"/proc/{terminal.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        if sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") >= seconds or time.monotonic() > deadline:
            return
        time.sleep(0.005)


@pytest.mark.parametrize("seconds", [0.06, 0.2, 0.4])
def test_ctrl_c_is_quiet_at_any_moment(tmp_path: Path, seconds: float) -> None:
    """Also a start that is interrupted half way leaves neither traceback nor process, and the next one works.

    The first is while modules are loaded; Python's own start takes 15 ms.
    """
    with Terminal([COMMAND, "serve", "--listen", f"127.0.0.1:{free_port()}"], tmp_path) as terminal:
        await_work(terminal, seconds)
        terminal.interrupt()
        code = terminal.end()
    with Moorage(tmp_path) as server:
        stopped = server.stop()

    assert code in {0, 130, -2}
    assert "Traceback" not in terminal.text
    assert stopped == 0


def test_the_lines_to_copy_name_what_was_named(tmp_path: Path) -> None:
    """The address for other machines, and the options by which a command finds the same volume."""
    (tmp_path / "moorage.yml").write_text("http:\n  external_url: https://registry.example.com\n")

    with OnTerminal(tmp_path, "--data", "my data") as server:
        shown = server.text

    assert "docker login registry.example.com -u admin" in shown
    assert f"{COMMAND} user passwd admin --data 'my data'" in shown


def test_without_a_terminal_the_password_goes_to_a_file(tmp_path: Path) -> None:
    """Only the server's user can read it; the log names the file and does not have the password."""
    with Moorage(tmp_path) as server:
        status = log_in(server, server.password)
        file = server.data / "moorage" / "initial-password"
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)]
        log = server.log.read_text()
        server.stop()
        server.start()
        server.stop()

    assert (status, modes) == (200, [0o600, 0o700])
    assert server.password not in log
    assert [line for line in events(server) if "password" in line] == [
        f"the administrator admin was made; the password is in {file}"
    ]


def test_the_log_has_no_words_of_libraries(tmp_path: Path) -> None:
    """A first start that makes the schema says two things, and a later one says one."""
    with Moorage(tmp_path) as server:
        server.stop()
        first = events(server)
        server.start()
        server.stop()

    assert len(first) == 2
    assert re.fullmatch(rf"listening on {server.host} as http, \d+ workers?", first[1])
    assert events(server)[2:] == [first[1]]
    assert events(server, "warning", "error") == []


def test_a_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    """With how to see who has it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        code, said = refused(tmp_path, "--listen", f"127.0.0.1:{port}")

    assert code == 4
    assert said.startswith(f"moorage: port {port} is in use on 127.0.0.1")
    assert "--listen" in said


def test_a_privileged_port_is_a_sentence(tmp_path: Path) -> None:
    """With what gives the right to it."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 81:
        pytest.skip("every user may listen on every port here")

    code, said = refused(tmp_path, "--listen", "127.0.0.1:81")

    assert code == 4
    assert "ports below 1024 need root" in said
    assert "AmbientCapabilities" in said


@pytest.mark.parametrize("where", [".", "data", "data/moorage/uploads", "data/docker/registry/v2"])
def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path, where: str) -> None:
    """The folder above, the data folder, or any of ours in it: the sentence names it, and what to do."""
    folder = tmp_path / where
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o500)

    try:
        code, said = refused(tmp_path, "--listen", f"127.0.0.1:{free_port()}")
    finally:
        folder.chmod(0o700)

    assert code == 4
    assert said.startswith(f"moorage: the data folder {tmp_path / 'data'} cannot be written: ")
    assert "chown" in said


def test_a_second_server_on_the_folder_is_a_sentence(tmp_path: Path) -> None:
    """It names the process that has the folder, whose work goes on."""
    with Moorage(tmp_path, users={}) as server:
        code, said = refused(tmp_path, "--listen", f"127.0.0.1:{free_port()}", "--auth", "none")
        status = ask(server, "GET", "/v2/").status

    assert (code, status) == (4, 200)
    assert f"another server (process {server.pid}) already uses the data folder" in said


def test_a_newer_schema_is_a_sentence(volume: Volume) -> None:
    """What a newer program has written is left as it is."""
    volume.sql("UPDATE schema_version SET version_num = '9999'")

    code, said = refused(volume.data.parent, "--listen", f"127.0.0.1:{free_port()}")

    assert code == 4
    assert "has revision 9999" in said


def test_off_loopback_passwords_are_private(tmp_path: Path) -> None:
    """Without a certificate the server makes itself one, and shows at each start what clients have to compare."""
    options = ("--tls-name", "registry.lan", "--listen", f"0.0.0.0:{free_port()}", "--tls-plain-listen", "localhost:0")
    shown = []
    for _ in range(2):
        with OnTerminal(tmp_path, *options) as server:
            authority = ask_raw(server, message("GET", "/ca.crt")).body.decode()
            ping = ask(server, "GET", "/v2/", context=ssl.create_default_context(cadata=authority))
            server.interrupt()
            server.end()
        shown.append((server.text, server.port))

    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority)).digest().hex(":").upper()
    assert ping.status == 401
    for text, port in shown:
        assert re.search(rf"^ +{fingerprint}$", text, re.MULTILINE)
        assert re.search(rf"^ +moorage trust registry.lan:{port}$", text, re.MULTILINE)
    assert f"docker login registry.lan:{shown[0][1]} -u admin" in shown[0][0]


def test_a_port_for_plain_http_that_is_in_use_is_a_sentence(tmp_path: Path) -> None:
    """Whoever asks for it gets it, or is told why not."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        names = ("--tls-name", "registry.lan", "--tls-plain-listen", f"127.0.0.1:{port}")

        code, said = refused(tmp_path, "--listen", f"127.0.0.1:{free_port()}", *names)

    assert code == 4
    assert said.startswith(f"moorage: port {port} is in use on 127.0.0.1")
    assert "--tls-plain-listen" in said


def test_a_port_for_plain_http_that_nobody_asked_for_may_be_missing(tmp_path: Path) -> None:
    """An ordinary user's server starts without port 80, and says so."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        pytest.skip("every user may listen on every port here")
    options = ("--listen", f"0.0.0.0:{free_port()}")

    with Moorage(tmp_path, *options, users={"ann": "secret"}, secure=True, prefix=unprivileged()) as server:
        server.stop()

    assert [line for line in events(server) if line.startswith("nobody is sent from :80 to https: ")]
    assert events(server, "warning", "error") == []


def test_an_authority_that_was_spoilt_is_a_sentence(tmp_path: Path) -> None:
    """It is not replaced by another one, which no client would know."""
    options = (
        "--listen",
        f"127.0.0.1:{free_port()}",
        "--tls-name",
        "registry.lan",
        "--tls-plain-listen",
        "localhost:0",
    )
    with Moorage(tmp_path, *options[2:], secure=True) as server:
        server.stop()
    key = next((tmp_path / "data" / "moorage" / "tls" / "authority").glob("*/ca.key"))
    key.write_text("nonsense")
    shutil.rmtree(tmp_path / "data" / "moorage" / "tls" / "certificates")

    code, said = refused(tmp_path, *options)

    assert code == 4
    assert f"the private authority in {key.parent} cannot be used" in said


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Moorage]]:
    """Starts servers that listen everywhere, and kills them in the end."""
    servers = []

    def start(*options: str, **more: object) -> Moorage:
        port = free_port()
        server = Moorage(tmp_path, "--workers", "3", *options, port=port, **more)  # type: ignore[arg-type]
        servers.append(server.start())
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--auth", "none"], r"nobody is asked for a password: .* may pull, push and delete everything"),
        (["--anonymous-pull"], r"auth\.anonymous_pull is on: clients that ask only once"),
        (["--listen", ":{port}", "--allow-plaintext"], r"passwords travel in the clear on :\d+"),
    ],
    ids=["auth none", "anonymous pull", "plaintext"],
)
def test_what_is_open_is_said_once(started: Callable[..., Moorage], options: list[str], says: str) -> None:
    """A warning comes once for all workers, and the server starts."""
    port = free_port()

    server = started(*[option.format(port=port) for option in options])
    server.stop()

    warnings = events(server, "warning", "error")
    assert len(warnings) == 1
    assert re.search(says, warnings[0])


def test_with_a_certificate_nothing_is_said(tmp_path: Path) -> None:
    """With TLS the server listens everywhere without a word."""
    pair = Authority(tmp_path / "ca").issue("127.0.0.1")
    port = free_port()

    with Moorage(tmp_path, "--listen", f":{port}", pair=pair) as server:
        server.stop()

    assert events(server, "warning", "error") == []
    assert [line for line in events(server) if line.startswith("listening") and "https" not in line] == []


def test_a_changed_certificate_is_told_once(tmp_path: Path) -> None:
    """Each worker notices it, and the log has one line."""
    authority = Authority(tmp_path / "ca")
    pair, other = authority.issue("127.0.0.1"), authority.issue("127.0.0.1", "other")

    with Moorage(tmp_path, "--workers", "4", pair=pair) as server:
        shutil.copy(other.key, pair.key)
        shutil.copy(other.certificate, pair.certificate)
        deadline = time.monotonic() + 30
        while "has changed and is in force" not in server.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)  # the others look within half a second
        server.stop()

    told = [line for line in events(server, "info", "warning") if "certificate" in line and "force" in line]
    assert told.count(f"the certificate in {pair.certificate} has changed and is in force") == 1
    assert len(told) == len(set(told))


def test_the_notes_of_an_htpasswd_file_come_once(tmp_path: Path) -> None:
    """A line that cannot be used is told by file and line, once for all workers."""
    with Moorage(tmp_path, "--workers", "4", users={"ann": "secret"}) as server:
        server.stop()
        with (tmp_path / "htpasswd").open("a") as file:
            file.write("old:$apr1$abcdefgh$abcdefghijklmnopqrstuv\n")
        server.start()
        server.stop()

    warnings = events(server, "warning")
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{tmp_path / 'htpasswd'}:2: ")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--htpasswd", "missing"], "missing: there is no such file; create it: moorage htpasswd -Bc missing USER"),
        (["--tls-certificate", "missing", "--tls-key", "missing"], "missing: there is no such file"),
    ],
)
def test_a_missing_file_is_a_sentence(tmp_path: Path, options: list[str], says: str) -> None:
    """It is said once and not by each worker, with the exit code of settings."""
    code, said = refused(tmp_path, "--listen", f"127.0.0.1:{free_port()}", *options)

    assert code == 3
    assert says in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tls-certificate", "missing"], "tls.key is not set"),
        (["--listen", "nonsense"], "an address is written host:port"),
        (["--workers", "0"], "workers"),
        (["config.yml"], "config.yml"),
        (["config.yml", "--config", "moorage.yml"], "not both"),
        (["--classic", "--config", "moorage.yml"], "without --config"),
    ],
)
def test_a_wrong_setting_is_a_sentence(tmp_path: Path, moorage: Command, options: list[str], says: str) -> None:
    """What cannot be used is named before anything is made, with the exit code of settings."""
    result = moorage("serve", *options)

    assert (result.code, result.out, list(tmp_path.iterdir())) == (3, "", [])
    assert says in result.err


def on_network(folder: str) -> Callable[[Path], str | None]:
    """Says of what is below *folder* that it lies on NFS."""
    return lambda path: "nfs4" if path.is_relative_to(folder) else None


@pytest.mark.parametrize("database", [None, "sqlite:////mnt/nfs/other.db"])
def test_sqlite_on_a_network_file_system_is_refused(database: str | None) -> None:
    """With the ways out: the database on another disk, or on a server."""
    data = Path("/mnt/nfs/data") if database is None else Path("/srv")

    with pytest.raises(StartRefused) as error:
        look_at_file_systems(data, database, on_network("/mnt/nfs"))

    assert "nfs4" in str(error.value)
    assert "--database sqlite:////" in str(error.value)
    assert "--database postgresql://" in str(error.value)


@pytest.mark.parametrize("database", ["sqlite:////var/lib/moorage.db", "postgresql://host/name"])
def test_images_on_a_network_file_system_are_worth_a_word(caplog: pytest.LogCaptureFixture, database: str) -> None:
    """They may lie there while the database does not; on local disks nothing is said."""
    look_at_file_systems(Path("/srv"), database, on_network("/mnt/nfs"))
    local = caplog.text
    look_at_file_systems(Path("/mnt/nfs/data"), database, on_network("/mnt/nfs"))

    assert local == ""
    assert "/mnt/nfs/data lies on nfs4" in caplog.text
