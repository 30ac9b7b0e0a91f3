from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moorage.errors import StartRefused
from moorage.server.privileges import Account, find_account, lacking, take_over
from tests.certificates import Authority
from tests.content import Client
from tests.programs import need_root
from tests.servers import Moorage, group_members, write_htpasswd

USER = Account(10001, 10001)
SECONDS = 30


@pytest.mark.parametrize(
    ("text", "account"),
    [
        ("nobody", Account(65534, 65534)),
        ("10001", Account(10001, 10001)),
        ("10001:20", Account(10001, 20)),
        ("nobody:adm", Account(65534, 4)),
        ("root", Account(0, 0)),
    ],
)
def test_an_account_is_a_name_or_numbers(text: str, account: Account) -> None:
    """By name as the machine knows it; a number needs no entry."""
    assert find_account(text) == account


@pytest.mark.parametrize(
    ("text", "says"),
    [("nemo", "there is no user nemo"), ("1:nemo", "no group nemo"), ("", "no user"), ("-1", "no user -1")],
)
def test_an_unknown_account_is_named(text: str, says: str) -> None:
    """Whoever is not on this machine."""
    with pytest.raises(StartRefused, match=says):
        find_account(text)


@pytest.mark.parametrize(
    ("held", "missing"),
    [
        ("00000000a80425fb", ()),
        ("000001ffffffffff", ()),
        ("0000000000000000", ("CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID")),
        ("0000000000000002", ("CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID")),
        ("00000000000000a1", ("CAP_SETGID",)),
    ],
)
def test_what_root_lacks_is_named(held: str, missing: tuple[str, ...]) -> None:
    """By the kernel's own words: Docker's default set has all, a container without any says which it would need."""
    assert lacking(f"Name:\tx\nCapEff:\t{held}\nCapBnd:\t0\n") == missing


def test_a_volume_is_taken_over_once(tmp_path: Path) -> None:
    """Everything in it, links themselves and not what they lead to; a second time there is nothing to do."""
    need_root()
    outside = tmp_path / "outside"
    outside.write_text("mine")
    volume = tmp_path / "volume"
    (volume / "a" / "b").mkdir(parents=True)
    (volume / "a" / "file").write_text("x")
    (volume / "a" / "link").symlink_to(outside)

    first = take_over(volume, USER, again=False)
    (volume / "a" / "late").write_text("x")
    second = take_over(volume, USER, again=False)
    third = take_over(volume, USER, again=True)

    assert (first, second, third) == (5, 0, 1)
    assert outside.stat().st_uid == 0
    assert {path.lstat().st_uid for path in volume.rglob("*")} == {10001}


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that others may enter, as they may /srv."""
    made = Path(tempfile.mkdtemp(prefix="moorage-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def await_(condition: Callable[[], bool]) -> None:
    """Return once it holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def uids(server: Moorage) -> dict[int, int]:
    """The user of each process of the tree."""
    found = {}
    for pid in group_members(server.pid):
        with contextlib.suppress(FileNotFoundError):
            found[pid] = os.stat(f"/proc/{pid}").st_uid
    return found


def owned_by_root(folder: Path, name: str = "127.0.0.1") -> Moorage:
    """A server of root's whose key and password file only root can read."""
    need_root()
    pair = Authority(folder / "ca").issue(name)
    (folder / "ca").chmod(0o700)
    server = Moorage(folder / "server", "--run-as", "10001:10001", users={"ann": "secret-one"}, pair=pair)
    (folder / "server" / "htpasswd").chmod(0o600)
    return server


def subject(server: Moorage) -> bytes:
    """The certificate that a client sees."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((server.address, server.port), SECONDS) as plain:
        with context.wrap_socket(plain) as secure:
            return secure.getpeercert(binary_form=True) or b""


def ask(server: Moorage, user: str, password: str) -> int:
    """The status of a request with a password."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Client(server, user, password, context=context).ask("GET", "/v2/").status


def test_only_the_parent_and_the_keys_are_roots(folder: Path) -> None:
    """Workers and background work are the chosen user's, with the volume; they serve, and take pushes."""
    with owned_by_root(folder) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = Client(server, "ann", "secret-one", context=context)
        client.push_image("app", "1", b"layer")

        found = uids(server)
        owners = {path.lstat().st_uid for path in server.data.rglob("*")} | {server.data.stat().st_uid}
        status = Path(f"/proc/{next(pid for pid, uid in found.items() if uid)}/status").read_text()

    assert sorted(found.values()).count(0) == 2
    assert set(found.values()) == {0, 10001}
    assert owners == {10001}
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Groups:\t10001" in status


def test_renewed_files_of_root_reach_the_workers(folder: Path) -> None:
    """A key and a password file that only root can read are in force soon after they change."""
    with owned_by_root(folder) as server:
        before = subject(server)
        assert server.pair is not None
        fresh = Authority(folder / "other").issue("127.0.0.1")
        shutil.copyfile(fresh.key, server.pair.key)
        shutil.copyfile(fresh.certificate, server.pair.certificate)
        write_htpasswd(server.folder / "htpasswd", {"bob": "secret-two"})
        (server.folder / "htpasswd").chmod(0o600)

        await_(lambda: subject(server) != before)
        await_(lambda: ask(server, "bob", "secret-two") == 200)
        # Each worker looks for itself.
        await_(lambda: {ask(server, "ann", "secret-one") for _ in range(8)} == {401})
        server.secrets.append("secret-two")


def test_a_bad_key_of_root_is_said_and_the_old_one_stays(folder: Path) -> None:
    """The log names root's own file, not the copy."""
    with owned_by_root(folder) as server:
        before = subject(server)
        assert server.pair is not None
        shutil.copyfile(Authority(folder / "other").issue("127.0.0.1").key, server.pair.key)

        await_(lambda: "what was there before stays in force" in server.log.read_text())
        after = subject(server)
        said = server.log.read_text()

    assert after == before
    assert str(server.pair.key) in said
    assert "handed" not in said


def test_a_worker_that_dies_comes_back_as_the_user(folder: Path) -> None:
    """The parent replaces it, and what comes is not root."""
    with owned_by_root(folder) as server:
        victim = next(pid for pid, uid in uids(server).items() if uid)
        os.kill(victim, signal.SIGKILL)

        await_(lambda: victim not in uids(server) and len(uids(server)) >= 5)
        await_(lambda: sorted(uids(server).values()).count(0) == 2)
        assert ask(server, "ann", "secret-one") == 200


def test_nobody_survives_the_parent(folder: Path) -> None:
    """Killed, it takes those with it that are somebody else's processes."""
    with owned_by_root(folder) as server:
        os.kill(server.pid, signal.SIGKILL)

        await_(lambda: not [pid for pid in group_members(server.pid) if pid != server.pid])


def test_it_stops_in_order(folder: Path) -> None:
    """SIGTERM ends every process, and the exit code is 0."""
    server = owned_by_root(folder).start()

    assert server.stop() == 0
    assert not group_members(server.pid)


def test_without_root_it_says_that_it_has_no_effect(folder: Path) -> None:
    """Started as somebody else the setting cannot do anything."""
    need_root()
    folder.chmod(0o777)
    data = folder / "data"
    server = Moorage(folder, "--run-as", "10001", users={}, prefix=("setpriv", "--reuid=12345", "--clear-groups"))
    with server:
        assert "run_as has no effect: the server was not started as root, but as user 12345" in server.log.read_text()
        assert data.stat().st_uid == 12345
