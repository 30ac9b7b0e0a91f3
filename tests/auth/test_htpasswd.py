from __future__ import annotations

import logging
import mmap
import os
from pathlib import Path

import pytest

from moorage.auth import passwords
from moorage.auth.htpasswd import CHECK_INTERVAL, MOST_BYTES, HtpasswdFile
from moorage.errors import ConfigurationError

HASH = passwords.hash_bcrypt("password", 4)
OTHER = passwords.hash_bcrypt("different", 4)
MD5 = "$apr1$mYBnYy8P$T0DjeAWL3jRhaVsUsEYBT."


class Seconds:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_interval(self) -> None:
        self.now += CHECK_INTERVAL


@pytest.fixture
def seconds() -> Seconds:
    """The clock of the file under test."""
    return Seconds()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one user, alice."""
    path = tmp_path / "htpasswd"
    path.write_text(f"alice:{HASH}\n")
    return path


def can_log_in(file: HtpasswdFile, user: str) -> bool:
    """Whether the user has an account that a password opens."""
    return file.find(user).principal is not None


def rewrite(path: Path, text: str) -> None:
    """Write the file in place: the same inode."""
    path.write_text(text)


def replace(path: Path, text: str) -> None:
    """Put another file in its place."""
    new = path.with_name("new")
    new.write_text(text)
    new.rename(path)


def keep_size_and_time(path: Path, text: str) -> None:
    """Write as much as was there, and set the modification time back."""
    before = path.stat()
    path.write_text(text)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [rewrite, replace, keep_size_and_time])
def test_a_change_is_in_force_within_a_second(path: Path, seconds: Seconds, change: object) -> None:
    """However the file is changed, a removed user is out and a new one in after one interval, a quarter of a second."""
    file = HtpasswdFile(path, monotonic=seconds)
    assert can_log_in(file, "alice")

    seconds.now += 3600
    can_log_in(file, "alice")
    assert callable(change)
    change(path, f"carla:{OTHER}\n")
    seconds.pass_interval()

    assert not can_log_in(file, "alice")
    assert file.find("carla").password_hash == OTHER
    assert CHECK_INTERVAL < 1


def test_a_second_change_with_the_same_times_is_not_missed(path: Path, seconds: Seconds) -> None:
    """Two writes within one tick of the file system's clock leave the same times; the second one counts all the same.

    Writes through one mapping stand for them: the second touches a page that is dirty already, and no time changes.
    """
    file = HtpasswdFile(path, monotonic=seconds)
    seconds.now += 3600
    can_log_in(file, "alice")

    with open(path, "r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        mapped[0:5] = b"carla"
        seconds.pass_interval()
        os.utime(path)
        assert can_log_in(file, "carla")
        mapped[0:5] = b"trudy"
        seconds.pass_interval()

        assert can_log_in(file, "trudy")


def test_between_two_looks_the_file_is_left_alone(path: Path, seconds: Seconds) -> None:
    """Requests within one interval are answered from memory."""
    file = HtpasswdFile(path, monotonic=seconds)
    rewrite(path, "")

    seconds.now += CHECK_INTERVAL / 2

    assert can_log_in(file, "alice")


def test_a_swapped_symbolic_link_is_a_change(tmp_path: Path, seconds: Seconds) -> None:
    """Kubernetes updates a mounted secret by swapping a link to the folder behind another link."""
    for name, text in (("one", f"alice:{HASH}\n"), ("two", f"carla:{OTHER}\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "htpasswd").write_text(text)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "htpasswd").symlink_to("..data/htpasswd")
    file = HtpasswdFile(tmp_path / "htpasswd", monotonic=seconds)

    (tmp_path / "..next").symlink_to("two")
    (tmp_path / "..next").rename(tmp_path / "..data")
    seconds.pass_interval()

    assert (can_log_in(file, "alice"), can_log_in(file, "carla")) == (False, True)


def test_a_broken_line_keeps_the_last_good_content(
    path: Path, seconds: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken file changes nothing, is named with its line once, and a mended one is in force again."""
    file = HtpasswdFile(path, monotonic=seconds)

    rewrite(path, f"carla:{OTHER}\nwhat is this\n")
    for _ in range(5):
        seconds.pass_interval()
        assert (can_log_in(file, "alice"), can_log_in(file, "carla")) == (True, False)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"{path}:2: the line has no colon between user and password hash (the users known before stay in force)"
    ]

    rewrite(path, f"carla:{OTHER}\n")
    seconds.pass_interval()

    assert (can_log_in(file, "alice"), can_log_in(file, "carla")) == (False, True)


