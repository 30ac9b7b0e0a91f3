"""A YAML document as a tree in which every node knows its line.

PyYAML's own loaders are not used: they forget lines, guess types before anybody knows what a key means (`on`, `1e3`,
`22:22`, dates), construct recursively, and unfold aliases without a limit. Here every scalar stays the text it is, so
that the setting's own type reads it, and size, depth and unfolding are bounded while the parser's events come in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from moorage.errors import ConfigurationError
from moorage.settings.origin import Origin

LARGEST_FILE = 1 << 20
DEEPEST = 32
MOST_NODES = 20_000
"""Nodes after aliases are unfolded. All three limits are arbitrary, far above any configuration written by hand."""

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map"))
"""The tags of YAML's core schema; they may stand there, and say nothing that the setting's own type does not."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """*plain* is whether it stood without quotes, and so may be null."""

    text: str
    origin: Origin
    plain: bool = True

    @property
    def null(self) -> bool:
        """Whether it is no value at all: nothing, `~` or `null`."""
        return self.plain and self.text in _NULL


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list; its origin is where it begins."""

    items: tuple[Node, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Mapping:
    """A map from text; *keys* are the origins of the keys."""

    entries: dict[str, Node]
    keys: dict[str, Origin]
    origin: Origin


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Document:
    """*root* is a null scalar for an empty document; *duplicates* are keys given again, of which the last counts."""

    root: Node
    duplicates: tuple[tuple[str, Origin], ...]


def read_document(path: Path) -> Document:
    """The document in the file at *path*. Raises ConfigurationError with the line where it has one."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror or error}", str(path)) from None
    except ValueError:
        raise ConfigurationError("is not the name of a file", repr(str(path))) from None
    if len(data) > LARGEST_FILE:
        raise ConfigurationError(f"is larger than {LARGEST_FILE >> 20} MiB", str(path))
    return parse_document(data, str(path))


def parse_document(data: bytes | str, source: str, *, lines: bool = True) -> Document:
    """The one document in *data*. Raises ConfigurationError; *lines* is off for what has none, a variable's value."""
    builder = _Builder(source, lines=lines)
    try:
        for event in yaml.parse(data, Loader=yaml.SafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        problem = " ".join(part for part in (error.context, error.problem) if part)
        line = error.problem_mark.line + 1 if error.problem_mark and lines else None
        raise ConfigurationError(f"not YAML: {problem}", source, line=line) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        sentence = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigurationError(f"not YAML: {sentence}", source) from None
    root = builder.root or Scalar("", Origin(source, 1 if lines else None))
    return Document(root, tuple(builder.duplicates))


def plain(node: Node) -> object:
    """The node as text, None, lists and dicts."""
    if isinstance(node, Scalar):
        return None if node.null else node.text
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, value in node.entries.items()}


def descend(node: Node, location: tuple[str | int, ...]) -> Node:
    """The node at *location*, or the last one on the way there."""
    for step in location:
        if isinstance(node, Mapping) and step in node.entries:
            node = node.entries[str(step)]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            break
    return node


@dataclass(slots=True)
class _Open:
    """A list or map whose end has not come yet."""

    origin: Origin
    anchor: str | None
    is_map: bool
    nodes: list[Node] = field(default_factory=list)
    weight: int = 1
    height: int = 1


class _Builder:
    def __init__(self, source: str, *, lines: bool) -> None:
        self.root: Node | None = None
        self.duplicates: list[tuple[str, Origin]] = []
        self._source, self._lines = source, lines
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._documents = 0

    def take(self, event: Any) -> None:
        origin = Origin(self._source, event.start_mark.line + 1 if self._lines and event.start_mark else None)
        if isinstance(event, yaml.ScalarEvent):
            self._check(event, origin)
            is_plain = event.style is None and event.tag is None
            self._place(Scalar(event.value, origin, is_plain), event.anchor, 1, 1)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._error(f"the alias *{event.anchor} names nothing that stands above it", origin)
            self._place(self._anchors[event.anchor][0], None, *self._anchors[event.anchor][1:])
        elif isinstance(event, yaml.CollectionStartEvent):
            self._check(event, origin)
            self._stack.append(_Open(origin, event.anchor, isinstance(event, yaml.MappingStartEvent)))
            if len(self._stack) > DEEPEST:
                raise self._error(f"is nested deeper than {DEEPEST} levels", origin)
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = self._stack.pop()
            node = self._map(closed) if closed.is_map else Sequence(tuple(closed.nodes), closed.origin)
            self._place(node, closed.anchor, closed.weight, closed.height)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._error("a second document begins here; only one is read", origin)

    def _check(self, event: Any, origin: Origin) -> None:
        if event.tag is not None and event.tag != "!" and event.tag not in _TAGS:
            raise self._error(f"the tag {event.tag} means nothing here", origin)
        text = getattr(event, "value", "")
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise self._error("a NUL or a half of a character stands in a value", origin)

    def _place(self, node: Node, anchor: str | None, weight: int, height: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, weight, height)
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        parent.nodes.append(node)
        parent.weight += weight
        parent.height = max(parent.height, height + 1)
        if parent.weight > MOST_NODES or sum(level.weight for level in self._stack) > MOST_NODES:
            raise self._error(f"holds more than {MOST_NODES} values", node.origin)
        if parent.height + len(self._stack) > DEEPEST:
            raise self._error(f"is nested deeper than {DEEPEST} levels", node.origin)

    def _map(self, closed: _Open) -> Mapping:
        entries: dict[str, Node] = {}
        keys: dict[str, Origin] = {}
        merged: list[Mapping] = []
        for key, value in zip(closed.nodes[::2], closed.nodes[1::2], strict=True):
            if not isinstance(key, Scalar):
                raise self._error("a key is text, not a list or map", key.origin)
            if key.plain and key.text == "<<":
                merged.extend(self._merged(value))
                continue
            if key.text in entries:
                self.duplicates.append((key.text, key.origin))
            entries[key.text], keys[key.text] = value, key.origin
        for mapping in merged:
            for name, value in mapping.entries.items():
                if name not in entries:
                    entries[name], keys[name] = value, mapping.keys[name]
        return Mapping(entries, keys, closed.origin)

    def _merged(self, value: Node) -> Iterator[Mapping]:
        for node in value.items if isinstance(value, Sequence) else (value,):
            if not isinstance(node, Mapping):
                raise self._error("<< takes a map or a list of maps", node.origin)
            yield node

    def _error(self, message: str, origin: Origin) -> ConfigurationError:
        return ConfigurationError(message, origin.source, line=origin.line)
