"""`python -m bench.adoption`: how fast a volume that another registry wrote is taken over, against other revisions.

Every repository has an image of its own: a configuration, a layer of its own and one that all share. Printed are links
a second, and links for each second of processor time of all our processes together and of the busiest alone: with a
core for each of them the last is what a quiet machine does. The database server's own time is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.registries import ROOT

_SHARED = b"a layer that all share"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure in turns, and print medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.adoption", description=__doc__)
    parser.add_argument("--repositories", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", help="the URL of an empty database on a server, for one round")
    parser.add_argument("--against", action="append", default=[], metavar="FOLDER", help="another checkout")
    parser.add_argument("--folder", help="where the volume is made; the default is the system's for temporary files")
    parser.add_argument("--once", metavar="DATA", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.once:
        print(json.dumps(asyncio.run(_adopt(Path(options.once), options.database))))
        return 0
    checkouts = [ROOT, *map(Path, options.against)]
    if options.database and (options.rounds > 1 or options.against):
        parser.error("a database is empty once: --rounds 1, and no --against")
    with tempfile.TemporaryDirectory(prefix="moorage-bench-", dir=options.folder) as folder:
        data = Path(folder) / "data"
        _write(data, options.repositories)
        samples: dict[Path, list[dict[str, float]]] = {checkout: [] for checkout in checkouts}
        for _ in range(options.rounds):
            for checkout in checkouts:
                samples[checkout].append(_measure(checkout, data, options.database))
    for checkout, found in samples.items():
        values = {name: statistics.median(sample[name] for sample in found) for name in found[0]}
        print(
            f"{checkout}: {values['links']:,.0f} links, {values['per_second']:,.0f} a second;"
            f" for each second of all processors {values['per_cpu']:,.0f}, of the busiest {values['per_busiest']:,.0f}"
        )
    return 0


def _write(data: Path, repositories: int) -> None:
    tree = data / "docker" / "registry" / "v2"
    for number in range(repositories):
        blobs = [b'{"number":%d}' % number, b"layer of %d" % number, _SHARED]
        described = [{"mediaType": "application/octet-stream", "digest": _digest(b), "size": len(b)} for b in blobs]
        config, *layers = described
        image = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
        body = json.dumps({**image, "config": config, "layers": layers}).encode()
        for blob in (*blobs, body):
            digits = _digest(blob).removeprefix("sha256:")
            _file(f"{tree}/blobs/sha256/{digits[:2]}/{digits}/data", blob)
        repository = f"{tree}/repositories/team{number % 100}/app{number}"
        for blob in blobs:
            _link(f"{repository}/_layers", blob)
        _link(f"{repository}/_manifests/revisions", body)
        _link(f"{repository}/_manifests/tags/v1/index", body)
        _file(f"{repository}/_manifests/tags/v1/current/link", _digest(body).encode())


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _link(folder: str, data: bytes) -> None:
    _file(f"{folder}/{_digest(data).replace(':', '/')}/link", _digest(data).encode())


def _file(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_bytes(data)


def _measure(checkout: Path, data: Path, database: str | None) -> dict[str, float]:
    shutil.rmtree(data / "moorage", ignore_errors=True)
    (data / "moorage").mkdir()
    command = [sys.executable, "-m", "bench.adoption", "--once", str(data)]
    if database:
        command += ["--database", database]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    done = subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment)
    sample: dict[str, float] = json.loads(done.stdout)
    return sample


async def _adopt(data: Path, database: str | None) -> dict[str, float]:
    """What a server does first on such a volume, in this process; run by the interpreter of whichever checkout."""
    from moorage.app import Application
    from moorage.metadata.migrate import bring_up_to_date
    from moorage.registry.adopt.volume import Comparison
    from moorage.settings.model import Settings

    await bring_up_to_date(database, data)
    application = Application(Settings(data=data, database=database))
    own, begun = _seconds(resource.RUSAGE_SELF), time.monotonic()
    report = await Comparison(application.volume()).run()
    took = time.monotonic() - begun
    own, others = _seconds(resource.RUSAGE_SELF) - own, _seconds(resource.RUSAGE_CHILDREN)
    await application.database.close()
    links = report.links
    return {
        "links": links,
        "per_second": links / took,
        "per_cpu": links / (own + others),
        "per_busiest": links / max(own, others),
    }


def _seconds(whose: int) -> float:
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
