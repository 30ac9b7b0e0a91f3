"""Which settings are in force, and which server works with them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from moorage.app import Folders
from moorage.doctor.accounts import me
from moorage.doctor.finding import Finding, Verdict
from moorage.doctor.processes import started
from moorage.doctor.server.running import find_running, look_at_running, server_user
from moorage.doctor.server.settings import look_at_settings, refused
from moorage.errors import ConfigurationError
from moorage.settings.classic import load_classic
from moorage.settings.native import load_native
from moorage.settings.origin import Loaded
from tests.doctor.findings import bad, only
from tests.programs import need_root
from tests.servers import Moorage

NOBODY = 65534


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No moorage.yml but those that a test writes."""
    monkeypatch.chdir(tmp_path)


def looked(environment: dict[str, str] | None = None, options: dict[str, object] | None = None) -> list[Finding]:
    """What is said of these variables and options, with the moorage.yml that is there."""
    return list(look_at_settings(load_native(None, environment or {}, options or {})))


def test_defaults_are_well() -> None:
    """Nobody has to set anything."""
    found = looked()

    assert bad(found) == []
    assert "all settings are the defaults" in found[0].what


def test_it_says_where_settings_come_from(tmp_path: Path) -> None:
    """The file, the variables and the options that are in force, and never a secret's value."""
    (tmp_path / "moorage.yml").write_text("data: /srv/x\nworkers: 2\n")
    (tmp_path / "moorage.yml").chmod(0o600)

    found = looked({"MOORAGE_DATABASE": "postgresql://a:geheim@h/d"}, {"listen": ["127.0.0.1:5001"]})

    assert bad(found) == []
    assert "2 from moorage.yml, --listen, MOORAGE_DATABASE" in found[0].what
    assert all("geheim" not in text for one in found for text in (one.what, one.meaning, str(one.facts)))


def test_a_misspelt_variable_is_a_warning() -> None:
    """With the one that was meant."""
    one = only(looked({"MOORAGE_LISTENN": ":5000"}))

    assert "did you mean MOORAGE_LISTEN?" in one.what


def test_variables_of_registry_2_without_classic_are_a_warning() -> None:
    """They do nothing, and the registry that comes up is another, empty one."""
    one = only(looked({"REGISTRY_AUTH": "htpasswd", "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/srv"}))

    assert "REGISTRY_AUTH, REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY" in one.what
    assert one.remedy == ("moorage serve --classic",)


def test_variables_of_kubernetes_are_well() -> None:
    """A Service that is called registry puts such variables into every pod."""
    assert bad(looked({"REGISTRY_PORT": "tcp://10.0.0.1:5000", "REGISTRY_SERVICE_HOST": "10.0.0.1"})) == []


def test_classic_settings_without_a_password_are_told_once() -> None:
    """registry:2's own defaults let everybody in, on every address."""
    one = only(look_at_settings(load_classic(None, {}, {})))

    assert one.what == "nobody is asked for a password, and :5000 can be reached from other machines"


def test_nobody_else_comes_to_loopback() -> None:
    """A registry without passwords for this machine alone is a choice."""
    assert bad(looked(options={"auth.kind": "none"})) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("database: postgresql://moorage:geheim@db/registry\n", "database"),
        ("acme:\n  eab_key_id: a\n  eab_hmac_key: Z2VoZWlt\n", "acme.eab_hmac_key"),
    ],
)
def test_secrets_that_everybody_can_read_are_a_warning(tmp_path: Path, text: str, said: str) -> None:
    """The file that holds them is named, and the settings in it, and not their values."""
    (tmp_path / "moorage.yml").write_text(text)
    (tmp_path / "moorage.yml").chmod(0o644)

    one = only(looked())

    assert one.what == f"moorage.yml holds {said} and can be read by every user of this machine"
    assert "geheim" not in str(one)


def test_a_file_without_secrets_may_be_read_by_all(tmp_path: Path) -> None:
    """A database without a password is none."""
    (tmp_path / "moorage.yml").write_text("database: postgresql:///registry\nlisten: 127.0.0.1:5000\n")
    (tmp_path / "moorage.yml").chmod(0o644)

    assert bad(looked()) == []


