from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from moorage.cli.install_steps import File, Folder, Link, Step, run
from moorage.cli.install_unit import MARK, Service, render
from moorage.errors import UserError
from tests.programs import need_root
from tests.servers import COMMAND


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--domain", "*.example.com"], 6, "clients need one name, not a wildcard"),
        (["--domain", "no name"], 6, "--domain 'no name'"),
        (["--domain", "a.example.com", "--listen", ":5000"], 6, "give it without --listen"),
        (["--listen", "5000"], 6, "--listen '5000': an address is written host:port"),
        (["--listen", "unix:here"], 6, "needs an absolute path"),
        (["--user", "root"], 6, "a user of its own is meant"),
        (["--user", "Ann Bell"], 6, "a user of its own is meant"),
        (["--data", "/tmp/registry"], 6, "lies where temporary files do"),
        (["--data", "/srv/my registry"], 6, "cannot name a path with blanks"),
        (["--data", "/srv/a\nb"], 6, "has a character in it that is none"),
    ],
)
def test_what_cannot_be_set_up_is_a_sentence(arguments: list[str], code: int, says: str) -> None:
    """Before anything is done."""
    command = [str(COMMAND), "install", "--print", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")

    assert done.returncode == code
    assert says in done.stderr
    assert done.stdout == ""


def unit(**changed: object) -> str:
    """A unit with these values."""
    given: dict[str, object] = {
        "program": Path("/opt/moorage/.venv/bin/moorage"),
        "config": Path("/etc/moorage/moorage.yml"),
        "user": "moorage",
        "writable": [Path("/srv/registry"), Path("/srv/database")],
        "sees_home": False,
        "drain_seconds": 60.0,
    }
    return render(Service(**(given | changed)))  # type: ignore[arg-type]


def test_the_unit_leaves_time_to_drain_and_writes_where_it_has_to() -> None:
    """What differs between machines is what the settings say."""
    lines = unit(drain_seconds=300.0, sees_home=True).splitlines()

    assert lines[0].startswith(MARK)
    assert "TimeoutStopSec=330" in lines
    assert "ReadWritePaths=/srv/registry /srv/database" in lines
    assert "RequiresMountsFor=/srv/registry" in lines
    assert "ProtectHome=read-only" in lines
    assert "RestartPreventExitStatus=2 78" in lines


@pytest.mark.parametrize("name", ["/srv/a b", "/srv/a%n", "/srv/$HOME", "/srv/a;b", '/srv/"a"'])
def test_a_path_that_a_unit_would_read_otherwise_is_refused(name: str) -> None:
    """systemd expands % and $ and parts words at blanks."""
    with pytest.raises(UserError, match="a systemd unit cannot name a path"):
        unit(program=Path(name))


def test_a_step_is_needed_once(tmp_path: Path) -> None:
    """What is there as it should be is left alone, what differs is changed, and what lasts is never changed."""
    need_root()
    file = File(tmp_path / "unit", "new\n", 0o644)
    lasting = File(tmp_path / "settings", "new\n", 0o640, lasting=True)
    folder = Folder(tmp_path / "data" / "deep", 0o750, "root", "root")
    link = Link(tmp_path / "bin" / "moorage", tmp_path / "program")
    steps: list[Step] = [file, lasting, folder, link]

    first = [step.state() for step in steps]
    for step in steps:
        step.do()
    second = [step.state() for step in steps]
    for path in (file.path, lasting.path):
        path.write_text("mine\n")
    link.path.unlink()
    link.path.symlink_to("/elsewhere")
    third = [step.state() for step in steps]

    assert first == ["written", "written", "made", "made"]
    assert second == ["", "", "", ""]
    assert third == ["changed", "", "", "changed"]
    assert (lasting.path.stat().st_mode & 0o777, folder.path.stat().st_mode & 0o777) == (0o640, 0o750)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sh", "-c", "echo why >&2; exit 3"], "why"),
        (["sh", "-c", "exit 3"], "exit code 3"),
        (["no-such-program"], "is not on this machine"),
    ],
)
def test_a_command_that_fails_says_why(words: list[str], says: str) -> None:
    """With the whole command, to be tried by hand."""
    with pytest.raises(UserError, match=says):
        run(words)
