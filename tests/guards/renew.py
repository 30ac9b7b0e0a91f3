"""Counts everything that is guarded and writes the figures into `limits.toml`: `python -m tests.guards.renew`.

Arguments are passed on to pytest: `-k instructions` renews one section.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.guards.table import Table


class Renewal:
    """A pytest plugin, whose table the guards fill instead of being judged by it."""

    def __init__(self) -> None:
        self.table = Table(renewing=True)


def main(arguments: list[str]) -> int:
    """Run the guards; the exit code."""
    renewal = Renewal()
    folder = str(Path(__file__).parent)
    code = pytest.main(["-q", "-p", "no:cacheprovider", folder, *arguments], plugins=[renewal])
    changes = renewal.table.write()
    sys.stdout.write("".join(f"{line}\n" for line in changes or ["every figure is what it was"]))
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
