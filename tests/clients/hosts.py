"""Two hosts on one machine: two network namespaces joined by a virtual cable.

Docker speaks plain HTTP to 127.0.0.0/8 and verifies no certificate there, so TLS can only be seen from another address.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.programs import need, need_root

_numbers = count()


@dataclass(frozen=True)
class Host:
    """A network namespace with an address of its own beside loopback."""

    namespace: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """Put before a command, runs it on this host."""
        return ("nsenter", f"--net=/run/netns/{self.namespace}")


class Cable:
    """Two hosts, *near* and *far*, that see only each other; gone with the context, as are their namespaces."""

    def __init__(self) -> None:
        need_root()
        self._ip = need("ip")
        mark = f"{os.getpid()}-{next(_numbers)}"
        self.near = Host(f"moorage-near-{mark}", "10.91.0.1")
        self.far = Host(f"moorage-far-{mark}", "10.91.0.2")

    def __enter__(self) -> Self:
        for host in (self.near, self.far):
            self._run("netns", "add", host.namespace)
        ends = ["netns", self.near.namespace, "type", "veth", "peer", "name", "wire", "netns", self.far.namespace]
        self._run("link", "add", "wire", *ends)
        for host in (self.near, self.far):
            self._run("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "wire")
            for device in ("lo", "wire"):
                self._run("-n", host.namespace, "link", "set", device, "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in (self.near, self.far):
            if Path("/run/netns", host.namespace).exists():
                self._run("netns", "delete", host.namespace)

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([self._ip, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
