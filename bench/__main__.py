"""`python -m bench`: Moorage beside its peers."""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import documentation
from bench.cases import CASES
from bench.measure import FULL, QUICK, USUAL, Case, Scale
from bench.peers import PEERS, make_peer
from bench.picture import picture
from bench.registries import ROOT, Moorage, Registry
from bench.report import as_json, as_markdown
from bench.runner import run

# The three runs: how much each does, in how many minutes, and beside whom.
SCALES = {
    QUICK: Scale(rounds=3, seconds=1, tags=2000, repositories=500, readers=100, large_bytes=512 << 20),
    USUAL: Scale(
        rounds=5,
        seconds=1.5,
        tags=2000,
        repositories=100_000,
        readers=1000,
        large_bytes=512 << 20,
        listed_tags=100_000,
        requests=20_000,
    ),
    FULL: Scale(
        rounds=7,
        seconds=3,
        tags=10_000,
        repositories=1_000_000,
        readers=1000,
        large_bytes=512 << 20,
        listed_tags=1_000_000,
        requests=1_000_000,
    ),
}
MINUTES = {QUICK: 3.0, USUAL: 28.0, FULL: None}
RIVALS = {QUICK: "distribution3", USUAL: ",".join(kind for kind in PEERS if kind != "angos-fsync"), FULL: "none"}
_OUT = ROOT / "bench" / "out"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the report, and write it down."""
    options = _parser().parse_args(arguments)
    cases = _choose(options.only, options.level)
    if options.list:
        print("\n".join(f"{row.name}  [{case.mode.name}]" for case in cases for row in case.rows))
        return 0
    if not cases:
        print("bench: no case has such a name; --list shows them", file=sys.stderr)
        return 2
    scale, minutes = _scale(options), options.minutes or MINUTES[options.level]
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, min(most, 65536)), most))
    # Ended by a signal, it still stops what it started and clears away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: told to end"))
    with _temporary(options.folder) as folder, _temporary(_in_memory() or options.folder) as light:
        registries = _registries(options, Path(folder))
        for registry in registries:
            registry.lists = Path(light) / registry.name.replace(" ", "-")
        results = run(cases, registries, scale, options.patience, 60 * minutes if minutes else None)
        kept = json.loads(json.dumps(as_json(results, registries, scale)))
    _write(_OUT, "latest", kept)
    print(as_markdown(kept))
    if options.keep:
        _write(documentation.RESULTS, options.keep, kept)
        if options.keep == documentation.LATEST.stem:
            documentation.main()
    return 1 if results.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    level = parser.add_mutually_exclusive_group()
    for name, value, what in (
        ("--quick", QUICK, "about three minutes, the cases that matter most (the default)"),
        ("--usual", USUAL, "about half an hour: every case, lists of 100,000"),
        ("--full", FULL, "longer rounds, lists of a million, without peers unless they are named"),
    ):
        level.add_argument(name, dest="level", action="store_const", const=value, help=what)
    parser.set_defaults(level=QUICK)
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="cases whose name holds TEXT")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--peers", help=f"of {','.join(PEERS)}, or none; one not found is left out")
    parser.add_argument(
        "--program", action="append", default=[], metavar="NAME=PATH", help="where a peer is: zot=/opt/zot, angos=..."
    )
    parser.add_argument(
        "--against", action="append", default=[], metavar="REVISION", help="a commit, or a checkout's folder, as a peer"
    )
    parser.add_argument("--access-log", action="store_true", help="let Moorage keep its access log, as by default")
    parser.add_argument(
        "--keep",
        nargs="?",
        const=documentation.LATEST.stem,
        metavar="NAME",
        help="write report, JSON and picture below bench/results, and the documentation's table from them",
    )
    parser.add_argument(
        "--folder", help="where the registries keep their data; the default is the system's for temporary files"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=0,
        metavar="SECONDS",
        help="wait so long for a quiet machine before each sample",
    )
    parser.add_argument("--minutes", type=float, help="how long the run may take, instead of what its size says")
    parser.add_argument("--seconds", type=float, help="of a sample, instead of what the run's size says")
    for name in ("rounds", "tags", "repositories", "readers", "listed-tags", "referrers", "clients", "requests"):
        parser.add_argument(f"--{name}", type=int, help="instead of what the run's size says")
    parser.add_argument("--large-mib", type=int, help="the size of the large blob instead of 512")
    return parser


def _choose(texts: Sequence[str], level: int) -> list[Case]:
    def wanted(case: Case) -> bool:
        names = [case.name, *(row.name for row in case.rows)]
        return any(text.lower() in name.lower() for text in texts for name in names)

    return [case for case in CASES if (wanted(case) if texts else case.level <= level)]


def _scale(options: argparse.Namespace) -> Scale:
    values = vars(SCALES[options.level]) | {
        name: value for name in Scale.__dataclass_fields__ if (value := getattr(options, name, None)) is not None
    }
    if options.large_mib:
        values["large_bytes"] = options.large_mib << 20
    return Scale(**values)


def _registries(options: argparse.Namespace, folder: Path) -> list[Registry]:
    registries: list[Registry] = [Moorage(folder / "moorage", access=options.access_log)]
    registries += [_earlier(folder, revision, access=options.access_log) for revision in options.against]
    programs = dict(text.split("=", 1) for text in options.program)
    for kind in (RIVALS[options.level] if options.peers is None else options.peers).split(","):
        if kind in {"", "none"}:
            continue
        if kind not in PEERS:
            raise SystemExit(f"bench: there is no peer {kind}; known are {', '.join(PEERS)}")
        peer = make_peer(kind, folder / kind, programs)
        if peer is None:
            print(f"bench: {kind} is not on this machine and is left out; --program says where", file=sys.stderr)
        else:
            registries.append(peer)
    return registries


def _temporary(parent: str | None) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="moorage-bench-", dir=parent, ignore_cleanup_errors=True)


def _in_memory() -> str | None:
    """A file system in memory with room for a million folders; peers keep long lists in such."""
    memory = "/dev/shm"
    if not os.access(memory, os.W_OK):
        return None
    room = os.statvfs(memory)
    return memory if room.f_bavail * room.f_frsize > 8 << 30 and room.f_favail > 2_000_000 else None


def _earlier(folder: Path, revision: str, *, access: bool) -> Moorage:
    """The sources of another commit, or those in another checkout; they run with this one's dependencies."""
    if (Path(revision) / "src").is_dir():
        return Moorage(
            folder / Path(revision).name, Path(revision).resolve() / "src", f"moorage@{revision}", access=access
        )
    name = "moorage@" + re.sub(r"[^\w.~^-]", "-", revision)
    source = folder / f"source {name}"
    source.mkdir()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", revision, "src"], check=True, capture_output=True)
    subprocess.run(["tar", "x", "-C", str(source)], input=archive.stdout, check=True)
    return Moorage(folder / name, source / "src", name, access=access)


def _write(folder: Path, name: str, kept: Mapping[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(_lines(kept))  # first: the rest can be made from it at any time
    (folder / f"{name}.md").write_text(as_markdown(kept))
    (folder / f"{name}.svg").write_text(picture(kept))
    print(f"bench: wrote {folder.relative_to(ROOT) / name}.md, .json and .svg", file=sys.stderr)


def _lines(kept: Mapping[str, Any]) -> str:
    """JSON with one row to a line: people look at what changed in it."""
    parts = []
    for name, value in kept.items():
        many = isinstance(value, list) and value
        text = "[\n" + ",\n".join(json.dumps(one) for one in value) + "\n]" if many else json.dumps(value)
        parts.append(f"{json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())
