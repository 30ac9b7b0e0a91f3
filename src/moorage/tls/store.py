"""Certificates, keys and pending challenges in the data folder, as files that outlive a crash.

    <folder>/                              0700
        certificates/<name>/
            live -> <version>              swapped by rename: a reader sees one pair or the other, never half of each
            <version>/chain.pem            the leaf first
            <version>/key.pem              0600
        challenges/http/<token>            what `/.well-known/acme-challenge/<token>` answers
        challenges/alpn/<name>/            the certificate that validates <name> by tls-alpn-01: chain.pem, key.pem
        accounts/ orders/ states/ authority/ clients/
                                           each belongs to the module that is named for it

In file names `*` and `:` become `_`, which no DNS name has. Versions are times in microseconds; the newest two are
kept.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage.durable import fsync_directory, make_directory, write_file

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""RFC 8555, 8.3: base64url; the length is arbitrary."""
_VERSIONS_KEPT: Final = 2


@dataclass(frozen=True, slots=True)
class Pair:
    """Two PEM files: a certificate with its chain, leaf first, and its key."""

    chain: Path
    key: Path


class CertificateStore:
    """All that belongs to certificates, below *folder*. Methods raise OSError where the disk does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, kind: str, name: str = "") -> Path:
        """A folder of its own for *kind* ("accounts", "orders", ...), or a path in it for *name*; made if missing."""
        folder = self.folder / kind
        if not folder.is_dir():
            make_directory(folder)
            os.chmod(self.folder, 0o700)
        return folder / file_name(name) if name else folder

    def put(self, name: str, chain: bytes, key: bytes, *, now: int) -> Pair:
        """Store a pair for *name* and put it in the place of the one before; *now* in microseconds names its version.

        On return it is durable. Nothing is checked here: whoever calls has loaded the pair before.
        """
        home = self.place("certificates", name)
        folder = home / f"{now:020d}"
        make_directory(folder)
        write_file(folder / "key.pem", key, 0o600)
        write_file(folder / "chain.pem", chain, 0o644)
        fresh = home / f".live.{now}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(folder.name)
        os.rename(fresh, home / "live")
        fsync_directory(home)
        self._forget_old(home, folder.name)
        return self.pair(name)

    def pair(self, name: str) -> Pair:
        """Where the pair of *name* is, or would be."""
        live = self.folder / "certificates" / file_name(name) / "live"
        return Pair(live / "chain.pem", live / "key.pem")

    def has(self, name: str) -> bool:
        """Whether there is a pair for *name*."""
        pair = self.pair(name)
        return pair.chain.is_file() and pair.key.is_file()

    def names(self) -> list[str]:
        """The names for which there is a pair, sorted."""
        try:
            found = sorted(entry.name for entry in (self.folder / "certificates").iterdir())
        except OSError:
            return []
        return [name for name in map(_name_of, found) if self.has(name)]

    def answer_http(self, token: str, key_authorization: str) -> None:
        """Let `/.well-known/acme-challenge/<token>` be answered (RFC 8555, 8.3)."""
        write_file(self.place("challenges/http") / _checked(token), key_authorization.encode("ascii"))

    def http_answer(self, token: str) -> bytes | None:
        """What to answer, or None. *token* is what a client sent: anything."""
        if not _TOKEN.fullmatch(token):
            return None
        try:
            return (self.folder / "challenges" / "http" / token).read_bytes()
        except OSError:
            return None

    def forget_http(self, token: str) -> None:
        """Answer it no more; twice is once."""
        (self.folder / "challenges" / "http" / _checked(token)).unlink(missing_ok=True)

    def answer_alpn(self, name: str, chain: bytes, key: bytes) -> None:
        """Let a client that offers only `acme-tls/1` for *name* see this certificate (RFC 8737)."""
        folder = self.place("challenges/alpn", name)
        make_directory(folder)
        write_file(folder / "key.pem", key, 0o600)
        write_file(folder / "chain.pem", chain)

    def alpn_answers(self) -> Iterator[tuple[str, Pair]]:
        """File names (see `file_name`) and pairs of what waits to be validated by tls-alpn-01."""
        folder = self.folder / "challenges" / "alpn"
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            return
        for entry in entries:
            pair = Pair(entry / "chain.pem", entry / "key.pem")
            if pair.chain.is_file():
                yield entry.name, pair

    def forget_alpn(self, name: str) -> None:
        """Show it no more; twice is once."""
        shutil.rmtree(self.folder / "challenges" / "alpn" / file_name(name), ignore_errors=True)

    def _forget_old(self, home: Path, newest: str) -> None:
        versions = sorted(entry for entry in home.iterdir() if entry.is_dir() and not entry.is_symlink())
        for folder in versions[:-_VERSIONS_KEPT]:
            if folder.name != newest:
                shutil.rmtree(folder, ignore_errors=True)


def file_name(name: str) -> str:
    """The name of a file for a parsed certificate name."""
    return name.replace("*", "_").replace(":", "_")


def _name_of(file: str) -> str:
    """What `file_name` has made a file's name of: a wildcard, which begins with an underscore, or IPv6 with colons."""
    return f"*{file[1:]}" if file.startswith("_.") else file.replace("_", ":")


def _checked(token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise ValueError("an ACME server gave a token that is no base64url")
    return token
