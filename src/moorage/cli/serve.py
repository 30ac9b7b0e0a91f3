"""`moorage serve`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from moorage.cli.settings_options import as_options
from moorage.errors import ConfigurationError
from moorage.server.start import Start
from moorage.settings.classic import load_classic
from moorage.settings.native import load_native
from moorage.settings.origin import Loaded


@click.command(
    params=as_options(),
    epilog="Example: moorage serve --data /srv/registry --listen 127.0.0.1:5000",
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), help="Read settings from this moorage.yml.")
@click.option(
    "--classic",
    is_flag=True,
    help="Behave as the image registry:2: REGISTRY_* variables and its defaults, with or without a config.yml.",
)
def serve(file: Path | None, config: Path | None, *, classic: bool, **options: Any) -> int:
    """Run the registry.

    FILE is a configuration of distribution (config.yml), which is read as that program reads it.
    """
    loaded = load(file, config, classic=classic, options=options)
    return Start(loaded, terminal=sys.stdout.isatty()).run()


def load(file: Path | None, config: Path | None, *, classic: bool, options: dict[str, Any]) -> Loaded:
    """The settings that these arguments choose. Raises ConfigurationError."""
    given = {name.replace("__", "."): value for name, value in options.items()}
    if file is not None and config is not None:
        raise ConfigurationError("give either a config.yml or --config moorage.yml, not both", source="command line")
    if classic and config is not None:
        raise ConfigurationError("--classic reads a config.yml: give it without --config", source="command line")
    if file is not None or classic:
        return load_classic(file, os.environ, given)
    return load_native(config, os.environ, given)
