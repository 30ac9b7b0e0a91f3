"""The settings that are options of commands too, made from the settings themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from moorage.errors import ConfigurationError, UserError
from moorage.settings.classic import load_classic
from moorage.settings.names import Leaf, options
from moorage.settings.native import load_native
from moorage.settings.origin import Loaded
from moorage.tls.names import is_wildcard, parse_certificate_name

T = TypeVar("T")


def as_options() -> list[click.Parameter]:
    """A click option for every setting that has a flag.

    The value arrives as text under the dotted path with `__` for the dots; the settings check it.
    """
    return [_option(leaf) for leaf in options()]


def options_for(*paths: str) -> list[click.Parameter]:
    """The click options, as in `as_options`, of these settings, and of all in a section whose path ends in a dot."""
    return [
        _option(leaf) for leaf in options() if any(leaf.path == path or leaf.path.startswith(path) for path in paths)
    ]


def settings_source(function: Callable[..., T]) -> Callable[..., T]:
    """Give a command what says where settings are read from: *file*, *config* and *classic*."""
    classic = click.option(
        "--classic",
        is_flag=True,
        help="Behave as the image registry:2: REGISTRY_* variables and its defaults, with or without a config.yml.",
    )
    return click.argument("file", required=False, type=click.Path(path_type=Path))(config_option(classic(function)))


def config_option(function: Callable[..., T]) -> Callable[..., T]:
    """Give a command *config*, the file of settings."""
    option = click.option("--config", type=click.Path(path_type=Path), help="Read settings from this moorage.yml.")
    return option(function)


def chosen_settings(file: Path | None, config: Path | None, *, classic: bool, options: Mapping[str, Any]) -> Loaded:
    """The settings that the arguments of `as_options` and `settings_source` choose. Raises ConfigurationError."""
    given = {name.replace("__", "."): value for name, value in options.items()}
    if file is not None and config is not None:
        raise ConfigurationError("give either a config.yml or --config moorage.yml, not both", source="command line")
    if classic and config is not None:
        raise ConfigurationError("--classic reads a config.yml: give it without --config", source="command line")
    if file is not None or classic:
        return load_classic(file, os.environ, given)
    return load_native(config, os.environ, given)


def parse_domain(text: str) -> str:
    """The name that `--domain` gives to a site or service, as it is stored. Raises UserError."""
    try:
        name = parse_certificate_name(text)
    except ValueError as error:
        raise UserError(f"--domain {text!r}: {error}") from None
    if is_wildcard(name):
        raise UserError(f"--domain {text!r}: clients need one name, not a wildcard")
    return name


def _option(leaf: Leaf) -> click.Option:
    name = leaf.path.replace(".", "__")
    text = f"{leaf.description}  [{leaf.path}]"
    if isinstance(leaf.default, bool):
        return click.Option([f"{leaf.flag}/--no-{str(leaf.flag).removeprefix('--')}", name], default=None, help=text)
    return click.Option([leaf.flag or "", name], multiple=leaf.shape == "list", help=text)
