"""The real distribution registries, as people have run them for years, on a volume of ours or of theirs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.content import Client
from tests.programs import need
from tests.servers import free_port

SETTINGS = """
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}", secret: nobody}}
"""
SECONDS = 60


@dataclass
class Address:
    """Where the registry listens."""

    address: str
    port: int


@dataclass(frozen=True)
class Peer:
    """A version of distribution: Debian's 2.8.2, or 3.1.1; the first can delete whole manifests only."""

    name: str
    program: str
    deletes_tags: bool

    @contextmanager
    def serve(self, data: Path) -> Iterator[Client]:
        """Run it on the volume; it is stopped in the end as an administrator stops it."""
        address = Address("127.0.0.1", free_port())
        client = Client(address)
        environment = {"OTEL_TRACES_EXPORTER": "none", "PATH": "/usr/bin:/bin"}
        command = [need(self.program), "serve", str(self._settings(data, address.port))]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                self._wait(client)
                yield client
            finally:
                process.terminate()
                try:
                    process.wait(SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()

    def collect_garbage(self, data: Path, *options: str) -> str:
        """Let it remove what nobody names; what it says."""
        command = [need(self.program), "garbage-collect", *options, str(self._settings(data, free_port()))]
        environment = {"OTEL_TRACES_EXPORTER": "none", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=SECONDS)
        return done.stdout + done.stderr

    def _settings(self, data: Path, port: int) -> Path:
        path = data.with_name(f"{data.name}-{self.name}.yml")
        path.write_text(SETTINGS.format(folder=data, port=port))
        return path

    def _wait(self, client: Client) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                assert client.ask("GET", "/v2/").status == 200
                return
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.05)


PEERS = [Peer("2.8.2", "docker-registry", deletes_tags=False), Peer("3.1.1", "registry", deletes_tags=True)]
