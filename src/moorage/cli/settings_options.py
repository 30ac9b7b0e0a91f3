"""The settings that are options of commands too, made from the settings themselves."""

from __future__ import annotations

from collections.abc import Sequence

import click

from moorage.settings.names import Leaf, options


def as_options(only: Sequence[str] | None = None) -> list[click.Parameter]:
    """A click option for every setting that has a flag, or for those of the paths in *only*.

    The value arrives as text under the dotted path with `__` for the dots; the settings check it.
    """
    return [_option(leaf) for leaf in options() if only is None or leaf.path in only]


def _option(leaf: Leaf) -> click.Option:
    name = leaf.path.replace(".", "__")
    text = f"{leaf.description}  [{leaf.path}]"
    if isinstance(leaf.default, bool):
        return click.Option([f"{leaf.flag}/--no-{str(leaf.flag).removeprefix('--')}", name], default=None, help=text)
    return click.Option([leaf.flag or "", name], multiple=leaf.shape == "list", help=text)
