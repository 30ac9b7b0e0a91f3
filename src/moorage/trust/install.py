"""What `moorage trust` does on a client's machine: the same files as by the shell lines of `steps`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage.errors import CertificateFailed, UserError
from moorage.trust import files
from moorage.trust.certificates import Certificate
from moorage.trust.content import bundle, hosts_toml, is_our_bundle, mark
from moorage.trust.files import Wanted, What
from moorage.trust.kubernetes import CONTAINERD
from moorage.trust.place import Place

CLIENTS: Final = ("docker", "podman", "containerd", "system")
_PROGRAMS: Final = {
    "docker": ("dockerd", "docker"),
    "podman": ("podman", "buildah", "skopeo", "crio"),
    "containerd": ("containerd", "nerdctl"),
}
_SEARCH: Final = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
_ANCHORS: Final = (
    "etc/pki/ca-trust/source/anchors",  # Fedora, RHEL
    "etc/ca-certificates/trust-source/anchors",  # Arch
    "etc/pki/trust/anchors",  # SUSE
    "usr/local/share/ca-certificates",  # Debian, Ubuntu, Alpine
)
_REFRESH: Final = (("update-ca-trust",), ("update-ca-certificates",))
_FRESH: Final = (("update-ca-trust",), ("update-ca-certificates", "--fresh"))


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that is to trust: *root* is where its file system begins, *home* its user's, *is_root* who we are.

    *environment* tells of a rootless Docker Engine.
    """

    root: Path
    home: Path
    is_root: bool
    environment: Mapping[str, str]

    def at(self, path: str) -> Path:
        """*path* below the root."""
        return self.root / path.lstrip("/")

    def program(self, name: str) -> str | None:
        """Where the program *name* is on this machine; the folders of administrators count, whatever PATH says."""
        folders = [str(self.root / folder) for folder in _SEARCH]
        if self.root == Path("/"):
            folders = [self.environment.get("PATH", os.defpath), *folders]
        return shutil.which(name, path=os.pathsep.join(folders))

    @property
    def is_rootless_docker(self) -> bool:
        """Whether this user runs a Docker Engine of their own."""
        runtime = self.environment.get("XDG_RUNTIME_DIR", "")
        return not self.is_root and bool(runtime) and Path(runtime, "docker.sock").exists()


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one file; *add* is what a person has to add to one that was left, or at undo to take out."""

    path: Path
    what: What
    add: str = ""


def this_machine(root: Path) -> Machine:
    """The one that we run on, with its file system at *root*."""
    return Machine(root, Path.home(), os.geteuid() == 0, os.environ)


def found_clients(machine: Machine) -> list[str]:
    """The clients that are installed, except "system", which is for a person to choose."""
    return [client for client, names in _PROGRAMS.items() if any(machine.program(name) for name in names)]


def install(clients: Sequence[str], place: Place, authority: Sequence[Certificate], machine: Machine) -> list[Done]:
    """Make *clients* trust *authority* for the registry at *place*.

    Everything is looked at before anything is changed: UserError for a file that is in the way, PermissionError for a
    folder that this user cannot write. CertificateFailed where the machine's own tool fails after that.
    """
    wanted = [file for client in clients for file in _WANTED[client](place, authority, machine)]
    for file in wanted:
        _check_inside(machine, file.path)
        files.check(file)
    done = [Done(file.path, files.place(file), file.add) for file in wanted]
    if "system" in clients:
        _refresh(machine, _REFRESH)
    return done


def undo(clients: Sequence[str], place: Place, machine: Machine) -> list[Done]:
    """Take away what `install` or the shell lines put there, and put back what was there before. Raises as it does."""
    ours = [file for client in clients for file in _removable(client, place, machine)]
    for file in ours:
        _check_inside(machine, file.path)
        files.check_removable(file.path, file.is_ours)
    done = []
    for file in ours:
        what = files.remove(file.path, file.is_ours)
        if what is not None:
            done.append(Done(file.path, what, file.add))
        if file.path.parent.name == place.label:
            files.remove_empty(file.path.parent)
    if "system" in clients and done:
        _refresh(machine, _FRESH)
    return done


def _check_inside(machine: Machine, path: Path) -> None:
    """Whoever made another machine's file system may have put a link to this one's into it. Raises UserError."""
    if machine.root == Path("/"):
        return
    for folder in path.parents:
        if folder == machine.root:
            return
        if folder.is_symlink():
            raise UserError(
                f"{folder} is a symbolic link, which may lead out of {machine.root}; put the file there yourself"
            )


def _docker(place: Place, authority: Sequence[Certificate], machine: Machine) -> list[Wanted]:
    if machine.is_rootless_docker:
        configuration = machine.environment.get("XDG_CONFIG_HOME") or str(machine.home / ".config")
        folder = Path(configuration, "docker/certs.d")
    else:
        folder = machine.at("/etc/docker/certs.d")
    return [Wanted(folder / place.label / "ca.crt", bundle(place, authority), is_our_bundle)]


def _podman(place: Place, authority: Sequence[Certificate], machine: Machine) -> list[Wanted]:
    as_root = machine.is_root or machine.root != Path("/")
    folder = machine.at("/etc/containers/certs.d") if as_root else machine.home / ".config/containers/certs.d"
    return [Wanted(folder / place.label / "ca.crt", bundle(place, authority), is_our_bundle)]


def _containerd(place: Place, authority: Sequence[Certificate], machine: Machine) -> list[Wanted]:
    folder = machine.at(CONTAINERD) / place.label
    ca = f"{CONTAINERD}/{place.label}/ca.crt"
    toml = hosts_toml(place, ca)
    return [
        Wanted(folder / "ca.crt", bundle(place, authority), is_our_bundle),
        Wanted(folder / "hosts.toml", toml, lambda content: content == toml, add=f'  ca = "{ca}"'),
    ]


def _system(place: Place, authority: Sequence[Certificate], machine: Machine) -> list[Wanted]:
    folder = _anchors(machine)
    # One in each file, since update-ca-certificates takes no more.
    return [
        Wanted(
            folder / f"moorage-{place.stem}-{one.fingerprint[:12]}.crt",
            bundle(place, [one]),
            is_our_bundle,
        )
        for one in authority
    ]


_WANTED: Final[Mapping[str, Callable[[Place, Sequence[Certificate], Machine], list[Wanted]]]] = {
    "docker": _docker,
    "podman": _podman,
    "containerd": _containerd,
    "system": _system,
}


def _removable(client: str, place: Place, machine: Machine) -> list[Wanted]:
    """Where files of ours may be; what is in them does not matter."""
    if client != "system":
        return _WANTED[client](place, (), machine)
    ours = mark(place).encode() + b"\n"
    return [
        Wanted(path, b"", lambda content: content.startswith(ours) and is_our_bundle(content))
        for path in sorted(_anchors(machine).glob(f"moorage-{place.stem}-*.crt"))
    ]


def _anchors(machine: Machine) -> Path:
    folders = [machine.root / folder for folder in _ANCHORS]
    return next((folder for folder in folders if folder.is_dir()), folders[-1])


def refresh_command(machine: Machine, *, removed: bool = False) -> Sequence[str]:
    """What makes the machine's programs see a change of its store."""
    choices = _FRESH if removed else _REFRESH
    return next((command for command in choices if machine.program(command[0])), choices[-1])


def _refresh(machine: Machine, commands: Sequence[Sequence[str]]) -> None:
    if machine.root != Path("/"):
        return
    command = next((one for one in commands if machine.program(one[0])), None)
    if command is None:
        raise CertificateFailed(
            "the file is in its place, but the machine has neither update-ca-certificates nor update-ca-trust",
            kind="local",
            remedy="install the package ca-certificates and run what it brings",
        )
    program, *arguments = command
    ended = subprocess.run([str(machine.program(program)), *arguments], check=False, capture_output=True, text=True)
    if ended.returncode != 0:
        raise CertificateFailed(
            f"{' '.join(command)} ended with {ended.returncode}: {(ended.stderr or ended.stdout).strip()[-500:]}",
            kind="local",
            remedy="the file is in its place; run that again",
        )
