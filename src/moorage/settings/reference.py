"""The reference page of all settings, written from the model and from the table of classic keys.

`make docs` renews it; a test fails while it is old.
"""

from __future__ import annotations

import sys

from moorage.settings.classic_keys import KEYS, Fate, Key
from moorage.settings.names import Leaf, leaves, sections
from moorage.settings.render import shown

_HEAD = """\
# Settings

<!-- Written by `make docs` from the settings themselves. -->

Each setting has one name, a dotted path, and three places: a file, the environment, and for the most used ones an
option of `moorage serve`. A later place wins over an earlier one. `moorage config` shows what is in force and where
each value came from.

- **The file** is the one that `--config` names, else the one that the variable `MOORAGE_CONFIG` names, else
  `moorage.yml` in the working directory if it is there. A dot in a name is a level of indentation. An unknown key is an
  error with its line.
- **The environment**: `MOORAGE_` and the path in capitals, with `_` for each dot. A list is `a,b` or `[a, b]`, a map
  `{a: b}`. An empty variable counts as not set; an unknown one is a warning.
- **Options** of `moorage serve` are below; one that takes a list may be repeated.

Durations are written `20s`, `1m30s`, `168h` or `7d`, a bare number is seconds. Sizes are written `4MiB`, `32KiB` or
`1GB`, a bare number is bytes. Relative paths start at the working directory.
"""

_CLASSIC = """\
## The classic configuration

`moorage serve config.yml` with a file that begins with `version: 0.1`, `moorage serve --classic`, and `moorage` called
as `registry` read the configuration of the registry:2 and registry:3 images: the file (else the one that
`REGISTRY_CONFIGURATION_PATH` names, else what the images hold) and the variables `REGISTRY_*`. They are never read
otherwise: Kubernetes puts `REGISTRY_PORT` and its like into every pod beside a service of that name, and a variable
alone must not open a registry.

A variable's name is the key's path in capitals, joined by `_`: `http.tls.certificate` is
`REGISTRY_HTTP_TLS_CERTIFICATE`, the second of `http.tls.clientcas` is `REGISTRY_HTTP_TLS_CLIENTCAS_1`. Its value is
YAML. Variables are applied in the order of their names, and each replaces what it names as a whole:
`REGISTRY_STORAGE=filesystem` clears what the file says about storage, `REGISTRY_STORAGE_DELETE_ENABLED=true` changes
one key. Durations are Go's, a bare number is nanoseconds. `MOORAGE_*` variables and options hold here too and win, for
what distribution has no key: workers, database, time limits.

As with those images, nobody is asked for a password until `auth` is set, deleting is off until `storage.delete.enabled`
is true, and plain HTTP is allowed everywhere; start warns of the first and the last. An unknown key in the file is an
error with its line, an unknown variable a warning, and one that would name an unknown storage driver or kind of `auth`
an error too.

What happens to a key:

- **effect**: it does here what it does there, or the nearest to it.
- **not needed**: it may stay; what it is for is done already or never arises.
- **otherwise**: what it asks for is done in another way; start says so when it asks for something else.
- **no effect**: it may stay, and start says that it does nothing.
- **refused**: the server does not start, because going on without it would open the registry or lose data.

"""


def page() -> str:
    """The whole page, in Markdown."""
    parts = [_HEAD]
    for path, section in sections().items():
        own = [leaf for leaf in leaves().values() if leaf.path.rpartition(".")[0] == path]
        title = f"`{path}`" if path else "General"
        intro = f"{(section.__doc__ or '').strip()}\n\n" if path else ""
        parts.append(f"## {title}\n\n{intro}{_table(own)}" if own else "")
    parts.append(_CLASSIC + _classic_table())
    return "\n".join(part for part in parts if part)


def _table(own: list[Leaf]) -> str:
    rows = ["| Setting | Variable | Option | Default | Meaning |", "|---|---|---|---|---|"]
    for leaf in own:
        default = _default(leaf)
        meaning = _cell(leaf.description)
        if leaf.choices and leaf.shape == "scalar":
            meaning = f"{meaning} One of {', '.join(_code(choice) for choice in leaf.choices)}."
        flag = _code(leaf.flag) if leaf.flag else ""
        rows.append(f"| {_code(leaf.path)} | {_code(leaf.variable)} | {flag} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def _default(leaf: Leaf) -> str:
    if leaf.default is None or (not leaf.default and leaf.shape != "scalar"):
        return ""
    items = leaf.default if isinstance(leaf.default, tuple) else (leaf.default,)
    return ", ".join(_code(item if isinstance(item, str) else shown(leaf, item)) for item in items)


def _classic_table() -> str:
    rows = ["| Key | What happens | More |", "|---|---|---|"]
    rows.extend(f"| {_code(key.path.replace(',', ', '))} | {key.fate.value} | {_cell(_more(key))} |" for key in KEYS)
    return "\n".join(rows) + "\n"


def _more(key: Key) -> str:
    note = key.note
    if not note and key.fate not in (Fate.EFFECT, Fate.COVERED):
        return "With the key above."
    if note and note[0].islower() and key.fate is not Fate.EFFECT:
        note = note[0].upper() + note[1:]
    if note and not note.endswith("."):
        note += "."
    return " ".join(part for part in (f"Is `{key.to}`." if key.to else "", note) if part)


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
