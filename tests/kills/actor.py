"""A client that pushes, re-tags, deletes and uploads at random, and remembers what it was told.

What it believes of a key is the set of values that are possible: one after an answer, two or more while an answer is
missing, as it is when the server was killed in between. A later look must find one of them.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
EMPTY = b"{}"

Key = tuple[str, ...]


def digest_of(content: bytes) -> str:
    """The sha256 digest of *content*, as the protocol writes it."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Cut(Exception):
    """The connection broke before the answer: what was asked for may have happened or not."""


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Beliefs:
    """What must be found: for each key the values that are possible; None is "not there"."""

    possible: dict[Key, set[str | None]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    touched: set[Key] = field(default_factory=set)

    def of(self, key: Key) -> set[str | None]:
        """The possible values of *key*."""
        return self.possible.get(key, {None})

    def may_become(self, key: Key, value: str | None) -> None:
        """A request that sets *value* is on its way."""
        self.possible[key] = self.of(key) | {value}
        self.touched.add(key)

    def is_now(self, key: Key, value: str | None) -> None:
        """The server has said so."""
        self.possible[key] = {value}
        self.touched.add(key)


class Client:
    """Requests over one connection at a time; an answer of 5xx is noted as a fault."""

    def __init__(self, port: int, faults: list[str]) -> None:
        self._port = port
        self._faults = faults
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """The answer. Raises Cut when there is none."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            self._connection.request(method, path, body, headers or {})
            response = self._connection.getresponse()
            answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Cut(str(error)) from error
        if answer.status >= 500:
            self._faults.append(f"{method} {path}: {answer.status} {answer.body[:200]!r}")
        return answer

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Actor:
    """One client at work in its own *repository*, with contents that others push too."""

    def __init__(self, repository: str, port: int, seed: int, faults: list[str]) -> None:
        self.repository = repository
        self.beliefs = Beliefs()
        self.uploads: dict[str, tuple[bytes, int]] = {}
        self.client = Client(port, faults)
        self.answered = 0
        self._random = random.Random(seed)
        self._faults = faults

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop or cut off."""
        steps: list[tuple[int, Callable[[], None]]] = [
            (4, self._push_image),
            (3, self._push_blob_in_chunks),
            (3, self._retag),
            (2, self._delete_tag),
            (1, self._delete_manifest),
            (1, self._delete_blob),
            (2, self._begin_upload),
            (2, self._go_on_with_upload),
        ]
        while not stop.is_set():
            step = self._random.choices([step for _, step in steps], [weight for weight, _ in steps])[0]
            try:
                step()
            except Cut:
                return

    def _path(self, rest: str) -> str:
        return f"/v2/{self.repository}/{rest}"

    def _expect(self, answer: Answer, *statuses: int) -> bool:
        self.answered += 1
        if answer.status not in statuses:
            self._faults.append(f"{self.repository}: expected {statuses}, got {answer.status} {answer.body[:200]!r}")
        return answer.status == statuses[0]

    def _content(self) -> bytes:
        """Mostly new, sometimes what another actor pushes at the same time."""
        if self._random.random() < 0.3:
            return b"shared %d" % self._random.randrange(20)
        return self._random.randbytes(self._random.choice([1, 100, 5000, 70_000, 400_000]))

    def _push_blob(self, content: bytes) -> str:
        digest = digest_of(content)
        key = ("blob", digest)
        self.beliefs.contents[digest] = content
        self.beliefs.may_become(key, digest)
        if self._expect(self.client.ask("POST", self._path(f"blobs/uploads/?digest={digest}"), content), 201):
            self.beliefs.is_now(key, digest)
        return digest

    def _push_blob_in_chunks(self) -> None:
        content = self._content()
        digest = digest_of(content)
        answer = self.client.ask("POST", self._path("blobs/uploads/"))
        if not self._expect(answer, 202):
            return
        location, half = answer.headers["location"], len(content) // 2
        self._expect(self.client.ask("PATCH", location, content[:half]), 202)
        self.beliefs.contents[digest] = content
        self.beliefs.may_become(("blob", digest), digest)
        if self._expect(self.client.ask("PUT", f"{location}?digest={digest}", content[half:]), 201):
            self.beliefs.is_now(("blob", digest), digest)

    def _push_image(self) -> None:
        layers = [self._content() for _ in range(self._random.randrange(3))]
        described = []
        for content in (EMPTY, *layers):
            digest = self._push_blob(content)
            described.append({"mediaType": "application/octet-stream", "digest": digest, "size": len(content)})
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": described[0], "layers": described[1:]}
        ).encode()
        self._put_manifest(manifest, self._tag())

    def _tag(self) -> str:
        return f"tag-{self._random.randrange(6)}"

    def _put_manifest(self, manifest: bytes, tag: str) -> None:
        digest = digest_of(manifest)
        self.beliefs.contents[digest] = manifest
        keys = (("manifest", digest), ("tag", tag))
        for key in keys:
            self.beliefs.may_become(key, digest)
        answer = self.client.ask("PUT", self._path(f"manifests/{tag}"), manifest, {"Content-Type": MANIFEST_TYPE})
        # 400: a blob of it was deleted meanwhile by this actor itself.
        if self._expect(answer, 201, 400):
            for key in keys:
                self.beliefs.is_now(key, digest)

    def _certain(self, kind: str) -> str | None:
        """Something of this kind that is there for certain."""
        found = [
            key[1]
            for key, values in self.beliefs.possible.items()
            if key[0] == kind and len(values) == 1 and None not in values
        ]
        return self._random.choice(found) if found else None

    def _retag(self) -> None:
        digest = self._certain("manifest")
        if digest is not None:
            self._put_manifest(self.beliefs.contents[digest], self._tag())

    def _delete_tag(self) -> None:
        tag = self._certain("tag")
        if tag is None:
            return
        self.beliefs.may_become(("tag", tag), None)
        if self._expect(self.client.ask("DELETE", self._path(f"manifests/{tag}")), 202):
            self.beliefs.is_now(("tag", tag), None)

    def _delete_manifest(self) -> None:
        digest = self._certain("manifest")
        if digest is None:
            return
        keys = [("manifest", digest), *(key for key in self.beliefs.possible if self._may_name(key, digest))]
        for key in keys:
            self.beliefs.may_become(key, None)
        if self._expect(self.client.ask("DELETE", self._path(f"manifests/{digest}")), 202):
            for key in keys:
                self.beliefs.possible[key].discard(digest)

    def _may_name(self, key: Key, digest: str) -> bool:
        return key[0] == "tag" and digest in self.beliefs.of(key)

    def _delete_blob(self) -> None:
        """Only what no manifest may name: the volume must be whole in the end."""
        digest = self._certain("blob")
        if digest is None or any(self._may_use(key, digest) for key in self.beliefs.possible):
            return
        self.beliefs.may_become(("blob", digest), None)
        if self._expect(self.client.ask("DELETE", self._path(f"blobs/{digest}")), 202):
            self.beliefs.is_now(("blob", digest), None)

    def _may_use(self, key: Key, digest: str) -> bool:
        kind, manifest = key
        return (
            kind == "manifest"
            and manifest in self.beliefs.of(key)
            and digest.encode() in self.beliefs.contents[manifest]
        )

    def _begin_upload(self) -> None:
        content = self._random.randbytes(self._random.choice([10, 3000, 300_000]))
        answer = self.client.ask("POST", self._path("blobs/uploads/"))
        if not self._expect(answer, 202):
            return
        half = len(content) // 2
        if self._expect(self.client.ask("PATCH", answer.headers["location"], content[:half]), 202):
            self.uploads[answer.headers["location"]] = (content, half)

    def _go_on_with_upload(self) -> None:
        if self.uploads:
            self.finish_upload(self._random.choice(list(self.uploads)))

    def finish_upload(self, location: str) -> None:
        """Send the rest of an upload whose first half was acknowledged."""
        content, offset = self.uploads.pop(location)
        digest = digest_of(content)
        self.beliefs.contents[digest] = content
        self.beliefs.may_become(("blob", digest), digest)
        if self._expect(self.client.ask("PUT", f"{location}?digest={digest}", content[offset:]), 201):
            self.beliefs.is_now(("blob", digest), digest)

    # Looking back.

    def verify(self, *, everything: bool) -> None:
        """Look at what was touched since the last look, or at everything, and believe what is found."""
        for key in list(self.beliefs.possible) if everything else sorted(self.beliefs.touched):
            found = self._look(key)
            if found not in self.beliefs.of(key):
                self._faults.append(f"{self.repository}: {key} is {found}, may be {self.beliefs.of(key)}")
            self.beliefs.possible[key] = {found}
        self.beliefs.touched.clear()

    def verify_uploads(self) -> None:
        """Every acknowledged offset is still there."""
        for location, (_, offset) in self.uploads.items():
            answer = self.client.ask("GET", location)
            if self._expect(answer, 204) and answer.headers["range"] != f"0-{max(0, offset - 1)}":
                self._faults.append(f"{location}: {offset} bytes were acknowledged, {answer.headers['range']} is left")

    def _look(self, key: Key) -> str | None:
        kind, name = key
        path = self._path(f"blobs/{name}" if kind == "blob" else f"manifests/{name}")
        answer = self.client.ask("GET", path)
        if answer.status == 404:
            return None
        self._expect(answer, 200)
        digest = digest_of(answer.body)
        if answer.body != self.beliefs.contents.get(digest):
            self._faults.append(f"{path}: the content is not what was pushed")
        return digest
