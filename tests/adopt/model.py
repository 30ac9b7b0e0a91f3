"""What was pushed to a volume, by whichever registry, and that all of it can be pulled."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.content import INDEX, MANIFEST, OCTETS, Client, descriptor, digest_of, encode, image, index

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPT = ", ".join((MANIFEST, INDEX, DOCKER, "application/vnd.docker.distribution.manifest.list.v2+json"))


@dataclass
class Model:
    """The truth: what each tag names, and all manifests and blobs of each repository."""

    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    manifests: dict[str, dict[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def push_blob(self, client: Client, repository: str, data: bytes) -> str:
        """Push in two requests, since distribution knows no push in one."""
        digest = digest_of(data)
        path = client.begin_upload(repository).removeprefix("http://registry.test")
        joint = "&" if "?" in path else "?"
        answer = client.ask("PUT", f"{path}{joint}digest={digest}", {"Content-Type": OCTETS}, data)
        assert answer.status == 201, answer
        self.blobs.setdefault(repository, {})[digest] = data
        return digest

    def push_manifest(self, client: Client, repository: str, reference: str, body: bytes, kind: str = MANIFEST) -> str:
        """Push a manifest by tag or digest."""
        answer = client.push_manifest(repository, reference, body, kind)
        assert answer.status == 201, answer
        digest = digest_of(body)
        self.manifests.setdefault(repository, {})[digest] = body
        if ":" not in reference:
            self.tags.setdefault(repository, {})[reference] = digest
        return digest

    def push_image(self, client: Client, repository: str, reference: str, *layers: bytes, **more: Any) -> str:
        """Push an image with its blobs; its digest. *reference* "digest" pushes it by that."""
        config = encode({"of": repository, "layers": [digest_of(layer) for layer in layers]})
        for data in (config, *layers):
            self.push_blob(client, repository, data)
        body = encode(image(config, *layers, **more))
        reference = digest_of(body) if reference == "digest" else reference
        return self.push_manifest(client, repository, reference, body, more.get("mediaType", MANIFEST))

    def push_index(self, client: Client, repository: str, tag: str, *children: str) -> str:
        """Push an index of manifests that are there."""
        described = [descriptor(self.manifests[repository][child], MANIFEST) for child in children]
        return self.push_manifest(client, repository, tag, encode(index(*described)), INDEX)

    def attach(self, client: Client, repository: str, subject: str, text: str, *, tag_schema: bool) -> str:
        """Push an artifact that refers to *subject*, and with *tag_schema* the index that lists it, as clients do."""
        body = self.manifests[repository][subject]
        about = {"mediaType": MANIFEST, "digest": subject, "size": len(body)}
        artifact = self.push_image(
            client, repository, "digest", text.encode(), artifactType="application/example.sbom", subject=about
        )
        if tag_schema:
            tag = subject.replace(":", "-")
            known = self.tags[repository].get(tag)
            listed = json.loads(self.manifests[repository][known])["manifests"] if known else []
            entry = descriptor(self.manifests[repository][artifact], MANIFEST, artifactType="application/example.sbom")
            self.push_manifest(client, repository, tag, encode(index(*listed, entry)), INDEX)
        return artifact

    def delete_tag(self, client: Client, repository: str, tag: str) -> None:
        """Delete the tag alone."""
        answer = client.ask("DELETE", f"/v2/{repository}/manifests/{tag}")
        assert answer.status == 202, answer
        del self.tags[repository][tag]

    def delete_manifest(self, client: Client, repository: str, digest: str) -> None:
        """Delete the manifest and all its tags."""
        answer = client.ask("DELETE", f"/v2/{repository}/manifests/{digest}")
        assert answer.status == 202, answer
        del self.manifests[repository][digest]
        self.tags[repository] = {tag: named for tag, named in self.tags[repository].items() if named != digest}

    def collect_garbage(self) -> None:
        """Forget the blobs that no manifest names."""
        for repository, blobs in self.blobs.items():
            named = {
                entry["digest"]
                for body in self.manifests.get(repository, {}).values()
                for document in [json.loads(body)]
                for entry in [*document.get("layers", []), *[document[key] for key in ("config",) if key in document]]
            }
            self.blobs[repository] = {digest: data for digest, data in blobs.items() if digest in named}

    def check(self, client: Client, *, but: frozenset[str] = frozenset()) -> None:
        """Pull everything by every name that it has; tags in *but* may be there too."""
        catalog = client.ask("GET", "/v2/_catalog?n=1000").json()["repositories"]
        assert sorted(catalog) == sorted(self.blobs.keys() | self.manifests.keys())
        for repository, tags in self.tags.items():
            listed = client.ask("GET", f"/v2/{repository}/tags/list").json()["tags"] or []
            assert sorted(set(listed) - but) == sorted(tags.keys() - but), repository
            for tag, digest in tags.items():
                answer = client.ask("GET", f"/v2/{repository}/manifests/{tag}", {"Accept": ACCEPT})
                assert answer.body == self.manifests[repository][digest], (repository, tag, answer)
        for repository, manifests in self.manifests.items():
            for digest, body in manifests.items():
                answer = client.ask("GET", f"/v2/{repository}/manifests/{digest}", {"Accept": ACCEPT})
                assert (answer.status, answer.body) == (200, body), (repository, digest, answer)
        for repository, blobs in self.blobs.items():
            for digest, data in blobs.items():
                answer = client.ask("GET", f"/v2/{repository}/blobs/{digest}")
                assert (answer.status, answer.body) == (200, data), (repository, digest, answer)
