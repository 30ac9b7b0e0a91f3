"""One server for everything in this folder, which must come through it all unharmed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.content import Client, image, noise
from tests.hostile.target import BLOB_BYTES, REPOSITORY, USERS, WITNESS, Target, check_log, check_paths
from tests.servers import Moorage


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The server; once all is over: no traceback, no 5xx, no path outside its folder, and it still serves."""
    folder = tmp_path_factory.mktemp("hostile")
    witnessed = folder / "witnessed"
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(WITNESS), os.environ.get("PYTHONPATH")))),
        "MOORAGE_WITNESS": str(witnessed),
        "MOORAGE_HTTP_LIMITS_BLOB_BYTES": str(BLOB_BYTES),
    }
    with Moorage(folder / "server", users=USERS, environment=environment) as server:
        alice, bob, mallory = (Client(server, name, word) for name, word in USERS.items())
        layer, config = noise(2048, seed=1), b'{"architecture":"amd64","os":"linux"}'
        made = alice.push_image(REPOSITORY, "v1", layer, config=config)
        body = alice.ask("GET", f"/v2/{REPOSITORY}/manifests/v1").body
        started = witnessed.stat().st_size
        yield Target(server, alice, bob, mallory, Client(server), layer, config, body, made)
        assert alice.ask("GET", f"/v2/{REPOSITORY}/manifests/v1").json() == image(config, layer), "it serves no more"
        server.stop()
        check_log(server)
        check_paths(server, witnessed.read_text("ascii")[started:])
