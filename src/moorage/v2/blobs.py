"""Blobs: pull with ranges, stat, delete."""

from __future__ import annotations

import secrets
from functools import lru_cache
from urllib.parse import quote

from moorage.message import Part, Response
from moorage.metadata.blobs import StoredBlob
from moorage.oci.digest import Digest
from moorage.oci.etag import if_range, none_match
from moorage.oci.ranges import parse_range
from moorage.storage.blobs import Content
from moorage.v2.call import Call

# Content under a digest never changes, but whose it is does: no shared cache may keep it. A pushed HTML page must not
# run in this origin.
_FACTS = (
    "Accept-Ranges: bytes\r\nCache-Control: private, max-age=31536000, no-transform\r\n"
    "Content-Security-Policy: default-src 'none'; sandbox\r\nContent-Disposition: attachment\r\n"
)


async def pull(call: Call) -> Response:
    """GET of a blob, whole or in ranges."""
    return await _answer(call, with_body=True)


async def stat(call: Call) -> Response:
    """HEAD of a blob; a Range does not change it."""
    return await _answer(call, with_body=False)


async def _answer(call: Call, *, with_body: bool) -> Response:
    digest = Digest.parse(call.argument)
    pull = call.shared.registry.pull
    blob = await pull.blob(call.repository, digest)
    head = _head(call.shared.answers.common, digest)
    known = call.request.headers.get(b"if-none-match")
    if known is not None and none_match(known.decode("ascii", "replace"), digest):
        return Response(304, head)
    if with_body and call.shared.accel and call.request.proxied:
        return _by_proxy(call.shared.accel, head, blob)
    ranges = _ranges(call, digest, blob) if with_body else None
    if ranges is not None and len(ranges) > 1:
        return _several(head, blob, pull.content(blob), ranges)
    head += b"Content-Type: application/octet-stream\r\n"
    if not with_body:
        return Response(200, head, declared=blob.size)
    content = pull.content(blob)
    if ranges is None:
        return _send(200, head, _cut(content, 0, blob.size))
    start, end = ranges[0]
    head += f"Content-Range: bytes {start}-{end - 1}/{blob.size}\r\n".encode("ascii")
    return _send(206, head, _cut(content, start, end))


def _by_proxy(prefix: str, head: bytes, blob: StoredBlob) -> Response:
    """Let nginx send the file, with the ranges that the client asks for: its own sendfile, and one copy less."""
    # nginx says itself that it knows ranges.
    head = head.replace(b"Accept-Ranges: bytes\r\n", b"") + b"Content-Type: application/octet-stream\r\n"
    return Response(200, head + f"X-Accel-Redirect: {prefix}{quote(blob.location)}\r\n".encode("ascii"))


def _send(status: int, head: bytes, piece: bytes | Part) -> Response:
    if isinstance(piece, bytes):
        return Response(status, head, piece)
    return Response(status, head, parts=(piece,))


@lru_cache(maxsize=4096)
def _head(common: bytes, digest: Digest) -> bytes:
    """The header lines that depend on nothing but the digest."""
    return common + f'Docker-Content-Digest: {digest}\r\nETag: "{digest}"\r\n{_FACTS}'.encode("ascii")


def _ranges(call: Call, digest: Digest, blob: StoredBlob) -> list[tuple[int, int]] | None:
    wanted = call.request.header(b"range")
    if wanted is None or b"range" in call.request.repeated:
        return None
    condition = call.request.header(b"if-range")
    if condition is not None and not if_range(condition, digest):
        return None
    return parse_range(wanted, blob.size)


def _cut(content: bytes | Content, start: int, end: int) -> bytes | Part:
    if isinstance(content, bytes):
        return content[start:end]
    return Part(content, start, end - start)


def _several(head: bytes, blob: StoredBlob, content: bytes | Content, ranges: list[tuple[int, int]]) -> Response:
    """Several ranges in one answer (RFC 9110, 14.6); zstd:chunked pulls ask for many."""
    boundary = secrets.token_hex(16)
    parts: list[bytes | Part] = []
    for start, end in ranges:
        parts.append(
            f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Range: bytes {start}-{end - 1}/{blob.size}\r\n\r\n".encode("ascii")
        )
        parts.append(_cut(content, start, end))
    parts.append(f"\r\n--{boundary}--\r\n".encode("ascii"))
    head += f"Content-Type: multipart/byteranges; boundary={boundary}\r\n".encode("ascii")
    return Response(206, head, parts=tuple(parts))


async def delete(call: Call) -> Response:
    """DELETE of a blob: it leaves this repository at once."""
    await call.shared.registry.delete.blob(call.repository, Digest.parse(call.argument))
    return call.shared.answers.answer(202)
