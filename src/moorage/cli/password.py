"""Where a new password comes from: typed twice, standard input, or chance; never an argument, which others can see."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from moorage.auth.passwords import generate_password, unusable
from moorage.errors import UserError

T = TypeVar("T")

# As much as an Authorization header carries, and more than anybody types (arbitrary).
_MOST_BYTES: Final = 4096


def password_options(function: Callable[..., T]) -> Callable[..., T]:
    """Give a command the options that say where the password comes from: *password_stdin* and *generate*."""
    from_stdin: Any = click.option(
        "--password-stdin", is_flag=True, help="Read the password from standard input; a newline ends it."
    )
    generate: Any = click.option("--generate", is_flag=True, help="Make a password up, and print it.")
    decorated: Callable[..., T] = from_stdin(generate(function))
    return decorated


def new_password(*, password_stdin: bool, generate: bool) -> str:
    """The password that was given or made up. Raises UserError for one that cannot be set, or where none is given."""
    if password_stdin and generate:
        raise click.UsageError("--password-stdin and --generate exclude each other")
    if generate:
        return generate_password()
    password = password_from_stdin() if password_stdin else _typed()
    if reason := unusable(password):
        raise UserError(reason)
    if len(password.encode()) > _MOST_BYTES:
        raise UserError(f"a password has at most {_MOST_BYTES} bytes")
    return password


def password_from_stdin() -> str:
    """What stands on standard input, without the newline that ends it. Raises UserError unless it is UTF-8."""
    raw = sys.stdin.buffer.read(_MOST_BYTES + 2)
    try:
        return raw.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise UserError("the password is not UTF-8") from None


def _typed() -> str:
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for the password: use --password-stdin or --generate")
    first = _ask("New password: ")
    if reason := unusable(first):
        raise UserError(reason)
    if _ask("The same again: ") != first:
        raise UserError("the two passwords differ; nothing was changed")
    return first


def _ask(prompt: str) -> str:
    # An empty default is what lets an empty line through, to be refused as such.
    answer: str = click.prompt(prompt, prompt_suffix="", hide_input=True, default="", show_default=False, err=True)
    return answer
