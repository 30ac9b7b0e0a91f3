"""`moorage serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from moorage.cli.settings_options import as_options, chosen_settings, settings_source
from moorage.server.start import Start


@click.command(
    params=as_options(),
    epilog="Example: moorage serve --data /srv/registry --listen 127.0.0.1:5000",
)
@settings_source
def serve(file: Path | None, config: Path | None, *, classic: bool, **options: Any) -> int:
    """Run the registry.

    FILE is a configuration of distribution (config.yml), which is read as that program reads it.
    """
    loaded = chosen_settings(file, config, classic=classic, options=options)
    return Start(loaded, terminal=sys.stdout.isatty(), log_terminal=sys.stderr.isatty()).run()
