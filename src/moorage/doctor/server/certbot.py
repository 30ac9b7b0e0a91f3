"""certbot beside us: whether it knows the certificate, whether anything makes it renew, and copies gone stale."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage.doctor.accounts import me
from moorage.doctor.finding import Finding, ok, skipped, warning
from moorage.doctor.server.certificate_files import day, read_leaf
from moorage.settings.listen import TcpAddress, parse_address
from moorage.settings.model import Settings
from moorage.tls.pem import CertificateFacts

_SECONDS: Final = 5.0
_TIMERS: Final = ("certbot.timer", "snap.certbot.renew.timer", "certbot-renew.timer")
_WORDS: Final = ("certbot", "letsencrypt", "acme.sh", "lego ")
HOME: Final = Path("/etc/letsencrypt")


@dataclass(frozen=True, slots=True)
class Schedules:
    """Where a machine keeps what it does again and again."""

    crontabs: Sequence[Path] = (
        Path("/etc/crontab"),
        Path("/etc/cron.d"),
        Path("/etc/cron.daily"),
        Path("/etc/cron.weekly"),
        Path("/var/spool/cron"),
        Path("/var/spool/cron/crontabs"),
    )

    def renewing(self) -> str | None:
        """What makes certbot renew, in words; None where nothing was found."""
        for timer in _TIMERS:
            if _active(timer):
                return f"the timer {timer}"
        for place in self.crontabs:
            for path in _files(place):
                if _mentions(path):
                    return f"cron ({path})"
        return None


def look_at_certbot(certificate: Path, settings: Settings, schedules: Schedules) -> Iterator[Finding]:
    """Whether the certificate in certbot's folder `live/NAME` will be renewed."""
    folder = certificate if os.path.isdir(certificate) else certificate.parent
    folder = Path(os.path.abspath(folder))
    if folder.parent.name != "live":
        return
    home, name = folder.parent.parent, folder.name
    plan = home / "renewal" / f"{name}.conf"
    try:
        parameters = _parameters(plan.read_text("utf-8", "replace"))
    except FileNotFoundError:
        yield warning(
            f"certbot does not know {name}: there is no {plan}",
            "Nothing renews it: the folder was copied, or its renewal was removed.",
            f"sudo certbot certonly -d {shlex.quote(name)}",
            path=str(plan),
        )
        return
    except OSError as error:
        yield skipped(f"{plan} cannot be read by this user: {error.strerror}", "sudo moorage doctor looks at it.")
        return
    how = parameters.get("authenticator", "")
    if how == "manual" and not parameters.get("manual_auth_hook"):
        yield warning(
            f"{plan}: certbot is to ask a person at each renewal (authenticator = manual)",
            "No timer can renew it. Let Moorage get the certificate, or give certbot a hook.",
            f"moorage serve --domain {shlex.quote(name)} ...",
            path=str(plan),
        )
        return
    if how == "standalone" and any(_port(text) == 80 for text in settings.listen):
        yield warning(
            f"{plan}: certbot wants port 80 for itself (authenticator = standalone), and the server listens there",
            "Each renewal fails: the address is already in use.",
            f"moorage serve --domain {shlex.quote(name)} ...",
            path=str(plan),
        )
    renewing = schedules.renewing()
    if renewing is None:
        yield warning(
            f"certbot knows {name}, and nothing on this machine makes it renew",
            "There is neither an active timer nor a line for cron. The certificate will expire.",
            "sudo systemctl enable --now certbot.timer",
            "echo '17 3,15 * * * root certbot renew -q' | sudo tee /etc/cron.d/certbot",
        )
        return
    yield ok(f"certbot renews {name} ({how or 'its own way'}), by {renewing}; the server takes the new one by itself")


def look_for_newer(path: Path, leaf: CertificateFacts, home: Path = HOME) -> Iterator[Finding]:
    """Whether certbot has renewed the certificate since *path* was copied from its folder."""
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(home)):
        return
    try:
        folders = sorted(entry for entry in (home / "live").iterdir() if entry.is_dir())
    except OSError:
        return
    for folder in folders:
        newer = read_leaf(folder / "fullchain.pem", me())
        if newer and set(newer.names) == set(leaf.names) and newer.not_after > leaf.not_after:
            yield warning(
                f"{path} is a copy, and {folder} has been renewed since (until {day(newer.not_after)})",
                "The copy will expire. Name certbot's folder itself: links are followed, and a renewal is in force"
                " within a second.",
                f"moorage serve --tls-certificate {shlex.quote(str(folder))} ...",
                path=str(folder),
            )
            return


def _parameters(text: str) -> dict[str, str]:
    """The section [renewalparams] of certbot's file, whose first lines belong to no section."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        parser.read_string("[before]\n" + text)
        return {name: value or "" for name, value in parser["renewalparams"].items()}
    except (configparser.Error, KeyError):
        return {}


def _port(text: str) -> int | None:
    address = parse_address(text)
    return address.port if isinstance(address, TcpAddress) else None


def _active(timer: str) -> bool:
    program = shutil.which("systemctl")
    if program is None or not os.path.isdir("/run/systemd/system"):
        return False
    try:
        done = subprocess.run([program, "is-active", "--quiet", timer], check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _files(place: Path) -> Iterator[Path]:
    try:
        if place.is_dir():
            yield from sorted(path for path in place.iterdir() if path.is_file())
        elif place.is_file():
            yield place
    except OSError:
        return


def _mentions(path: Path) -> bool:
    """Whether a line that is no comment names a program that renews.

    Debian's own line for cron does nothing where systemd runs, whose timer was looked at before.
    """
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return False
    systemd = os.path.isdir("/run/systemd/system")
    for line in text.splitlines():
        if line.lstrip().startswith("#") or (systemd and "-d /run/systemd/system" in line):
            continue
        if any(word in line for word in _WORDS) and ("renew" in line or "acme.sh" in line):
            return True
    return False
