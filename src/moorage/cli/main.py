"""The front door: which word means which command, and what its failures look like."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def _loading() -> Iterator[None]:
    """While modules load, a Ctrl-C ends the program without a word, as it does one that takes no notice of it.

    Python's own KeyboardInterrupt would be a traceback then, or come up within the import system and be lost there.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


with _loading():
    import click

    from moorage.cli.exit_codes import exit_code
    from moorage.errors import MoorageError, RegistryError

# Module and attribute: loaded when the word is used, so that `moorage version` need not import a web server.
_COMMANDS = {
    "serve": ("moorage.cli.serve", "serve"),
    "htpasswd": ("moorage.cli.htpasswd", "htpasswd"),
    "user": ("moorage.cli.user", "user"),
    "cert": ("moorage.cli.cert", "cert"),
    "ls": ("moorage.cli.browse", "ls"),
    "rm": ("moorage.cli.browse", "rm"),
    "adopt": ("moorage.cli.adopt", "adopt"),
    "check": ("moorage.cli.check", "check"),
    "doctor": ("moorage.cli.doctor", "doctor"),
    "garbage-collect": ("moorage.cli.garbage_collect", "garbage_collect"),
    "trust": ("moorage.cli.trust", "trust"),
    "nginx": ("moorage.cli.nginx", "nginx"),
    "install": ("moorage.cli.install", "install"),
    "config": ("moorage.cli.config", "config"),
    "health": ("moorage.cli.health", "health"),
    "version": ("moorage.cli.version", "version"),
}


class _Words(click.Group):
    """Commands by name, each imported on its first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order that a newcomer needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        with _loading():
            command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(
    cls=_Words,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: moorage serve --data /srv/registry",
)
def moorage() -> None:
    """A private Docker and OCI registry with authentication, from one command."""


def command_names() -> tuple[str, ...]:
    """Every command's word."""
    return tuple(_COMMANDS)


def main() -> None:
    """The command `moorage`."""
    sys.exit(run(moorage))


def registry() -> None:
    """The command by distribution's name: `registry serve FILE` is `moorage serve --classic FILE`, and so on."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["serve"], ["garbage-collect"]):
        arguments[1:1] = ["--classic"]
    elif arguments[:1] in (["--version"], ["-v"]):
        arguments = ["version"]
    sys.exit(run(moorage, arguments))


def run(command: Callable[..., object], arguments: list[str] | None = None, name: str | None = None) -> int:
    """Run *command* and return its exit code; failures that a person can act on become one sentence.

    *name* is what its help calls it; the program's own if it is not given.
    """
    try:
        result = command(args=arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):  # whoever typed Ctrl-C knows
        return exit_code(KeyboardInterrupt())
    except RegistryError as error:
        # For the operator's eyes: what the system said, which no client is told.
        click.echo(f"moorage: {error}" + (f": {error.__cause__}" if error.__cause__ else ""), err=True)
        return exit_code(error)
    except MoorageError as error:
        click.echo(f"moorage: {error}", err=True)
        return exit_code(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"moorage: {where}{error.strerror or error}", err=True)
        return exit_code(error)
    return result if isinstance(result, int) else 0
