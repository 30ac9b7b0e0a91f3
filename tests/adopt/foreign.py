"""Volumes as another registry leaves them, written file by file."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from tests.content import encode, image


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """`algorithm:hex`."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@dataclass(frozen=True)
class Foreign:
    """A data folder that another registry wrote; files are made as quickly as the system lets us."""

    data: Path

    @property
    def tree(self) -> Path:
        """The classic tree."""
        return self.data / "docker" / "registry" / "v2"

    def blob(self, data: bytes, digest: str | None = None) -> str:
        """Bytes, at their digest or at another one."""
        digest = digest or digest_of(data)
        self._write(self.blob_path(digest), data)
        return digest

    def blob_path(self, digest: str) -> str:
        """The file of a blob's bytes."""
        algorithm, _, digits = digest.partition(":")
        return f"{self.tree}/blobs/{algorithm}/{digits[:2]}/{digits}/data"

    def link_path(self, repository: str, kind: str, digest: str) -> str:
        """The link file of a blob (`_layers`) or a manifest (`_manifests/revisions`)."""
        return f"{self.tree}/repositories/{repository}/{kind}/{digest.replace(':', '/')}/link"

    def layer(self, repository: str, data: bytes) -> str:
        """A blob of the repository."""
        digest = self.blob(data)
        self._write(self.link_path(repository, "_layers", digest), digest.encode())
        return digest

    def revision(self, repository: str, body: bytes) -> str:
        """A manifest of the repository."""
        digest = self.blob(body)
        self._write(self.link_path(repository, "_manifests/revisions", digest), digest.encode())
        return digest

    def tag_path(self, repository: str, tag: str) -> str:
        """The link file that says what the tag names."""
        return f"{self.tree}/repositories/{repository}/_manifests/tags/{tag}/current/link"

    def tag(self, repository: str, tag: str, digest: str) -> None:
        """Let the tag name the manifest, and its history too."""
        folder = f"{self.tree}/repositories/{repository}/_manifests/tags/{tag}"
        self._write(f"{folder}/index/{digest.replace(':', '/')}/link", digest.encode())
        self._write(f"{folder}/current/link", digest.encode())

    def image(self, repository: str, tag: str, *layers: bytes, config: bytes = b"{}") -> str:
        """An image with its tag; the manifest's digest."""
        for data in (config, *layers):
            self.layer(repository, data)
        digest = self.revision(repository, encode(image(config, *layers)))
        self.tag(repository, tag, digest)
        return digest

    def upload(self, repository: str, upload_id: str, data: bytes) -> None:
        """An upload that was interrupted."""
        folder = f"{self.tree}/repositories/{repository}/_uploads/{upload_id}"
        self._write(f"{folder}/data", data)
        self._write(f"{folder}/startedat", b"2024-05-06T07:08:09Z")

    def _write(self, path: str, data: bytes) -> None:
        try:
            with open(path, "wb") as file:
                file.write(data)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)


def many(foreign: Foreign, repositories: int, layers: int, tags: int) -> int:
    """So many repositories with an image of so many layers of their own and so many tags; the number of link files."""
    base = b"base " * 1000
    for number in range(repositories):
        name = f"team{number % 100}/app{number}"
        own = [b"layer %d of %d" % (place, number) for place in range(layers - 1)]
        config = b'{"number":%d}' % number
        for place in range(tags):
            foreign.image(
                name, f"v{place}", base, *own, config=config if place == 0 else b'{"n":%d}' % (number + place)
            )
    return repositories * (layers + tags + 3 * tags)


if __name__ == "__main__":
    import sys

    begun = time.monotonic()
    made = many(Foreign(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    print(made, time.monotonic() - begun)  # noqa: T201
