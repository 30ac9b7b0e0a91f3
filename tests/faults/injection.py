"""Builds the library of `faults.c` and speaks its language: which system calls fail, on which paths, and how."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from tests.programs import need

SOURCE = Path(__file__).with_name("faults.c")

KILL = 0
"""In place of an errno: die by SIGKILL instead of the call."""


class Call(NamedTuple):
    """One line of the log: *result* is "0", an errno's number, or "fault" for a call that was made to fail."""

    name: str
    result: str
    path: str
    other: str


def build(folder: Path) -> Path:
    """Compile the library into *folder*. Skips the test without gcc, as `need` does."""
    library = folder / "faults.so"
    command = [need("gcc"), "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(SOURCE)]
    subprocess.run([*command, "-ldl", "-lpthread"], check=True)
    return library


class Faults:
    """The faults of every program that runs with `environment`; none at first."""

    def __init__(self, library: Path, folder: Path) -> None:
        self.rules = folder / "rules"
        self.log = folder / "calls"
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAULTS_RULES": str(self.rules),
            "FAULTS_LOG": str(self.log),
        }
        self.clear()

    @classmethod
    def here(cls) -> Self:
        """The faults of this process, which was started with an `environment`."""
        return cls(Path(os.environ["LD_PRELOAD"]), Path(os.environ["FAULTS_RULES"]).parent)

    def set(self, *rules: str) -> None:
        """Replace all rules, at once; see `faults.c` for their form."""
        temporary = self.rules.with_suffix(".new")
        temporary.write_text("".join(f"{rule}\n" for rule in rules))
        temporary.rename(self.rules)

    def clear(self) -> None:
        """Let everything work again."""
        self.set()

    @contextmanager
    def failing(self, call: str, action: int, pattern: str, *, skip: int = 0, count: int = -1) -> Iterator[None]:
        """Meanwhile *call* fails with errno *action* on paths like *pattern*: *count* times after *skip* times."""
        self.set(f"{call} {action} {skip} {count} {pattern}")
        try:
            yield
        finally:
            self.clear()

    def calls(self) -> list[Call]:
        """All logged calls so far."""
        if not self.log.exists():
            return []
        lines = self.log.read_text(errors="surrogateescape").splitlines()
        return [Call(*line.split("\t")) for line in lines]

    def fired(self) -> int:
        """How many calls were made to fail so far."""
        return sum(call.result == "fault" for call in self.calls())
