"""A program on a terminal of its own, and whoever sits at it."""

from __future__ import annotations

import os
import pty
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.programs import lacking, readable

SECONDS = 30.0


def _fork() -> tuple[int, int]:
    try:
        return pty.fork()
    except OSError as error:
        lacking(f"no terminal can be made here: {error}; /dev/pts has to be mounted")


class Terminal:
    """Runs *command* with a pseudo-terminal as its controlling terminal; both output streams are it."""

    def __init__(
        self, command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.text = ""
        self.code: int | None = None
        words = [str(word) for word in command]
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("MOORAGE_", "REGISTRY_"))
        }
        self.pid, self._side = _fork()
        if self.pid == 0:
            try:
                os.chdir(folder)
                os.execve(words[0], words, {**variables, **(environment or {})})
            finally:
                os._exit(127)

    def wait_for(self, text: str) -> str:
        """Everything that is on the screen once *text* is."""
        deadline = time.monotonic() + SECONDS
        while text not in self.text:
            assert self._read(deadline), f"{text!r} does not come:\n{self.text}"
        return self.text

    def enter(self, text: str) -> None:
        """Type *text*; end a line with a newline."""
        os.write(self._side, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.write(self._side, b"\x03")

    def end(self) -> int:
        """Wait until the program has ended; its exit code."""
        deadline = time.monotonic() + SECONDS
        while self._read(deadline):
            pass
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def _read(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if left <= 0 or not readable(self._side, left):
            raise AssertionError(f"nothing more comes:\n{self.text}")
        try:
            data = os.read(self._side, 65536)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.text += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.code is None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        os.close(self._side)
