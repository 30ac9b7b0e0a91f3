"""What tests push: small images made on the spot, and the requests that push them."""

from __future__ import annotations

import hashlib
import json
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.raw_http import Answer, Server, ask, basic

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
OCTETS = "application/octet-stream"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """`algorithm:hex` of *data*."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def noise(size: int, seed: int) -> bytes:
    """*size* bytes that no compression makes smaller, the same for the same *seed*."""
    return random.Random(seed).randbytes(size)


def descriptor(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    """The descriptor of *data*."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


def image(config: bytes, *layers: bytes, **more: Any) -> dict[str, Any]:
    """An image manifest; *more* replaces or adds members."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config, CONFIG),
        "layers": [descriptor(layer, LAYER) for layer in layers],
        **more,
    }


def index(*children: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An image index over descriptors; *more* replaces or adds members."""
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(children), **more}


def encode(document: object) -> bytes:
    """The JSON that is pushed for *document*."""
    return json.dumps(document).encode("utf-8")


@dataclass(frozen=True)
class Client:
    """One user's requests to one server; each on a connection of its own."""

    server: Server
    user: str = ""
    password: str = ""
    more: Mapping[str, str] = field(default_factory=dict)
    context: ssl.SSLContext | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What every request of this user carries."""
        return {**({"Authorization": basic(self.user, self.password)} if self.user else {}), **self.more}

    def ask(
        self,
        method: str,
        target: str | bytes,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Any request."""
        return ask(self.server, method, target, {**self.headers, **(headers or {})}, body, context=self.context)

    def push_blob(self, repository: str, data: bytes) -> str:
        """Push *data* in one request; its digest."""
        digest = digest_of(data)
        answer = self.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", {"Content-Type": OCTETS}, data)
        assert answer.status == 201, answer
        return digest

    def push_manifest(self, repository: str, reference: str, body: bytes, media_type: str = MANIFEST) -> Answer:
        """PUT a manifest, whatever the answer."""
        return self.ask("PUT", f"/v2/{repository}/manifests/{reference}", {"Content-Type": media_type}, body)

    def push_image(self, repository: str, reference: str, *layers: bytes, config: bytes = b"{}") -> str:
        """Push an image with its config and layers; the manifest's digest."""
        for data in (config, *layers):
            self.push_blob(repository, data)
        body = encode(image(config, *layers))
        answer = self.push_manifest(repository, reference, body)
        assert answer.status == 201, answer
        return digest_of(body)

    def begin_upload(self, repository: str) -> str:
        """Open an upload session; its path."""
        answer = self.ask("POST", f"/v2/{repository}/blobs/uploads/", None, b"")
        assert answer.status == 202, answer
        return answer.header("location")
