"""The data folder, with everything that really happens to one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from moorage.app import Folders
from moorage.doctor.accounts import account, me
from moorage.doctor.finding import Verdict
from moorage.doctor.mounts import parse_mounts, read_mounts
from moorage.doctor.server import data_folder, room
from moorage.doctor.server.data_folder import Ground
from moorage.server.refusals import make_folders
from tests.doctor.findings import bad, let_in, naming, only, own_folder
from tests.faults.injection import Faults, build
from tests.faults.test_real_disks import fill
from tests.programs import lacking, need, need_root
from tests.servers import ROOT

NOBODY = 65534

MountAt = Callable[..., None]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's, which other users cannot be let in to."""
    with own_folder() as folder:
        yield folder


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """A data folder as a server makes it."""
    made = Folders(tmp_path / "data")
    make_folders(made)
    return made


@pytest.fixture
def mount_at() -> Iterator[MountAt]:
    """Mounts something at a folder until the test ends: `mount_at(folder, "-t", "tmpfs", ...)`."""
    need_root()
    with ExitStack() as until:

        def mount(folder: Path, *arguments: str) -> None:
            if subprocess.run(["mount", *arguments, str(folder)], check=False, capture_output=True).returncode != 0:
                lacking("file systems cannot be mounted here")
            until.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)

        yield mount


def ground(folders: Folders, uid: int | None = None) -> Ground:
    """The folders with the mounts of this machine, for this user or another."""
    return Ground(folders, me() if uid is None else account(uid), read_mounts())


def test_a_folder_as_the_server_made_it_is_well(folders: Folders) -> None:
    """There is nothing to complain of, and nothing of the doctor's is left behind."""
    before = sorted(folders.data.rglob("*"))

    found = [
        *data_folder.look_at_place(ground(folders)),
        *data_folder.look_at_owner(ground(folders)),
        *data_folder.look_at_mount(ground(folders)),
        *data_folder.look_at_writing(ground(folders)),
        *room.look_for_another_tree(folders.data, ()),
    ]

    assert bad(found) == []
    assert sorted(folders.data.rglob("*")) == before


def test_a_folder_that_is_yet_to_be_made_is_well(tmp_path: Path) -> None:
    """Before the first start there is no folder, where the server may make it."""
    found = list(data_folder.look_at_place(ground(Folders(tmp_path / "new" / "data"))))

    assert [one.verdict for one in found] == [Verdict.OK]
    assert not (tmp_path / "new").exists()


