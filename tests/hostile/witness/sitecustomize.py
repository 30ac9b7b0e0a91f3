"""Put on the server's PYTHONPATH: notes every path that it opens, makes, renames or removes, one a line.

The lines go to the file that MOORAGE_WITNESS names; only from Python's own audit events (PEP 578), which see what is
asked for before it happens.
"""

import os
import sys

_PATHS = {
    "open": 1,
    "os.mkdir": 1,
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.truncate": 1,
    "os.listdir": 1,
    "os.scandir": 1,
}


def _watch() -> None:
    descriptor = os.open(os.environ["MOORAGE_WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(event: str, arguments: tuple[object, ...]) -> None:
        for path in arguments[: _PATHS.get(event, 0)]:
            if isinstance(path, str | bytes):
                os.write(descriptor, f"{event} {os.path.abspath(os.fsdecode(path))!a}\n".encode("ascii"))

    sys.addaudithook(note)


if "MOORAGE_WITNESS" in os.environ:
    _watch()
