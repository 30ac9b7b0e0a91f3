"""REGISTRY_* variables, laid over a classic configuration by distribution's rules.

The name after REGISTRY_ is a path joined by underscores: keys of sections by their name, items of lists by their index,
keys of open maps lower-cased. Variables are applied in the order of their names, so that REGISTRY_STORAGE comes before
REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY; each value is YAML, and what it names is replaced as a whole. Source:
distribution's configuration/parser.go.
"""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping

from moorage.errors import ConfigurationError
from moorage.settings.classic_keys import Branch, given, tree, variables
from moorage.settings.document import Mapping, Node, Scalar, Sequence, parse_document
from moorage.settings.names import is_service_link, suggestion
from moorage.settings.origin import Origin

PREFIX = "REGISTRY_"
CONFIG_VARIABLE = "REGISTRY_CONFIGURATION_PATH"
"""Names the file; it is no key."""

_CHOSEN_BY_NAME = ("storage", "auth")
"""Sections in which a name chooses a driver, and may stand alone: `auth: none`."""


class _UnknownError(Exception):
    """No key is meant; *section* is the one that has no such child."""

    def __init__(self, section: str) -> None:
        self.section = section


def unfold(root: Mapping) -> Mapping:
    """*root* with `storage: filesystem` and `auth: none` written out as sections."""
    entries = dict(root.entries)
    for name in _CHOSEN_BY_NAME:
        if name in entries:
            entries[name] = _unfolded(entries[name])
    return Mapping(entries, root.keys, root.origin)


def overlay(root: Mapping, environ: AbstractMapping[str, str]) -> tuple[Mapping, list[str]]:
    """*root* with the variables of *environ* laid over, and a warning for each that means nothing.

    Raises ConfigurationError for a value that is not YAML, an index beyond the end of a list, and a name of no storage
    driver or kind of authentication: going on without it could open the registry.
    """
    warnings = []
    for name in sorted(environ):
        text = environ[name]
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or is_service_link(name, text):
            continue
        try:
            root = _applied(root, name, text)
        except _UnknownError as unknown:
            complaint = f"no key of the configuration has this name{suggestion(name, variables())}"
            if unknown.section in _CHOSEN_BY_NAME:
                raise ConfigurationError(complaint, name) from None
            warnings.append(f"{name}: {complaint}")
    return root, warnings


def _applied(root: Mapping, name: str, text: str) -> Mapping:
    path = name.removeprefix(PREFIX).split("_")
    origin = Origin(name)
    value = parse_document(text, name, lines=False).root
    if path == ["AUTH"] and not given(value) and given(root.entries.get("auth", value)):
        raise ConfigurationError(
            "is empty, which would open the registry to everyone; unset it, or set it to none if that is meant", name
        )
    node = _set(root, tree(), path, value, origin)
    assert isinstance(node, Mapping)
    return unfold(node)


def _set(node: Node | None, branch: Branch | None, path: list[str], value: Node, origin: Origin) -> Node:
    """*node* with *value* in the place that *path* names below it; *branch* is None where anything may stand."""
    if not path:
        return value
    if isinstance(node, Scalar) and given(node):
        raise _UnknownError(branch.path if branch else "")
    if isinstance(node, Sequence) or (branch is not None and branch.is_list):
        return _set_item(node if isinstance(node, Sequence) else None, branch, path, value, origin)
    return _set_key(node if isinstance(node, Mapping) else None, branch, path, value, origin)


def _set_item(node: Sequence | None, branch: Branch | None, path: list[str], value: Node, origin: Origin) -> Node:
    items = list(node.items) if node else []
    index = int(path[0]) if path[0].isascii() and path[0].isdigit() and len(path[0]) < 6 else None
    if index is None:
        raise _UnknownError(branch.path if branch else "")
    if index > len(items):
        raise ConfigurationError(f"has the index {index}, and the list has {len(items)} items", origin.source)
    before = items[index] if index < len(items) else None
    inside = None if branch is None else Branch(branch.path, children=branch.children, variables=branch.variables)
    if inside is not None and len(path) > 1 and not inside.children:
        raise _UnknownError(inside.path)
    items[index : index + 1] = [_set(before, inside, path[1:], value, origin)]
    return Sequence(tuple(items), node.origin if node else origin)


def _set_key(node: Mapping | None, branch: Branch | None, path: list[str], value: Node, origin: Origin) -> Node:
    entries, keys = (dict(node.entries), dict(node.keys)) if node else ({}, {})
    child: Branch | None = None
    if branch is not None and path[0] in branch.variables:
        name = branch.variables[path[0]]
        child = branch.children[name]
        if child.open and not child.children:
            child = None
        elif len(path) > 1 and not child.children and not child.is_list:
            raise _UnknownError(child.path)
    elif branch is None or branch.open:
        name = next((key for key in entries if key.upper() == path[0].upper()), path[0].lower())
    else:
        raise _UnknownError(branch.path)
    before = entries.get(name)
    entries[name] = _set(before, child, path[1:], value, origin)
    if len(path) == 1 or before is None:
        keys[name] = origin
    return Mapping(entries, keys, node.origin if node else origin)


def _unfolded(node: Node) -> Node:
    if not isinstance(node, Scalar) or not given(node):
        return node
    nothing = Scalar("", node.origin)
    return Mapping({node.text: nothing}, {node.text: node.origin}, node.origin)
