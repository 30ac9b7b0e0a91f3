"""The server's side of `moorage doctor`: the options of `moorage serve`, and the steps for what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from moorage.cli.settings_options import as_options, chosen_settings
from moorage.doctor.client.names import Names, NameServer
from moorage.doctor.client.target import Target
from moorage.doctor.server.own_target import OwnTarget
from moorage.doctor.server.path import server_steps
from moorage.doctor.walk import Step
from moorage.errors import MoorageError
from moorage.settings.names import options
from moorage.settings.origin import Loaded

_SHOWN: Final = ("data", "listen")

ClientSteps = Callable[[Target, Names, Path | None], Sequence[Step]]
"""The steps of a client of a target, by some names, which trusts a file's authorities, too."""


def server_options() -> list[click.Parameter]:
    """Every option of `moorage serve`, so that its command line can be given as it is; help shows the commonest."""
    found = as_options()
    for option in found:
        if isinstance(option, click.Option):
            option.hidden = option.name not in _SHOWN
    return found


def split(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was given of `server_options`, and the rest."""
    names = {leaf.path.replace(".", "__") for leaf in options()}
    return {name: given[name] for name in given.keys() & names}, {name: given[name] for name in given.keys() - names}


def refuse_with_client(file: Path | None, config: Path | None, *, classic: bool, settings: Mapping[str, Any]) -> None:
    """Raises UsageError where a server's settings are given for a walk that looks at none."""
    if file or config or classic or any(value not in {None, ()} for value in settings.values()):
        raise click.UsageError("--client looks at a registry from outside, without settings: leave out the server's")


def steps_of_server(
    file: Path | None,
    config: Path | None,
    *,
    classic: bool,
    settings: Mapping[str, Any],
    client: ClientSteps,
    resolvers: Sequence[NameServer],
    timeout: float,
) -> list[Step]:
    """The steps for the server that is started with these arguments."""
    if file is not None and str(file).startswith(("https:/", "http:/")):
        raise click.UsageError("a URL is for the view of a client: moorage doctor --client URL")
    loaded: Loaded | MoorageError
    try:
        loaded = chosen_settings(file, config, classic=classic, options=settings)
    except MoorageError as error:
        loaded = error

    def steps(own: OwnTarget) -> Sequence[Step]:
        return client(own.target, own.names, own.ca_file)

    return server_steps(loaded, steps, resolvers=resolvers, timeout=timeout)
