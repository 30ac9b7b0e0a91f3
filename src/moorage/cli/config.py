"""`moorage config`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from moorage.cli.settings_options import as_options, chosen_settings, settings_source
from moorage.settings.render import render


@click.command(params=as_options(), epilog="Example: moorage config --config /etc/moorage.yml")
@settings_source
def config(file: Path | None, config: Path | None, *, classic: bool, **options: Any) -> None:
    """Show the settings in force with the same options as `moorage serve`, and where each came from.

    The output is a moorage.yml; passwords in it are masked. FILE is a configuration of distribution (config.yml).
    """
    loaded = chosen_settings(file, config, classic=classic, options=options)
    for warning in loaded.warnings:
        click.echo(f"moorage: {warning}", err=True)
    click.echo(render(loaded), nl=False)
