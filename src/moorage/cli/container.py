"""The container image's entry: the words that registry:2's image takes, and Moorage's own.

docker run IMAGE                          the configuration of the image or of whoever mounted one, as registry:2
docker run IMAGE /etc/.../config.yml      that configuration
docker run IMAGE serve ...                `registry serve ...`; so does garbage-collect, and any option
docker run IMAGE user add ann             any other command of `moorage`
docker run --entrypoint htpasswd IMAGE -Bbn ann secret
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from moorage.cli.main import command_names, moorage, run
from moorage.server.privileges import Account, become, lacking

CONFIGURATIONS = (Path("/etc/docker/registry/config.yml"), Path("/etc/distribution/config.yml"))
"""Where registry:2 and registry:3 look, in this order."""

_OWN_CONFIGURATION = Path("/etc/moorage/moorage.yml")
# What registry:2's program does; with them comes the classic mode.
_CLASSIC = ("serve", "garbage-collect")
_NAME = "moorage"
_ACCOUNT = Account(10001, 10001)
"""The image's user `moorage`."""
_VOLUME = Path("/var/lib/registry")
_FIRST_PROCESS = Path("/proc/1/cmdline")


def main() -> None:
    """Run what the container's words ask for."""
    # Logs of a container are read as they come.
    words = sys.argv[1:]
    if words == ["health"]:
        sys.exit(run(moorage, probe(_words_of(_FIRST_PROCESS.read_bytes()), CONFIGURATIONS, _OWN_CONFIGURATION), _NAME))
    command = arguments(words, CONFIGURATIONS, _OWN_CONFIGURATION)
    if os.geteuid() == 0:
        command = _without_root(command)
    sys.exit(run(moorage, command, _NAME))


def command() -> None:
    """The image's `moorage`, for `docker exec` and `docker run --entrypoint moorage`."""
    words = sys.argv[1:]
    sys.exit(run(moorage, _without_root(words) if os.geteuid() == 0 else words, _NAME))


def registry() -> None:
    """The image's `registry`."""
    sys.argv.insert(1, "registry")
    main()


def _without_root(words: list[str]) -> list[str]:
    """Let the image's user do the work: the server keeps a root parent for keys and ports, a command needs none."""
    if words[:1] == ["serve"]:
        if "--run-as" in words or "--help" in words:
            return words
        why = _why_root()
        if why is None:
            return ["serve", "--run-as", f"{_ACCOUNT.uid}:{_ACCOUNT.gid}", *words[1:]]
        print(f"moorage: everything runs as root: {why}", file=sys.stderr)  # noqa: T201
    elif _VOLUME.is_dir() and _VOLUME.stat().st_uid == _ACCOUNT.uid and not lacking():
        become(_ACCOUNT)
    return words


def _why_root() -> str | None:
    """Why the server cannot run as the image's user here; None where it can."""
    missing = lacking()
    if missing:
        return f"the container has not the capability {', '.join(missing)}"
    try:
        if _VOLUME.is_dir():
            os.chown(_VOLUME, _ACCOUNT.uid, _ACCOUNT.gid)
    except OSError as error:
        return f"{_VOLUME} cannot be given to user {_ACCOUNT.uid} ({error.strerror})"
    return None


def htpasswd() -> None:
    """The image's `htpasswd`, as Apache's program in old images of registry:2."""
    sys.exit(run(moorage, ["htpasswd", *sys.argv[1:]], _NAME))


def arguments(words: Sequence[str], configurations: Sequence[Path], own: Path) -> list[str]:
    """The arguments of `moorage` for the words after the image's name.

    Without any, the first of *configurations* that is there is served, *own* before them as Moorage's own file; with
    none of them, registry:2's defaults and its variables.
    """
    first, *rest = words or ["serve"]
    if first == "registry":
        return arguments(rest, configurations, own)
    if first == "moorage":
        return rest
    if first in {"-h", "--help"} or (first in command_names() and first not in _CLASSIC):
        return list(words)
    if first in {"-v", "--version"}:
        return ["version"]
    if first.startswith("-") or first.endswith((".yml", ".yaml")):
        return ["serve", "--classic", *words]
    if first in _CLASSIC:
        return [first, *_as_classic(rest, configurations, own)]
    return _another_program(words)


def probe(words: Sequence[str], configurations: Sequence[Path], own: Path) -> list[str]:
    """The arguments of `moorage` that ask after the server which *words* started."""
    command, *rest = arguments(words, configurations, own)
    return ["health", *rest] if command == "serve" else ["health"]


def _words_of(command_line: bytes) -> list[str]:
    """What followed the entry's name; another program, such as an init, may stand before it (proc(5))."""
    words = [os.fsdecode(word) for word in command_line.rstrip(b"\0").split(b"\0")]
    at = next((place for place, word in enumerate(words) if word.endswith("/moorage-container")), len(words))
    return words[at + 1 :]


def _as_classic(words: Sequence[str], configurations: Sequence[Path], own: Path) -> list[str]:
    """`serve` and `garbage-collect` as registry:2 knows them, unless Moorage's own settings are named."""
    if "--config" in words or "--classic" in words:
        return list(words)
    if any(not word.startswith("-") for word in words):
        return ["--classic", *words]
    if own.is_file():
        return ["--config", str(own), *words]
    found = [str(path) for path in configurations if path.is_file()]
    return ["--classic", *words, *found[:1]]


def _another_program(words: Sequence[str]) -> list[str]:
    """Become the program that is asked for, as registry:2's image does: `docker run IMAGE htpasswd ...`."""
    try:
        os.execvp(words[0], list(words))  # noqa: S606  (the operator's own words)
    except OSError as error:
        print(f"moorage: {words[0]}: {error.strerror}; see --help for what this image does", file=sys.stderr)  # noqa: T201
        sys.exit(127)
