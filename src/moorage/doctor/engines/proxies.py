"""The proxy that an engine goes through, by the rules of Go's net/http (golang.org/x/net/http/httpproxy)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from moorage.doctor.client.names import kind_of
from moorage.doctor.client.target import Target
from moorage.doctor.engines.places import Places, daemon, line_of
from moorage.doctor.finding import Finding, ok, warning
from moorage.doctor.processes import environment

_NAMES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_VARIABLE: Final = re.compile(r"""["']?([A-Za-z_]+)=((?:[^"'\s\\]|\\.)*)["']?""")
_DROP_IN: Final = "/etc/systemd/system/docker.service.d/proxy.conf"


@dataclass(frozen=True, slots=True)
class Proxies:
    """What is set, and *where* that stands: a file with its line, or the running process."""

    http: str
    https: str
    exceptions: str
    where: str


def look_at_proxies(target: Target, places: Places, configured: Mapping[str, object]) -> Iterator[Finding]:
    """Whether Docker's engine goes to *target* through a proxy; *configured* is what daemon.json says."""
    found = _found(places, configured)
    if found is None:
        return
    proxy = proxy_for(target, found)
    if proxy is None:
        yield ok(f"Docker's engine has a proxy ({found.where}), and goes to {target.authority} without it")
        return
    shown = without_password(proxy)
    near = target.address is not None and kind_of(target.host) in {"private", "link-local", "loopback"}
    near = near or "." not in target.host or target.host.endswith((".local", ".lan", ".internal", ".home.arpa"))
    if not near:
        yield ok(f"Docker's engine goes to {target.authority} through the proxy {shown} ({found.where})", proxy=shown)
        return
    exceptions = ",".join(part for part in (found.exceptions, target.host) if part)
    yield warning(
        f"Docker's engine goes to {target.authority} through the proxy {shown} ({found.where})",
        "A proxy that leads to the internet does not know machines inside: `i/o timeout`, 502 or 503, although curl"
        " on this machine works, which has other settings.",
        f'Environment="NO_PROXY={exceptions}"    # below [Service] in {_DROP_IN}',
        "sudo systemctl daemon-reload && sudo systemctl restart docker",
        proxy=shown,
    )


def _found(places: Places, configured: Mapping[str, object]) -> Proxies | None:
    """The last word: daemon.json, then the running engine's variables, then the files of its unit."""
    own = configured.get("proxies")
    if isinstance(own, dict) and any(own.values()):
        http, https, exceptions = (str(own.get(name) or "") for name in ("http-proxy", "https-proxy", "no-proxy"))
        return Proxies(http, https, exceptions, line_of(places.daemon_file, '"proxies"'))
    running = daemon()
    variables = environment(running.pid) if running and places.etc == Path("/etc") else None
    if variables is not None and running is not None:
        return _of(variables, f"process {running.pid}, dockerd")
    for path in _unit_files(places):
        if (proxies := _of(*_variables(path))) is not None:
            return proxies
    return None


def _unit_files(places: Places) -> Iterator[Path]:
    yield from sorted((places.etc / "systemd/system/docker.service.d").glob("*.conf"), reverse=True)
    yield places.etc / "systemd/system/docker.service"
    for folder in places.units:
        yield from sorted((folder / "docker.service.d").glob("*.conf"), reverse=True)
    yield places.etc / "default/docker"
    yield places.etc / "sysconfig/docker"


def _variables(path: Path) -> tuple[dict[str, str], str]:
    found: dict[str, str] = {}
    where = str(path)
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return found, where
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith(("#", ";")):
            continue
        for name, value in _VARIABLE.findall(text.removeprefix("export ").removeprefix("Environment=")):
            if name in _NAMES:
                found[name] = value
                where = f"{path}:{number}" if "PROXY" in name.upper() and "NO" not in name.upper() else where
    return found, where


def _of(variables: Mapping[str, str], where: str) -> Proxies | None:
    def value(name: str) -> str:
        return variables.get(name) or variables.get(name.lower()) or ""

    proxies = Proxies(value("HTTP_PROXY"), value("HTTPS_PROXY"), value("NO_PROXY"), where)
    return proxies if proxies.http or proxies.https else None


def proxy_for(target: Target, proxies: Proxies) -> str | None:
    """The proxy on the way to *target*, or None."""
    proxy = proxies.https if target.tls else proxies.http
    if not proxy or target.host == "localhost" or (target.address is not None and target.address.is_loopback):
        return None
    return None if any(_excepts(entry.strip(), target) for entry in proxies.exceptions.split(",")) else proxy


def _excepts(entry: str, target: Target) -> bool:
    if entry == "*":
        return True
    if not entry:
        return False
    with suppress(ValueError):
        network = ipaddress.ip_network(entry, strict=False)
        return target.address is not None and target.address in network
    name, _, port = entry.rpartition(":") if entry.rpartition(":")[2].isdigit() else (entry, "", "")
    if port and int(port) != target.port:
        return False
    name = name.strip("[]").lower().removeprefix("*")
    if target.address is not None:
        return name == target.host
    return (
        target.host.endswith(name) if name.startswith(".") else target.host == name or target.host.endswith(f".{name}")
    )


def without_password(url: str) -> str:
    """A URL whose user and password are not shown."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.username is None and parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=f"****@{parts.hostname}" + (f":{parts.port}" if parts.port else "")))
