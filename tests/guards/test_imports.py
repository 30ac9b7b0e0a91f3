from __future__ import annotations

import re
from pathlib import Path

from tests.content import Client
from tests.guards.table import Table
from tests.raw_http import ask
from tests.servers import Moorage

# What a server that speaks plain HTTP and keeps its users in an htpasswd file has no use for, at start or later.
NEEDLESS = (
    *("cryptography", "asyncpg", "alembic", "mako", "moorage.doctor", "dns"),
    *("requests", "httpx", "aiohttp", "urllib3", "jinja2", "multiprocessing", "unittest", "tkinter", "pdb"),
)
_IMPORT = re.compile(r"import time:\s+\d+ \|\s+\d+ \|\s+(\S+)")


def _loaded(folder: Path) -> set[str]:
    """The modules that the processes of a server have loaded once it has taken a push and given it back."""
    # The interpreter's own option -X importtime, which goes with it into every child.
    told = {"PYTHONPROFILEIMPORTTIME": "1"}
    users = {"alice": "Import-it-1"}
    with Moorage(folder / "server", users=users) as first:
        first.stop()  # it has made the database
    with Moorage(folder / "server", "--workers", "1", users=users, environment=told) as server:
        alice = Client(server, server.user, server.password)
        alice.push_image("guard/imports", "v1", b"layer")
        assert alice.ask("GET", "/v2/guard/imports/manifests/v1").status == 200
        assert ask(server, "GET", "/v2/_catalog").status == 401
        server.stop()
        return set(_IMPORT.findall(server.log.read_text(errors="replace")))


def test_a_plain_server_loads_what_it_needs(tmp_path: Path, limits: Table) -> None:
    """Without TLS no more modules are loaded than the table says, and none of the needless ones."""
    loaded = _loaded(tmp_path)

    needless = {
        name for name in loaded if name.startswith(tuple(f"{start}." for start in NEEDLESS)) or name in NEEDLESS
    }
    ours = {name for name in loaded if name.partition(".")[0] == "moorage"}
    limits.check("modules", {"moorage serve": {"modules": len(loaded), "ours": len(ours)}})
    assert not needless, sorted(needless)
