"""`moorage version`."""

from __future__ import annotations

import platform
import sqlite3
import ssl

import click

import moorage


@click.command(epilog="Example: moorage version")
def version() -> None:
    """Say which version this is, and of what it is made."""
    click.echo(f"moorage {moorage.__version__}")
    click.echo(f"python {platform.python_version()}, {ssl.OPENSSL_VERSION}, SQLite {sqlite3.sqlite_version}")
