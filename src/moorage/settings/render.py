"""What is in force, for `moorage config`: a moorage.yml in which every line says where its value came from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import yaml

from moorage.settings.fields import Section
from moorage.settings.model import Settings
from moorage.settings.names import Leaf, is_section, leaves
from moorage.settings.origin import Loaded
from moorage.settings.units import format_duration, format_size

MASK = "********"

_CERTIFICATES = {
    "files": "TLS with the certificate in tls.certificate.",
    "acme": "TLS with certificates that are got from acme.directory for tls.domains.",
    "private": "TLS with a certificate of the server's own private authority.",
    None: "No TLS.",
}
_SECRET_PARAMETER = re.compile(r"([?&][^=&]*(?:password|passwd|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_COMMENT_COLUMN = 48


def render(loaded: Loaded) -> str:
    """The settings as the text of a moorage.yml, which reads back as the same settings save for what is masked."""
    lines = [
        f"# What is in force ({loaded.mode} mode), and where each value came from.",
        f"# {_CERTIFICATES[loaded.settings.certificates_from]}",
    ]
    lines.extend(_section(loaded, Settings, "", loaded.settings))
    return "\n".join(lines) + "\n"


def shown(leaf: Leaf, value: object) -> str:
    """*value* as one writes it in moorage.yml, on one line and without secrets."""
    if leaf.secret and isinstance(value, str):
        value = masked(value)
    elif leaf.unit == "duration" and isinstance(value, float):
        value = format_duration(value)
    elif leaf.unit == "size" and isinstance(value, int):
        value = format_size(value)
    text = yaml.safe_dump(_plain(value), default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def masked(url: str) -> str:
    """*url* without its password: between the first colon and the last @, and in parameters that are named so."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return MASK
    userinfo, at, place = rest.rpartition("@")
    if at:
        user, colon, _password = userinfo.partition(":")
        rest = f"{user}{colon}{MASK if colon else ''}@{place}"
    return _SECRET_PARAMETER.sub(rf"\g<1>{MASK}", f"{scheme}://{rest}")


def _section(loaded: Loaded, section: type[Section], path: str, values: Section) -> list[str]:
    lines = []
    depth = "  " * (path.count(".") + 1 if path else 0)
    for name, info in section.model_fields.items():
        child = f"{path}.{name}" if path else name
        if is_section(info.annotation):
            lines.append(f"{depth}{name}:")
            lines.extend(_section(loaded, info.annotation, child, getattr(values, name)))
        else:
            line = f"{depth}{name}: {shown(leaves()[child], getattr(values, name))}"
            origin = _CONTROL.sub("?", str(loaded.origins[child]))
            lines.append(f"{line:<{_COMMENT_COLUMN}}  # {origin}")
    return lines


def _plain(value: object) -> object:
    if isinstance(value, Path | IPv4Network | IPv6Network):
        return str(value)
    if isinstance(value, Section):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
