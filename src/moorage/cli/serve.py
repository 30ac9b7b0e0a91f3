"""`moorage serve`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from moorage.cli.exit_codes import FOR_SYSTEMD, useless_to_repeat
from moorage.cli.settings_options import as_options, chosen_settings, settings_source
from moorage.errors import MoorageError
from moorage.server.notify import Notifier
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
    service = os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())
    notifier = Notifier.of(os.environ)
    try:
        loaded = chosen_settings(file, config, classic=classic, options=options)
        start = Start(loaded, terminal=sys.stdout.isatty(), log_terminal=sys.stderr.isatty(), notifier=notifier)
        return start.run()
    except MoorageError as error:
        notifier.status(str(error))
        if service and useless_to_repeat(error):
            click.echo(f"moorage: {error}", err=True)
            return FOR_SYSTEMD
        raise
