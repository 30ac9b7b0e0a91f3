"""Steps `push`, `pull` and `tidy`: a tiny image goes in, comes out, and is removed."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

from moorage.doctor.client.http import Answer
from moorage.doctor.client.journey import Journey
from moorage.doctor.client.scratch import Image, Scratch, digest
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong

DIGEST = "Docker-Content-Digest"


async def push(journey: Journey, scratch: Scratch, image: Image) -> AsyncIterator[Finding]:
    """Two blobs and a manifest; findings also on the Location by which an upload goes on."""
    first = journey.first
    assert first is not None, "an earlier step saw to it"
    began = time.monotonic()
    answer, path = await asyncio.to_thread(scratch.begin)
    if answer.status != 202 or not path:
        yield _not_begun(journey, answer)
        return
    for finding in location(journey, answer):
        yield finding
    for number, blob in enumerate(image.blobs):
        if number:
            answer, path = await asyncio.to_thread(scratch.begin)
            if answer.status != 202 or not path:
                yield _not_begun(journey, answer)
                return
        closed = await asyncio.to_thread(scratch.finish, path, blob)
        if closed.status != 201:
            yield _not_closed(journey, closed, blob)
            return
    stored = await asyncio.to_thread(scratch.put_manifest, image)
    if stored.status != 201:
        yield wrong(
            f"the manifest is refused: {stored.said}{stored.by}",
            "The blobs went through, the manifest did not: a proxy lets only some methods or content types pass, or it"
            " is a rule of the registry.",
            f"curl -i {journey.target.url}{scratch.root}/manifests/{image.tag}",
            blocks=True,
            status=stored.status,
        )
        return
    milliseconds = (time.monotonic() - began) * 1000
    size = len(image.manifest) + sum(map(len, image.blobs))
    yield ok(
        f"{journey.options.repository}:{image.tag} is pushed ({size:,} bytes, {milliseconds:.0f} ms)",
        repository=journey.options.repository,
        tag=image.tag,
        bytes=size,
    )


def location(journey: Journey, answer: Answer) -> Iterator[Finding]:
    """Whether the Location of an upload leads clients back by the way they came."""
    target, given = journey.target, answer["Location"]
    there = urlsplit(urljoin(f"{target.url}/v2/", given))
    facts: dict[str, Any] = {"location": f"{there.scheme}://{there.netloc}{there.path}"[:200]}
    if target.tls and there.scheme == "http":
        yield wrong(
            "an upload is to go on at an http:// address (Location), though the client came by https",
            'Clients say "http: server gave HTTP response to HTTPS client", or lose the layer. The registry does not'
            " know that clients come by https, or the proxy rewrites the header.",
            "proxy_set_header X-Forwarded-Proto $scheme;    # nginx; and no proxy_redirect",
            f"http: {{external_url: {target.url}, trusted_proxies: [ADDRESS-OF-THE-PROXY]}}    # moorage.yml",
            **facts,
        )
    elif there.netloc != target.authority and not _same_place(journey, there.hostname, there.port):
        yield wrong(
            f"an upload is to go on at another host: {there.scheme}://{there.netloc} (Location)",
            "Clients go there, without the password, if they can at all. The registry does not know by which name and"
            " port its clients come.",
            "proxy_set_header Host $http_host;    # nginx; $host loses the port",
            f"http: {{external_url: {target.url}}}    # moorage.yml",
            **facts,
        )


def _same_place(journey: Journey, host: str | None, port: int | None) -> bool:
    target = journey.target
    return (host or "", port or (443 if target.tls else 80)) == (target.host, target.port)


def _not_begun(journey: Journey, answer: Answer) -> Finding:
    repository, login = journey.options.repository, journey.options.login
    who = login.user if login else "anybody"
    facts: dict[str, Any] = {"status": answer.status, "codes": answer.codes}
    if answer.status == 202:
        return wrong(
            "an upload begins without a Location by which it could go on",
            "A proxy strips the header.",
            "proxy_pass_header Location;    # nginx",
            blocks=True,
            **facts,
        )
    if answer.status == 401 and login is None:
        return skipped("only users may push, and no --user was given", blocks=True)
    if answer.status in {401, 403}:
        return wrong(
            f"{who} may not push to {repository}: {answer.said}",
            'Clients say "denied: requested access to the resource is denied". If the user should be able to, the rules'
            " lack it; or name a repository where the user may push.",
            f"moorage doctor --client {journey.target.url} --user {who} --repository NAME",
            blocks=True,
            **facts,
        )
    if answer.status == 405 and answer.codes:
        return wrong(
            f"the registry takes no pushes: {answer.said}",
            "It is read-only, or a mirror.",
            "storage: {read_only: false}    # moorage.yml",
            blocks=True,
            **facts,
        )
    return wrong(
        f"a push cannot begin: {answer.said}{answer.by}",
        "A proxy that lets POST not pass, or sends it elsewhere; or a fault of the registry."
        if not answer.codes
        else "The registry says so itself.",
        f"curl -i -X POST {journey.target.url}/v2/{repository}/blobs/uploads/",
        blocks=True,
        **facts,
    )


def _not_closed(journey: Journey, answer: Answer, blob: bytes) -> Finding:
    facts: dict[str, Any] = {"status": answer.status, "codes": answer.codes, "digest": digest(blob)}
    if "DIGEST_INVALID" in answer.codes:
        return wrong(
            f"what arrives is not what was sent: {answer.said}",
            "Something on the way changes the bytes of a body: a filter, a scanner, a broken cable.",
            "leave bodies of /v2/ alone",
            blocks=True,
            **facts,
        )
    if answer.status == 404:
        return wrong(
            f"an upload that was just begun is not known any more: {answer.said}{answer.by}",
            "Several servers answer at this address and share no storage, or not the secret that seals uploads; or the"
            " path in Location is not the one that the proxy passes on.",
            "give all replicas the same storage, and the same http.secret    # config.yml",
            blocks=True,
            **facts,
        )
    return wrong(
        f"a blob of {len(blob):,} bytes is refused: {answer.said}{answer.by}",
        "The upload began, and could not be closed.",
        "read the log of what answers",
        blocks=True,
        **facts,
    )


async def pull(journey: Journey, scratch: Scratch, image: Image) -> AsyncIterator[Finding]:
    """What was pushed comes back, byte for byte, with the headers that clients need."""
    head = await asyncio.to_thread(scratch.manifest, image.tag, "HEAD")
    whole = await asyncio.to_thread(scratch.manifest, image.tag)
    expected = digest(image.manifest)
    if whole.status != 200:
        yield wrong(
            f"the image that was just pushed cannot be pulled: {whole.said}{whole.by}",
            "Several servers without shared storage, a cache in between, or a user who may push and not pull.",
            f"curl -i {journey.target.url}{scratch.root}/manifests/{image.tag}",
            blocks=True,
            status=whole.status,
        )
        return
    if not head[DIGEST] and not whole[DIGEST]:
        yield warning(
            f"the header {DIGEST} is missing from manifests",
            "Clients identify images by it; without it some cannot pull by tag, and others fetch everything twice. A"
            " proxy strips it.",
            f"proxy_pass_header {DIGEST};    # nginx; and no proxy_hide_header",
        )
    elif whole[DIGEST] not in {"", expected}:
        yield wrong(
            f"the manifest comes with another digest than it was pushed with: {whole[DIGEST]}",
            "Something on the way changes it, or a cache answers with an old one.",
            "leave bodies of /v2/ alone, and do not cache tags",
        )
    if whole["Content-Encoding"]:
        yield warning(
            f"manifests come compressed ({whole['Content-Encoding']}){whole.by}",
            "Their length and digest are not those that the registry gave.",
            "gzip off;    # nginx",
        )
    elif whole.body != image.manifest:
        yield wrong(
            "the manifest comes back changed",
            "Clients compare its digest and refuse it.",
            "leave bodies of /v2/ alone",
        )
    for blob in image.blobs:
        back = await asyncio.to_thread(scratch.blob, blob)
        if back.status != 200 or digest(back.body) != digest(blob):
            yield _blob_lost(journey, back, blob)
            return
    yield ok("the image comes back byte for byte", digest=expected)


def _blob_lost(journey: Journey, back: Answer, blob: bytes) -> Finding:
    if back.status in {301, 302, 303, 307, 308}:
        there = urlsplit(back["Location"])
        return ok(
            f"blobs are fetched from {there.scheme}://{there.netloc}, which clients have to reach, too",
            location=f"{there.scheme}://{there.netloc}",
        )
    if back.status != 200:
        return wrong(
            f"a blob that was just pushed cannot be pulled: {back.said}{back.by}",
            "Several servers without shared storage, or a cache in between.",
            f"curl -i {journey.target.url}/v2/{journey.options.repository}/blobs/{digest(blob)}",
            blocks=True,
            status=back.status,
        )
    return wrong(
        f"a blob comes back changed{back.by}: {len(back.body):,} bytes instead of {len(blob):,}",
        'Clients say "filesystem layer verification failed for digest" or "unexpected EOF".',
        "gzip off; no caching, no filters for /v2/",
        blocks=True,
    )


async def tidy(scratch: Scratch) -> AsyncIterator[Finding]:
    """What the doctor pushed is removed again."""
    outcomes = await asyncio.to_thread(scratch.clean)
    # Not every registry lets uploads be cancelled; they go by themselves.
    left = [(kind, answer) for kind, answer in outcomes if kind != "upload" and not _gone(answer)]
    if outcomes and not left:
        yield ok(f"what was pushed is removed ({len(outcomes)} requests)")
    elif left and all(isinstance(answer, Answer) and answer.status == 405 for _, answer in left):
        yield ok("deletion is switched off in this registry, so the tiny image stays", left=len(left))
    elif left and all(isinstance(answer, Answer) and answer.status in {401, 403} for _, answer in left):
        yield ok("the user may not delete, so the tiny image stays", left=len(left))
    elif left:
        said = "; ".join(dict.fromkeys(f"{kind}: {one.said if isinstance(one, Answer) else one}" for kind, one in left))
        yield warning(
            f"not everything that was pushed could be removed ({said})",
            "Deleting is a request of its own (DELETE), which some proxies do not let pass. It is a few kilobytes.",
            "limit_except GET HEAD POST PUT PATCH DELETE { deny all; }    # nginx; DELETE has to be in it",
            left=len(left),
        )


def _gone(answer: Answer | OSError) -> bool:
    if isinstance(answer, OSError):
        return answer.errno == errno.ENOENT
    return answer.status in {200, 202, 204, 404}
