"""The promise of README.md: on a bare Debian 12, `make serve` runs the registry and `make test` tests it."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT
from tests.servers import free_port
from tests.setup.bare import BareDebian

pytestmark = pytest.mark.slow

START_SECONDS = 300.0


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareDebian]:
    """One bare Debian for all tests here, removed afterwards: it is 400 MB."""
    folder = tmp_path_factory.mktemp("debian") / "root"
    yield BareDebian(folder)
    shutil.rmtree(folder)


def test_setup_names_the_line_to_type_where_it_may_not_install(debian: BareDebian) -> None:
    """Without root and sudo, `make setup` changes nothing and says which line installs what is missing."""
    debian.clone(ROOT, "/home/ann/moorage", owner="ann")

    done = debian.run("make", "-C", "/home/ann/moorage", "setup", user="ann")

    assert done.returncode != 0
    assert "su -c 'apt-get update && apt-get install -y python3-venv'" in done.stderr


def test_serve_sets_up_and_runs(debian: BareDebian) -> None:
    """As root `make serve` installs what is missing, and runs a registry that knows the password it wrote down."""
    project = debian.clone(ROOT, "/srv/moorage")
    port = free_port("127.0.0.1")

    with _serving(debian, port):
        password_file = project / "data" / "moorage" / "initial-password"
        stranger = _status(port)
        admin = _status(port, password_file.read_text().split()[-1])
        mode = password_file.stat().st_mode & 0o777

    assert (stranger, admin, mode) == (401, 200, 0o600)


def test_a_second_setup_says_and_does_nothing(debian: BareDebian) -> None:
    """Once set up, `make setup` is silent."""
    before = _snapshot(debian.root / "root/moorage/.venv")

    done = debian.run("make", "--no-print-directory", "-C", "/srv/moorage", "setup")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert _snapshot(debian.root / "root/moorage/.venv") == before


def test_a_moved_folder_is_set_up_anew(debian: BareDebian) -> None:
    """After the project's folder was moved, the command in it works again after `make setup`."""
    debian.run("mv", "/srv/moorage", "/srv/elsewhere")

    done = debian.run("make", "-C", "/srv/elsewhere", "setup")
    version = debian.run("/srv/elsewhere/.venv/bin/moorage", "version")

    assert done.returncode == 0, done.stderr
    assert version.returncode == 0, version.stderr


def test_test_runs_the_tests(debian: BareDebian) -> None:
    """`make test` installs what tests need; here it runs those of one room."""
    done = debian.run("make", "-C", "/srv/elsewhere", "test", "ARGS=-q tests/oci")

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@contextmanager
def _serving(debian: BareDebian, port: int) -> Iterator[None]:
    """`make serve` from its first word until it listens, and to its end."""
    command = ("make", "-C", "/srv/moorage", "serve", f"ARGS=--listen 127.0.0.1:{port}")
    log = debian.root / "log"
    with log.open("w") as stream, debian.popen(*command, stdout=stream.fileno()) as make:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _listens(port):
                assert make.poll() is None, f"make serve ended with {make.returncode}\n{log.read_text()}"
                assert time.monotonic() < deadline, f"make serve does not listen\n{log.read_text()}"
                time.sleep(0.2)
            yield
        finally:
            if make.poll() is None:
                os.killpg(make.pid, signal.SIGTERM)
            make.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _status(port: int, password: str = "") -> int:
    """What `GET /v2/` answers to a stranger, or to the administrator."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/")
    if password:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in path.parts}
