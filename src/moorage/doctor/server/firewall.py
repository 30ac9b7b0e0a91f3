"""Whether a firewall on this machine lets a port through; nothing is said where its rules cannot be read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from moorage.doctor.finding import Finding, warning

_SECONDS: Final = 5.0
_UFW: Final = Path("/etc/ufw")
_PORTS: Final = re.compile(r"--dports? (\S+)")


def look_at_firewall(ports: list[int]) -> Iterator[Finding]:
    """Each of *ports*, which other machines are to reach."""
    if os.geteuid() != 0:
        return
    if (closed := _ufw(_UFW, ports)) is not None:
        for port in closed:
            yield warning(
                f"ufw is on, and no rule of its lets port {port} in",
                "From other machines the port does not answer: `i/o timeout` or `connection refused`.",
                f"sudo ufw allow {port}/tcp",
                port=port,
            )
        return
    rules = _iptables()
    for port in ports:
        if rules is not None and refuses(rules, port):
            yield warning(
                f"iptables drops what comes in unless a rule allows it, and none names port {port}",
                "From other machines the port does not answer: `i/o timeout`.",
                f"sudo iptables -I INPUT -p tcp --dport {port} -j ACCEPT",
                port=port,
            )


def refuses(rules: str, port: int) -> bool:
    """Whether the INPUT chain, as `iptables -S` writes it, ends what comes to *port*, and nothing in it accepts it.

    Chains of one's own and rules for single senders are not followed: where there are any, nothing is said.
    """
    closed = False
    for line in rules.splitlines():
        words = line.split()
        if words[:2] == ["-P", "INPUT"]:
            closed = words[2] in {"DROP", "REJECT"}
        elif words[:2] == ["-A", "INPUT"] and "-j" in words:
            target = words[words.index("-j") + 1]
            if target not in {"ACCEPT", "DROP", "REJECT", "LOG"}:
                return False
            if target == "ACCEPT" and _admits(words, line, port):
                return False
            if target in {"DROP", "REJECT"} and len(words[2 : words.index("-j")]) == 0:
                return True
    return closed


def _admits(words: list[str], line: str, port: int) -> bool:
    """Whether a rule that accepts lets in new connections to *port*, of anybody or of some."""
    if "--ctstate" in words and "NEW" not in words[words.index("--ctstate") + 1]:
        return False
    if "-i" in words and words[words.index("-i") + 1] == "lo":
        return False
    if "-p" in words and words[words.index("-p") + 1] not in {"tcp", "all"}:
        return False
    found = _PORTS.search(line)
    if found is None:
        return True
    for part in found[1].split(","):
        first, _, last = part.partition(":")
        if first.isdigit() and int(first) <= port <= int(last or first):
            return True
    return False


def _iptables() -> str | None:
    program = shutil.which("iptables", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "-w", "1", "-S", "INPUT"], check=False, capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _ufw(folder: Path, ports: list[int]) -> list[int] | None:
    """Those of *ports* that ufw lets nobody in to; None where it is not on, or cannot be read."""
    try:
        if not re.search(r"^ENABLED=yes", (folder / "ufw.conf").read_text(), re.MULTILINE):
            return None
        rules = (folder / "user.rules").read_text()
    except OSError:
        return None
    allowed = re.findall(r"^### tuple ### (?:allow|limit) (?:tcp|any) (\S+) ", rules, re.MULTILINE)
    return [port for port in ports if not any(_among(port, text) for text in allowed)]


def _among(port: int, text: str) -> bool:
    for part in text.split(","):
        first, _, last = part.partition(":")
        if part == "any" or (first.isdigit() and int(first) <= port <= int(last or first)):
            return True
    return False
