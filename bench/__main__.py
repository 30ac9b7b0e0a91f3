"""`python -m bench`: Moorage beside its peers."""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.cases import CASES
from bench.measure import Case, Scale
from bench.registries import PEERS, ROOT, Moorage, Registry, make_peer
from bench.report import as_json, as_markdown
from bench.runner import run

QUICK = Scale(rounds=3, seconds=1, tags=2000, repositories=500, readers=100, large_bytes=512 << 20)
FULL = Scale(rounds=7, seconds=3, tags=10_000, repositories=5000, readers=500, large_bytes=512 << 20)
_RESULTS = ROOT / "bench" / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the report."""
    options = _parser().parse_args(arguments)
    cases = _choose(options.only)
    if options.list:
        print("\n".join(f"{row.name}  [{case.mode.name}]" for case in cases for row in case.rows))
        return 0
    if not cases:
        print("bench: no case has such a name; --list shows them", file=sys.stderr)
        return 2
    scale = _scale(options)
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, min(most, 65536)), most))
    with tempfile.TemporaryDirectory(prefix="moorage-bench-", dir=options.folder) as folder:
        registries = _registries(options, Path(folder))
        results = run(cases, registries, scale, options.patience)
        report = as_markdown(results, registries, scale)
        print(report)
        if options.keep:
            _keep(report, as_json(results, registries, scale))
    return 1 if results.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about three minutes (the default)")
    parser.add_argument("--full", action="store_true", help="longer rounds, more of them, larger lists")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="cases whose name holds TEXT")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument(
        "--peers", default="distribution3", help=f"of {','.join(PEERS)}, or none; one not found is left out"
    )
    parser.add_argument(
        "--against", action="append", default=[], metavar="REVISION", help="a commit, or a checkout's folder, as a peer"
    )
    parser.add_argument("--access-log", action="store_true", help="let Moorage keep its access log, as by default")
    parser.add_argument("--keep", action="store_true", help="write the report and the JSON file below bench/results")
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
    for name in ("rounds", "seconds", "tags", "repositories", "readers"):
        parser.add_argument(f"--{name}", type=int, help="instead of what --quick or --full says")
    parser.add_argument("--large-mib", type=int, help="the size of the large blob instead of 512")
    return parser


def _choose(texts: Sequence[str]) -> list[Case]:
    def wanted(case: Case) -> bool:
        names = [case.name, *(row.name for row in case.rows)]
        return not texts or any(text.lower() in name.lower() for text in texts for name in names)

    return [case for case in CASES if wanted(case)]


def _scale(options: argparse.Namespace) -> Scale:
    base = FULL if options.full else QUICK
    return Scale(
        rounds=options.rounds or base.rounds,
        seconds=options.seconds or base.seconds,
        tags=options.tags or base.tags,
        repositories=options.repositories or base.repositories,
        readers=options.readers or base.readers,
        large_bytes=options.large_mib << 20 if options.large_mib else base.large_bytes,
    )


def _registries(options: argparse.Namespace, folder: Path) -> list[Registry]:
    registries: list[Registry] = [Moorage(folder / "moorage", access=options.access_log)]
    registries += [_earlier(folder, revision, access=options.access_log) for revision in options.against]
    for kind in options.peers.split(","):
        if kind in {"", "none"}:
            continue
        if kind not in PEERS:
            raise SystemExit(f"bench: there is no peer {kind}; known are {', '.join(PEERS)}")
        peer = make_peer(kind, folder / kind)
        if peer is None:
            print(f"bench: {kind} is not on this machine and is left out", file=sys.stderr)
        else:
            registries.append(peer)
    return registries


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


def _keep(report: str, values: dict[str, object]) -> None:
    _RESULTS.mkdir(exist_ok=True)
    stem = datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
    (_RESULTS / f"{stem}.md").write_text(report)
    (_RESULTS / f"{stem}.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
