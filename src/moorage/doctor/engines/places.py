"""Where engines keep their configuration, and what they say that can be read."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moorage.doctor.finding import Finding, skipped, wrong
from moorage.doctor.processes import Process, processes


@dataclass(frozen=True, slots=True)
class Places:
    """The folders and variables of this machine; tests have others.

    *other_homes* are those of further users whose logins count: behind `sudo` the one who typed it.
    """

    etc: Path = Path("/etc")
    home: Path = field(default_factory=Path.home)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    other_homes: Mapping[str, Path] = field(default_factory=dict)
    units: tuple[Path, ...] = (
        Path("/lib/systemd/system"),
        Path("/usr/lib/systemd/system"),
        Path("/run/systemd/system"),
    )

    @property
    def daemon_file(self) -> Path:
        """Docker's own configuration."""
        return self.etc / "docker" / "daemon.json"

    @property
    def docker_home(self) -> Path:
        """The folder of the docker command's configuration."""
        named = self.environment.get("DOCKER_CONFIG")
        return Path(named) if named else self.home / ".docker"

    def certs_folders(self) -> Iterator[tuple[str, Path]]:
        """Each engine with the folder where it looks for a registry's certificates."""
        yield "docker", self.etc / "docker" / "certs.d"
        yield "podman", self.etc / "containers" / "certs.d"
        yield "podman", self.home / ".config" / "containers" / "certs.d"

    def program(self, name: str) -> str | None:
        """Where a program is, on the PATH of the environment."""
        return shutil.which(name, path=self.environment.get("PATH", os.defpath))

    @property
    def docker(self) -> bool:
        """Whether Docker is on this machine, as a program or by its configuration."""
        return bool(self.program("docker") or self.program("dockerd")) or os.path.exists(self.daemon_file)

    @property
    def podman(self) -> bool:
        """Whether podman or its siblings are on this machine."""
        return any(self.program(name) for name in ("podman", "buildah", "skopeo"))


def here() -> Places:
    """This machine's, with the home of whoever called `sudo`."""
    others = {}
    name = os.environ.get("SUDO_USER", "")
    if os.geteuid() == 0 and name not in {"", "root"}:
        try:
            others[name] = Path(pwd.getpwnam(name).pw_dir)
        except KeyError:
            pass
    return Places(other_homes=others)


def daemon() -> Process | None:
    """The running dockerd, as far as it is seen."""
    return next((found for found in processes() if found.name == "dockerd"), None)


def read_json(path: Path, meaning: str) -> dict[str, object] | Finding | None:
    """The object in a JSON file; None where there is no file, or what is wrong with it, and what that *meaning* is."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return skipped(f"{path} cannot be read by this user: {error.strerror}")
    if not data.strip():
        return {} if path.name != "daemon.json" else None
    try:
        value = json.loads(data)
    except json.JSONDecodeError as error:
        return wrong(
            f"{path}:{error.lineno}: not JSON: {error.msg} (column {error.colno})",
            f"{meaning} A comma too many before a bracket, one that is missing, and comments are the usual reasons.",
            f"python3 -m json.tool {path}",
            path=str(path),
            line=error.lineno,
        )
    except (ValueError, RecursionError) as error:
        return wrong(f"{path}: not JSON: {error}", meaning, f"python3 -m json.tool {path}", path=str(path))
    if not isinstance(value, dict):
        return wrong(f"{path}: the file holds no object {{...}}", meaning, path=str(path))
    return value


def line_of(path: Path, word: str) -> str:
    """`path:line` of the first line with *word* in it, for a person to find it."""
    try:
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            if word in line:
                return f"{path}:{number}"
    except OSError:
        pass
    return str(path)
