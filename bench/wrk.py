"""Small requests as fast as they are answered: wrk, and ab for HEAD."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping

from bench.drivers import Load, Unexpected
from bench.registries import Registry


def wrk(
    registry: Registry,
    path: str,
    *,
    seconds: float,
    connections: int = 16,
    headers: Mapping[str, str] | None = None,
    good: bool = True,
) -> Load:
    """GET *path* from one thread over keep-alive connections; *good* says whether 2xx and 3xx are what is expected."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    for name, value in {**registry.headers, **(headers or {})}.items():
        command += ["-H", f"{name}: {value}"]
    text = subprocess.run([*command, registry.url + path], check=True, capture_output=True).stdout.decode()
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", text)
    if found is None:
        raise Unexpected(f"wrk said:\n{text}")
    requests, taken = int(found[1]), float(found[2]) * {"ms": 0.001, "s": 1, "m": 60}[found[3]]
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    bad = int(refused[1]) if refused else 0
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    broken = sum(map(int, errors.groups())) if errors else 0
    return Load(requests, (bad if good else requests - bad) + broken, taken)


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
