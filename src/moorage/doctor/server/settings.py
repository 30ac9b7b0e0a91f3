"""Which settings are in force, where they came from, and what was meant to be one and is not."""

from __future__ import annotations

import os
import shlex
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from moorage.doctor.finding import Finding, ok, warning, wrong
from moorage.errors import ConfigurationError, MoorageError, StartRefused
from moorage.server.privileges import find_account
from moorage.settings.advice import advice
from moorage.settings.model import Settings
from moorage.settings.names import leaves
from moorage.settings.native import CLASSIC_PREFIX
from moorage.settings.origin import DEFAULT, Loaded


def look_at_settings(loaded: Loaded) -> Iterator[Finding]:
    """Settings that could be read."""
    yield _where_from(loaded)
    yield from _unheeded(loaded)
    yield from _readable_secrets(loaded)
    yield from _open_door(loaded)
    yield from _nobody_of_that_name(loaded)


def _nobody_of_that_name(loaded: Loaded) -> Iterator[Finding]:
    if loaded.settings.run_as is not None:
        try:
            find_account(loaded.settings.run_as)
        except StartRefused as error:
            yield wrong(str(error), "The server does not start.")


def refused(error: MoorageError) -> Finding:
    """Settings that could not be read, or contradict each other."""
    source = error.source if isinstance(error, ConfigurationError) else None
    remedies = []
    if source and os.path.isfile(source):
        line = f"+{error.line} " if isinstance(error, ConfigurationError) and error.line else ""
        remedies.append(f"${{EDITOR:-nano}} {line}{shlex.quote(source)}")
    return wrong(
        str(error),
        "The server does not start with these settings. docs/reference/settings.md has all of them.",
        *remedies,
        blocks=True,
    )


def _where_from(loaded: Loaded) -> Finding:
    given = {path: origin for path, origin in loaded.origins.items() if origin != DEFAULT}
    counts = Counter(origin.source for origin in given.values())
    facts = {path: str(origin) for path, origin in given.items()}
    if loaded.mode == "classic":
        head = "as registry:2 reads them (--classic): "
    else:
        head = ""
    if not counts:
        return ok(f"all settings are the defaults; there is no moorage.yml in {Path.cwd()} and no MOORAGE_* variable")
    parts = [f"{count} from {source}" if count > 1 else source for source, count in counts.items()]
    return ok(f"{head}in force beside the defaults: {', '.join(parts)}", origins=facts)


def _unheeded(loaded: Loaded) -> Iterator[Finding]:
    """What the loader warned of, but for its advice."""
    said = set(advice(loaded.settings, loaded.mode))
    for sentence in loaded.warnings:
        if sentence in said:
            continue
        if sentence.startswith(CLASSIC_PREFIX) and loaded.mode == "native":
            yield warning(
                sentence,
                "They are of the image registry:2. Without --classic Moorage has its own defaults: another data folder"
                " (an empty registry for who expects the old one), another address, and its own users.",
                "moorage serve --classic",
            )
        else:
            yield warning(sentence, "It has no effect.", "moorage config    # shows what is in force, and from where")


def _readable_secrets(loaded: Loaded) -> Iterator[Finding]:
    """Files with secrets in them that everybody can read."""
    holding: dict[str, list[str]] = {}
    for path, leaf in leaves().items():
        origin = loaded.origins.get(path, DEFAULT)
        if leaf.secret and origin.line is not None and _is_secret(loaded.settings, path):
            holding.setdefault(origin.source, []).append(path)
    for source, paths in holding.items():
        try:
            mode = os.stat(source).st_mode
        except OSError:
            continue
        if mode & stat.S_IROTH:
            yield warning(
                f"{source} holds {', '.join(paths)} and can be read by every user of this machine",
                "Whoever may log in to this machine has these secrets.",
                f"sudo chmod o-r {shlex.quote(source)}",
                path=source,
            )


def _is_secret(settings: Settings, path: str) -> bool:
    value: object = settings
    for name in path.split("."):
        value = getattr(value, name)
    if isinstance(value, str) and "://" in value:
        return urlsplit(value).password is not None
    return bool(value)


def _open_door(loaded: Loaded) -> Iterator[Finding]:
    """A registry for which nobody needs a password."""
    settings = loaded.settings
    if settings.auth.kind == "none" and settings.exposed:
        may = "pull" if settings.storage.read_only else "push, delete and pull"
        yield warning(
            f"nobody is asked for a password, and {', '.join(settings.exposed)} can be reached from other machines",
            f"Whoever reaches it may {may} everything.",
            "moorage serve --auth users ...",
        )
    elif settings.auth.kind == "none":
        yield ok(f"nobody is asked for a password; only this machine reaches {', '.join(settings.listen)}")
    elif settings.auth.anonymous_pull:
        yield ok("everybody may pull without a password, except Docker's classic engine, which has to log in")