def test_a_folder_that_may_not_be_made_is_named(tmp_path: Path) -> None:
    """Where the server's user may not make it, the command that does is there to be copied."""
    need_root()

    one = only(data_folder.look_at_place(ground(Folders(tmp_path / "data"), NOBODY)))

    assert "nobody may not make it" in one.what
    assert one.blocks
    assert one.remedy == (f"sudo install -d -o nobody -m 750 {tmp_path / 'data'}",)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.symlink_to("gone"), "is a link to gone, and there is nothing"),
        (lambda path: path.symlink_to(path.name), "leads in a circle"),
        (lambda path: path.write_text("x"), "is not a folder"),
    ],
    ids=["dangling", "circle", "file"],
)
def test_what_is_no_folder_is_named(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    """A link to nothing, a link to itself and a file are told apart, and the rest is not looked at."""
    make(tmp_path / "data")

    one = only(data_folder.look_at_place(ground(Folders(tmp_path / "data"))))

    assert said in one.what
    assert one.blocks


@pytest.mark.parametrize("inside", ["docker", "docker/registry/v2/blobs", "moorage/uploads"])
def test_a_link_inside_to_a_disk_that_is_not_mounted_is_named(folders: Folders, tmp_path: Path, inside: str) -> None:
    """The images were moved to a larger disk by a link, and that disk is missing."""
    place = folders.data / inside
    shutil.rmtree(place, ignore_errors=True)
    place.symlink_to(tmp_path / "disk")

    gone = only(data_folder.look_at_links(ground(folders)))
    (tmp_path / "disk").mkdir()

    assert gone.what == f"{place} is a link to {tmp_path / 'disk'}, and there is nothing"
    assert bad(data_folder.look_at_links(ground(folders))) == []


def test_what_root_left_behind_is_named_with_chown(folders: Folders) -> None:
    """A command given with sudo leaves files in the server's folder that the server cannot write."""
    need_root()
    for path in (folders.data, *folders.data.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    (folders.ours / "moorage.db").touch()

    one = only(data_folder.look_at_owner(ground(folders, NOBODY)))

    assert f"{folders.ours / 'moorage.db'} (root)" in one.what
    assert one.remedy == (f"sudo chown -R nobody:nogroup {folders.data}",)


def test_a_folder_of_another_user_cannot_be_written(folders: Folders) -> None:
    """Whether it can be written is tried as the server's user, also when root asks."""
    need_root()
    let_in(folders.data)

    one = only(data_folder.look_at_writing(ground(folders, NOBODY)))

    assert "cannot be written" in one.what
    assert "as nobody: Permission denied" in one.what
    assert one.facts["errno"] == "EACCES"
    assert os.geteuid() == 0


def test_a_full_disk_is_named(tmp_path: Path, mount_at: MountAt) -> None:
    """A file system without room: that it is full, what clients get, and what makes room."""
    data = tmp_path / "data"
    data.mkdir()
    mount_at(data, "-t", "tmpfs", "-o", "size=2m", "none")
    make_folders(Folders(data))
    fill(data / "filler")

    found = [*room.look_at_room(data), *data_folder.look_at_writing(ground(Folders(data)))]

    assert naming(found, "the disk is full").verdict is Verdict.WRONG
    assert naming(found, "No space left on device").facts["errno"] == "ENOSPC"
    assert "507" in naming(found, "No space left on device").meaning


def test_a_nearly_full_disk_is_a_warning(tmp_path: Path, mount_at: MountAt) -> None:
    """Less than a tenth is worth a warning, and works."""
    mount_at(tmp_path, "-t", "tmpfs", "-o", "size=10m", "none")
    (tmp_path / "filler").write_bytes(bytes(9_900_000))

    one = only(room.look_at_room(tmp_path))

    assert "nearly full" in one.what
    assert one.verdict is Verdict.WARNING


def test_inodes_that_are_used_up_are_named(tmp_path: Path, mount_at: MountAt) -> None:
    """There is room, and no inode: the message that programs give misleads, and this one does not."""
    mount_at(tmp_path, "-t", "tmpfs", "-o", "size=10m,nr_inodes=200", "none")
    with suppress(OSError):
        for number in range(300):
            (tmp_path / str(number)).touch()

    one = only(room.look_at_room(tmp_path))

    assert "no inodes left" in one.what
    assert one.remedy == (f"df -i {tmp_path}",)


def test_a_read_only_disk_is_named(folders: Folders, mount_at: MountAt) -> None:
    """A disk that was mounted read-only, or became so after errors."""
    mount_at(folders.data, "-t", "tmpfs", "-o", "size=2m", "none")
    make_folders(folders)
    subprocess.run(["mount", "-o", "remount,ro", str(folders.data)], check=True)

    found = [*data_folder.look_at_mount(ground(folders)), *data_folder.look_at_writing(ground(folders))]

    assert "is mounted read-only" in naming(found, "read-only (tmpfs").what
    assert naming(found, "Read-only file system").facts["errno"] == "EROFS"


def test_memory_is_no_place_for_images(folders: Folders, mount_at: MountAt) -> None:
    """What lies in memory is gone after a reboot."""
    mount_at(folders.data, "-t", "tmpfs", "none")

    assert "lies in memory" in only(data_folder.look_at_mount(ground(folders))).what


def test_blobs_on_another_disk_than_uploads_are_named(folders: Folders, mount_at: MountAt) -> None:
    """A commit is a rename, which does not cross file systems."""
    mount_at(folders.tree, "-t", "tmpfs", "none")

    one = only(data_folder.look_at_writing(ground(folders)))

    assert one.facts["errno"] == "EXDEV"
    assert "two file systems" in one.meaning


def test_a_folder_that_was_made_immutable_is_named(folders: Folders) -> None:
    """Permissions allow it and the immutable flag does not; chmod and chown would not help."""
    need_root()
    if subprocess.run([need("chattr"), "+i", str(folders.uploads)], check=False, capture_output=True).returncode != 0:
        lacking("this file system has no immutable flag")
    try:
        one = only(data_folder.look_at_writing(ground(folders)))
    finally:
        subprocess.run([need("chattr"), "-i", str(folders.uploads)], check=True)

    assert one.facts["errno"] == "EPERM"
    assert "chattr" in " ".join(one.remedy)


@pytest.mark.parametrize(("number", "said"), [(122, "quota"), (5, "The disk fails")], ids=["EDQUOT", "EIO"])
def test_what_the_disk_says_is_told_in_words(tmp_path: Path, folders: Folders, number: int, said: str) -> None:
    """A quota that is used up and a disk that fails, as the system calls report them."""
    faults = Faults(build(tmp_path), tmp_path)
    faults.set(f"write {number} 0 -1 *.moorage-doctor-*")
    program = (
        "import sys; from pathlib import Path;"
        "from tests.doctor.test_server_folder import ground, data_folder, Folders;"
        "found = list(data_folder.look_at_writing(ground(Folders(Path(sys.argv[1])))));"
        "print(*(f'{one.verdict.value}|{one.what}|{one.meaning}' for one in found))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(folders.data)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, **faults.environment},
    )

    assert done.stdout.startswith("wrong|")
    assert said in done.stdout
    assert list(folders.uploads.iterdir()) == []


CONTAINER = "720 688 0:68 / / rw,relatime master:339 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/X"
VOLUME = "731 720 254:1 /var/lib/docker/volumes/{}/_data {} rw,relatime master:1 - ext4 /dev/vda1 rw"
HOSTS = "740 720 254:1 /var/lib/docker/containers/3f/hosts /etc/hosts rw,relatime - ext4 /dev/vda1 rw"
ANONYMOUS = "3f" * 32


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([CONTAINER, HOSTS], "is no volume: it lies in the container's own layer"),
        ([CONTAINER, HOSTS, VOLUME.format(ANONYMOUS, "{data}")], "is a volume without a name (3f3f3f3f3f3f...)"),
        ([CONTAINER, "731 720 0:50 / {data} rw - nfs4 nas:/export rw,vers=4.2"], "lies on nfs4, a network file system"),
        ([CONTAINER, VOLUME.format("moorage", "{data}")], ""),
        (["25 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw"], ""),
    ],
    ids=["own layer", "anonymous volume", "network", "named volume", "no container"],
)
def test_where_a_container_keeps_its_data(folders: Folders, lines: list[str], said: str) -> None:
    """What goes away with a container is told from what stays, by the kernel's own table of mounts."""
    mounts = parse_mounts("\n".join(line.format(data=folders.data) for line in lines))

    found = bad(data_folder.look_at_mount(Ground(folders, me(), mounts, container=True)))

    assert [said in one.what for one in found] == ([True] if said else [])


