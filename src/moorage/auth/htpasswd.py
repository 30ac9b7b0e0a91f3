"""An htpasswd file that may change at any time."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from moorage.auth.htpasswd_format import Content, Note, command, parse
from moorage.auth.principal import Account
from moorage.errors import ConfigurationError

CHECK_INTERVAL: Final = 0.25
"""Seconds between two looks at the file: a change is to be in force within one second."""

MOST_BYTES: Final = 16 << 20
"""A file with 200,000 users (arbitrary)."""

# Seconds for which a changed file is read at each look whatever its times say: two writes within one tick of the file
# system's clock look the same, and the coarsest clock in use (FAT) ticks every two seconds.
_SETTLING: Final = 2.0

# Of an old file with a thousand MD5 hashes the log does not need all.
_MOST_NOTES: Final = 20

_Seen = tuple[int, int, int, int, int]

_logger = logging.getLogger("moorage.auth")


class HtpasswdFile:
    """An htpasswd file as it is now, looked at every CHECK_INTERVAL seconds while it is asked.

    A change is one of device, inode, size or times of the file behind all symbolic links (Kubernetes swaps those). If
    the file breaks or vanishes, what it said last stays in force, and the log says so once. A file that is rewritten in
    place is seen half written: users not yet in it are refused until it is complete; `moorage htpasswd` replaces it.

    Looking and reading are inline: microseconds, and some milliseconds for each thousand users of a changed file. For
    the event loop's thread only.
    """

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Raises ConfigurationError where the file cannot be read or is broken: then nothing is known at all."""
        self._path = path
        self._monotonic = monotonic
        self._seen: _Seen | None
        self._seen, self._data = self._read()
        self._content = parse(self._data, str(path))
        self._next_look = monotonic() + CHECK_INTERVAL
        self._settled = monotonic() + _SETTLING
        self._trouble: str | None = None
        self._log_notes(self._content.notes)

    @property
    def notes(self) -> tuple[Note, ...]:
        """What an administrator should know of the content in force; the log was told already."""
        return self._content.notes

    def find(self, user: str) -> Account:
        """The user's account; for an unknown user one without principal, whose hash costs as much to check."""
        now = self._monotonic()
        if now >= self._next_look:
            self._next_look = now + CHECK_INTERVAL
            self._look(now)
        content = self._content
        return content.accounts.get(user, content.nobody)

    def _look(self, now: float) -> None:
        try:
            if _fingerprint(os.stat(self._path)) == self._seen and now >= self._settled:
                return
        except OSError:
            pass  # reading says why
        try:
            seen, data = self._read()
        except ConfigurationError as error:
            self._seen = None
            self._keep(error)
            return
        if seen != self._seen:
            self._seen, self._settled = seen, now + _SETTLING
        try:
            content = self._content if data == self._data else parse(data, str(self._path))
        except ConfigurationError as error:
            self._keep(error)
            return
        self._put_in_force(content, data)

    def _read(self) -> tuple[_Seen, bytes]:
        """The file's content and its fingerprint from before that. Raises ConfigurationError."""
        try:
            # Without O_NONBLOCK a named pipe in the file's place would stop the server.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise ConfigurationError("not a file", str(self._path))
                if status.st_size > MOST_BYTES:
                    raise ConfigurationError(f"larger than {MOST_BYTES >> 20} MiB", str(self._path))
                with open(descriptor, "rb", closefd=False) as file:
                    return _fingerprint(status), file.read(MOST_BYTES)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unreadable(self._path, error) from None

    def _put_in_force(self, content: Content, data: bytes) -> None:
        if content is self._content and self._trouble is None:
            return
        notes_are_known = content.notes == self._content.notes
        self._content, self._data, self._trouble = content, data, None
        users = sum(account.principal is not None for account in content.accounts.values())
        _logger.info("%s: read again, %d users can log in", self._path, users)
        if not notes_are_known:
            self._log_notes(content.notes)

    def _keep(self, error: ConfigurationError) -> None:
        if str(error) != self._trouble:
            self._trouble = str(error)
            _logger.error("%s (the users known before stay in force)", error)

    def _log_notes(self, notes: tuple[Note, ...]) -> None:
        for line, text in notes[:_MOST_NOTES]:
            _logger.warning("%s: %s", self._path if line is None else f"{self._path}:{line}", text)
        if len(notes) > _MOST_NOTES:
            _logger.warning("%s: and %d more like these", self._path, len(notes) - _MOST_NOTES)


def _fingerprint(status: os.stat_result) -> _Seen:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    if isinstance(error, FileNotFoundError):
        create = command(str(path), "USER").replace(" -B ", " -Bc ")
        return ConfigurationError(f"there is no such file; create it: {create}", str(path))
    return ConfigurationError(f"cannot be read: {error.strerror}", str(path))
