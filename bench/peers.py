"""The registries that Moorage is measured beside, each with its own best settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.registries import TOOLS, Mode, Registry


class Distribution(Registry):
    """The reference implementation, 2.x or 3.x."""

    durability = "file, link and hash-state files fsynced (10-15 fsyncs for a blob); the blob's own directory is not"

    def __init__(self, folder: Path, program: Path) -> None:
        super().__init__(folder)
        self.program = program
        words = _said(program, "--version").split()
        self.name = "distribution " + re.split(r"[+~]", words[-1].removeprefix("v"))[0]

    def version(self) -> str:
        return self.name

    def settings(self) -> str:
        return (
            "log.level: error, accesslog.disabled, cache.blobdescriptor: inmemory, delete.enabled, "
            "uploadpurging off, OTEL_TRACES_EXPORTER=none"
        )

    def environment(self) -> dict[str, str]:
        return {"OTEL_TRACES_EXPORTER": "none"}

    def command(self) -> list[str]:
        lines = [
            "version: 0.1",
            "log: {level: error, accesslog: {disabled: true}}",
            "storage:",
            f"  filesystem: {{rootdirectory: {self.data}}}",
            "  cache: {blobdescriptor: inmemory}",
            "  delete: {enabled: true}",
            "  maintenance: {uploadpurging: {enabled: false}}",
            "http:",
            f"  addr: 127.0.0.1:{self.port}",
            "  secret: bench",
        ]
        if self.mode.secure:
            certificate, key = self.pair()
            lines += [f"  tls: {{certificate: {certificate}, key: {key}}}"]
        if self.mode.cost is not None:
            lines += [f"auth: {{htpasswd: {{realm: bench, path: {self.htpasswd()}}}}}"]
        path = self.folder / "config.yml"
        path.write_text("\n".join(lines) + "\n")
        return [str(self.program), "serve", str(path)]


class Zot(Registry):
    """zot, the minimal build or the full one, whatever the program given is; *flush* is its storage.commit."""

    def __init__(self, folder: Path, program: Path, *, flush: bool) -> None:
        super().__init__(folder)
        self.program = program
        self.flushes_only = flush
        self.name = "zot with fsync" if flush else "zot"
        self.durability = (
            "files fsynced (storage.commit: true)" if flush else "NO fsync (its default, storage.commit: false)"
        )

    def version(self) -> str:
        found = re.search(r'"commit":"([^"]+)"', _said(self.program, "--version"))
        return f"{self.name} ({found[1] if found else self.program.name})"

    def settings(self) -> str:
        return "log.level: error, gc: false, dedupe: its default (on)" + (
            ", storage.commit: true" if self.flushes_only else ""
        )

    def command(self) -> list[str]:
        http: dict[str, object] = {"address": "127.0.0.1", "port": str(self.port)}
        if self.mode.secure:
            certificate, key = self.pair()
            http["tls"] = {"cert": str(certificate), "key": str(key)}
        if self.mode.cost is not None:
            http["auth"] = {"htpasswd": {"path": str(self.htpasswd())}}
        storage = {"rootDirectory": str(self.data), "gc": False, "commit": self.flushes_only}
        path = self.folder / "config.json"
        path.write_text(json.dumps({"storage": storage, "http": http, "log": {"level": "error"}}))
        return [str(self.program), "serve", str(path)]


class Angos(Registry):
    """Angos; *flush* is its sync_to_disk."""

    def __init__(self, folder: Path, program: Path, *, flush: bool) -> None:
        super().__init__(folder)
        self.program = program
        self.flushes_only = flush
        self.name = "Angos with fsync" if flush else "Angos"
        self.durability = (
            "files fsynced (sync_to_disk: true)" if flush else "NO fsync (its default, sync_to_disk: false)"
        )

    def version(self) -> str:
        return f"{self.name} ({self.program.name})"  # it cannot say

    def settings(self) -> str:
        return "max_concurrent_requests: 16 (its rule: 8 for each core), RUST_LOG=error" + (
            ", sync_to_disk: true" if self.flushes_only else ""
        )

    def cannot(self, mode: Mode) -> str:
        return "" if mode.cost is None else "knows no htpasswd file, only argon2 in its configuration"

    def environment(self) -> dict[str, str]:
        return {"RUST_LOG": "error"}

    def command(self) -> list[str]:
        flush = str(self.flushes_only).lower()
        lines = ["[server]", 'bind_address = "127.0.0.1"', f"port = {self.port}"]
        if self.mode.secure:
            certificate, key = self.pair()
            lines += ["[server.tls]", f'server_certificate_bundle = "{certificate}"', f'server_private_key = "{key}"']
        lines += ["[global]", f"max_concurrent_requests = {8 * (os.cpu_count() or 1)}"]
        lines += ["[global.access_policy]", 'default = "allow"']
        lines += ["[blob_store.fs]", f'root_dir = "{self.data}"', f"sync_to_disk = {flush}"]
        lines += ["[metadata_store.fs]", f'root_dir = "{self.data}"', f"sync_to_disk = {flush}"]
        self.data.mkdir(exist_ok=True)
        path = self.folder / "config.toml"
        path.write_text("\n".join(lines) + "\n")
        return [str(self.program), "-c", str(path), "server"]


# Where each is looked for: the program's name for --program, a variable, a usual place.
_PROGRAMS = {
    "distribution3": str(TOOLS / "bin" / "registry"),
    "distribution2": "docker-registry",
    "zot": "zot",
    "angos": "angos",
}
_Make = Callable[[Path, Path], Registry]
PEERS: Mapping[str, tuple[str, _Make]] = {
    "distribution3": ("distribution3", Distribution),
    "distribution2": ("distribution2", Distribution),
    "zot": ("zot", lambda folder, program: Zot(folder, program, flush=False)),
    "zot-fsync": ("zot", lambda folder, program: Zot(folder, program, flush=True)),
    "angos": ("angos", lambda folder, program: Angos(folder, program, flush=False)),
    "angos-fsync": ("angos", lambda folder, program: Angos(folder, program, flush=True)),
}


def make_peer(kind: str, folder: Path, programs: Mapping[str, str]) -> Registry | None:
    """The peer called *kind*, None where its program is not on this machine.

    *programs* says where programs are; others are looked for in MOORAGE_BENCH_NAME, then on PATH or a usual place.
    """
    name, make = PEERS[kind]
    wanted = programs.get(name) or os.environ.get(f"MOORAGE_BENCH_{name.upper()}") or _PROGRAMS[name]
    found = shutil.which(wanted)
    return make(folder, Path(found).absolute()) if found else None


def _said(program: Path, *arguments: str) -> str:
    done = subprocess.run([str(program), *arguments], check=False, capture_output=True, text=True)
    return done.stdout + done.stderr
