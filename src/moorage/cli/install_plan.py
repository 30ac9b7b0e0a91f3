"""What `moorage install` would do on this machine: the settings, what is wrong with the place, and the steps."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import moorage
from moorage.cli.install_steps import Account, Command, File, Folder, Link, Step, succeeds
from moorage.cli.install_unit import MARK, Service, render
from moorage.cli.settings_options import parse_domain
from moorage.errors import ConfigurationError, UserError
from moorage.metadata.open import SqliteFile, locate
from moorage.settings.listen import UnixAddress, parse_address
from moorage.settings.model import Settings
from moorage.settings.native import load_native

UNIT_NAME: Final = "moorage"
UNIT: Final = Path("/etc/systemd/system/moorage.service")
CONFIG: Final = Path("/etc/moorage/moorage.yml")
LINK: Final = Path("/usr/local/bin/moorage")
RUNTIME: Final = Path("/run/moorage")

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  (named to be refused)


@dataclass(frozen=True, slots=True)
class Plan:
    """*steps* in their order; *command* is how people call the program afterwards."""

    settings: Settings
    user: str
    command: str
    steps: Sequence[Step]
    warnings: Sequence[str]


def plan_for(program: Path, *, domain: str | None, listen: Sequence[str], data: Path, user: str) -> Plan:
    """The plan for what was asked. Raises UserError and ConfigurationError for what cannot be."""
    if not _USER.fullmatch(user) or user == "root":
        raise UserError(f"--user {user!r}: a user of its own is meant, written in small letters, digits, - and _")
    text = _configuration(domain, listen, data)
    settings, warnings = _settings(text, domain, listen, data)
    if not settings.data.is_absolute():
        raise UserError(f"data in {CONFIG} is {settings.data}: a service needs an absolute path there")
    homes = [path for path in (program, Path(sys.base_prefix), *_files(settings)) if _below(path, _HOMES)]
    if homes:
        warnings.append(
            f"{homes[0]} lies below a home directory, so the service may read those (ProtectHome=read-only)"
        )
    unit = render(Service(program, CONFIG, user, list(_writable(settings)), bool(homes), settings.http.drain_timeout))
    _refuse_temporary([program, *_files(settings)])
    _refuse_foreign_unit()
    warnings += _look_at_program(program)
    command, links = _command(program)
    steps: list[Step] = [
        Account(user, settings.data),
        Folder(settings.data, 0o750, user, user),
        Folder(CONFIG.parent, 0o750, "root", user),
        File(CONFIG, text, 0o640, user, lasting=True),
        *links,
    ]
    file = File(UNIT, unit, 0o644)
    changed = file.state()
    steps += [
        file,
        Command(["systemctl", "daemon-reload"], lambda: "run" if changed else ""),
        Command(["systemctl", "enable", UNIT_NAME], _enabled),
    ]
    return Plan(settings, user, command, steps, warnings)


def _enabled() -> str:
    return "" if succeeds("systemctl", "--quiet", "is-enabled", UNIT_NAME) else "run"


def _configuration(domain: str | None, listen: Sequence[str], data: Path) -> str:
    lines = [
        f"# The registry's settings; in force after: systemctl restart {UNIT_NAME}",
        f"# All there are, with these in their places: moorage config --config {CONFIG}",
        f"data: {_quoted(os.path.abspath(data))}",
    ]
    if domain is not None:
        lines += ["tls:", f"  domains: [{parse_domain(domain)}]"]
    else:
        lines.append(f"listen: [{', '.join(_quoted(_address(text)) for text in listen or (':443',))}]")
    return "\n".join(lines) + "\n"


def _settings(text: str, domain: str | None, listen: Sequence[str], data: Path) -> tuple[Settings, list[str]]:
    """Those that are there, or would be; and what was asked for and is not in them."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / CONFIG.name
        fresh.write_text(text, "utf-8")
        asked = load_native(fresh, {}, {}).settings
    try:
        there = CONFIG.exists()
        settings = load_native(CONFIG, {}, {}).settings if there else asked
    except PermissionError:
        raise UserError(f"{CONFIG} is there, and only root can read it: give the command with sudo") from None
    except ConfigurationError as error:
        if error.line is None and not os.access(CONFIG, os.R_OK):
            raise UserError(f"{CONFIG} is there, and only root can read it: give the command with sudo") from None
        raise
    differing = []
    if domain is not None and asked.tls.domains != settings.tls.domains:
        differing.append(f"--domain {domain}")
    if listen and asked.listen != settings.listen:
        differing.append(f"--listen {' --listen '.join(listen)}")
    if str(data) != "/var/lib/moorage" and asked.data != settings.data:
        differing.append(f"--data {data}")
    return settings, [
        f"{CONFIG} is there and stays as it is, and says otherwise than {option}: change it there"
        for option in differing
    ]


