"""Reading a tree in a process beside the one that writes rows.

Most of a first adoption's time goes into reading, which needs no database where nothing is known yet. A thread would
not do: each system call hands the interpreter's lock back and forth, and both became slower.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import signal
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from moorage.errors import RegistryError
from moorage.metadata.bulk import BlobLink, ManifestRow
from moorage.oci.name import RepositoryName
from moorage.registry.adopt.contents import Contents
from moorage.registry.adopt.findings import Report
from moorage.registry.adopt.plan import NewTag, Plan, Rows
from moorage.registry.adopt.reader import RepositoryReader
from moorage.storage.tree import ClassicTree
from moorage.storage.tree_facts import Known, Parts

_log = logging.getLogger("moorage.adopt")

# Repositories for which a process is worth its start, which takes as long as reading 1,000 of them (measured).
_WORTHWHILE: Final = 2000
_NAMES: Final = 100
# Link files after which what was read is sent, and bytes of it that wait to be carried out: so far it reads ahead.
_LINKS: Final = 500
_BUFFER: Final = 1 << 20
_LENGTH: Final = 4

Names = Sequence[tuple[RepositoryName, Parts]]
Read = list[tuple[Plan, int]]


@dataclass(frozen=True, slots=True)
class Task:
    """What to read, and how: see `Comparison`. *first*: the repositories are on the list of those to adopt."""

    root: str
    manifest_bytes: int
    first: bool
    dry_run: bool
    verify: bool
    thorough: bool


def is_worthwhile(repositories: int) -> bool:
    """Whether so many are read faster by a process of their own, which needs a processor of its own."""
    return repositories >= _WORTHWHILE and len(os.sched_getaffinity(0)) > 1


async def read_ahead(task: Task, names: Mapping[RepositoryName, Parts]) -> AsyncGenerator[tuple[Read, Report], None]:
    """Plans of repositories that the database knows nothing of, with their numbers of link files, in portions.

    It ends early where the process cannot be started, or fails: whoever reads the rest sees why.
    """
    command = [sys.executable, "-P", "-m", "moorage.registry.adopt.ahead", json.dumps(asdict(task))]
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=_BUFFER)
    except OSError as error:
        _log.info("no process can be started to read ahead: %s", error)
        return
    assert process.stdin is not None
    assert process.stdout is not None
    feeding = asyncio.create_task(_feed(process.stdin, names))
    try:
        left = len(names)
        while left:
            length = int.from_bytes(await process.stdout.readexactly(_LENGTH), "big")
            portion, report = pickle.loads(await process.stdout.readexactly(length))  # noqa: S301 - our own process
            left -= len(portion)
            yield [_unpacked(task, packed) for packed in portion], report
    except asyncio.IncompleteReadError:
        _log.info("the process that reads ahead has ended early")
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError, OSError):
            await feeding
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _feed(pipe: asyncio.StreamWriter, names: Mapping[RepositoryName, Parts]) -> None:
    every = list(names.items())
    for start in range(0, len(every), _NAMES):
        pipe.write(_frame(every[start : start + _NAMES]))
        await pipe.drain()


def _frame(value: object) -> bytes:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_LENGTH, "big") + data


def _packed(plan: Plan, files: int) -> tuple[Any, ...]:
    """A plan as plain tuples, which take a third of the time to send."""
    return (
        plan.repository,
        plan.present,
        files,
        [tuple(link) for link in plan.blobs],
        [tuple(row) for row in plan.manifests],
        [tuple(tag) for tag in plan.tags],
    )


def _unpacked(task: Task, packed: tuple[Any, ...]) -> tuple[Plan, int]:
    repository, present, files, blobs, manifests, tags = packed
    plan = Plan(
        repository,
        first=task.first,
        new=True,
        present=present,
        blobs=list(map(BlobLink._make, blobs)),
        manifests=list(map(ManifestRow._make, manifests)),
        tags=list(map(NewTag._make, tags)),
    )
    return plan, files


def _requests(pipe: BinaryIO) -> Iterator[Names]:
    while length := pipe.read(_LENGTH):
        yield pickle.loads(pipe.read(int.from_bytes(length, "big")))  # noqa: S301 - whoever started us


def _work(task: Task, requests: BinaryIO, answers: BinaryIO) -> None:
    tree = ClassicTree(Path(task.root))
    contents = Contents(tree, task.manifest_bytes, verify=task.verify)
    reader = RepositoryReader(tree, contents, Report(), 0, dry_run=task.dry_run, thorough=task.thorough)
    for names in _requests(requests):
        portion: list[tuple[Any, ...]] = []
        for name, parts in names:
            links = reader.links(name, Known(), parts)
            plan = reader.plan(name, links, Rows(), first=task.first)
            portion.append(_packed(plan, links.files))
            if reader.report.links >= _LINKS:
                answers.write(_frame((portion, reader.take_report())))
                portion = []
        answers.write(_frame((portion, reader.take_report())))
        answers.flush()


def main() -> None:
    """Read what is asked for until nobody asks any more; an error ends it, and whoever asks sees it himself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError, RegistryError):
        _work(Task(**json.loads(sys.argv[1])), sys.stdin.buffer, sys.stdout.buffer)
    os._exit(0)


if __name__ == "__main__":
    main()
