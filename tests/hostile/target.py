"""What the tests of this folder shoot at, and how it is seen to be unharmed."""

from __future__ import annotations

import ast
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import moorage
from tests.content import Client
from tests.servers import Moorage

WITNESS = Path(__file__).with_name("witness")
USERS = {"alice": "correct horse: battery", "bob": "staple-7-bob", "mallory": "hunter2-mallory"}
REPOSITORY = "lib/base"
BLOB_BYTES = 4 << 20


@dataclass(frozen=True)
class Target:
    """The server under fire, and what lies in it: an image `lib/base:v1` with one layer of 2,048 bytes."""

    server: Moorage
    alice: Client
    bob: Client
    mallory: Client
    stranger: Client
    layer: bytes
    config: bytes
    manifest: bytes
    manifest_digest: str


def lines_of(server: Moorage) -> list[dict[str, object]]:
    """The log, line by line; every one is JSON."""
    return [json.loads(line) for line in server.log.read_text("utf-8").splitlines()]


def check_log(server: Moorage) -> None:
    """No traceback, no answer of 500 or more, nothing that is an error."""
    lines = lines_of(server)
    harmed = [line for line in lines if "traceback" in line or line.get("level") in {"error", "critical"}]
    assert not harmed, harmed[:3]
    failed = Counter(
        (line.get("method"), line.get("path"), status)
        for line in lines
        if isinstance(status := line.get("status"), int) and status >= 500
    )
    assert not failed, failed


def check_paths(server: Moorage, witnessed: str) -> None:
    """Every path that the server touched is in its data folder, the htpasswd file, or Python's own."""
    code = (Path(sys.prefix), Path(sys.base_prefix), Path(moorage.__path__[0]), WITNESS)
    allowed = (server.data, server.folder / "htpasswd", *code)
    kernel = ("/proc/", "/dev/null", "/sys/")
    strange = set()
    for line in set(witnessed.splitlines()):
        path = ast.literal_eval(line.partition(" ")[2])
        if not path.startswith(kernel) and not any(Path(path).is_relative_to(folder) for folder in allowed):
            strange.add(line)
    assert not strange, sorted(strange)[:20]
    assert {entry.name for entry in server.folder.iterdir()} == {"data", "htpasswd", "log"}
