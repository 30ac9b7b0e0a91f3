"""What the links of a foreign volume lead to: sizes of blobs, and manifests read and understood."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from moorage.errors import ManifestInvalid
from moorage.metadata.manifests import NewManifest
from moorage.oci.digest import Digest, hasher
from moorage.oci.manifest import SCHEMA1_REFUSED, Manifest, parse_stored_manifest
from moorage.registry.adopt.findings import Fault
from moorage.registry.push import new_manifest
from moorage.storage.tree import ClassicTree
from moorage.storage.tree_facts import Flaw

_REMEMBERED: Final = 100_000
_READ_BYTES: Final = 1 << 20

Problem = tuple[Fault, str]


class Contents:
    """Reads what lies below *tree*; *verify* reads every blob, and else only manifests, of at most *manifest_bytes*."""

    def __init__(self, tree: ClassicTree, manifest_bytes: int, *, verify: bool = False) -> None:
        self._tree = tree
        self._manifest_bytes = manifest_bytes
        self._verify = verify
        self._sizes: OrderedDict[Digest, int | Problem] = OrderedDict()
        self.read = 0

    def blob(self, digest: Digest) -> int | Problem:
        """The blob's size in bytes, or what is wrong with it; most blobs belong to many repositories."""
        known = self._sizes.get(digest)
        if known is None:
            known = self._sizes[digest] = self._look(digest)
            if len(self._sizes) > _REMEMBERED:
                self._sizes.popitem(last=False)
        return known

    def add_name(self, digest: Digest, target: Digest, *, dry_run: bool) -> int | Problem:
        """The size of a blob that its repository has by *digest* too, which is proved, and not believed."""
        size = self.blob(target)
        if not isinstance(size, int):
            return size
        really = self._hash(target, digest.algorithm)
        if really != digest:
            return Fault.BLOB_DAMAGED, f"the bytes of {target} hash to {really}"
        if dry_run or self._tree.add_name(digest, target):
            return size
        return Fault.BLOB_ALIAS, f"its own is {target}, and this file system has no hard links"

    def manifest(self, digest: Digest) -> tuple[Manifest, NewManifest] | Problem:
        """The manifest whose bytes hash to *digest*, or what is wrong with it."""
        body = self._tree.read(digest, self._manifest_bytes + 1)
        if body is None:
            return Fault.BODY_MISSING, ""
        if isinstance(body, Flaw):
            return _problem(body)
        if len(body) > self._manifest_bytes:
            return Fault.MANIFEST_INVALID, f"it has more than {self._manifest_bytes} bytes"
        really = Digest.of(body, digest.algorithm)
        if really != digest:
            return Fault.BODY_DAMAGED, f"its {len(body)} bytes hash to {really}" if body else "its file is empty"
        try:
            parsed = parse_stored_manifest(body)
        except ManifestInvalid as error:
            if error.message == SCHEMA1_REFUSED:
                return Fault.SCHEMA1, ""
            return Fault.MANIFEST_INVALID, error.message
        return parsed, new_manifest(parsed, digest, body)

    def _look(self, digest: Digest) -> int | Problem:
        size = self._tree.size_of(digest)
        if size is None:
            return Fault.BLOB_MISSING, ""
        if isinstance(size, Flaw):
            return _problem(size)
        if self._verify and (really := self._hash(digest, digest.algorithm)) != digest:
            return Fault.BLOB_DAMAGED, f"its {size} bytes hash to {really}"
        return size

    def _hash(self, digest: Digest, algorithm: str) -> Digest:
        running = hasher(algorithm)
        offset = 0
        with self._tree.open(digest) as content:
            while data := content.read(offset, _READ_BYTES):
                running.update(data)
                offset += len(data)
                self.read += len(data)
        return Digest(algorithm, running.hexdigest())


def _problem(flaw: Flaw) -> Problem:
    return (Fault.SYMLINKED, "") if flaw is Flaw.SYMLINK else (Fault.BYTES_UNREADABLE, "")
