"""What an order needs to be gone on with, whatever process began it.

    <store>/orders/<directory>/<name>/order.json       see Order; written before the authority is asked for the order
    <store>/orders/<directory>/<name>/key.pem          the certificate's new key, 0600
    <store>/orders/<directory>/<name>/challenge.json   an answer to a challenge that is still there to be taken away
    <store>/orders/<directory>/<name>/door             the challenge that `auto` tries next

`<directory>` as for accounts. Losing a file costs a new order; it never makes a wrong one.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from moorage.durable import fsync_directory, make_directory, write_file
from moorage.tls.acme.account import directory_hash
from moorage.tls.acme.options import AcmeOptions
from moorage.tls.store import CertificateStore, file_name

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Order:
    """*url* None: it was about to be asked for, and no answer was seen. Times in microseconds; *finished* is when its
    certificate was handed over, whose leaf has the fingerprint *leaf* (SHA-256, hexadecimal)."""

    name: str
    account: str
    key_type: str
    profile: str | None
    made: int
    url: str | None = None
    finished: int | None = None
    leaf: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to a challenge that was put somewhere, or was about to be; *output* is what `Writer.put` returned."""

    kind: str
    name: str
    token: str
    value: str = ""
    output: str = ""


class OrderFiles:
    """The order of one *name* at one authority. Methods raise OSError."""

    def __init__(self, store: CertificateStore, directory: str, name: str) -> None:
        self.folder = store.place("orders") / directory_hash(directory) / file_name(name)
        self._name = name

    def load(self, options: AcmeOptions, account: str) -> tuple[Order, bytes] | None:
        """The order and its key; None where there is none that fits what is wanted now."""
        sweep(self.folder)
        try:
            document = json.loads((self.folder / "order.json").read_bytes())
            key = (self.folder / "key.pem").read_bytes()
            order = _order(document)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        wanted = (self._name, account, options.key_type, options.profile)
        return (order, key) if (order.name, order.account, order.key_type, order.profile) == wanted else None

    def begin(self, order: Order, key: bytes) -> None:
        """A new order, before it is asked for; durable on return."""
        self.discard()
        make_directory(self.folder)
        write_file(self.folder / "key.pem", key, 0o600)
        self.save(order)

    def save(self, order: Order) -> None:
        """Durable on return."""
        write_file(self.folder / "order.json", json.dumps(asdict(order) | {"format": _FORMAT}).encode(), 0o600)

    def discard(self) -> None:
        """No order; what its challenge left stays noted. The key goes last: an order without one is no order."""
        (self.folder / "order.json").unlink(missing_ok=True)
        (self.folder / "key.pem").unlink(missing_ok=True)
        if self.folder.is_dir():
            fsync_directory(self.folder)

    def answered(self) -> Answered | None:
        """What is to be taken away."""
        try:
            document = json.loads((self.folder / "challenge.json").read_bytes())
            return Answered(**{key: str(value) for key, value in document.items()})
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return None

    def note(self, answered: Answered | None) -> None:
        """Note what is to be taken away; None: nothing is. Durable on return."""
        path = self.folder / "challenge.json"
        if answered is None:
            path.unlink(missing_ok=True)
        else:
            make_directory(self.folder)
            write_file(path, json.dumps(asdict(answered)).encode(), 0o600)

    def door(self) -> str:
        """The challenge that `auto` tries; "": its own choice."""
        try:
            return (self.folder / "door").read_text("ascii").strip()
        except (OSError, UnicodeError):
            return ""

    def choose_door(self, challenge: str) -> None:
        """Try *challenge* the next time."""
        make_directory(self.folder)
        write_file(self.folder / "door", challenge.encode("ascii"), 0o600)

    def forget(self) -> None:
        """All of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _order(document: Any) -> Order:
    if not isinstance(document, dict) or document.pop("format") != _FORMAT:
        raise ValueError("another format")
    url, times = document["url"], (document["made"], document["finished"])
    if not (url is None or isinstance(url, str)) or not all(one is None or isinstance(one, int) for one in times):
        raise TypeError("not an order")
    return Order(**document)


def sweep(folder: Path, name: str = "*") -> None:
    """Remove what writes of file *name* that a killed process began have left in *folder* (see durable.write_file)."""
    for path in folder.glob(f".{name}.*.tmp"):
        path.unlink(missing_ok=True)


def finished(order: Order, now: int, leaf: str) -> Order:
    """*order* with its certificate handed over."""
    return replace(order, finished=now, leaf=leaf)
