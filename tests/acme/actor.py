"""A process that asks for certificates and may be killed at any step; started by test_kills.py.

It reads a line of JSON for each attempt, forks, and prints the child's process id, and how it ended. The child has
everything loaded already, so an attempt takes little more than the authority's time.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import moorage.tls.acme.ordering  # noqa: F401 - loaded before the first fork
from moorage.tls.acme import AcmeIssuer, AcmeOptions
from moorage.tls.dns.answers import DnsAnswers
from moorage.tls.dns.hook import Hook
from moorage.tls.dns.lookup import Lookup
from moorage.tls.store import CertificateStore
from tests.acme.asking import QuickClock

_CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink"})


def die_at(step: int, folder: str) -> None:
    """Be killed before the change number *step* to what lies in *folder*."""
    left = step

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in _CHANGES and any(
            str(one).startswith(folder) for one in arguments[:2] if isinstance(one, str | Path)
        ):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def attempt(order: dict[str, Any]) -> None:
    """One attempt, and its pair in the store."""
    store, clock = CertificateStore(Path(order["store"])), QuickClock()
    dns = None
    if order["hooks"]:
        put, remove = (Path(path) for path in order["hooks"])
        dns = DnsAnswers(Hook(put, remove), Lookup(["127.0.0.1:1"], lifetime=0.01), 0.0, clock)
    options = AcmeOptions(
        directory=order["directory"],
        ca_file=Path(order["ca_file"]),
        profile="default",
        challenge=order["challenge"],
        dns=dns,
    )
    if order["step"]:
        die_at(order["step"], order["store"])
    issued = asyncio.run(AcmeIssuer(options, store, clock).issue(order["name"]))
    store.put(order["name"], issued.chain, issued.key, now=clock.now())


def say(number: int) -> None:
    """One line for whoever started this."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    """Until there are no more lines."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                attempt(json.loads(line))
            except BaseException:  # noqa: BLE001 - a child must not go on with the loop
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        say(child)
        _, status = os.waitpid(child, 0)
        say(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
