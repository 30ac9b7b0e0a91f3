"""Pushes of blobs: in one request or in many, or by mounting what another repository has."""

from __future__ import annotations

from moorage.auth.policy import Action, allowed, visible_names
from moorage.errors import BlobUploadUnknown, DigestInvalid, NameInvalid, RangeInvalid
from moorage.message import Response
from moorage.oci.digest import Digest, parse_algorithm
from moorage.oci.name import parse_name
from moorage.oci.ranges import parse_content_range
from moorage.registry.uploads import Chunk
from moorage.v2.call import Call


async def begin(call: Call) -> Response:
    """POST: mount, push in one request, or open a session."""
    query = call.query()
    mount = call.single(query, "mount")
    if mount is not None:
        digest = Digest.parse(mount)
        if await call.shared.registry.uploads.mount(call.repository, digest, _sources(call, query)):
            return _created(call, digest)
    elif "digest" in query:
        digest = _digest(call, query)
        await call.shared.registry.uploads.push(call.repository, digest, call.request.body)
        return _created(call, digest)
    algorithm = call.single(query, "digest-algorithm")
    upload_id = await call.shared.registry.uploads.begin(
        call.repository, call.who, "sha256" if algorithm is None else parse_algorithm(algorithm)
    )
    return call.shared.answers.answer(202, *_progress(call, upload_id, 0))


def _sources(call: Call, query: dict[str, list[str]]) -> tuple[tuple[str, str | None], ...]:
    """Where a mount may look: in the repository named by `from`, else wherever this caller may pull.

    A source that cannot be read is no error: the client gets a session instead.
    """
    rules = call.shared.rules
    source = call.single(query, "from")
    if source is None:
        return visible_names(call.principal, Action.PULL, rules).ranges
    try:
        name = parse_name(source)
    except NameInvalid:
        return ()
    return ((name, name + "\x01"),) if allowed(call.principal, Action.PULL, name, rules) else ()


def _digest(call: Call, query: dict[str, list[str]]) -> Digest:
    values = query.get("digest", [])
    if len(values) != 1:
        raise DigestInvalid("one digest parameter is needed")
    return Digest.parse(values[0])


def _created(call: Call, digest: Digest) -> Response:
    return call.shared.answers.answer(201, call.location(f"blobs/{digest}"), ("Docker-Content-Digest", str(digest)))


def _progress(call: Call, upload_id: str, offset: int) -> tuple[tuple[str, str], ...]:
    """Where to go on, and how much is there; an empty range cannot be written, so nothing is `0-0` as well."""
    return (
        call.location(f"blobs/uploads/{upload_id}"),
        ("Range", f"0-{max(0, offset - 1)}"),
        ("Docker-Upload-UUID", upload_id),
    )


async def status(call: Call) -> Response:
    """GET: how far the session has come."""
    offset = await call.shared.registry.uploads.status(call.repository, call.who, call.argument)
    return call.shared.answers.answer(204, *_progress(call, call.argument, offset))


def _chunk(call: Call) -> Chunk | None:
    header = call.request.header(b"content-range")
    if header is None:
        return None
    if b"content-range" in call.request.repeated:
        raise RangeInvalid("more than one Content-Range")
    return Chunk(*parse_content_range(header))


async def append(call: Call) -> Response:
    """PATCH: the next bytes, with or without saying where they belong."""
    uploads = call.shared.registry.uploads
    try:
        offset = await uploads.append(call.repository, call.who, call.argument, call.request.body, _chunk(call))
    except RangeInvalid as error:
        await _say_where(call, error)
        raise
    return call.shared.answers.answer(202, *_progress(call, call.argument, offset))


async def finish(call: Call) -> Response:
    """PUT: perhaps the last bytes, and the digest of all."""
    digest = _digest(call, call.query())
    uploads = call.shared.registry.uploads
    try:
        await uploads.finish(call.repository, call.who, call.argument, digest, call.request.body, _chunk(call))
    except RangeInvalid as error:
        await _say_where(call, error)
        raise
    return _created(call, digest)


async def _say_where(call: Call, error: RangeInvalid) -> None:
    """Tell with a 416 where to go on: regclient resumes from it."""
    try:
        offset = await call.shared.registry.uploads.status(call.repository, call.who, call.argument)
    except BlobUploadUnknown as unknown:
        raise unknown from None
    error.headers = _progress(call, call.argument, offset)


async def cancel(call: Call) -> Response:
    """DELETE: give the session up."""
    await call.shared.registry.uploads.cancel(call.repository, call.who, call.argument)
    return call.shared.answers.answer(204)
