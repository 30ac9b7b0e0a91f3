"""Where logins are stored: under which name, for which user, by a program that is there or not."""

from __future__ import annotations

import base64
import binascii
import os
import shlex
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from moorage.doctor.client.target import PORTS, Target
from moorage.doctor.engines.places import Places, line_of, read_json
from moorage.doctor.finding import Finding, Verdict, ok, skipped, warning, wrong

_SECONDS: Final = 5.0
_PREFIX: Final = "docker-credential-"


def look_at_logins(target: Target, places: Places) -> Iterator[Finding]:
    """Docker's login for *target*, then podman's."""
    path = places.docker_home / "config.json"
    read = read_json(path, "The docker command passes over it, and so over every login in it.")
    if isinstance(read, Finding):
        yield read
    elif read is not None:
        yield from _readable(path, read)
        yield from _helper(target, places, path, read)
        yield from _login(target, path, read, "docker")
    yield from _others(target, places, read if isinstance(read, dict) else {})
    yield from _podman(target, places)


def _readable(path: Path, config: Mapping[str, object]) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if mode & (stat.S_IROTH | stat.S_IRGRP) and any(_has_secret(entry) for entry in _auths(config).values()):
        yield warning(
            f"{path} holds passwords and can be read by other users",
            "They stand there in base64, which hides nothing.",
            f"chmod 600 {shlex.quote(str(path))}",
            path=str(path),
        )


def _helper(target: Target, places: Places, path: Path, config: Mapping[str, object]) -> Iterator[Finding]:
    """The program that keeps passwords for *target*: its own in credHelpers, else the one for all in credsStore."""
    helpers = config.get("credHelpers")
    own = helpers.get(target.authority) if isinstance(helpers, dict) else None
    name = own or config.get("credsStore")
    if not isinstance(name, str) or not name:
        return
    key = "credHelpers" if own else "credsStore"
    where = line_of(path, f'"{key}"')
    program = places.program(_PREFIX + name)
    if program is None:
        yield wrong(
            f"{where}: {key} names {name}, and there is no program {_PREFIX}{name}",
            "`docker login` and every pull say `error getting credentials - err: exec: executable file not found in"
            " $PATH`. Docker Desktop leaves that behind when it is removed, and WSL without it.",
            f"nano {shlex.quote(str(path))}    # remove the line {key}; then: docker login {target.authority}",
            path=str(path),
        )
        return
    said = _try(program, places)
    if said is not None:
        yield warning(
            f"{where}: {_PREFIX}{name} does not work here: {said}",
            "`docker login` says `error storing credentials`. Keyrings need somebody who is logged in to a desktop, and"
            " pass needs `pass init`.",
            f"nano {shlex.quote(str(path))}    # remove the line {key}; then: docker login {target.authority}",
            path=str(path),
        )


def _try(program: str, places: Places) -> str | None:
    """What the program complains of when it is asked what it keeps; None where it answers."""
    try:
        done = subprocess.run(
            [program, "list"],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
            env=dict(places.environment),
        )
    except subprocess.TimeoutExpired:
        return None  # it may be asking a person
    except OSError as error:
        return error.strerror or "cannot be run"
    if done.returncode == 0:
        return None
    # Its output may name registries and users, its complaint goes to either stream; one line is enough.
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return lines[0][:160] if lines else f"exit code {done.returncode}"


def _login(target: Target, path: Path, config: Mapping[str, object], tool: str) -> Iterator[Finding]:
    auths = _auths(config)
    fitting = [key for key in auths if _host_of(key) == target.authority]
    if fitting:
        user = _user(auths[fitting[0]])
        yield ok(
            f"{line_of(path, fitting[0])}: a login for {target.authority} is stored" + (f", of {user}" if user else ""),
            path=str(path),
        )
        return
    for key in auths:
        if _same_place(_host_of(key), target):
            yield warning(
                f"{line_of(path, key)}: the login is stored for {key}, and images are named {target.authority}/...",
                f"For {tool} these are two registries: `no basic auth credentials` or `unauthorized`, in spite of the"
                " login.",
                f"{tool} login {target.authority}",
                path=str(path),
            )
            return


def _others(target: Target, places: Places, mine: Mapping[str, object]) -> Iterator[Finding]:
    """Logins of the user behind sudo, which root does not have, and the other way round."""
    have = any(_host_of(key) == target.authority for key in _auths(mine))
    for name, home in places.other_homes.items():
        path = home / ".docker" / "config.json"
        read = read_json(path, "The docker command passes over it.")
        theirs = read if isinstance(read, dict) else {}
        has = any(_host_of(key) == target.authority for key in _auths(theirs))
        if has and not have:
            yield warning(
                f"{path}: {name} is logged in to {target.authority}, and root is not",
                "`sudo docker` reads root's logins: `no basic auth credentials`.",
                f"sudo docker login {target.authority}",
                f"sudo usermod -aG docker {name}    # then log in anew, and docker needs no sudo",
            )
        elif have and not has:
            yield warning(
                f"{places.docker_home / 'config.json'}: root is logged in to {target.authority}, and {name} is not",
                "Whoever logged in with `sudo docker login` has to push and pull with sudo as well.",
                f"docker login {target.authority}    # as {name}",
            )


def _podman(target: Target, places: Places) -> Iterator[Finding]:
    named = places.environment.get("REGISTRY_AUTH_FILE")
    runtime = places.environment.get("XDG_RUNTIME_DIR")
    volatile = [Path(runtime) / "containers" / "auth.json"] if runtime else []
    usual = [*volatile, Path(f"/run/containers/{os.getuid()}/auth.json"), places.home / ".config/containers/auth.json"]
    files = [Path(named)] if named else usual
    for path in dict.fromkeys(files):
        read = read_json(path, "podman, buildah and skopeo fail with it.")
        if isinstance(read, Finding):
            # Folders of users who have none are closed to them.
            if named or read.verdict is not Verdict.SKIPPED:
                yield read
        elif read is not None:
            yield from _readable(path, read)
            yield from _login(target, path, read, "podman")
    if named and not os.path.exists(named):
        yield skipped(f"REGISTRY_AUTH_FILE names {named}, and there is no such file: podman has no logins")


def _auths(config: Mapping[str, object]) -> dict[str, object]:
    auths = config.get("auths")
    return {str(key): value for key, value in auths.items()} if isinstance(auths, dict) else {}


def _has_secret(entry: object) -> bool:
    return isinstance(entry, dict) and any(entry.get(name) for name in ("auth", "password", "identitytoken"))


def _user(entry: object) -> str:
    """The user's name in an entry; its password is never looked at."""
    auth = entry.get("auth") if isinstance(entry, dict) else None
    if not isinstance(auth, str):
        return ""
    try:
        text = base64.b64decode(auth, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
    user = text.partition(":")[0]
    return user if user.isprintable() and ":" in text else ""


def _host_of(key: str) -> str:
    """The registry that a key stands for: tools store `host`, `https://host` and `https://host/v2/` alike."""
    text = key.lower().removeprefix("https://").removeprefix("http://")
    return text.partition("/")[0]


def _same_place(stored: str, target: Target) -> bool:
    """Whether a login for *stored*, written otherwise, is for the very port of *target*.

    A login for another port is another registry's, and nobody's mistake.
    """
    host, _, port = stored.rpartition(":")
    if not port.isdigit():
        host, port = stored, str(PORTS[target.scheme])
    return host == target.bracketed and int(port) == target.port
