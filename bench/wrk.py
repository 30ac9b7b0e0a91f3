"""Small requests as fast as they are answered: wrk, and ab for HEAD."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence

from bench.drivers import Load, Unexpected
from bench.registries import ROOT, Registry

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# wrk rounds what it read to hundredths of a unit; headers are counted too, so only much less is wrong.
_NEARLY = 0.97


def wrk(
    registry: Registry,
    path: str,
    *,
    seconds: float,
    connections: int = 16,
    headers: Mapping[str, str | None] | None = None,
    good: bool = True,
    size: int = 0,
    script: Sequence[str] = (),
) -> Load:
    """GET *path* from one thread over keep-alive connections.

    *headers* are those that differ from the registry's own, None for one that is left out. *good* says whether 2xx and
    3xx are what is expected; fewer bytes than *size* for each request are not. *script* is a Lua file beside this one
    with its arguments.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    for name, value in {**registry.headers, **(headers or {})}.items():
        command += [] if value is None else ["-H", f"{name}: {value}"]
    if script:
        command += ["-s", str(ROOT / "bench" / script[0])]
    command += [registry.url + path, *(["--", *script[1:]] if script else [])]
    return read_wrk(subprocess.run(command, check=True, capture_output=True).stdout.decode(), good=good, size=size)


def read_wrk(text: str, *, good: bool, size: int) -> Load:
    """What wrk's report says. Raises Unexpected if it is none, or nothing was answered."""
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m), ([\d.]+)([KMGT]?)B read", text)
    if found is None:
        raise Unexpected(f"wrk said:\n{text}")
    requests, taken = int(found[1]), float(found[2]) * {"ms": 0.001, "s": 1, "m": 60}[found[3]]
    if not requests:
        raise Unexpected(f"no answer within {taken:.0f} s")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    bad = int(refused[1]) if refused else 0
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    broken = sum(map(int, errors.groups())) if errors else 0
    wrong = bad if good else requests - bad
    if float(found[4]) * _UNITS[found[5]] < _NEARLY * requests * size:
        wrong = requests
    return Load(requests, wrong + broken, taken)


def ab_head(registry: Registry, path: str, *, seconds: float, connections: int = 16) -> Load:
    """HEAD *path* with ab: wrk waits for the body that a HEAD's Content-Length announces."""
    command = ["ab", "-q", "-i", "-k", "-c", str(connections), "-t", str(max(1, round(seconds))), "-n", "10000000"]
    for name, value in registry.headers.items():
        command += ["-H", f"{name}: {value}"]
    text = subprocess.run([*command, registry.url + path], check=True, capture_output=True).stdout.decode()

    def number(label: str) -> float:
        found = re.search(rf"^{label}:\s+([\d.]+)", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    bad = int(number("Failed requests") + number("Non-2xx responses"))
    return Load(int(number("Complete requests")), bad, number("Time taken for tests"))