def test_a_file_that_vanishes_keeps_the_last_good_content(
    tmp_path: Path, seconds: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing file changes nothing and is said once each time; it counts again when it is back, even untouched."""
    folder, away = tmp_path / "auth", tmp_path / "away"
    folder.mkdir()
    path = folder / "htpasswd"
    path.write_text(f"alice:{HASH}\n")
    file = HtpasswdFile(path, monotonic=seconds)

    for _ in range(2):
        folder.rename(away)
        for _ in range(3):
            seconds.now += 3600
            assert can_log_in(file, "alice")
        away.rename(folder)
        for _ in range(3):
            seconds.now += 3600
            assert can_log_in(file, "alice")

    create = f"moorage htpasswd -Bc {path} USER"
    said = f"{path}: there is no such file; create it: {create} (the users known before stay in force)"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [said] * 2


def test_a_named_pipe_in_its_place_stops_nobody(path: Path, seconds: Seconds) -> None:
    """What is no file is not waited for, and the last good content stays in force."""
    file = HtpasswdFile(path, monotonic=seconds)

    path.unlink()
    os.mkfifo(path)
    seconds.pass_interval()

    assert can_log_in(file, "alice")


def test_a_hash_that_does_not_count_is_said_with_its_remedy(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the start the log names the line, the user, the kind of hash and what to type; the user cannot log in."""
    rewrite(path, f"alice:{HASH}\nbob:{MD5}\n")

    file = HtpasswdFile(path)

    assert not can_log_in(file, "bob")
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{path}:2: user 'bob' cannot log in: MD5 hash (apr1), and only bcrypt counts;"
        f" set a password: moorage htpasswd -B {path} bob"
    )
    assert [note.line for note in file.notes] == [2]


def test_an_old_file_does_not_flood_the_log(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of a file full of MD5 hashes the log gets a part and the number of the rest."""
    rewrite(path, "".join(f"user{number}:{MD5}\n" for number in range(1000)))

    HtpasswdFile(path)

    assert len(caplog.records) == 21
    assert caplog.records[-1].getMessage() == f"{path}: and 981 more like these"


def absent(path: Path) -> None:
    """No file."""
    path.unlink()


def folder(path: Path) -> None:
    """A folder instead."""
    path.unlink()
    path.mkdir()


def broken(path: Path) -> None:
    """A broken line."""
    path.write_text("alice\n")


def utf16(path: Path) -> None:
    """What PowerShell writes."""
    path.write_bytes(f"alice:{HASH}\r\n".encode("utf-16"))


def huge(path: Path) -> None:
    """A sparse file beyond the limit."""
    os.truncate(path, MOST_BYTES + 1)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (absent, "there is no such file; create it: moorage htpasswd -Bc {path} USER"),
        (folder, "not a file"),
        (broken, "{path}:1: the line has no colon"),
        (utf16, "Set-Content -Encoding ASCII"),
        (huge, "larger than 16 MiB"),
    ],
)
def test_without_a_good_file_there_is_no_start(path: Path, damage: object, words: str) -> None:
    """At the start nothing is known yet, so a file that cannot be used is an error that says what to do."""
    assert callable(damage)
    damage(path)

    with pytest.raises(ConfigurationError) as caught:
        HtpasswdFile(path)

    assert words.format(path=path) in str(caught.value)
    assert caught.value.source == str(path)
