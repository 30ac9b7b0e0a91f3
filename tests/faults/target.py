"""The real server under faults, and what is done to it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.content import OCTETS, Client, digest_of, encode, image, noise
from tests.faults.injection import Faults
from tests.raw_http import Answer, ask
from tests.servers import Moorage, group_members

KEPT = "kept/app"
LAYER = noise(300_000, seed=1)
CONFIG = b'{"architecture":"amd64","os":"linux"}'

_numbers = itertools.count(1000)


@dataclass
class Target:
    """A server, its faults, and a client; KEPT has the image of CONFIG and LAYER under the tag v1."""

    server: Moorage
    faults: Faults
    client: Client
    members: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.client.push_image(KEPT, "v1", LAYER, config=CONFIG)
        self.members = set(group_members(self.server.pid))

    def below(self, pattern: str) -> str:
        """*pattern* in the data folder."""
        return f"{self.server.data}/{pattern}"

    def serves(self) -> None:
        """What was there before is pulled, tag, manifest and blob."""
        answer = self.client.ask("GET", f"/v2/{KEPT}/manifests/v1")
        assert (answer.status, answer.body) == (200, encode(image(CONFIG, LAYER)))
        answer = self.client.ask("GET", f"/v2/{KEPT}/blobs/{digest_of(LAYER)}")
        assert (answer.status, answer.body) == (200, LAYER)
        assert ask(self.server, "GET", "/v2/", self.client.headers).status == 200

    def is_well(self) -> None:
        """Everything works, in the same processes as at first."""
        self.serves()
        layer = new_blob()
        self.client.push_image("well/app", "latest", layer, config=CONFIG)
        assert self.client.ask("GET", f"/v2/well/app/blobs/{digest_of(layer)}").body == layer
        assert push_in_parts(self.client, new_blob()).status == 201
        assert set(group_members(self.server.pid)) == self.members

    def log(self) -> list[dict[str, Any]]:
        """The server's log, line by line."""
        return [json.loads(line) for line in self.server.log.read_text().splitlines() if line.startswith("{")]


def new_blob() -> bytes:
    """Bytes that nobody has pushed."""
    return noise(200_000, seed=next(_numbers))


def push_at_once(client: Client, data: bytes) -> Answer:
    """Push a blob in one request."""
    return client.ask("POST", f"/v2/new/app/blobs/uploads/?digest={digest_of(data)}", {"Content-Type": OCTETS}, data)


def push_in_parts(client: Client, data: bytes) -> Answer:
    """Push a blob in two pieces and a closing request; the first answer that is no success, or the last."""
    answer = client.ask("POST", "/v2/new/app/blobs/uploads/", None, b"")
    middle = len(data) // 2
    for piece in (data[:middle], data[middle:]):
        if answer.status != 202:
            return answer
        answer = client.ask("PATCH", answer.header("location"), {"Content-Type": OCTETS}, piece)
    if answer.status != 202:
        return answer
    path = answer.header("location")
    return client.ask("PUT", f"{path}{'&' if '?' in path else '?'}digest={digest_of(data)}", None, b"")


def push_manifest(client: Client, data: bytes) -> Answer:
    """Tag a new manifest with the kept image's content."""
    body = encode(image(CONFIG, LAYER, annotations={"seed": digest_of(data)}))
    return client.push_manifest(KEPT, "new", body)


def pull_blob(client: Client, data: bytes) -> Answer:
    """Get the kept layer."""
    return client.ask("GET", f"/v2/{KEPT}/blobs/{digest_of(LAYER)}")


def delete_tag(client: Client, data: bytes) -> Answer:
    """Tag the kept manifest once more, and take the tag away."""
    answer = client.push_manifest(KEPT, "short-lived", encode(image(CONFIG, LAYER)))
    return client.ask("DELETE", f"/v2/{KEPT}/manifests/short-lived") if answer.status == 201 else answer


WAYS: dict[str, Callable[[Client, bytes], Answer]] = {
    "push a blob at once": push_at_once,
    "push a blob in parts": push_in_parts,
    "push a manifest": push_manifest,
    "pull a blob": pull_blob,
    "delete a tag": delete_tag,
}