def _address(text: str) -> str:
    try:
        address = parse_address(text)
    except ValueError as error:
        raise UserError(f"--listen {text!r}: {error}") from None
    if isinstance(address, UnixAddress) and not Path(address.path).is_absolute():
        raise UserError(f"--listen {text!r}: a service needs an absolute path, such as unix:{RUNTIME}/registry")
    return str(address)


def _quoted(text: str) -> str:
    """As a YAML scalar in double quotes."""
    if any(ord(character) < 32 for character in text):
        raise UserError(f"{text!r} has a character in it that is none")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _files(settings: Settings) -> list[Path]:
    """Everything on the machine's file systems that the server uses."""
    tls, auth, dns = settings.tls, settings.auth, settings.acme.dns
    named = (tls.certificate, tls.key, *tls.client_cas, auth.htpasswd, settings.acme.ca_file, dns.auth_hook)
    return [path for path in (*_writable(settings), *named, dns.cleanup_hook) if path is not None]


def _writable(settings: Settings) -> Iterator[Path]:
    """The folders that the server writes to, the data folder first."""
    yield settings.data
    place = locate(settings.database, settings.data)
    if isinstance(place, SqliteFile) and not _below(place.path, [settings.data]):
        yield place.path.parent
    for text in (*settings.listen, *settings.metrics.listen, *settings.tls.plain_listen):
        address = parse_address(text)
        if isinstance(address, UnixAddress) and not _below(Path(address.path), [RUNTIME]):
            yield Path(address.path).parent


def _below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _refuse_temporary(paths: Iterable[Path]) -> None:
    for path in paths:
        if _below(path, _TEMPORARY):
            raise UserError(
                f"{path} lies where temporary files do, which a service does not share with others; move it"
            )


def _look_at_program(program: Path) -> list[str]:
    """A warning if others than root can change it. Raises UserError if the service's user cannot run it."""
    package = Path(moorage.__file__).parent
    advice = f"put it into a folder like /opt/moorage ({_how_to_move()})"
    warnings = []
    for folder in dict.fromkeys([*program.parents, *package.parents, package, Path(sys.base_prefix)]):
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise UserError(f"{folder} is closed to other users, so a service cannot run what lies in it: {advice}")
    for path in dict.fromkeys([*program.parents, program, *package.parents, package]):
        found = path.stat()
        loose = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if found.st_uid != 0 or loose:
            warnings.append(
                f"{path} can be changed by others than root, and with it what root runs: chown -R root: and"
                f" chmod -R go-w it, or {advice}"
            )
            break
    return warnings


def _how_to_move() -> str:
    return "sudo git clone REPOSITORY /opt/moorage && sudo make -C /opt/moorage setup"


def _refuse_foreign_unit() -> None:
    if UNIT.exists() and not UNIT.read_text("utf-8", "replace").startswith(MARK):
        raise UserError(
            f"{UNIT} is there and was not written by this command: move it away, and give the command again"
        )


def _command(program: Path) -> tuple[str, list[Step]]:
    """How people call the program, and the link that it takes."""
    found = shutil.which(UNIT_NAME, path=_SEARCHED)
    if found is not None and Path(found).resolve() == program:
        return UNIT_NAME, []
    if LINK.exists() and not LINK.is_symlink():
        return str(program), []
    return UNIT_NAME, [Link(LINK, program)]