def test_a_volume_at_the_wrong_place_is_named(folders: Folders, tmp_path: Path) -> None:
    """The volume is at /tmp/registry, as old tutorials have it, and the data lie in the container's own layer."""
    elsewhere = tmp_path / "registry"
    elsewhere.mkdir()
    mounts = parse_mounts("\n".join([CONTAINER, HOSTS, VOLUME.format("images", str(elsewhere))]))

    one = only(data_folder.look_at_mount(Ground(folders, me(), mounts, container=True)))

    assert f"There is a volume at {elsewhere}" in one.meaning


def test_a_tree_with_content_beside_an_empty_one_is_named(folders: Folders, tmp_path: Path) -> None:
    """A server that looks into the wrong folder shows an empty registry; the right one is found."""
    (tmp_path / "registry" / "docker" / "registry" / "v2" / "repositories" / "team" / "app").mkdir(parents=True)

    one = only(room.look_for_another_tree(folders.data, [tmp_path / "registry"]))

    assert f"{tmp_path / 'registry'} does (team)" in one.what
    assert f"moorage serve --data {tmp_path / 'registry'} ..." in one.remedy


def test_a_tree_one_level_too_deep_is_named(folders: Folders) -> None:
    """The volume holds `registry/docker/...`, and was to be mounted one level below."""
    (folders.data / "registry" / "docker" / "registry" / "v2" / "repositories" / "app").mkdir(parents=True)

    assert str(folders.data / "registry") in only(room.look_for_another_tree(folders.data, ())).what


def test_a_registry_with_content_of_its_own_is_left_in_peace(folders: Folders, tmp_path: Path) -> None:
    """Two registries on one machine are no mistake."""
    for data in (folders.data, tmp_path / "registry"):
        (data / "docker" / "registry" / "v2" / "repositories" / "app").mkdir(parents=True)

    assert bad(room.look_for_another_tree(folders.data, [tmp_path / "registry"])) == []


def test_whoever_may_not_look_is_told_as_whom_to_ask(folders: Folders) -> None:
    """A stranger gets no false alarm: what he cannot see is not judged."""
    need_root()
    let_in(folders.data)
    for path in (folders.data, *folders.data.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    program = (
        "import os, sys; from pathlib import Path; from moorage.doctor.accounts import account;"
        "from tests.doctor.test_server_folder import Ground, Folders, data_folder;"
        "os.setegid(1); os.seteuid(1);"
        "found = list(data_folder.look_at_writing(Ground(Folders(Path(sys.argv[1])), account(65534), [])));"
        "print(*(f'{one.verdict.value}|{one.what}|{one.meaning}' for one in found))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(folders.data)], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout.startswith("skipped|")
    assert "sudo -u nobody moorage doctor" in done.stdout
