"""Step `proxy`: what stands between client and registry, tried with bodies as real layers have them."""

from __future__ import annotations

import asyncio
import gzip
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from moorage.doctor.client.http import Answer, Body
from moorage.doctor.client.journey import Journey
from moorage.doctor.client.scratch import Image, Scratch, digest
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong

_PROBE_BYTES: Final = 2 * 1024 * 1024
"""More than nginx takes by default (1 MiB)."""

_LARGE_MIB: Final = 101
"""More than Cloudflare takes without an enterprise's contract (100 MB)."""

_LOOKS: Final = 8
"""So many requests find a second replica behind a balancer with a chance of 255 in 256."""

_PIECE: Final = 64 * 1024
_EARLY_SECONDS: Final = 3.0


async def look(journey: Journey, scratch: Scratch, image: Image) -> AsyncIterator[Finding]:
    """Uploads of 2 MiB in both ways of sending, their state, early answers, ranges and compression."""
    yield _who(journey)
    for way in ("length", "chunked"):
        finding = await asyncio.to_thread(_upload, scratch, way)
        yield finding
        if finding.facts.get("status") == 413:
            break  # the other way would only say it again
    for finding in await asyncio.to_thread(_replicas, scratch):
        yield finding
    yield await asyncio.to_thread(_buffering, journey, scratch)
    for finding in await asyncio.to_thread(_download, scratch, image):
        yield finding
    if journey.options.slow_seconds:
        yield await asyncio.to_thread(_slow, scratch, journey.options.slow_seconds)
        yield await asyncio.to_thread(_large, scratch)


def _who(journey: Journey) -> Finding:
    first = journey.first
    assert first is not None, "an earlier step saw to it"
    named = first["Server"] or first["Via"]
    if named:
        return ok(f"{named[:60]} answers for the registry", server=first["Server"], via=first["Via"])
    return ok("no proxy shows itself")


def _pieces(scratch: Scratch, count: int, size: int, seconds: float = 0.0) -> Iterator[bytes]:
    """A body, with a pause of *seconds* after each piece; raises OSError where the walk has ended meanwhile."""
    piece = bytes(size)
    for _ in range(count):
        yield piece
        if scratch.ended.wait(seconds):
            raise OSError("given up")


def _send(scratch: Scratch, body: Body, timeout: float | None = None) -> Answer | OSError:
    """Append *body* to a new upload, which is cancelled by `tidy`."""
    begun, path = scratch.begin()
    if not path:
        return begun
    headers = {"Content-Type": "application/octet-stream"}
    try:
        answer = scratch.ask("PATCH", path, headers, body, timeout=timeout)
    except OSError as error:
        return error
    if answer.status == 202:
        scratch.moved(path, answer)
    return answer


