"""The names of a setting: dotted path, environment variable, option; and which words are meant by a misspelt one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeGuard, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from moorage.settings.fields import Section
from moorage.settings.model import Settings
from moorage.settings.units import parse_duration, parse_size

PREFIX = "MOORAGE_"
CONFIG_VARIABLE = "MOORAGE_CONFIG"
"""Names the file; it is no setting."""

_SERVICE_LINK = re.compile(
    r"[A-Z0-9_]+?_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_LINK_VALUE = re.compile(r"(?:tcp|udp|sctp)://.*")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting.

    *shape* is "scalar", "list" (of scalars), "sections" (a list of them) or "map"; *unit* "duration", "size" or None.
    """

    path: str
    shape: str
    optional: bool
    unit: str | None
    default: object
    choices: tuple[str, ...]
    description: str
    secret: bool
    flag: str | None

    @property
    def variable(self) -> str:
        """The environment variable: `http.drain_timeout` is MOORAGE_HTTP_DRAIN_TIMEOUT."""
        return PREFIX + self.path.replace(".", "_").upper()


@cache
def leaves() -> Mapping[str, Leaf]:
    """Every setting by its dotted path, in the model's order."""
    return {leaf.path: leaf for leaf in _walk(Settings, "")}


@cache
def variables() -> Mapping[str, Leaf]:
    """Every setting by its environment variable; MOORAGE_AUTH is short for the kind."""
    return {leaf.variable: leaf for leaf in leaves().values()} | {PREFIX + "AUTH": leaves()["auth.kind"]}


def options() -> tuple[Leaf, ...]:
    """The settings that are options of `moorage serve` too; each has a *flag*."""
    return tuple(leaf for leaf in leaves().values() if leaf.flag is not None)


def sections() -> Mapping[str, type[Section]]:
    """Every section by its dotted path; "" is the top."""
    return {"": Settings, **dict(_sections(Settings, ""))}


def suggestion(word: str, known: Iterable[str]) -> str:
    """The question to append to a complaint about *word*; empty when nothing known is near."""
    by_folded = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower()[:200], by_folded, n=1, cutoff=0.7)
    return f"; did you mean {by_folded[near[0]]}?" if near else ""


def is_service_link(variable: str, value: str) -> bool:
    """Whether Kubernetes or `docker run --link` set *variable* because of a service of that name.

    Source: Kubernetes, "Service environment variables"; Docker, "Legacy container links".
    """
    if _SERVICE_LINK.fullmatch(variable):
        return True
    return variable.endswith("_PORT") and bool(_LINK_VALUE.fullmatch(value))


def is_section(annotation: Any) -> TypeGuard[type[Section]]:
    """Whether a field of this type has settings below it."""
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _sections(section: type[Section], prefix: str) -> Iterator[tuple[str, type[Section]]]:
    for name, info in section.model_fields.items():
        if is_section(info.annotation):
            yield prefix + name, info.annotation
            yield from _sections(info.annotation, f"{prefix}{name}.")


def _walk(section: type[Section], prefix: str) -> Iterator[Leaf]:
    for name, info in section.model_fields.items():
        if is_section(info.annotation):
            yield from _walk(info.annotation, f"{prefix}{name}.")
        else:
            yield _leaf(prefix + name, info)


def _leaf(path: str, info: FieldInfo) -> Leaf:
    extra: dict[str, Any] = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    flag = extra.get("option")
    kinds = list(_parts(info.annotation))
    parsers = {part.func for part in (*info.metadata, *kinds) if isinstance(part, BeforeValidator)}
    return Leaf(
        path=path,
        shape=_shape(kinds),
        optional=type(None) in kinds,
        unit="duration" if parse_duration in parsers else "size" if parse_size in parsers else None,
        default=info.default,
        choices=tuple(part for part in kinds if isinstance(part, str)),
        description=info.description or "",
        secret=bool(extra.get("secret")),
        flag="--" + path.replace(".", "-").replace("_", "-") if flag is True else flag,
    )


def _shape(kinds: list[Any]) -> str:
    if any(get_origin(part) is Mapping for part in kinds):
        return "map"
    if any(get_origin(part) is tuple for part in kinds):
        return "sections" if any(is_section(part) for part in kinds) else "list"
    return "scalar"


def _parts(annotation: Any) -> Iterator[Any]:
    """The annotation and everything it is made of: members of unions, items of tuples, values of literals."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)
