"""A bare Debian 12 in a folder: what a newcomer's machine has, and nothing of this one but its way to the network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.programs import lacking, need, need_root

_SETTINGS_OF_THE_NETWORK = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/pip.conf",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/apt/apt.conf.d/99proxy",
)
# The mount is this process's own, and goes away with it.
_ENTER = 'mount -t proc proc "$1/proc"; root=$1; shift; exec chroot "$root" "$@"'


class BareDebian:
    """A Debian 12 with `git`, `make` and CA certificates, made by debootstrap in *folder*; takes most of a minute.

    Commands run in it as root, or as the user *ann*, who may do nothing special.
    """

    def __init__(self, folder: Path) -> None:
        need_root()
        self.root = folder
        subprocess.run(
            [
                need("debootstrap"),
                "--variant=minbase",
                "--include=ca-certificates,git,make",
                "bookworm",
                str(folder),
                _mirror(),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=500,
        )
        for name in _SETTINGS_OF_THE_NETWORK:
            if Path(name).is_file():
                shutil.copy(name, folder / name.removeprefix("/"))
        self.run("useradd", "--create-home", "ann")

    def popen(
        self, *command: str, stdout: int, stderr: int = subprocess.STDOUT, user: str = "root"
    ) -> subprocess.Popen[str]:
        """Start *command* in the tree, without input and in a process group of its own; the streams are Popen's."""
        home = "/root" if user == "root" else f"/home/{user}"
        return subprocess.Popen(
            [
                *(need("unshare"), "--mount", "sh", "-euc", _ENTER, "enter", str(self.root)),
                *(() if user == "root" else ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")),
                *command,
            ],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "TERM": "dumb"},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, user: str = "root", seconds: float = 500) -> subprocess.CompletedProcess[str]:
        """Run *command* to its end; its streams are in the result, its exit code is not checked."""
        with self.popen(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, user=user) as process:
            out, err = process.communicate(timeout=seconds)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def clone(self, project: Path, place: str, owner: str = "root") -> Path:
        """Clone what is committed in *project* to *place* in the tree; returns its path as seen from outside."""
        if not (project / ".git").exists():
            lacking("the project is not a git repository")
        outside = self.root / place.removeprefix("/")
        subprocess.run(["git", "clone", "--quiet", str(project), str(outside)], check=True, timeout=100)
        self.run("chown", "-R", f"{owner}:", place)
        return outside


def _mirror() -> str:
    """The address from which this machine's own apt gets Debian's packages."""
    targets = subprocess.run(
        [need("apt-get"), "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout.split()
    uri = next((uri for uri in targets if "security" not in uri), "")
    if not uri:
        lacking("apt knows no mirror of Debian, `apt-get update` may help")
    return uri
