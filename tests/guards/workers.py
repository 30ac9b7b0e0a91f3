"""Finding the process that answers."""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers import Moorage, group_members

_LISTENS = "0A"


def worker_of(server: Moorage) -> int:
    """The process id of the only worker of a *server* on IPv4: beside the parent, it alone has the listening socket."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    port = f":{server.port:04X}"
    socket = next(f"socket:[{row[9]}]" for row in rows if row[1].endswith(port) and row[3] == _LISTENS)
    found = [pid for pid in group_members(server.pid) if pid != server.pid and socket in _descriptors(pid)]
    assert len(found) == 1, f"{found} listen: start the server with one worker"
    return found[0]


def _descriptors(pid: int) -> list[str]:
    return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
