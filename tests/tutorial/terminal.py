"""A terminal: what is typed runs in bash on a pseudo-terminal, and programs that ask for a password find it there."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.tutorial.document import plain

HEIGHT, WIDTH = 50, 250
SECONDS = 120.0
# Where what is typed is to be seen, as a fingerprint is, the echo stays on.
SILENCE_SECONDS = 3.0

_PROMPT = re.compile(r"(?:password|fingerprint|again)[^\n]{0,120}: ?$", re.IGNORECASE)


class Terminal:
    """One bash on a terminal of its own, that runs *lines* in *folder* and then ends; a context manager.

    - *prefix*: the command by which programs run on the host.
    - *environment*: all variables that it has.
    - *answer*: what a person types at a prompt: the prompt's line to the line to type.
    """

    def __init__(
        self,
        prefix: Sequence[str],
        lines: str,
        folder: str,
        environment: Mapping[str, str],
        answer: Callable[[str], str],
    ) -> None:
        self._answer = answer
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        self._seen = ""
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *prefix, "bash", "-c", f"cd {shlex.quote(folder)}\n{lines}"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environment, "TERM": "xterm"},
        )
        os.close(slave)
        # Somebody has to read, or programs wait when they write.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """What can be read on it so far."""
        return plain(self._seen)

    def finish(self) -> int:
        """The exit code, once everything has ended."""
        try:
            code = self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {SECONDS} s:\n{self.text}") from None
        self._reader.join(20)
        return code

    def await_text(self, shows: Callable[[str], bool]) -> None:
        """Return once what can be read is what *shows* waits for."""
        deadline = time.monotonic() + SECONDS
        while not shows(self.text):
            assert self._process.poll() is None, f"it ended, and showed:\n{self.text}"
            assert time.monotonic() < deadline, f"it shows:\n{self.text}"
            time.sleep(0.05)

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        os.write(self._master, b"\x03")
        return self.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.write(self._master, b"\x03")
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(20)
        os.close(self._master)

    def _read(self) -> None:
        answered = 0
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EIO: nobody has the other end open.
                return
            if not data:
                return
            self._seen += data.decode(errors="replace")
            if _PROMPT.search(self._seen, answered):
                answered = len(self._seen)
                self._await_silence()
                os.write(self._master, self._answer(self._seen.splitlines()[-1]).encode() + b"\n")

    def _await_silence(self) -> None:
        """Some programs ask before they switch the echo off; people are slower than that."""
        deadline = time.monotonic() + SILENCE_SECONDS
        while termios.tcgetattr(self._master)[3] & termios.ECHO and time.monotonic() < deadline:
            time.sleep(0.01)
