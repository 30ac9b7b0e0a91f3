"""Put on the server's PYTHONPATH: notes every path that it opens, makes, renames or removes, one a line.

The lines go to the file that MOORAGE_WITNESS names; only from Python's own audit events (PEP 578), which see what is
asked for before it happens. Only what is read below an open directory, as a removal of folders does, they do not place.
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
# Their last argument is the descriptor of the directory that a relative path begins at, -1 without one.
_WITH_DIRECTORY = {"os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir"}


def _base(event: str, arguments: tuple[object, ...]) -> str | None:
    """Where a relative path begins; None where the event does not say."""
    if event in _WITH_DIRECTORY and isinstance(arguments[-1], int) and arguments[-1] >= 0:
        return os.readlink(f"/proc/self/fd/{arguments[-1]}")
    if event == "open" and isinstance(arguments[2], int) and not arguments[2] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
        return None
    return os.getcwd()


def _watch() -> None:
    descriptor = os.open(os.environ["MOORAGE_WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(event: str, arguments: tuple[object, ...]) -> None:
        for path in arguments[: _PATHS.get(event, 0)]:
            if not isinstance(path, str | bytes):
                continue
            text = os.fsdecode(path)
            base = "" if text.startswith("/") else _base(event, arguments)
            if base is not None:
                os.write(descriptor, f"{event} {os.path.normpath(os.path.join(base, text))!a}\n".encode("ascii"))

    sys.addaudithook(note)


if "MOORAGE_WITNESS" in os.environ:
    _watch()
