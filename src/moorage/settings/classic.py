"""The classic configuration: distribution's config.yml and REGISTRY_*, as the registry:2 and registry:3 images read it.

What has an effect is translated into settings; `moorage.settings.classic_keys` says what becomes of each key. On top of
it MOORAGE_* and options hold too, for what distribution has no key: workers, the database, time limits.
"""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from pathlib import Path

from moorage.errors import ConfigurationError
from moorage.settings.advice import advice
from moorage.settings.assemble import Given, assemble
from moorage.settings.classic_effects import translate
from moorage.settings.classic_environment import CONFIG_VARIABLE, overlay, unfold
from moorage.settings.classic_keys import Branch, Fate, tree
from moorage.settings.document import Document, Mapping, Node, Scalar, Sequence, parse_document, read_document
from moorage.settings.model import Settings
from moorage.settings.names import suggestion
from moorage.settings.native import from_environment, from_options
from moorage.settings.origin import Loaded, Origin

IMAGE_CONFIGURATION = """\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""
"""What the registry images hold in /etc, in force when no file is named."""

_DEFAULT = Origin("classic default")
_DEFAULTS = {
    "data": Given("/var/lib/registry", _DEFAULT),
    "listen": Given([":5000"], _DEFAULT),
    "auth.kind": Given("none", _DEFAULT),
    "allow_plaintext": Given(True, _DEFAULT),
    "storage.delete_enabled": Given(False, _DEFAULT),
    "log.format": Given("text", _DEFAULT),
}


def load_classic(
    file: Path | None, environ: AbstractMapping[str, str], options: AbstractMapping[str, object]
) -> Loaded:
    """The settings in force, from *file*, else REGISTRY_CONFIGURATION_PATH, else the images' own configuration.

    *environ* has REGISTRY_* and MOORAGE_*, *options* are by dotted path of the settings. Raises ConfigurationError.
    """
    if file is None and environ.get(CONFIG_VARIABLE):
        file = Path(environ[CONFIG_VARIABLE])
    document = (
        parse_document(IMAGE_CONFIGURATION, "image default", lines=False) if file is None else read_document(file)
    )
    root, warnings = overlay(unfold(_root(document)), environ)
    warnings[:0] = [
        f"{origin}: {key} is given a second time; the last one counts" for key, origin in document.duplicates
    ]
    _examine(root, tree(), warnings, quiet=False)
    values, more = translate(root)
    native, unknown = from_environment(environ)
    given = values | native | from_options(options)
    if "auth.htpasswd" in given and "auth.kind" not in given:
        given["auth.kind"] = Given("htpasswd", given["auth.htpasswd"].origin)
    settings, origins = assemble(_DEFAULTS | given)
    said = (*warnings, *more, *unknown, *advice(settings, "classic"))
    return Loaded(settings, origins, tuple(dict.fromkeys(said)), "classic")


def _root(document: Document) -> Mapping:
    root = document.root
    if not isinstance(root, Mapping):
        raise ConfigurationError("a configuration is a map that begins with version: 0.1", root.origin.source)
    version = root.entries.get("version")
    if version is None and root.entries.keys() <= Settings.model_fields.keys():
        sentence = "has to be 0.1 in a classic configuration; one of Moorage's own goes with --config FILE"
        raise ConfigurationError(sentence, root.origin.source, "version", root.origin.line)
    if not isinstance(version, Scalar) or version.text != "0.1":
        origin = root.keys.get("version", root.origin)
        raise ConfigurationError("has to be 0.1", origin.source, "version", origin.line)
    return root


def _examine(node: Node, branch: Branch, warnings: list[str], *, quiet: bool) -> None:
    """Refuses what cannot be ignored and what is unknown, notes what has no effect; *quiet* below what was noted."""
    if isinstance(node, Sequence):
        for item in node.items:
            _examine(item, branch, warnings, quiet=quiet)
    if isinstance(node, Scalar) and not node.null and branch.children and not branch.open:
        raise ConfigurationError("is a section", node.origin.source, branch.path, node.origin.line)
    if not isinstance(node, Mapping):
        return
    for name, value in node.entries.items():
        origin = node.keys[name]
        path = f"{branch.path}.{name}".lstrip(".")
        child = branch.children.get(name)
        if child is None:
            if branch.open:
                continue
            known = suggestion(name, branch.children)
            raise ConfigurationError(f"is not known{known}", origin.source, path, origin.line)
        _examine(value, child, warnings, quiet=_judged(value, child, origin, warnings, quiet=quiet))


def _judged(node: Node, branch: Branch, origin: Origin, warnings: list[str], *, quiet: bool) -> bool:
    """Applies the fate of a key; whether nothing more is to be said below it."""
    key = branch.key
    if key is None or quiet or key.fate in (Fate.EFFECT, Fate.COVERED):
        return quiet
    if not key.when(node):
        return quiet
    if key.fate is Fate.REFUSED:
        raise ConfigurationError(key.note, origin.source, branch.path, origin.line)
    warnings.append(f"{origin}: {branch.path}: {key.note}")
    return True
