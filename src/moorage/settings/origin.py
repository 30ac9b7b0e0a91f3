"""Where a value came from, and the settings together with that knowledge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from moorage.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Origin:
    """*source* is a file name, an environment variable, an option or "default"; *line* counts from 1.

    *key* is the name under which the value was found, where that is not the setting's own: `http.addr` of a classic
    configuration for `listen`.
    """

    source: str
    line: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        return where if self.key is None else f"{where} ({self.key})"


DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is in force.

    *origins* has every leaf's dotted path; *warnings* are sentences to say once at start, none of them with a secret.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    warnings: tuple[str, ...]
    mode: Literal["native", "classic"]