def test_settings_that_are_refused_are_named_with_their_line(tmp_path: Path) -> None:
    """What the server would not start with, with the place to mend it."""
    (tmp_path / "moorage.yml").write_text("data: x\nworkers: many\n")

    with pytest.raises(ConfigurationError) as caught:
        load_native(None, {}, {})
    one = refused(caught.value)

    assert one.what.startswith("moorage.yml:2: workers: is a whole number")
    assert one.remedy == ("${EDITOR:-nano} +2 moorage.yml",)
    assert one.blocks


def test_a_user_that_does_not_exist_is_named() -> None:
    """The server would not start."""
    one = only(looked(options={"run_as": "no-such-user"}))

    assert "there is no user no-such-user on this machine" in one.what


def on(data: Path, file: Path | None = None) -> Loaded:
    """Settings for a data folder."""
    return load_native(file, {}, {"data": str(data)})


def test_a_running_server_is_found(tmp_path: Path) -> None:
    """By the lock on its folder, whatever its command line is."""
    with Moorage(tmp_path / "server", users={}) as server:
        folders = Folders(server.data)
        running = find_running(folders)
        found = list(look_at_running(running, folders, on(server.data)))
        tree = running.pids

    assert bad(found) == []
    assert running.process is not None
    assert running.process.pid == server.pid
    assert len(tree) > 2
    assert f"process {server.pid}" in found[0].what


def test_a_stale_lock_is_nothing(tmp_path: Path) -> None:
    """The file stays when a server is gone, and holds nothing."""
    server = Moorage(tmp_path / "server", users={}).start()
    server.kill()
    folders = Folders(server.data)

    found = list(look_at_running(find_running(folders), folders, on(server.data)))

    assert [one.verdict for one in found] == [Verdict.SKIPPED]
    assert f"no server works on {server.data}" in found[0].what


def test_a_server_with_another_folder_is_pointed_out(tmp_path: Path) -> None:
    """Whoever forgets the server's options looks at an empty folder; the command line tells which are missing."""
    with Moorage(tmp_path / "server", users={}) as server:
        folders = Folders(tmp_path / "elsewhere")
        found = list(look_at_running(find_running(folders), folders, on(folders.data)))

    assert [one.verdict for one in found] == [Verdict.SKIPPED]
    assert "but one runs on this machine" in found[0].what
    assert server.pid


def test_a_file_that_was_changed_after_the_start_is_a_warning(tmp_path: Path) -> None:
    """Settings are read once."""
    file = tmp_path / "own.yml"
    file.write_text("workers: 1\n")
    with Moorage(tmp_path / "server", "--config", str(file), users={}) as server:
        folders, loaded = Folders(server.data), on(server.data, file)
        os.utime(file, (time.time() - 100, time.time() - 100))
        before = list(look_at_running(find_running(folders), folders, loaded))
        soon = time.time() + 60
        os.utime(file, (soon, soon))
        future = list(look_at_running(find_running(folders), folders, loaded))
        begun = started(server.pid)
        assert begun is not None
        os.utime(file, (begun + 2.5, begun + 2.5))
        after = list(look_at_running(find_running(folders), folders, loaded))

    assert bad(before) == []
    assert bad(future) == []  # a clock that was ahead is no change
    assert only(after).what == f"{file} was changed after the server was started"


def test_the_servers_user_is_its_process_or_the_owner_of_its_folder(tmp_path: Path) -> None:
    """Root asks, and the server runs as somebody else."""
    need_root()
    folders = Folders(tmp_path / "data")
    folders.ours.mkdir(parents=True)
    mine = server_user(folders, find_running(folders))
    os.chown(folders.ours, NOBODY, NOBODY)
    theirs = server_user(folders, find_running(folders))

    assert mine == me()
    assert theirs.name == "nobody"
    assert server_user(Folders(tmp_path / "none"), find_running(Folders(tmp_path / "none"))) == me()
