"""Knot DNS as a process on loopback: a real primary that takes updates signed with TSIG (RFC 2136)."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.acme.pebble import quiet_port
from tests.programs import need

KEY_NAME = "moorage.key."
KEY_SECRET = "Wg8Yl5dWJ0Ff6Vw1YtZrO0x5oXkTQ8ZlJ0c9F4aT9kE="
START_SECONDS = 60.0


class Knot:
    """Serves *zones* on 127.0.0.1; names in them are 127.0.0.1 unless *records* say otherwise.

    - *records*: lines of zone files by zone, as `_acme-challenge.a CNAME a.delegated.example.`.
    - *name_servers*: addresses of the zones' name servers, 127.0.0.1 by default; all are asked on `port`.
    - *updates*: whether the key KEY_NAME may change the zones.
    - *address*: where it listens.
    """

    def __init__(
        self,
        folder: Path,
        *zones: str,
        records: dict[str, list[str]] | None = None,
        name_servers: tuple[str, ...] = ("127.0.0.1",),
        updates: bool = True,
        address: str = "127.0.0.1",
        port: int | None = None,
    ) -> None:
        self._program = need("knotd")
        (folder / "db").mkdir(parents=True)
        self.folder, self.address = folder, address
        self.port = port or quiet_port(address)
        self.server = f"{address}:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        for zone in zones:
            servers = [f"ns{number}" for number, _ in enumerate(name_servers)]
            lines = [
                f"$ORIGIN {zone}.",
                "$TTL 60",
                f"@ SOA ns0.{zone}. hostmaster.{zone}. 1 3600 600 86400 60",
                *(f"@ NS {server}.{zone}." for server in servers),
                *(f"{server} A {place}" for server, place in zip(servers, name_servers, strict=True)),
                *(records or {}).get(zone, []),
            ]
            (folder / f"{zone}.zone").write_text("\n".join([*lines, ""]))
        (folder / "knot.conf").write_text(self._configuration(zones, updates=updates))
        self._zones = zones

    def _configuration(self, zones: tuple[str, ...], *, updates: bool) -> str:
        lines = [
            "server:",
            f"    rundir: {self.folder}",
            f"    listen: {self.address}@{self.port}",
            "log:",
            "  - target: stderr",
            "    any: info",
            "database:",
            f"    storage: {self.folder}/db",
            "key:",
            f"  - id: {KEY_NAME}",
            "    algorithm: hmac-sha256",
            f"    secret: {KEY_SECRET}",
            "acl:",
            "  - id: updates",
            f"    key: {KEY_NAME}",
            f"    action: {'update' if updates else 'transfer'}",
            "zone:",
        ]
        for zone in zones:
            lines += [
                f"  - domain: {zone}",
                f"    storage: {self.folder}",
                f"    file: {zone}.zone",
                "    acl: updates",
            ]
        return "\n".join([*lines, ""])

    def txt(self, name: str) -> list[str]:
        """The TXT records of *name*, as the server answers them now."""
        answer = self._ask(name)
        return [b"".join(record.strings).decode() for rrset in answer.answer for record in rrset]

    def _ask(self, name: str) -> dns.message.Message:
        return dns.query.udp(dns.message.make_query(name, "TXT"), self.address, timeout=1, port=self.port)

    def start(self) -> Self:
        """Starts it, and returns once it answers for its zones."""
        with (self.folder / "log").open("ab") as log:
            command = [self._program, "-c", str(self.folder / "knot.conf")]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not all(self._serves(zone) for zone in self._zones):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"knotd does not answer\n{(self.folder / 'log').read_text()[-3000:]}")
            time.sleep(0.05)
        return self

    def _serves(self, zone: str) -> bool:
        try:
            return self._ask(zone).rcode() == dns.rcode.NOERROR
        except (OSError, dns.exception.DNSException):
            return False

    def stop(self) -> None:
        """Stops it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
