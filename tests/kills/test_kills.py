"""What was acknowledged survives a SIGKILL of the whole process tree at any moment.

`MOORAGE_KILLS` is the number of kills: a handful by default, 200 in CI, thousands when something in this area changed.
"""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from pathlib import Path

from tests.kills.actor import Actor, Cut
from tests.programs import REQUIRED
from tests.servers import COMMAND, Moorage

KILLS = int(os.environ.get("MOORAGE_KILLS") or (200 if REQUIRED else 10))
SEED = int(os.environ.get("MOORAGE_SEED") or random.randrange(1 << 32))
ACTORS = 6
# A full look costs more the longer it goes on; in between, only what was touched since the last kill is looked at.
EVERYTHING_EVERY = 50


def work_until_killed(server: Moorage, actors: list[Actor], seconds: float) -> None:
    """Let every actor work, and kill the server in the middle of it."""
    stop = threading.Event()
    threads = [threading.Thread(target=actor.run, args=(stop,)) for actor in actors]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    server.kill()
    stop.set()
    for thread in threads:
        thread.join()
    for actor in actors:
        actor.client.close()


def look_back(actors: list[Actor], faults: list[str], *, everything: bool) -> None:
    """Let every actor compare what it finds with what it was told; a broken connection is a fault now."""
    for actor in actors:
        try:
            actor.verify(everything=everything)
            actor.verify_uploads()
        except Cut as cut:
            faults.append(f"{actor.repository}: the server broke the connection: {cut}")
        finally:
            actor.client.close()


def test_acknowledged_content_survives_kills(tmp_path: Path) -> None:
    """After each kill and restart every acknowledged manifest, tag, blob and upload offset reads back equal, nothing
    that was deleted comes back, and no answer is a 5xx."""
    again = f"MOORAGE_SEED={SEED} MOORAGE_KILLS={KILLS}"
    chance = random.Random(SEED)
    faults: list[str] = []
    server = Moorage(tmp_path, users={})
    actors = [Actor(f"kill/actor-{n}", server.port, chance.randrange(1 << 32), faults) for n in range(ACTORS)]
    with server:
        for number in range(1, KILLS + 1):
            work_until_killed(server, actors, chance.uniform(0.02, 0.5))
            server.start()
            look_back(actors, faults, everything=number % EVERYTHING_EVERY == 0 or number == KILLS)
            assert not faults, "\n".join([again, f"after kill {number}:", *faults[:20], server.log_tail()])
        for actor in actors:
            for location in list(actor.uploads):
                actor.finish_upload(location)
        look_back(actors, faults, everything=True)
        assert server.stop() == 0

    assert not faults, "\n".join(faults[:20])
    assert min(actor.answered for actor in actors) > KILLS
    checked = subprocess.run(
        [COMMAND, "check", "--data", server.data],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")},
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
