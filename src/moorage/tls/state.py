"""What is known about each certificate beside the certificate: `states/<name>.json`, which outlives restarts.

A server that is started again and again must not begin anew each time: an authority counts failed tries. A file that
cannot be read counts as none, so the worst that a damaged one brings about is that something is tried once too often.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from moorage.durable import write_file
from moorage.tls.store import CertificateStore, file_name

_log = logging.getLogger("moorage.tls")

FILES: Final = "_files"
"""The name for the pair that `tls.certificate` names; no domain begins with an underscore."""

_LATEST: Final = 1 << 62
"""A number above it is no time in microseconds."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there was no certificate; see `moorage.errors.CertificateFailed`. *staging*: it was only a try there."""

    at: int
    kind: str
    message: str
    remedy: str
    again: bool
    staging: bool


@dataclass(frozen=True, slots=True)
class Advice:
    """When the authority wants the certificate renewed, and the *moment* in that window that was drawn for it."""

    start: int
    end: int
    moment: int
    explanation: str


@dataclass(frozen=True, slots=True)
class State:
    """One certificate's; times in microseconds since the epoch, 0 for never.

    The certificate in place:
    - *name* in the store, and *names*: those it is for;
    - *serial*: in hex; "" where there is none;
    - *issuer*: the title of the `Issuer` that made it; "" where it was imported, or nobody knows;
    - *authority*: who signed it, for people;
    - *not_before*, *not_after*; *obtained*: when it came here by an Issuer;
    - *advice* and *ask_again*: what its issuer says about renewal, and when to ask for it;
    - *early*: when it was last renewed long before its time, because the authority said so;
    - *warned*: when the log last said that it will expire.

    Tries for the next one:
    - *settings* and *tried*: with which settings, and the title of the issuer they were made at;
    - *failures* in a row since *first_failure*, and the *last* of them;
    - *next_attempt*; *held_until*: before which the authority wants none;
    - *refused*: when tries failed in the last hour at the authority itself, not at its staging server;
    - *staged*: when the staging server issued one, after which the authority may be asked;
    - *begun* and *interrupted*: when a try began, and how many in a row never ended.
    """

    name: str = ""
    names: tuple[str, ...] = ()
    serial: str = ""
    issuer: str = ""
    authority: str = ""
    not_before: int = 0
    not_after: int = 0
    obtained: int = 0
    advice: Advice | None = None
    ask_again: int = 0
    early: tuple[int, ...] = ()
    warned: int = 0
    settings: str = ""
    tried: str = ""
    failures: int = 0
    first_failure: int = 0
    last: Failure | None = None
    next_attempt: int = 0
    held_until: int = 0
    refused: tuple[int, ...] = ()
    staged: int = 0
    begun: int = 0
    interrupted: int = 0

    @property
    def lifetime(self) -> int:
        """Of the certificate in place, in microseconds."""
        return max(1, self.not_after - self.not_before)


def load(store: CertificateStore, name: str) -> State:
    """The state of *name*; that of one never seen where there is none, or it cannot be understood."""
    return _load(_path(store, name))


def _load(path: Path) -> State:
    try:
        return _state(json.loads(path.read_bytes()))
    except OSError:
        return State()
    except (ValueError, TypeError, RecursionError) as error:
        _log.warning("%s cannot be used, and is written anew: %s", path, error)
        return State()


def save(store: CertificateStore, name: str, state: State) -> None:
    """Make *state* durable. Raises OSError."""
    store.place("states")
    write_file(_path(store, name), json.dumps(asdict(replace(state, name=name)), indent=1).encode(), 0o600)


def everything(store: CertificateStore) -> list[State]:
    """The states of all certificates, sorted by name; those that name none are left out."""
    found = [_load(path) for path in sorted((store.folder / "states").glob("*.json"))]
    return [state for state in found if state.name]


def forget(store: CertificateStore, name: str) -> None:
    """Remove the state of *name*; none is no error."""
    _path(store, name).unlink(missing_ok=True)


def _path(store: CertificateStore, name: str) -> Path:
    return store.folder / "states" / f"{file_name(name)}.json"


def _state(raw: object) -> State:
    """Raises ValueError or TypeError for anything that `save` did not write; fields of later versions are left out."""
    if not isinstance(raw, dict):
        raise TypeError("not an object")
    found: dict[str, Any] = {}
    for field in fields(State):
        if field.name in raw:
            value = raw[field.name]
            if field.name == "advice":
                found["advice"] = None if value is None else _part(Advice, value)
            elif field.name == "last":
                found["last"] = None if value is None else _part(Failure, value)
            elif field.name == "names":
                found["names"] = tuple(_text(one) for one in value)
            elif isinstance(field.default, tuple):
                found[field.name] = tuple(_moment(one) for one in value)
            else:
                found[field.name] = _text(value) if isinstance(field.default, str) else _moment(value)
    return State(**found)


def _part(kind: type[Any], raw: Mapping[str, object]) -> Any:
    readers = {"int": _moment, "str": _text, "bool": _flag}
    return kind(
        **{field.name: readers[str(field.type)](raw[field.name]) for field in fields(kind) if field.name in raw}
    )


def _moment(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LATEST:
        raise ValueError("a number that is no time and no count")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text where text has to be")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value
