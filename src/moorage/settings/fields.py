"""What settings are made of: the base of all sections, the marks on a field, and the types of values.

A type says in one sentence how a value is written; each is used by several sections, or guards what a section says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from moorage.settings.listen import parse_address
from moorage.settings.units import Seconds

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
"""RFC 9110, 5.6.2: a token."""
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]{0,8190}[\x21-\x7e])?)?")
"""RFC 9110, 5.5, without obs-text; 8 KiB is arbitrary."""
_SERVERS_OWN_HEADERS = frozenset(
    ("connection", "content-length", "date", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
_PREFIX = re.compile(r"/(?:[A-Za-z0-9._~-]{1,100}/){0,10}")
_PAGE = re.compile(r"/[A-Za-z0-9._~/-]{0,200}")
_DATABASE = re.compile(r"(?:sqlite:///|postgres(?:ql)?://)[^\s]{1,4000}")
_QUOTED_TEXT = re.compile(r'[^\x00-\x1f\x7f"\\]{1,200}')


def option(flag: str | None = None) -> dict[str, Any]:
    """Marks a field as a command-line option of `moorage serve`; *flag* where it is not the dotted path's own."""
    return {"option": flag or True}


def secret() -> dict[str, Any]:
    """Marks a field whose value is shown nowhere; a URL keeps everything but its password."""
    return {"secret": True}


def matching(pattern: re.Pattern[str], sentence: str) -> AfterValidator:
    """A type's mark: its text matches *pattern* as a whole, or *sentence* says how it is written."""

    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(sentence)
        return text

    return AfterValidator(check)


def _address(text: str) -> str:
    return str(parse_address(text))


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


def parse_external_url(text: str) -> str:
    """The URL without a path. Raises ValueError."""
    parts = urlsplit(text)
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain or parts.path not in ("", "/"):
        raise ValueError("an external URL is written https://registry.example.com, with a port or without, and no path")
    return f"{parts.scheme}://{parts.netloc}"


def _path(value: object) -> object:
    if isinstance(value, str) and (not value or "\0" in value):
        raise ValueError("a path is not empty and has no NUL in it")
    return value


def _peer(value: object) -> object:
    if isinstance(value, IPv4Network | IPv6Network) or value == "unix":
        return value
    try:
        return ip_network(str(value))
    except ValueError:
        raise ValueError("a network is written 10.0.0.0/8, fd00::/8, 192.0.2.7 or unix") from None


def _level(value: object) -> object:
    return {"warn": "warning"}.get(value.lower(), value.lower()) if isinstance(value, str) else value


def _values(headers: object) -> object:
    if not isinstance(headers, Mapping):
        return headers
    return {name: (value,) if isinstance(value, str) else value for name, value in headers.items()}


def _headers(headers: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    for name, values in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        if name.lower() in _SERVERS_OWN_HEADERS:
            raise ValueError(f"{name} is the server's own business and cannot be set")
        if not all(_HEADER_VALUE.fullmatch(value) for value in values):
            raise ValueError(f"the value of {name} has characters that a header cannot carry")
    return headers


FilePath = Annotated[Path, BeforeValidator(_path)]
ListenAddress = Annotated[str, AfterValidator(_address)]
PagePath = Annotated[str, matching(_PAGE, "a path is written /metrics: letters, digits, dots, dashes and slashes")]
Pattern = Annotated[str, Field(max_length=2000), AfterValidator(_pattern)]
ExternalUrl = Annotated[str, AfterValidator(parse_external_url)]
HeaderName = Annotated[str, matching(_HEADER_NAME, "a header's name is letters, digits and dashes: X-Remote-User")]
Headers = Annotated[Mapping[str, tuple[str, ...]], BeforeValidator(_values), AfterValidator(_headers)]
TrustedPeer = Annotated[IPv4Network | IPv6Network | Literal["unix"], BeforeValidator(_peer)]
Positive = Annotated[Seconds, Field(gt=0)]
Text = Annotated[str, matching(_QUOTED_TEXT, "1 to 200 characters without quotes, backslashes and control characters")]
Prefix = Annotated[str, matching(_PREFIX, "a prefix is / or a path with a slash at both ends, as in /registry/")]
Database = Annotated[
    str, matching(_DATABASE, "a database is written sqlite:///path or postgresql://user:password@host/name")
]
Level = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)]


class Section(BaseModel):
    """What all sections share: values never change after they are read, and a name that is not a setting is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, hide_input_in_errors=True)
