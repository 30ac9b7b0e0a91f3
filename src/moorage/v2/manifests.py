"""Manifests: pull, push, delete."""

from __future__ import annotations

from functools import lru_cache

from moorage.errors import BadRequest, ManifestInvalid
from moorage.message import Response
from moorage.metadata.manifests import StoredManifest
from moorage.oci.digest import Digest
from moorage.oci.etag import none_match
from moorage.oci.reference import Tag, parse_reference, parse_tag
from moorage.v2.call import Call

# distribution-spec, "Pushing Manifests with Tags": a registry should take at least ten.
_MOST_TAGS = 100


async def pull(call: Call) -> Response:
    """GET of a manifest: the bytes as they were pushed, whatever the Accept header prefers."""
    reference = parse_reference(call.argument)
    found = await call.shared.registry.pull.manifest(call.repository, reference, body=True)
    return _answer(call, found)


async def stat(call: Call) -> Response:
    """HEAD of a manifest."""
    reference = parse_reference(call.argument)
    found = await call.shared.registry.pull.manifest(call.repository, reference, body=False)
    return _answer(call, found)


def _answer(call: Call, found: StoredManifest) -> Response:
    """The manifest under the digest it is known by. The media type comes without parameters: old clients compare it
    as text."""
    known = call.request.headers.get(b"if-none-match")
    head, described = _heads(call.shared.answers.common, found.digest, found.media_type)
    if known is not None and none_match(known.decode("ascii", "replace"), found.digest):
        return Response(304, head)
    return Response(200, described, found.body or b"", declared=found.size)


@lru_cache(maxsize=4096)
def _heads(common: bytes, digest: Digest, media_type: str) -> tuple[bytes, bytes]:
    """The header lines of a 304 and of a 200; they depend on nothing that changes."""
    head = common + f'Docker-Content-Digest: {digest}\r\nETag: "{digest}"\r\nVary: Authorization\r\n'.encode("ascii")
    return head, head + f"Content-Type: {media_type}\r\n".encode("ascii")


async def push(call: Call) -> Response:
    """PUT of a manifest by tag, by digest, or by digest with tags as parameters."""
    reference = parse_reference(call.argument)
    more = _tags(call) if isinstance(reference, Digest) else []
    if b"content-type" in call.request.repeated:
        raise ManifestInvalid("more than one Content-Type")
    registry = call.shared.registry
    body = await call.request.body.read(registry.limits.manifest_bytes)
    content_type = call.request.header(b"content-type")
    pushed = await registry.push.manifest(call.repository, reference, content_type, body, more, call.who)
    headers = [
        call.location(f"manifests/{pushed.digest}"),
        ("Docker-Content-Digest", str(pushed.digest)),
        *(("OCI-Tag", tag) for tag in more),
    ]
    if pushed.subject is not None:
        headers.append(("OCI-Subject", str(pushed.subject)))
    return call.shared.answers.answer(201, *headers)


def _tags(call: Call) -> list[Tag]:
    given = call.query().get("tag", [])
    if len(given) > _MOST_TAGS:
        raise BadRequest(414, f"more than {_MOST_TAGS} tags in one request")
    return list(dict.fromkeys(parse_tag(text) for text in given))


async def delete(call: Call) -> Response:
    """DELETE of a tag, which keeps the manifest, or of a manifest with all its tags."""
    reference = parse_reference(call.argument)
    if isinstance(reference, Digest):
        await call.shared.registry.delete.manifest(call.repository, reference, call.who)
    else:
        await call.shared.registry.delete.tag(call.repository, reference, call.who)
    return call.shared.answers.answer(202)
