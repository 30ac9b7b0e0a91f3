"""podman's registries.conf: what it says of one registry."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from moorage.doctor.client.target import Target
from moorage.doctor.engines.places import Places, line_of
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong


def look_at_registries(target: Target, places: Places) -> Iterator[Finding]:
    """The user's file, or the system's with what lies beside it."""
    own = places.home / ".config" / "containers" / "registries.conf"
    files = [own] if os.path.exists(own) else [places.etc / "containers" / "registries.conf"]
    files += sorted((places.etc / "containers" / "registries.conf.d").glob("*.conf"))
    files += sorted((places.home / ".config" / "containers" / "registries.conf.d").glob("*.conf"))
    insecure = False
    for path in files:
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            yield skipped(f"{path} cannot be read: {error}")
            continue
        try:
            config = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            yield wrong(
                f"{path}{_line(error)}: not TOML: {error}",
                "podman, buildah and skopeo fail with every image.",
                f"${{EDITOR:-nano}} {shlex.quote(str(path))}",
                path=str(path),
            )
            continue
        for entry in _entries(config, target):
            insecure = insecure or entry.get("insecure") is True
            yield from _judge(entry, target, path)
    loopback = target.host == "localhost" or (target.address is not None and target.address.is_loopback)
    if not target.tls and not insecure and not loopback and places.podman:
        yield wrong(
            f"{target.authority} speaks plain HTTP, and podman on this machine is not told to accept that",
            "It says `http: server gave HTTP response to HTTPS client`.",
            "moorage serve --listen :443 --domain NAME ...    # or --tls-name NAME, without a public name",
            f"podman pull --tls-verify=false {target.authority}/IMAGE",
        )


def _entries(config: Mapping[str, object], target: Target) -> Iterator[dict[str, object]]:
    """What is said of *target*, in today's form or in the first one."""
    tables = config.get("registry")
    for entry in tables if isinstance(tables, list) else ():
        if isinstance(entry, dict) and _covers(str(entry.get("prefix") or entry.get("location") or ""), target):
            yield entry
    old = config.get("registries")
    for kind, name in (("insecure", "insecure"), ("block", "blocked")):
        section = old.get(kind) if isinstance(old, dict) else None
        names = section.get("registries") if isinstance(section, dict) else None
        if isinstance(names, list) and target.authority in names:
            yield {"location": target.authority, name: True}


def _covers(prefix: str, target: Target) -> bool:
    if prefix.startswith("*."):
        return target.host.endswith(prefix[1:])
    return prefix.partition("/")[0] == target.authority


def _judge(entry: Mapping[str, object], target: Target, path: Path) -> Iterator[Finding]:
    where = line_of(path, str(entry.get("prefix") or entry.get("location")))
    if entry.get("blocked") is True:
        yield wrong(
            f"{where}: podman is told to take nothing from {target.authority} (blocked = true)",
            "It says `registry is blocked in registries.conf`.",
            f"sudo nano {shlex.quote(str(path))}",
            path=str(path),
        )
    location = str(entry.get("location") or "")
    if location and entry.get("prefix") and location.partition("/")[0] != target.authority:
        yield warning(
            f"{where}: podman takes {location} for {target.authority}",
            "What is pushed and pulled is another registry's.",
            f"sudo nano {shlex.quote(str(path))}",
            path=str(path),
        )
    if entry.get("insecure") is True and target.tls:
        yield warning(
            f"{where}: podman verifies no certificate of {target.authority} (insecure = true)",
            "Whoever is on the way can read passwords and change images.",
            f"sudo nano {shlex.quote(str(path))}",
            path=str(path),
        )
    elif entry.get("insecure") is True:
        yield ok(f"{where}: podman speaks plain HTTP to {target.authority}, as it is told")


def _line(error: tomllib.TOMLDecodeError) -> str:
    found = re.search(r"at line (\d+)", str(error))
    return f":{found[1]}" if found else ""
