"""Adoption that takes its time: served meanwhile, killed in the middle, asked for twice."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from moorage.app import Application
from moorage.clock import SystemClock
from moorage.errors import Unavailable
from moorage.metadata import link_tree
from moorage.oci.name import RepositoryName, parse_name
from moorage.registry.adopt.intake import Intake
from moorage.registry.adopt.volume import Comparison
from tests.adopt.foreign import Foreign, digest_of, many
from tests.adopt.volume import Adopted
from tests.content import Client, encode, image
from tests.servers import COMMAND, Moorage

LAYER = b"layer " * 100
NAME = parse_name("team/app")
OTHER = parse_name("team/other")
SECONDS = 120


class Hurried(SystemClock):
    """Nobody waits."""

    async def sleep(self, seconds: float) -> None:
        """Return at once, later."""
        await asyncio.sleep(0)


def catalog(client: Client) -> list[str]:
    """The names of all repositories, page by page."""
    names: list[str] = []
    while page := client.ask("GET", f"/v2/_catalog?n=1000&last={names[-1] if names else ''}").json()["repositories"]:
        names += page
    return names


async def list_names(application: Application) -> None:
    """Begin an adoption, and give it up once the names are known."""
    steps = Comparison(application.volume()).steps()
    await anext(steps)
    await steps.aclose()


def test_a_repository_is_adopted_when_it_is_asked_for(volume: Adopted) -> None:
    """Whoever asks for a repository that waits for its turn gets all of it, and the others wait on."""
    digest = volume.image(NAME, "1", LAYER)
    volume.image(OTHER, "1", LAYER)

    async def work(application: Application) -> tuple[list[RepositoryName], bool]:
        await list_names(application)
        intake = application.registry().intake
        await asyncio.gather(*[intake.require(NAME) for _ in range(10)])
        return await link_tree.waiting(application.database, after="", count=10), intake.ready

    assert volume.run(work) == ([OTHER], False)
    assert volume.tags(NAME) == {"1": digest}
    assert volume.tags(OTHER) == {}
    assert volume.adopt().added.tags == 1


def test_nobody_is_told_that_there_is_nothing(volume: Adopted) -> None:
    """Before the names are known, requests wait; where that takes too long they are told to come again."""
    volume.image(NAME, "1", LAYER)

    async def work(application: Application) -> int | None:
        application.clock = Hurried()
        with pytest.raises(Unavailable) as refused:
            await Intake(application.volume()).require(NAME)
        return refused.value.retry_after

    assert volume.run(work) == 5


def test_an_empty_folder_is_ready_at_once(volume: Adopted) -> None:
    """A new registry keeps nobody waiting, before and after it has looked at its folder."""

    async def work(application: Application) -> list[bool]:
        intake = application.registry().intake
        await intake.require(NAME)
        before = intake.ready
        await Comparison(application.volume()).run()
        await intake.require(None)
        return [before, intake.ready]

    volume.data.mkdir()
    assert volume.run(work) == [False, True]


def test_a_repository_is_adopted_once(volume: Adopted) -> None:
    """A process that planned to adopt what another has adopted meanwhile does nothing."""
    volume.image(NAME, "1", LAYER)

    async def work(application: Application) -> int:
        await list_names(application)
        comparison = Comparison(application.volume())
        steps = comparison.steps()
        await anext(steps)
        await application.registry().intake.require(NAME)
        async for _ in steps:
            pass
        return comparison.report.added.total

    assert volume.run(work) == 0
    assert volume.tags(NAME).keys() == {"1"}


@pytest.mark.parametrize("times", [3])
def test_a_killed_adoption_goes_on(tmp_path: Path, times: int) -> None:
    """Killed again and again in the middle, it comes to the same end, and what was done is not done twice."""
    foreign = Foreign(tmp_path / "data")
    many(foreign, 1500, 3, 1)
    volume = Adopted(foreign.data)
    for number in range(times):
        command = [str(COMMAND), "adopt", str(foreign.data)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + SECONDS
            database = foreign.data / "moorage" / "moorage.db"
            while process.poll() is None and not database.exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(0.1 * number)
            process.send_signal(signal.SIGKILL)

    done = subprocess.run([COMMAND, "adopt", "--json", foreign.data], check=True, capture_output=True, timeout=SECONDS)

    assert json.loads(done.stdout)["tags"] == 1500
    assert len(volume.repositories()) == 1500
    assert (volume.adopt().changes, len(volume.tags("team7/app7"))) == (0, 1)


def test_a_server_serves_what_it_adopts(tmp_path: Path) -> None:
    """From the first moment on each image of a large volume can be pulled, and the catalogue is whole."""
    foreign = Foreign(tmp_path / "data")
    many(foreign, 2000, 3, 1)
    with Moorage(tmp_path, users={}) as server:
        client = Client(server)
        for number in (1999, 1000, 0, 1):
            config = b'{"number":%d}' % number
            own = b"layer 0 of %d" % number, b"layer 1 of %d" % number
            body = encode(image(config, b"base " * 1000, *own))
            name = f"team{number % 100}/app{number}"
            assert client.ask("GET", f"/v2/{name}/manifests/v0").body == body
            assert client.ask("GET", f"/v2/{name}/blobs/{digest_of(own[0])}").body == own[0]
            assert client.ask("GET", f"/v2/{name}/tags/list").json()["tags"] == ["v0"]
        assert client.push_manifest(name, "again", body).status == 201
        assert catalog(client) == sorted(f"team{number % 100}/app{number}" for number in range(2000))
        done = subprocess.run([COMMAND, "adopt", foreign.data], check=True, capture_output=True, timeout=SECONDS)
        assert server.stop() == 0

    assert b"2,000 repositories" in done.stdout
    assert "the volume is adopted" in server.log_tail(100_000)
