"""Reads what the doctor said, and opens folders for other users."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from moorage.doctor.finding import Finding, Verdict


def all_of(findings: AsyncIterator[Finding]) -> list[Finding]:
    """The findings of a look that waits for something."""

    async def collect() -> list[Finding]:
        return [finding async for finding in findings]

    return asyncio.run(collect())


def bad(findings: Iterable[Finding]) -> list[Finding]:
    """What is wrong or worth a warning."""
    return [finding for finding in findings if finding.verdict in {Verdict.WARNING, Verdict.WRONG}]


def only(findings: Iterable[Finding]) -> Finding:
    """The one bad finding; AssertionError where there are others or none."""
    found = bad(findings)
    assert len(found) == 1, f"{len(found)} findings: {[(one.verdict.value, one.what) for one in found]}"
    return found[0]


def naming(findings: Iterable[Finding], text: str) -> Finding:
    """The first bad finding with *text* in its sentence; AssertionError where none has it."""
    found = bad(findings)
    for one in found:
        if text in one.what:
            return one
    raise AssertionError(f"none says {text!r}: {[(one.verdict.value, one.what) for one in found]}")


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder right below /tmp, closed until `let_in`: pytest closes its own folders anew whenever it is started."""
    folder = Path(tempfile.mkdtemp(prefix="moorage-doctor-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def let_in(path: Path) -> None:
    """Let every user of this machine come to *path*, below `own_folder`."""
    for above in path.parents:
        if str(above) == "/tmp":
            return
        above.chmod(0o755)
