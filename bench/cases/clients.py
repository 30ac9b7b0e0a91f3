"""Real clients: an image of ten layers and 500 MB pushed and pulled by docker, and pulled by crane."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.archives import write_archive
from bench.drivers import Load, Unexpected
from bench.engines import CLASSIC, CONTAINERD, Engine, Release, program
from bench.lookups import look
from bench.measure import FULL, USUAL, Case, Row, Sample, Samples, Scale, measured
from bench.registries import TOOLS, Registry

_LAYERS = 10
_IMAGE = "bench.invalid/image:latest"


def _archive(registry: Registry, scale: Scale, label: str) -> Path:
    """The file with the image called *label*, the same for every registry; the one before it is removed."""
    path = registry.folder.parent / f"image {label}.tar"
    if not path.exists():
        for old in path.parent.glob("image *.tar"):
            old.unlink()
        write_archive(path, _IMAGE, _LAYERS, scale.large_bytes // _LAYERS, label)
    return path


def _docker(release: Release, level: int) -> Case:
    push, pull = f"{release.name} push, 10 layers in 500 MB", f"{release.name} pull, 10 layers in 500 MB"

    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        """An engine with nothing in it loads a new image, pushes it, forgets it, and pulls it again."""
        target = f"127.0.0.1:{registry.port}/real/{release.name.replace(' ', '-')}:round-{number}"
        with Engine(release) as docker:
            docker("load", "--input", str(_archive(registry, scale, f"{release.name} {number}")))
            docker("tag", _IMAGE, target)
            wanted = _layers_of(docker, target)
            pushed = _timed(registry, lambda: docker("push", target), ("Mounted from", "already exists"))
            docker("rmi", "--force", _IMAGE, target)
            docker("image", "prune", "--all", "--force")
            pulled = _timed(registry, lambda: docker("pull", target), ("Already exists",))
            if _layers_of(docker, target) != wanted:
                raise Unexpected("what docker pulled is not what it pushed")
        return {push: pushed, pull: pulled}

    rows = (Row(push, "s", "less", "ms", 1, None, 1), Row(pull, "s", "less", "ms", 1, None, 1))
    return Case(release.name, rows, run, rounds=1, weight=8, level=level)


def _layers_of(docker: Engine, image: str) -> str:
    layers = docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image)
    if layers.count("sha256:") != _LAYERS:
        raise Unexpected(f"an image of other layers: {layers}")
    return layers


def _timed(registry: Registry, command: Callable[[], str], never: tuple[str, ...] = ()) -> Sample:
    """Seconds that *command* takes, and CPU milliseconds of the registry; its output may hold none of *never*."""

    def work() -> Load:
        started = time.perf_counter()
        said = command()
        if any(words in said for words in never):
            raise Unexpected(f"not all layers were sent: {said[-300:]}")
        return Load(1, 0, time.perf_counter() - started)

    os.sync()
    load, usage = measured(registry, work, behind=True)
    return Sample(load.seconds, usage.cpu_seconds * 1e3, 0, usage)


_CRANE = "crane pull, 10 layers in 500 MB"
_CRANED = "real/crane"


def _prepare_crane(registry: Registry, scale: Scale) -> None:
    """The image, compressed and pushed by crane itself."""
    archive = _archive(registry, scale, "crane")
    _crane("push", str(archive), f"127.0.0.1:{registry.port}/{_CRANED}:latest")
    look(registry, f"/v2/{_CRANED}/manifests/latest").expect(200)


def _crane_pull(registry: Registry, number: int, scale: Scale) -> Samples:
    """`crane pull`, which reads every layer and checks its digest, to nowhere."""
    target = f"127.0.0.1:{registry.port}/{_CRANED}:latest"
    return {_CRANE: _timed(registry, lambda: _crane("pull", target, os.devnull))}


def _crane(*arguments: str) -> str:
    path = os.pathsep.join([str(TOOLS / "bin"), os.environ.get("PATH", os.defpath)])
    done = subprocess.run([program("crane", path), *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise Unexpected(f"crane {' '.join(arguments)}: {done.stderr.strip()[-300:]}")
    return done.stdout + done.stderr


CASES = (
    Case(_CRANE, (Row(_CRANE, "s", "less", "ms"),), _crane_pull, _prepare_crane, rounds=2, weight=3, level=USUAL),
    _docker(CONTAINERD, USUAL),
    # It compresses what it pushes, half a minute for each registry.
    _docker(CLASSIC, FULL),
)
