"""A process that asks for a certificate is killed at each of its steps, and the next one takes over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from moorage.tls.issuer import Issued
from moorage.tls.store import CertificateStore
from tests.acme.asking import check, leftovers
from tests.acme.between import Between, Reply
from tests.acme.doors import Doors
from tests.acme.pebble import Pebble
from tests.servers import ROOT

NAME = "a.example"
MOST_STEPS = 60
KILLED = -signal.SIGKILL


class Actor:
    """tests/acme/actor.py as a process."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.child = 0
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.acme.actor"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                text=True,
            )

    def attempt(self, **order: Any) -> int:
        """How one attempt ended: its exit code, or the negative number of a signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self.child = int(self._process.stdout.readline())
        return int(self._process.stdout.readline())

    def kill(self) -> None:
        """Kill the attempt that runs."""
        os.kill(self.child, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(60)


@pytest.fixture
def actor(tmp_path: Path) -> Iterator[Actor]:
    """One that waits for orders."""
    with Actor(tmp_path / "actor.log") as actor:
        yield actor


def hooks(folder: Path) -> list[str]:
    """Hooks that write records into *folder*, one file for each, and take them away again."""
    folder.mkdir()
    scripts = {"put": f"touch {folder}/$CERTBOT_VALIDATION", "remove": f"rm -f {folder}/$CERTBOT_VALIDATION"}
    for name, work in scripts.items():
        path = folder.with_name(f"{folder.name}.{name}")
        path.write_text(f"#!/bin/sh\n{work}\n")
        path.chmod(0o755)
    return [str(folder.with_name(f"{folder.name}.{name}")) for name in scripts]


def judge(pebble: Pebble, between: Between, store: CertificateStore, made: tuple[int, int]) -> None:
    """What must hold once the second process has ended; *made* is what there was of accounts and orders before."""
    pair = store.pair(NAME)
    check(Issued(pair.chain.read_bytes(), pair.key.read_bytes()), NAME, pebble.roots())
    assert leftovers(store) == []
    assert len(list((store.folder / "accounts").rglob("key.pem"))) == 1
    assert (pebble.count("accounts in memory"), between.count("/order-plz")) == (made[0] + 1, made[1] + 1)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_each_request(tmp_path: Path, actor: Actor, moment: str) -> None:
    """Killed before a request reaches the authority, or before its answer is back: one account, one order, a pair."""
    steps = 0
    with Pebble(tmp_path / "pebble") as pebble, Between(pebble) as between:
        left = 0

        def kill_at_the_last(*_: object) -> Reply | None:
            nonlocal left
            left -= 1
            if left == 0:
                actor.kill()
            return None

        setattr(between, moment, kill_at_the_last)
        for step in range(1, MOST_STEPS):
            store = CertificateStore(tmp_path / f"tls-{step}")
            order = {
                "store": str(store.folder),
                "directory": between.directory,
                "ca_file": str(pebble.ca_file),
                "name": NAME,
                "challenge": "http-01",
                "hooks": None,
                "step": 0,
            }
            made = pebble.count("accounts in memory"), between.count("/order-plz")
            with Doors(store, pebble.http_port):
                left = step
                ended = actor.attempt(**order)
                if ended == 0:
                    break
                assert ended == KILLED, actor.log.read_text()
                steps += 1
                assert actor.attempt(**order) == 0, (step, actor.log.read_text())
            judge(pebble, between, store, made)

    assert steps >= 10


@pytest.mark.slow
@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01", "dns-01"])
def test_killed_at_each_change_on_the_disk(tmp_path: Path, actor: Actor, challenge: str) -> None:
    """Killed before any change to the store, to the very last: one account, one order, a pair, and no answer left."""
    steps = 0
    with Pebble(tmp_path / "pebble", always_valid=challenge == "dns-01") as pebble, Between(pebble) as between:
        for step in range(1, MOST_STEPS):
            store, records = CertificateStore(tmp_path / f"tls-{step}"), tmp_path / f"records-{step}"
            order = {
                "store": str(store.folder),
                "directory": between.directory,
                "ca_file": str(pebble.ca_file),
                "name": NAME,
                "challenge": challenge,
                "hooks": hooks(records),
            }
            made = pebble.count("accounts in memory"), between.count("/order-plz")
            with Doors(store, pebble.http_port, pebble.tls_port):
                ended = actor.attempt(**order, step=step)
                if ended == 0:
                    break
                assert ended == KILLED, actor.log.read_text()
                steps += 1
                assert actor.attempt(**order, step=0) == 0, (step, actor.log.read_text())
            judge(pebble, between, store, made)
            assert list(records.iterdir()) == []

    assert steps >= 10
