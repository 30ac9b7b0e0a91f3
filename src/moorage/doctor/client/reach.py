"""Step `port`: whether each address takes connections, and who else would."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies, proxy_bypass

from moorage.doctor.client.journey import Journey
from moorage.doctor.client.names import Address, is_own, kind_of
from moorage.doctor.client.resolution import described
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong

_NO_ROUTE = (
    errno.EINVAL,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
    errno.EACCES,
    errno.EPERM,
)
_OTHER_PORTS = (443, 5000, 80, 8443, 5443, 8080)


@dataclass(frozen=True, slots=True)
class Reached:
    """How it went: *state* is `open`, `refused`, `timeout` or `no-route`."""

    address: Address
    state: str
    seconds: float
    words: str = ""


async def look(journey: Journey) -> AsyncIterator[Finding]:
    """Which addresses answer at the port."""
    port, timeout = journey.target.port, journey.options.timeout
    tried = await asyncio.gather(*(asyncio.to_thread(_knock, one, port, timeout) for one in journey.addresses))
    good = [one for one in tried if one.state == "open"]
    journey.reachable = [one.address for one in good]
    for one in good:
        yield ok(
            f"{described(one.address)} takes connections at port {port} ({one.seconds * 1000:.0f} ms)",
            address=one.address,
            port=port,
            seconds=round(one.seconds, 4),
        )
    for one in tried:
        if one.state != "open":
            yield _behind(one, port) if good else await _closed(one, port, timeout)
    for finding in _proxies(journey):
        yield finding


def _knock(address: Address, port: int, timeout: float) -> Reached:
    began = time.monotonic()
    try:
        socket.create_connection((address, port), timeout).close()
        state, words = "open", ""
    except ConnectionRefusedError:
        state, words = "refused", "connection refused"
    except TimeoutError:
        state, words = "timeout", f"no answer within {timeout:g} s"
    except OSError as error:
        state = "no-route" if error.errno in _NO_ROUTE else "timeout" if error.errno == errno.ETIMEDOUT else "refused"
        words = error.strerror or os.strerror(error.errno or 0)
    return Reached(address, state, time.monotonic() - began, words)


def _behind(one: Reached, port: int) -> Finding:
    """An address that does not answer while another one of the same name does."""
    six = ":" in one.address
    facts: dict[str, Any] = {"address": one.address, "port": port, "state": one.state}
    if one.state == "no-route" and six and not _has_route(six=True):
        return skipped(f"{one.address}: this machine has no IPv6, so this address cannot be tried from here", **facts)
    return warning(
        f"{described(one.address)} does not answer at port {port}, another address does ({one.words})",
        (
            "The AAAA record is stale, or the server does not listen on IPv6. Clients with IPv6 wait or fail, and"
            " Let's Encrypt asks IPv6 first."
            if six
            else "The record is stale, or one of several servers is down. A part of all clients goes there."
        ),
        f"remove the {'AAAA' if six else 'A'} record of {one.address}, or let the server listen there",
        **facts,
    )


async def _closed(one: Reached, port: int, timeout: float) -> Finding:
    """An address that does not answer, and no other does."""
    facts: dict[str, Any] = {"address": one.address, "port": port, "state": one.state}
    where = described(one.address)
    own = is_own(one.address)
    if one.state == "refused":
        others = await _open_ports(one.address, port, min(timeout, 2.0))
        facts["open_ports"] = others
        loopback = own and (await asyncio.to_thread(_knock, "127.0.0.1", port, 2.0)).state == "open"
        hint = f" Port {others[0]} is open there: was that meant?" if others else ""
        if loopback and one.address != "127.0.0.1":
            return wrong(
                f"{where} refuses connections at port {port}, though 127.0.0.1 takes them",
                "The server listens on loopback only, so nobody outside this machine can reach it.",
                f"moorage serve --listen 0.0.0.0:{port} ...",
                blocks=True,
                **facts,
            )
        return wrong(
            f"{where} refuses connections at port {port}",
            f"The machine is there, but no program listens at this port.{hint} Clients say"
            ' "connect: connection refused".',
            f"on the server: ss -ltnp 'sport = :{port}'",
            f"on the server: docker ps --filter publish={port}",
            blocks=True,
            **facts,
        )
    if one.state == "no-route":
        return wrong(
            f"there is no way to {where} from here ({one.words})",
            "No route leads there, or a firewall rejects: VPN not connected, wrong network, or an address that only"
            ' another network knows. Clients say "network is unreachable" or "no route to host".',
            f"ip route get {one.address}",
            blocks=True,
            **facts,
        )
    return wrong(
        f"{where} does not answer at port {port} ({one.words})",
        "A firewall or a cloud's security group drops the packets, or no machine has this address. Clients say"
        ' "i/o timeout" or "Client.Timeout exceeded while awaiting headers".',
        f"on the server: ufw allow {port}/tcp",
        f"on the server: firewall-cmd --permanent --add-port={port}/tcp && firewall-cmd --reload",
        "and the same in the cloud's security group",
        blocks=True,
        **facts,
    )


async def _open_ports(address: Address, port: int, timeout: float) -> list[int]:
    """Which of the ports that registries often have takes connections."""
    others = [one for one in _OTHER_PORTS if one != port]
    tried = await asyncio.gather(*(asyncio.to_thread(_knock, address, one, timeout) for one in others))
    return [one for one, reached in zip(others, tried, strict=True) if reached.state == "open"]


def _has_route(*, six: bool) -> bool:
    """Whether this machine has a way into the internet by this family (nothing is sent)."""
    family, anywhere = (socket.AF_INET6, "2001:4860:4860::8888") if six else (socket.AF_INET, "8.8.8.8")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((anywhere, 53))
    except OSError:
        return False
    return True


def _proxies(journey: Journey) -> Iterator[Finding]:
    """Proxies that are set in this environment; the doctor itself goes straight."""
    target = journey.target
    proxy = getproxies().get(target.scheme)
    if not proxy or proxy_bypass(target.bracketed):
        return
    shown = proxy.rpartition("@")[2]
    inside = all(kind_of(one) in {"loopback", "private"} for one in journey.addresses)
    said = f"{target.scheme.upper()}_PROXY ({shown}) is set here, and NO_PROXY does not name {target.host}"
    meaning = (
        "crane, skopeo, podman, curl and docker's command line go by the proxy, which this walk does not; the Docker"
        " daemon has settings of its own."
    )
    if inside:
        yield warning(
            said,
            f"{meaning} A proxy usually cannot reach an address of the inner network.",
            f"export NO_PROXY={target.host}${{NO_PROXY:+,$NO_PROXY}}",
            proxy=shown,
        )
    else:
        yield ok(f"{said}: {meaning}", proxy=shown)
