"""A corner of the registry where the doctor leaves nothing behind: what it begins there it also removes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import secrets
import tarfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin, urlsplit

from moorage.doctor.client.http import Answer, Body
from moorage.doctor.client.journey import Journey

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_PATIENCE: Final = 20
_ACCEPT: Final = {"Accept": f"{MANIFEST_TYPE}, */*"}


@dataclass(frozen=True, slots=True)
class Image:
    """A tiny image that nobody has pushed before: its config, large enough to be worth compressing, and one layer."""

    tag: str
    config: bytes = field(repr=False)
    layer: bytes = field(repr=False)
    manifest: bytes = field(repr=False)

    @property
    def blobs(self) -> tuple[bytes, bytes]:
        """What has to be there before the manifest."""
        return self.config, self.layer


def make_image() -> Image:
    """A new image; a runtime could unpack it."""
    mark = secrets.token_hex(16)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("doctor")
        entry.size = len(mark)
        archive.addfile(entry, io.BytesIO(mark.encode()))
    plain = tar.getvalue()
    layer = gzip.compress(plain, mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {"moorage.doctor": "Pushed by moorage doctor, which also removes it. " * 60}},
            "rootfs": {"type": "layers", "diff_ids": [digest(plain)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": _CONFIG_TYPE, "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": _LAYER_TYPE, "digest": digest(layer), "size": len(layer)}],
        }
    ).encode()
    return Image(f"doctor-{mark[:12]}", config, layer, manifest)


def digest(content: bytes) -> str:
    """Its sha256 digest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(slots=True)
class Scratch:
    """Requests to one repository, logged in; remembers what has to be removed: *uploads* by path, *blobs* and
    *manifests* by digest. *ended* is set once nothing is to be begun any more."""

    journey: Journey
    uploads: list[str] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def root(self) -> str:
        """The repository's path."""
        return f"/v2/{self.journey.options.repository}"

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        *,
        head: bool = False,
        timeout: float | None = None,
    ) -> Answer:
        """One request. Raises OSError."""
        authorization = self.journey.authorization
        known = {"Authorization": authorization} if authorization else {}
        return self.journey.line(timeout=timeout).ask(method, path, {**known, **(headers or {})}, body, head=head)

    def begin(self) -> tuple[Answer, str]:
        """Begin an upload: the answer, and the path at which it goes on, empty where there is none. Raises OSError."""
        answer = self.ask("POST", f"{self.root}/blobs/uploads/")
        path = self.path_of(answer) if answer.status == 202 else ""
        if path:
            self.uploads.append(path)
            if self.ended.is_set():  # `clean` may not have seen it
                self._delete(path)
                raise OSError("given up")
        return answer, path

    def path_of(self, answer: Answer) -> str:
        """Path and query of the answer's Location, whatever host it names; empty without one."""
        location = answer["Location"]
        if not location:
            return ""
        parts = urlsplit(urljoin(f"{self.journey.target.url}{self.root}/blobs/uploads/", location))
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def moved(self, old: str, answer: Answer) -> str:
        """Where the upload at *old* goes on after *answer*."""
        new = self.path_of(answer) or old
        if old in self.uploads:
            self.uploads[self.uploads.index(old)] = new
        return new

    def finish(self, path: str, blob: bytes) -> Answer:
        """Close an upload with all its bytes."""
        answer = self.ask(
            "PUT",
            f"{path}{'&' if '?' in path else '?'}digest={digest(blob)}",
            {"Content-Type": "application/octet-stream"},
            blob,
        )
        if answer.status == 201:
            self.uploads.remove(path)
            self.blobs.append(digest(blob))
        return answer

    def put_manifest(self, image: Image) -> Answer:
        """Push the image's manifest under its tag."""
        answer = self.ask("PUT", f"{self.root}/manifests/{image.tag}", {"Content-Type": MANIFEST_TYPE}, image.manifest)
        if answer.status == 201:
            self.manifests.append(digest(image.manifest))
        return answer

    def manifest(self, reference: str, method: str = "GET") -> Answer:
        """Pull a manifest."""
        return self.ask(method, f"{self.root}/manifests/{reference}", _ACCEPT)

    def blob(self, blob: bytes, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        """Pull a blob."""
        return self.ask(method, f"{self.root}/blobs/{digest(blob)}", headers)

    def clean(self) -> list[tuple[str, Answer | OSError]]:
        """Remove everything that is left, and say how each removal was answered; what is done is forgotten."""
        self.ended.set()
        todo = [("upload", path) for path in self.uploads]
        todo += [("manifest", f"{self.root}/manifests/{one}") for one in self.manifests]
        todo += [("blob", f"{self.root}/blobs/{one}") for one in self.blobs]
        self.uploads, self.manifests, self.blobs = [], [], []
        return [(kind, self._delete(path)) for kind, path in todo]

    def _delete(self, path: str) -> Answer | OSError:
        try:
            answer = self.ask("DELETE", path)
            for _ in range(_PATIENCE):
                if answer.status != 409:
                    break
                time.sleep(0.2)  # a request that was given up still writes to it
                answer = self.ask("DELETE", path)
            return answer
        except OSError as error:
            return error
