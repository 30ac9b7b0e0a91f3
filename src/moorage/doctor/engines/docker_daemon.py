"""Docker's daemon.json: whether it can be read, whether it is in force, and what it says of one registry."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from moorage.doctor.client.target import Target
from moorage.doctor.engines.places import Places, daemon, line_of, read_json
from moorage.doctor.engines.proxies import look_at_proxies
from moorage.doctor.finding import Finding, ok, warning, wrong
from moorage.doctor.processes import started

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_COARSE: Final = 2.0
_RELOAD: Final = "sudo systemctl reload docker"


def look_at_daemon(target: Target, places: Places, addresses: Collection[Address] = ()) -> Iterator[Finding]:
    """Everything about Docker's engine on this machine and *target*, whose name leads to *addresses* here."""
    path = places.daemon_file
    read = read_json(
        path, "Docker's engine does not start with it (`unable to configure the Docker daemon with file`)."
    )
    if isinstance(read, Finding):
        yield read
        return
    configured = read or {}
    if read:
        yield from _in_force(path)
    yield from _insecure(target, addresses, configured, path)
    yield from _mirrors(target, configured, path)
    yield from look_at_proxies(target, places, configured)


def _in_force(path: Path) -> Iterator[Finding]:
    """A file that was changed after the engine was started says nothing yet."""
    running = daemon()
    begun = started(running.pid) if running and path == Path("/etc/docker/daemon.json") else None
    try:
        changed = os.stat(path).st_mtime
    except OSError:
        return
    if begun is not None and changed > begun + _COARSE:
        yield ok(
            f"{path} was changed after Docker's engine was started; if it has not been told since: {_RELOAD} (proxies"
            " need a restart)"
        )


def _insecure(
    target: Target, addresses: Collection[Address], configured: Mapping[str, object], path: Path
) -> Iterator[Finding]:
    entries = _texts(configured.get("insecure-registries"))
    matching = [entry for entry in entries if _is_for(entry, target, addresses)]
    loopback = target.host == "localhost" or any(address.is_loopback for address in addresses)
    where = line_of(path, "insecure-registries")
    if matching and target.tls:
        yield warning(
            f"{where}: insecure-registries has {matching[0]}: Docker verifies no certificate of {target.authority}",
            "Whoever is on the way can read passwords and change images: the engine even falls back to plain HTTP. With"
            " a certificate that clients trust the entry is not needed.",
            f"sudo nano {path}    # remove the entry",
            _RELOAD,
            path=str(path),
        )
    elif matching and not loopback:
        yield warning(
            f"{where}: insecure-registries has {matching[0]}: Docker speaks plain HTTP to {target.authority}",
            "It works, and passwords travel in the clear.",
            "moorage serve --listen :443 --domain NAME ...    # a certificate by itself",
            path=str(path),
        )
    elif not target.tls and not loopback:
        near = [entry for entry in entries if _host(entry) == target.host]
        hint = f" {near[0]} is for another port." if near else ""
        yield wrong(
            f"{target.authority} speaks plain HTTP, and Docker on this machine accepts that from loopback alone",
            f"It says `http: server gave HTTP response to HTTPS client`.{hint} Better than an exception is TLS.",
            "moorage serve --listen :443 --domain NAME ...    # or --tls-name NAME, without a public name",
            f'{{"insecure-registries": ["{target.authority}"]}}    # in {path}; then: {_RELOAD}',
            path=str(path),
        )
    for entry in entries:
        if not target.tls and not matching:
            break
        if _host(entry) == target.host and entry not in matching:
            yield ok(f"{where}: insecure-registries has {entry}, for Docker another registry than {target.authority}")


def _mirrors(target: Target, configured: Mapping[str, object], path: Path) -> Iterator[Finding]:
    for entry in _texts(configured.get("registry-mirrors")):
        if _host(entry) == target.host:
            yield ok(
                f"{line_of(path, 'registry-mirrors')}: {entry} is asked for images of Docker Hub first; for others a"
                " mirror is never used"
            )


def _is_for(entry: str, target: Target, addresses: Collection[Address]) -> bool:
    """As the engine compares: host and port together, or a network that one of the name's addresses is in."""
    text = _bare(entry)
    if text == target.authority:
        return True
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return any(address in network for address in addresses)


def _bare(entry: str) -> str:
    return entry.lower().removeprefix("https://").removeprefix("http://").rstrip("/")


def _host(entry: str) -> str:
    text = _bare(entry).partition("/")[0]
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _texts(value: object) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
