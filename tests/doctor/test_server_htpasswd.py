"""htpasswd files as people really make them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.auth.htpasswd import HtpasswdFile
from moorage.auth.passwords import hash_bcrypt
from moorage.doctor.accounts import account, me
from moorage.doctor.finding import Finding, Verdict
from moorage.doctor.server.htpasswd import look_at_htpasswd
from tests.doctor.findings import bad, let_in, naming, only, own_folder
from tests.programs import need, need_root
from tests.servers import COMMAND

NOBODY = 65534
GOOD = hash_bcrypt("correct horse")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's, which other users cannot be let in to."""
    with own_folder() as folder:
        yield folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is to be; nobody else comes there."""
    tmp_path.chmod(0o700)
    return tmp_path / "htpasswd"


def looked(path: Path, uid: int | None = None) -> list[Finding]:
    """What is said of the file for a server of this user or another."""
    return list(look_at_htpasswd(path, me() if uid is None else account(uid)))


def test_a_file_by_our_own_command_is_well(path: Path) -> None:
    """`moorage htpasswd` makes files of which there is nothing to say."""
    subprocess.run([COMMAND, "htpasswd", "-Bbc", path, "alice", "correct horse"], check=True, capture_output=True)

    found = looked(path)

    assert bad(found) == []
    assert found[0].what == f"{path}: 1 user can log in"


def test_comments_and_blank_lines_are_well(path: Path) -> None:
    """They do not count, as for the server."""
    path.write_text(f"# robots\n\nalice:{GOOD}\n   \nbob:{GOOD}\n")

    assert bad(looked(path)) == []


def test_apaches_default_cost_is_a_warning(path: Path) -> None:
    """`htpasswd -B` of Apache takes cost 5, which a stolen file does not survive; all such lines are one warning."""
    for user in ("alice", "bob"):
        flags = "-Bbc" if user == "alice" else "-Bb"
        subprocess.run([need("htpasswd"), flags, path, user, "correct horse"], check=True, capture_output=True)

    one = only(looked(path))

    assert one.what == f"{path}:1 and 1 more line: bcrypt's cost is only 5"
    assert one.remedy == (f"moorage htpasswd -B {path} alice",)


@pytest.mark.parametrize(
    ("flags", "kind"),
    [("-m", "MD5 hash (apr1)"), ("-s", "SHA-1 hash"), ("-d", "DES hash (crypt)"), ("-p", "plain text")],
)
def test_apaches_other_hashes_are_named_with_the_command_that_mends_them(path: Path, flags: str, kind: str) -> None:
    """Only bcrypt lets anybody in; the line, the user and the kind are told, and never the hash."""
    path.write_text(f"alice:{GOOD}\n")
    subprocess.run([need("htpasswd"), "-b", flags, path, "bob", "short one"[:8]], check=True, capture_output=True)
    stored = path.read_text().splitlines()[1].partition(":")[2]

    one = only(looked(path))

    assert one.what.startswith(f"{path}:2: user 'bob' cannot log in: ")
    assert kind in one.what
    assert one.remedy == (f"moorage htpasswd -B {path} bob",)
    assert all(stored not in text for text in (one.what, one.meaning, *one.remedy, str(one.facts)))


WINDOWS = f"alice:{GOOD}\r\nbob:{GOOD}\r\n".encode()


@pytest.mark.parametrize(
    ("content", "said", "verdict"),
    [
        (WINDOWS, ":1 and 1 more line: the line ends as on Windows (CR LF)", Verdict.WARNING),
        (f"alice:{GOOD}  \n".encode(), ":1: blanks stand at an end of the line", Verdict.WARNING),
        (f"alice :{GOOD}\n".encode(), ":1: a blank stands between user 'alice' and the colon", Verdict.WARNING),
        (b"\xef\xbb\xbf" + f"alice:{GOOD}\n".encode(), ":1: the file begins with a byte order mark", Verdict.WARNING),
        (f"alice:{GOOD}\n".encode("utf-16"), ":1: the file is UTF-16 or binary", Verdict.WRONG),
        (f"alice:{GOOD}\nbob\n".encode(), ":2: the line has no colon between user and password hash", Verdict.WRONG),
        (f"alice:{GOOD}\n:{GOOD}\n".encode(), ":2: the line has no user before the colon", Verdict.WRONG),
        (f"alice:{GOOD}\nbj\xf6rn:{GOOD}\n".encode("latin-1"), ":2: the line is not UTF-8", Verdict.WRONG),
        (f"alice:{GOOD}\nalice:{GOOD}\n".encode(), ":2: user 'alice' stands on line 1 already", Verdict.WARNING),
        (f"alice:{GOOD[:4]}15{GOOD[6:]}\n".encode(), ":1: bcrypt's cost is 15", Verdict.WARNING),
        (b"", " holds no user", Verdict.WRONG),
        (b"# nobody yet\n", " holds no user", Verdict.WRONG),
    ],
)
def test_what_is_wrong_with_a_line_is_told_with_its_number(
    path: Path, content: bytes, said: str, verdict: Verdict
) -> None:
    """Each fault by itself is the only one that is told."""
    path.write_bytes(content)

    one = only(looked(path))

    assert f"{path}{said}" in one.what
    assert one.verdict is verdict


@pytest.mark.parametrize(
    "content",
    [
        WINDOWS,
        f"alice:{GOOD}  \nbob:{GOOD}\t\r\n".encode(),
        f"alice :{GOOD}\n".encode(),
        b"\xef\xbb\xbf" + f"alice:{GOOD}\n".encode(),
        f"alice:{GOOD}\nalice:{GOOD}\n".encode(),
        f"bob\nalice:{GOOD}\n".encode(),
        f"alice:{GOOD}\n".encode("utf-16"),
    ],
    ids=["CR LF", "trailing blanks", "blank in the name", "mark", "twice", "no colon", "UTF-16"],
)
def test_the_commands_that_are_told_mend_the_file(path: Path, content: bytes) -> None:
    """Typed as they stand, they leave a file of which there is nothing to say, and in which alice can log in."""
    path.write_bytes(content)

    for one in bad(looked(path)):
        if one.remedy:
            command = one.remedy[0].partition("    (")[0]
            subprocess.run(["sh", "-c", command], check=True)

    assert bad(looked(path)) == []
    assert HtpasswdFile(path).find("alice").principal is not None


def test_a_folder_in_the_files_place_is_told_to_be_docker_s(path: Path) -> None:
    """`docker run -v FILE:FILE` makes a folder where the file is missing on the host."""
    path.mkdir()

    one = only(looked(path))

    assert "is a folder, and not a file" in one.what
    assert any(line.startswith("docker run -v") for line in one.remedy)
    assert one.blocks


def test_a_missing_file_comes_with_the_command_that_makes_it(path: Path) -> None:
    """The command can be typed as it stands."""
    one = only(looked(path))

    assert one.what == f"{path} is missing"
    assert one.remedy == (f"moorage htpasswd -Bc {path} USER",)


def test_a_link_to_nothing_names_what_it_leads_to(path: Path) -> None:
    """A secret that was not mounted, for example."""
    path.symlink_to("/run/secrets/htpasswd")

    assert only(looked(path)).what == f"{path} is missing (a link to /run/secrets/htpasswd)"


def test_a_pipe_is_no_file_and_stops_nobody(path: Path) -> None:
    """A named pipe would keep a reader waiting for ever."""
    os.mkfifo(path)

    assert only(looked(path)).what == f"{path} is no file"


@pytest.mark.parametrize(
    ("mode", "said"),
    [(0o644, "can be read by every user of this machine"), (0o600, "nobody, the user of the server, cannot read")],
)
def test_permissions_are_judged_for_the_servers_user(path: Path, mode: int, said: str) -> None:
    """Too wide and too narrow: root, who asks, could read it either way."""
    need_root()
    let_in(path)
    path.write_text(f"alice:{GOOD}\n")
    path.chmod(mode)

    one = only(looked(path, NOBODY))

    assert said in one.what
    assert f"sudo chgrp nogroup {path} && sudo chmod 640 {path}" in one.remedy
    for command in one.remedy[:1]:
        subprocess.run(["sh", "-c", command.replace("sudo ", "")], check=True)
    assert bad(looked(path, NOBODY)) == []


def test_a_thousand_md5_lines_are_not_a_thousand_findings(path: Path) -> None:
    """The first are named, the others counted."""
    path.write_text("".join(f"user{number}:$apr1$abc$def\n" for number in range(1000)))

    found = bad(looked(path))

    assert len(found) < 10
    assert naming(found, "995 more users").verdict is Verdict.WRONG
