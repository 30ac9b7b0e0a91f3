"""The step `engines`: Docker and podman on this machine, whether it serves or only uses the registry."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator

from moorage.doctor.client.target import Target
from moorage.doctor.engines.certs_folders import look_at_certs_folders
from moorage.doctor.engines.docker_daemon import Address, look_at_daemon
from moorage.doctor.engines.logins import look_at_logins
from moorage.doctor.engines.places import Places, here
from moorage.doctor.engines.podman import look_at_registries
from moorage.doctor.finding import Finding, Verdict, ok, skipped
from moorage.doctor.walk import Step

_SECONDS = 10.0


def engine_steps(target: Target, places: Places | None = None, timeout: float = _SECONDS) -> list[Step]:
    """How the engines on this machine are set up for *target*; what is not installed is passed over."""

    def look() -> AsyncIterator[Finding]:
        return look_at_engines(target, places or here(), timeout)

    return [Step("engines", look)]


async def look_at_engines(target: Target, places: Places, timeout: float = _SECONDS) -> AsyncIterator[Finding]:
    """Every file of theirs that bears on *target*."""
    if not places.docker and not places.podman:
        yield skipped("neither Docker nor podman is on this machine")
        return
    said = False
    if places.docker:
        for finding in look_at_daemon(target, places, await _addresses(target, timeout)):
            said = True
            yield finding
    async for finding in look_at_certs_folders(target, places, timeout):
        said = True
        yield finding
    for finding in look_at_logins(target, places):
        said = True
        yield finding
    if places.podman:
        for finding in look_at_registries(target, places):
            said = said or finding.verdict is not Verdict.OK
            yield finding
    if not said:
        names = " and ".join(name for name, there in (("Docker", places.docker), ("podman", places.podman)) if there)
        yield ok(
            f"nothing in the configuration of {names} concerns {target.authority}: no login, no exception, no proxy"
        )


async def _addresses(target: Target, timeout: float) -> list[Address]:
    """Where the system says the host is, as the engine asks it; nowhere if it does not know the name."""
    try:
        async with asyncio.timeout(timeout):
            found = await asyncio.get_running_loop().getaddrinfo(target.host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]
