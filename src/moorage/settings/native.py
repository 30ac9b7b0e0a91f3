"""Moorage's own configuration: moorage.yml, MOORAGE_* and options, the later before the earlier.

The file is the one that --config names, else MOORAGE_CONFIG, else moorage.yml in the working directory if it is there.
An unknown key in it is an error, since nobody writes one by accident of the environment; an unknown MOORAGE_* variable
is a warning, since an orchestrator may set one. An empty variable counts as not set.
"""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from pathlib import Path

from moorage.errors import ConfigurationError
from moorage.settings.advice import advice
from moorage.settings.assemble import Given, assemble
from moorage.settings.document import Mapping, Node, Scalar, Sequence, parse_document, plain, read_document
from moorage.settings.fields import Section
from moorage.settings.model import Settings
from moorage.settings.names import (
    CONFIG_VARIABLE,
    PREFIX,
    Leaf,
    is_section,
    is_service_link,
    leaves,
    suggestion,
    variables,
)
from moorage.settings.origin import DEFAULT, Loaded, Origin

DEFAULT_FILE = Path("moorage.yml")
_NOTHING = Given(None, DEFAULT)
CLASSIC_PREFIX = "REGISTRY_"


def load_native(file: Path | None, environ: AbstractMapping[str, str], options: AbstractMapping[str, object]) -> Loaded:
    """The settings in force, from *file* (or the default one), *environ* and *options* by dotted path.

    An option that is None or an empty list was not given. With `tls.domains`, and nothing said of `listen`, that is
    port 443. Raises ConfigurationError.
    """
    file = file or _default_file(environ)
    given = {} if file is None else from_file(file)
    values, warnings = from_environment(environ)
    given |= values
    given |= from_options(options)
    if "auth.htpasswd" in given and "auth.kind" not in given:
        given["auth.kind"] = Given("htpasswd", given["auth.htpasswd"].origin)
    if "listen" not in given and given.get("tls.domains", _NOTHING).value:
        given["listen"] = Given([":443"], given["tls.domains"].origin)
    settings, origins = assemble(given)
    warnings.extend(_foreign(environ))
    return Loaded(settings, origins, (*warnings, *advice(settings, "native")), "native")


def from_file(file: Path) -> dict[str, Given]:
    """The values in moorage.yml. Raises ConfigurationError with the line of what is wrong."""
    document = read_document(file)
    for key, origin in document.duplicates:
        raise ConfigurationError("is given a second time", origin.source, key, origin.line)
    given: dict[str, Given] = {}
    if isinstance(document.root, Mapping):
        if "version" in document.root.keys:
            line = document.root.keys["version"].line
            hint = "is no setting of Moorage; a classic configuration goes without --config: moorage serve FILE"
            raise ConfigurationError(hint, str(file), "version", line)
        _collect(Settings, "", document.root, given)
    elif not (isinstance(document.root, Scalar) and document.root.null):
        raise ConfigurationError("a configuration is a map of settings", str(file), line=document.root.origin.line)
    return given


def from_environment(environ: AbstractMapping[str, str]) -> tuple[dict[str, Given], list[str]]:
    """The values of MOORAGE_* variables, and a warning for each one that is unknown. Raises ConfigurationError."""
    given: dict[str, Given] = {}
    warnings = []
    for name in sorted(environ):
        text = environ[name]
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or not text:
            continue
        leaf = variables().get(name)
        if leaf is not None:
            given[leaf.path] = _from_variable(leaf, name, text)
        elif not is_service_link(name, text):
            warnings.append(f"{name}: no setting has this name{suggestion(name, variables())}")
    return given, warnings


def from_options(options: AbstractMapping[str, object]) -> dict[str, Given]:
    """The values of options, by dotted path; None and an empty list are as good as not given."""
    return {
        path: Given(value, Origin(leaves()[path].flag or path))
        for path, value in options.items()
        if value is not None and value not in ((), [])
    }


def _default_file(environ: AbstractMapping[str, str]) -> Path | None:
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE])
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _collect(section: type[Section], prefix: str, mapping: Mapping, given: dict[str, Given]) -> None:
    for name, node in mapping.entries.items():
        origin = mapping.keys[name]
        info = section.model_fields.get(name)
        path = prefix + name
        if info is None:
            known = [key for key in leaves() if key.rpartition(".")[2] == name] or list(section.model_fields)
            raise ConfigurationError(
                f"is not known{suggestion(known[0] if len(known) == 1 else name, known)}",
                origin.source,
                path,
                origin.line,
            )
        if not is_section(info.annotation):
            given[path] = Given(_value(leaves()[path], node), origin, node)
        elif isinstance(node, Mapping):
            _collect(info.annotation, f"{path}.", node, given)
        elif path == "auth" and isinstance(node, Scalar) and not node.null:
            given["auth.kind"] = Given(node.text, origin, node)
        elif not (isinstance(node, Scalar) and node.null):
            raise ConfigurationError("is a section: its settings stand below it", origin.source, path, origin.line)


def _value(leaf: Leaf, node: Node) -> object:
    if isinstance(node, Scalar) and node.null and not leaf.optional:
        if leaf.shape == "scalar":
            raise ConfigurationError("has no value", node.origin.source, leaf.path, node.origin.line)
        return {} if leaf.shape == "map" else []
    if isinstance(node, Scalar) and leaf.shape == "list":
        return [node.text]
    return plain(node)


def _from_variable(leaf: Leaf, name: str, text: str) -> Given:
    origin = Origin(name)
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigurationError("is not UTF-8 text", name, leaf.path)
    if leaf.shape == "scalar":
        return Given(text, origin)
    if leaf.shape == "list" and not (text.startswith("[") and text.endswith("]")):
        return Given([item.strip() for item in text.split(",") if item.strip()], origin)
    node = parse_document(text, name, lines=False).root
    if leaf.shape == "list" and not isinstance(node, Sequence):
        raise ConfigurationError("is a list: a,b or [a, b]", name, leaf.path)
    return Given(plain(node), origin, node)


def _foreign(environ: AbstractMapping[str, str]) -> list[str]:
    """At most one warning: a classic registry's variables do nothing unless the classic mode is asked for by name.

    Kubernetes puts REGISTRY_PORT and its like into every pod beside a service of that name; those say nothing.
    """
    names = [
        name
        for name, text in sorted(environ.items())
        if name.startswith(CLASSIC_PREFIX) and not is_service_link(name, text)
    ]
    if not names:
        return []
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [f"{shown}: REGISTRY_* variables have an effect only with `moorage serve --classic`"]
