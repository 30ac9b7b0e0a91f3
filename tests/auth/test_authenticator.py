from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from moorage.auth import passwords
from moorage.auth.authenticator import Authenticator, DatabaseAuthenticator, HtpasswdAuthenticator
from moorage.auth.htpasswd import CHECK_INTERVAL, HtpasswdFile
from moorage.auth.principal import Principal
from moorage.auth.verifier import PasswordVerifier

PEER = "192.0.2.1"
BCRYPT = passwords.hash_bcrypt("password", 4)
MD5 = "$apr1$mYBnYy8P$T0DjeAWL3jRhaVsUsEYBT."


class User(NamedTuple):
    name: str
    password_hash: str
    admin: bool = False
    disabled: bool = False


class Users(dict[str, User]):
    """A database of users."""

    async def find(self, name: str) -> User | None:
        return self.get(name)


class House:
    """One authenticator of each kind over the same users: alice and root, and dave who cannot log in."""

    def __init__(self, kind: str, folder: Path, verifier: PasswordVerifier) -> None:
        self.now = 0.0
        self.verifier = verifier
        self.users = Users()
        self.path = folder / "htpasswd"
        self.authenticator: Authenticator
        for user in (
            User("alice", BCRYPT),
            User("root", BCRYPT, admin=True),
            User("dave", BCRYPT if kind == "database" else MD5, disabled=True),
        ):
            self.users[user.name] = user
        self.write()
        if kind == "database":
            self.authenticator = DatabaseAuthenticator(self.users.find, verifier)
        else:
            file = HtpasswdFile(self.path, monotonic=lambda: self.now)
            self.authenticator = HtpasswdAuthenticator(file, verifier)

    def write(self) -> None:
        """Bring the file to what the database says."""
        self.path.write_text("".join(f"{user.name}:{user.password_hash}\n" for user in self.users.values()))
        self.now += CHECK_INTERVAL

    def log_in(self, user: str, password: str) -> Principal | None:
        return asyncio.run(self.ask(user, password))

    async def ask(self, user: str, password: str) -> Principal | None:
        return await self.authenticator.authenticate(user, password, PEER)


@pytest.fixture(params=["htpasswd", "database"])
def kind(request: pytest.FixtureRequest) -> str:
    """Where the users are."""
    return str(request.param)


@pytest.fixture
def house(kind: str, tmp_path: Path) -> House:
    """Users, where *kind* says."""
    return House(kind, tmp_path, PasswordVerifier())


def at_once(coroutine: Coroutine[Any, Any, Principal | None]) -> Principal | None:
    """Drive a coroutine that may not suspend, as a server does inside its parser's callback."""
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    value: Principal | None = done.value.value
    return value


def test_both_kinds_end_in_a_principal(house: House, kind: str) -> None:
    """The right password makes a principal of the source and the name."""
    assert house.log_in("alice", "password") == Principal(kind, "alice")
    assert house.log_in("root", "password") == Principal(kind, "root", admin=kind == "database")


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("alice", "wrong"),
        ("alice", ""),
        ("alice", "password\0"),
        ("alice", "x" * 100_000),
        ("alice", "\ud800"),
        ("Alice", "password"),
        ("alice ", "password"),
        ("nobody", "password"),
        ("nobody", "x" * 73),
        ("", "password"),
        ("", ""),
        ("x" * 100_000, "password"),
        ("dave", "password"),
        ("dave", "wrong"),
    ],
)
def test_everybody_else_gets_nothing_for_one_full_check(house: House, user: str, password: str) -> None:
    """Wrong password, unknown user and locked account look alike: no principal, after exactly one check each time."""
    for times in (1, 2):
        assert house.log_in(user, password) is None
        assert house.verifier.started == times


def test_unknown_users_are_checked_against_a_hash_that_costs_the_same(kind: str, tmp_path: Path) -> None:
    """What is checked for an unknown user has the kind and the parameters of a known user's hash."""
    seen: list[str] = []

    def verify(stored: str, password: str) -> bool:
        seen.append(stored)
        return passwords.verify(stored, password)

    house = House(kind, tmp_path, PasswordVerifier(verify=verify))

    house.log_in("nobody", "password")

    (stored,) = seen
    assert passwords.bcrypt_cost(stored) == (4 if kind == "htpasswd" else None)
    assert passwords.needs_rehash(stored) is (kind == "htpasswd")


def test_a_password_that_was_right_is_answered_without_suspending(house: House, kind: str) -> None:
    """After the first login a request is answered within one step of its coroutine, without another check."""
    house.log_in("alice", "password")

    assert at_once(house.ask("alice", "password")) == Principal(kind, "alice")
    assert house.verifier.started == 1


def test_a_removed_user_is_out_at_once(house: House) -> None:
    """A password that was right before does not help whoever is not there any more."""
    house.log_in("alice", "password")

    del house.users["alice"]
    house.write()

    assert house.log_in("alice", "password") is None


def test_a_changed_password_is_in_force_at_once(house: House) -> None:
    """The old password, right before, is wrong now, and the new one right."""
    house.log_in("alice", "password")

    house.users["alice"] = User("alice", passwords.hash_bcrypt("changed", 4))
    house.write()

    assert house.log_in("alice", "password") is None
    assert house.log_in("alice", "changed") is not None


def test_a_disabled_user_is_out_until_enabled(tmp_path: Path) -> None:
    """Disabling holds against a password that was right before, and enabling brings the account back as it was."""
    house = House("database", tmp_path, PasswordVerifier())
    house.log_in("alice", "password")

    house.users["alice"] = User("alice", BCRYPT, disabled=True)
    assert house.log_in("alice", "password") is None
    house.users["alice"] = User("alice", BCRYPT)

    assert house.log_in("alice", "password") == Principal("database", "alice")


def test_who_is_removed_while_the_check_waits_stays_out(kind: str, tmp_path: Path) -> None:
    """A right password that waited in the queue counts against the users of the moment of the answer."""
    gate = threading.Event()

    def verify(stored: str, password: str) -> bool:
        assert gate.wait(30)
        return passwords.verify(stored, password)

    house = House(kind, tmp_path, PasswordVerifier(verify=verify))

    async def remove_meanwhile() -> Principal | None:
        request = asyncio.ensure_future(house.ask("alice", "password"))
        while not house.verifier.started:  # noqa: ASYNC110  a number, not an event
            await asyncio.sleep(0)
        del house.users["alice"]
        house.write()
        gate.set()
        return await request

    assert asyncio.run(remove_meanwhile()) is None


def test_built_in_users_have_argon2id(tmp_path: Path) -> None:
    """A hash as `hash_argon2` makes it lets its user in."""
    house = House("database", tmp_path, PasswordVerifier())
    house.users["alice"] = User("alice", passwords.hash_argon2("a long password " * 10))

    assert house.log_in("alice", "a long password " * 10) == Principal("database", "alice")
    assert house.log_in("alice", "a long password " * 5) is None
