"""Files in folders that others use too: put there, kept, put back, and never somebody else's deleted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from moorage.errors import UserError
from moorage.trust.content import KEPT
from moorage.trust.files import Wanted, check, check_removable, place, remove

OURS = b"# ours: 1\n"


def is_ours(content: bytes) -> bool:
    """As the real ones do, by the content alone."""
    return content.startswith(b"# ours")


@pytest.fixture
def wanted(tmp_path: Path) -> Wanted:
    """In a folder that is not there yet."""
    return Wanted(tmp_path / "certs.d" / "registry" / "ca.crt", OURS, is_ours)


def test_a_file_and_its_folders_can_be_read_by_everybody(wanted: Wanted) -> None:
    """Whatever the umask of who runs it: a client may run as another user."""
    before = os.umask(0o077)
    try:
        check(wanted)
        said = place(wanted)
    finally:
        os.umask(before)

    assert said == "written"
    assert wanted.path.read_bytes() == OURS
    assert stat.S_IMODE(wanted.path.stat().st_mode) == 0o644
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in list(wanted.path.parents)[:2]} == {0o755}


def test_the_same_again_changes_nothing(wanted: Wanted) -> None:
    """Not even the file's inode."""
    place(wanted)
    inode = wanted.path.stat().st_ino

    assert place(wanted) == "unchanged"
    assert wanted.path.stat().st_ino == inode


def test_our_own_older_file_is_renewed_and_not_kept(wanted: Wanted) -> None:
    """An authority that is replaced leaves nothing behind."""
    wanted.path.parent.mkdir(parents=True)
    wanted.path.write_bytes(b"# ours: 0\n")

    assert place(wanted) == "renewed"
    assert [path.name for path in wanted.path.parent.iterdir()] == ["ca.crt"]


def test_a_file_of_somebody_else_comes_back_as_it_was(wanted: Wanted) -> None:
    """Content, mode and the very inode."""
    wanted.path.parent.mkdir(parents=True)
    wanted.path.write_bytes(b"theirs")
    wanted.path.chmod(0o600)
    inode = wanted.path.stat().st_ino

    said = place(wanted)
    between = wanted.path.read_bytes()
    check_removable(wanted.path, is_ours)
    undone = remove(wanted.path, is_ours)

    assert (said, undone) == ("replaced", "put back")
    assert between == OURS
    assert wanted.path.read_bytes() == b"theirs"
    assert (stat.S_IMODE(wanted.path.stat().st_mode), wanted.path.stat().st_ino) == (0o600, inode)
    assert [path.name for path in wanted.path.parent.iterdir()] == ["ca.crt"]


def test_undo_removes_ours_and_leaves_theirs(wanted: Wanted) -> None:
    """And where nothing is, nothing happens."""
    assert remove(wanted.path, is_ours) is None
    place(wanted)
    assert remove(wanted.path, is_ours) == "removed"
    wanted.path.write_bytes(b"theirs")
    assert remove(wanted.path, is_ours) == "left"
    assert wanted.path.read_bytes() == b"theirs"


def test_what_was_kept_comes_back_even_if_ours_is_gone(wanted: Wanted) -> None:
    """A person may have deleted the one and not the other."""
    wanted.path.parent.mkdir(parents=True)
    wanted.path.with_name("ca.crt" + KEPT).write_bytes(b"theirs")

    assert remove(wanted.path, is_ours) == "put back"
    assert wanted.path.read_bytes() == b"theirs"


def test_two_files_of_somebody_else_are_too_many(wanted: Wanted) -> None:
    """The one that was kept before is not overwritten."""
    wanted.path.parent.mkdir(parents=True)
    wanted.path.write_bytes(b"theirs")
    wanted.path.with_name("ca.crt" + KEPT).write_bytes(b"theirs too")

    with pytest.raises(UserError, match="move one of them away"):
        check(wanted)


def test_a_file_that_its_owner_has_to_add_to_stays(wanted: Wanted) -> None:
    """A configuration is not ours to replace."""
    wanted.path.parent.mkdir(parents=True)
    wanted.path.write_bytes(b"theirs")
    adding = Wanted(wanted.path, OURS, is_ours, add="ca = 1")

    check(adding)

    assert place(adding) == "left"
    assert wanted.path.read_bytes() == b"theirs"
    assert [path.name for path in wanted.path.parent.iterdir()] == ["ca.crt"]


def test_a_link_is_neither_followed_nor_replaced(wanted: Wanted, tmp_path: Path) -> None:
    """As the file or as its folder: what it leads to was chosen by somebody else."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ca.crt").write_bytes(b"theirs")
    wanted.path.parent.mkdir(parents=True)
    wanted.path.symlink_to(elsewhere / "ca.crt")

    with pytest.raises(UserError, match="symbolic link"):
        check(wanted)
    with pytest.raises(UserError, match="symbolic link"):
        remove(wanted.path, is_ours)
    wanted.path.unlink()
    wanted.path.parent.rmdir()
    wanted.path.parent.symlink_to(elsewhere)
    with pytest.raises(UserError, match="symbolic link"):
        check(wanted)

    assert (elsewhere / "ca.crt").read_bytes() == b"theirs"


def test_what_is_no_plain_file_is_refused(wanted: Wanted) -> None:
    """A folder, a pipe; nobody waits for the other end of it."""
    wanted.path.mkdir(parents=True)
    with pytest.raises(UserError, match="no plain file"):
        check(wanted)
    wanted.path.rmdir()
    os.mkfifo(wanted.path)
    with pytest.raises(UserError, match="no plain file"):
        check(wanted)


def test_a_file_in_the_place_of_a_folder_is_named(wanted: Wanted, tmp_path: Path) -> None:
    """`certs.d/registry` may be a file by mistake."""
    (tmp_path / "certs.d").mkdir()
    (tmp_path / "certs.d" / "registry").write_text("")

    with pytest.raises(UserError, match="no folder"):
        check(wanted)
