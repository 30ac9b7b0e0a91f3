"""From values as they were given to validated settings, and from pydantic's complaints to one that names the place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from moorage.errors import ConfigurationError
from moorage.settings.document import Node, Scalar, descend
from moorage.settings.model import Settings
from moorage.settings.names import leaves
from moorage.settings.origin import DEFAULT, Origin

_SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "bool_parsing": "is true or false",
    "bool_type": "is true or false",
    "int_parsing": "is a whole number",
    "int_type": "is a whole number",
    "int_from_float": "is a whole number",
    "string_type": "is a text",
    "path_type": "is a path",
    "tuple_type": "is a list",
    "mapping_type": "is a map",
    "model_type": "is a map",
    "too_short": "needs one value at least",
}
_LONGEST_QUOTED = 80


@dataclass(frozen=True, slots=True)
class Given:
    """A value for one setting, raw; *node* is where it stands in a document, to find the line of a part of it."""

    value: object
    origin: Origin
    node: Node | None = None


def assemble(given: Mapping[str, Given]) -> tuple[Settings, dict[str, Origin]]:
    """Settings from values by dotted path, and every leaf's origin. Raises ConfigurationError for the first fault."""
    nested: dict[str, Any] = {}
    for path, value in given.items():
        *sections, name = path.split(".")
        level = nested
        for section in sections:
            level = level.setdefault(section, {})
        level[name] = value.value
    try:
        settings = Settings.model_validate(nested)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=True)[0]
        raise _complaint(fault["type"], fault["msg"], fault["loc"], fault.get("ctx", {}), given) from None
    return settings, {path: given[path].origin if path in given else DEFAULT for path in leaves()}


def _complaint(
    kind: str, message: str, location: tuple[str | int, ...], context: Mapping[str, Any], given: Mapping[str, Given]
) -> ConfigurationError:
    path, rest = _setting(location)
    sentence = _SENTENCES.get(kind) or message.removeprefix("Value error, ").replace("Input should", "should")
    if kind == "literal_error":
        sentence = f"is one of {context['expected'].replace(chr(39), '')}"
    if path not in given:
        origin = next((value.origin for key, value in given.items() if key.startswith(f"{path}.")), DEFAULT)
        return ConfigurationError(sentence, origin.source, path, origin.line)
    value = given[path]
    text = _quotable(value, rest)
    if isinstance(value.node, Scalar) or (
        value.node is None and isinstance(value.value, list | tuple) and len(value.value) == 1
    ):
        rest = ()  # one value stands for a list of one
    at = value.origin if value.node is None else _origin(descend(value.node, rest), value.origin)
    name = value.origin.key or path
    for step in rest:
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if step != "[key]" else ""
    if text is not None and kind not in ("missing", "extra_forbidden") and not leaves()[path].secret:
        sentence += f"; this is {text!r}"
    return ConfigurationError(sentence, at.source, name, at.line)


def _setting(location: tuple[str | int, ...]) -> tuple[str, tuple[str | int, ...]]:
    """The dotted path that *location* begins with, and the way from there into its value."""
    for length in range(1, len(location) + 1):
        path = ".".join(str(step) for step in location[:length])
        if path in leaves():
            return path, location[length:]
    return ".".join(str(step) for step in location), ()


def _origin(node: Node, otherwise: Origin) -> Origin:
    return node.origin if node.origin.line is not None else otherwise


def _quotable(value: Given, rest: tuple[str | int, ...]) -> str | None:
    found: object = value.value
    if value.node is not None:
        node = descend(value.node, rest)
        found = node.text if isinstance(node, Scalar) else None
    elif isinstance(found, list | tuple) and rest and isinstance(rest[0], int):
        found = found[rest[0]]
    return found[:_LONGEST_QUOTED] if isinstance(found, str) else None