def _upload(scratch: Scratch, way: str) -> Finding:
    chunked = way == "chunked"
    body: Body = _pieces(scratch, _PROBE_BYTES // _PIECE, _PIECE) if chunked else bytes(_PROBE_BYTES)
    how = "in chunks, as docker does," if chunked else "of known length"
    answer = _send(scratch, body)
    facts: dict[str, Any] = {"way": way, "bytes": _PROBE_BYTES}
    if isinstance(answer, OSError):
        return _cut(answer, f"an upload of 2 MiB {how}", facts)
    facts |= {"status": answer.status, "server": answer["Server"]}
    if answer.status not in {202, 204}:
        return _rejected(answer, f"an upload of 2 MiB {how}", facts)
    expected = f"0-{_PROBE_BYTES - 1}"
    if answer["Range"].removeprefix("bytes=") != expected:
        said = answer["Range"] or "no Range header"
        return wrong(
            f"an upload of 2 MiB {how} is answered with {said} instead of Range: {expected}",
            "Docker reads the layer's size from it, and fails without. A proxy strips the header, or lost bytes.",
            "proxy_pass_header Range;    # nginx",
            **facts,
        )
    return ok(f"2 MiB {how} go through ({answer.seconds * 1000:.0f} ms)", **facts, seconds=round(answer.seconds, 3))


def _rejected(answer: Answer, what: str, facts: dict[str, Any]) -> Finding:
    if answer.status == 413:
        own = bool(answer.codes)
        return wrong(
            f"{what} is too large: 413{answer.by}",
            "The registry's own limit is lower than any layer."
            if own
            else "A proxy limits the size of bodies, and layers have any size. Clients say"
            ' "413 Request Entity Too Large" or retry for ever.',
            "http: {limits: {blob_bytes: 0}}    # moorage.yml"
            if own
            else "client_max_body_size 0;    # nginx, in the server or location of the registry",
            *(
                ()
                if own
                else ('nginx.ingress.kubernetes.io/proxy-body-size: "0"    # annotation of a Kubernetes ingress',)
            ),
            **facts,
        )
    if answer.status == 411:
        return wrong(
            f"{what} is refused: 411 Length Required{answer.by}",
            "A proxy wants to know the length of every body beforehand; docker does not know it.",
            "proxy_http_version 1.1; proxy_request_buffering off;    # nginx",
            **facts,
        )
    if answer.status in {408, 502, 503, 504}:
        return wrong(
            f"{what} ends in {answer.status} {answer.phrase}{answer.by}",
            "A proxy gives up on the way: it waits too short, or the registry behind it went away.",
            "proxy_read_timeout 900s; proxy_send_timeout 900s; client_body_timeout 900s;    # nginx",
            **facts,
        )
    return wrong(
        f"{what} is refused: {answer.said}{answer.by}",
        "Layers cannot be pushed." if not answer.codes else "The registry says so itself.",
        "read the log of what answers",
        **facts,
    )


def _cut(error: OSError, what: str, facts: dict[str, Any], after: float | None = None) -> Finding:
    when = "" if after is None else f" after {after:.0f} s"
    how = "is not answered" if isinstance(error, TimeoutError) else "is cut off"
    return wrong(
        f"{what} {how}{when} ({error})",
        "Something on the way closes the connection: a timeout, a limit, or a filter. Clients retry and fail, with"
        ' "EOF", "broken pipe" or "connection reset by peer".',
        "proxy_request_buffering off; client_body_timeout 900s; proxy_send_timeout 900s;    # nginx",
        "entryPoints.websecure.transport.respondingTimeouts.readTimeout: 0    # Traefik",
        **facts,
        error=str(error),
    )


def _replicas(scratch: Scratch) -> list[Finding]:
    """The state of one upload, asked again and again: every server behind this address has to know it."""
    begun, path = scratch.begin()
    if not path:
        return [skipped(f"no upload could be begun to look at ({begun.said})")]
    sent = scratch.ask("PATCH", path, {"Content-Type": "application/octet-stream"}, bytes(1000))
    if sent.status not in {202, 204}:
        return [
            wrong(
                f"an upload that was just begun cannot go on: {sent.said}{sent.by}",
                "Several servers answer at this address and share no storage, or not the secret that seals uploads.",
                "give all replicas the same storage, and the same http.secret    # config.yml",
            )
        ]
    path = scratch.moved(path, sent)
    seen = [scratch.ask("GET", path) for _ in range(_LOOKS)]
    states = [answer.status if answer.status != 204 else answer["Range"].removeprefix("bytes=") for answer in seen]
    counts = {str(state): states.count(state) for state in states}
    if set(states) == {"0-999"}:
        return [ok(f"an upload's state is the same in {_LOOKS} requests", states=counts)]
    if "0-999" not in states:
        return [ok(f"an upload's state cannot be asked for here ({seen[0].said})", states=counts)]
    good = states.count("0-999")
    return [
        wrong(
            f"an upload is known to {good} of {_LOOKS} requests only",
            "Several servers answer at this address and do not share their storage: each knows its own uploads. Pushes"
            ' fail at random with "blob upload unknown".',
            "give all replicas the same storage, or send each client to one of them (sticky sessions)",
            states=counts,
        )
    ]


def _buffering(journey: Journey, scratch: Scratch) -> Finding:
    """A registry refuses before it has the whole body; a proxy that collects bodies first cannot."""
    path = f"{scratch.root}/blobs/uploads/{uuid.uuid4()}"
    line = journey.line()
    usual = line.ask("PATCH", path)
    try:
        answer = line.early("PATCH", path, _PROBE_BYTES, max(_EARLY_SECONDS, 10 * usual.seconds))
    except OSError as error:
        return skipped(f"whether bodies are collected on the way cannot be told ({error})")
    if b" 413 " in answer:
        return skipped("whether bodies are collected on the way can be told once they are not too large")
    if not answer:
        return warning(
            "bodies are collected on the way, and passed on only when they are whole",
            "A proxy writes each layer to its own disk first. Large pushes pause, time out, and need that space.",
            "proxy_request_buffering off; proxy_http_version 1.1;    # nginx",
            'nginx.ingress.kubernetes.io/proxy-request-buffering: "off"    # annotation of a Kubernetes ingress',
        )
    return ok("bodies go through as they come")


def _download(scratch: Scratch, image: Image) -> list[Finding]:
    """Compression, ranges and lengths of blobs."""
    found = []
    packed = scratch.blob(image.config, {"Accept-Encoding": "gzip, deflate"})
    encoding = packed["Content-Encoding"]
    if encoding:
        same = digest(_unpacked(packed.body)) == digest(image.config)
        found.append(
            (warning if same else wrong)(
                f"blobs come compressed by the proxy (Content-Encoding: {encoding}){packed.by}",
                "Layers are compressed already, and a client that does not undo it finds another digest and length;"
                " interrupted pulls cannot go on.",
                "gzip off;    # nginx, in location /v2/",
                encoding=encoding,
            )
        )
    head = scratch.blob(image.config, method="HEAD")
    if head.status == 200 and head["Content-Length"] != str(len(image.config)):
        found.append(
            wrong(
                f"a blob's length is not told: Content-Length {head['Content-Length'] or 'is missing'}{head.by}",
                "Clients ask for it before they push and pull, and fail without.",
                "gzip off; proxy_http_version 1.1;    # nginx",
            )
        )
    part = scratch.blob(image.config, {"Range": "bytes=10-19"})
    if part.status == 206 and part.body == image.config[10:20] and part["Content-Range"].startswith("bytes 10-19/"):
        found.append(ok("a part of a blob can be fetched, so interrupted pulls go on where they stopped"))
    elif part.status in {200, 206}:
        found.append(
            warning(
                f"a part of a blob cannot be fetched: {part.status} with {len(part.body):,} bytes, not 10{part.by}",
                "An interrupted pull begins anew each time, and containerd fetches large layers in parts. A cache or a"
                " filter on the way drops the Range header.",
                "proxy_set_header Range $http_range; proxy_force_ranges on;    # nginx",
                status=part.status,
            )
        )
    return found


def _unpacked(body: bytes) -> bytes:
    try:
        return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else zlib.decompress(body)
    except (OSError, EOFError, zlib.error):
        return b""


def _slow(scratch: Scratch, seconds: float) -> Finding:
    """An upload whose bytes come a few a second."""
    began = time.monotonic()
    count = max(2, round(seconds))
    answer = _send(scratch, _pieces(scratch, count, 1000, seconds / count))
    after = time.monotonic() - began
    what = f"an upload that takes {seconds:.0f} s"
    facts: dict[str, Any] = {"seconds": round(after, 1)}
    if isinstance(answer, OSError):
        return _cut(answer, what, {**facts}, after)
    if answer.status not in {202, 204} or after < seconds * 0.9:
        return _rejected(answer, f"{what} (after {after:.0f} s)", {**facts, "status": answer.status})
    return ok(f"{what} goes through", **facts)


def _large(scratch: Scratch) -> Finding:
    answer = _send(scratch, _pieces(scratch, _LARGE_MIB, 1024 * 1024), timeout=120.0)
    what = f"an upload of {_LARGE_MIB} MiB"
    facts: dict[str, Any] = {"bytes": _LARGE_MIB * 1024 * 1024}
    if isinstance(answer, OSError):
        return _cut(answer, what, {**facts})
    if answer.status not in {202, 204}:
        return _rejected(answer, what, {**facts, "status": answer.status})
    return ok(f"{what} goes through ({answer.seconds:.1f} s)", **facts)
