"""Lists: the version check, the catalog, tags, referrers."""

from __future__ import annotations

import re

from moorage.auth.policy import Action, visible_names
from moorage.errors import PaginationNumberInvalid
from moorage.message import Response
from moorage.oci.digest import Digest
from moorage.oci.pagination import parse_count
from moorage.oci.query import encode_component
from moorage.v2.call import Call

_LOST_PLUS = re.compile(r"(?<!;) ")
_INDEX = "application/vnd.oci.image.index.v1+json"
_REFERRERS_HEAD = b'{"schemaVersion":2,"mediaType":"%s","manifests":[' % _INDEX.encode("ascii")


async def ping(call: Call) -> Response:
    """The version check, which is also where `docker login` tries its password."""
    return call.shared.answers.document(b"{}", "application/json")


def _link(path: str, **parameters: str | int | None) -> tuple[str, str]:
    """The next page (RFC 8288), as a path with everything that a client sent percent-encoded."""
    given = ((name, str(value)) for name, value in parameters.items() if value is not None)
    query = "&".join(f"{name}={encode_component(value)}" for name, value in given)
    return ("Link", f'<{path}?{query}>; rel="next"')


def _page(call: Call, most: int, *, strict: bool = False) -> tuple[int, str]:
    """How many names, and above which; *strict* refuses to give less than was asked for.

    Many scripts never follow a Link, so without `n` a page is as large as this server makes it.
    """
    query = call.query()
    asked = parse_count(call.single(query, "n"), most + 1)
    if strict and asked is not None and asked > most:
        raise PaginationNumberInvalid(f"n is at most {most} here")
    return most if asked is None else min(asked, most), call.single(query, "last") or ""


async def tags(call: Call) -> Response:
    """The repository's tags, in ASCII order."""
    registry = call.shared.registry
    count, after = _page(call, registry.limits.tags_page)
    page = await registry.browse.tags(call.repository, after=after, count=count)
    path = f"{call.shared.prefix}/v2/{call.repository}/tags/list"
    links = (_link(path, n=count, last=page.names[-1]),) if page.more and page.names else ()
    return call.shared.answers.json({"name": call.repository, "tags": page.names}, *links)


async def catalog(call: Call) -> Response:
    """The repositories that this caller may see, in ASCII order."""
    registry = call.shared.registry
    count, after = _page(call, registry.limits.catalog_page, strict=True)
    ranges = visible_names(call.principal, Action.CATALOG, call.shared.rules).ranges
    page = await registry.browse.catalog(ranges, after=after, count=count)
    path = f"{call.shared.prefix}/v2/_catalog"
    links = (_link(path, n=count, last=page.names[-1]),) if page.more and page.names else ()
    return call.shared.answers.json({"repositories": page.names}, *links)


def _restored(media_type: str | None) -> str | None:
    """The media type with its plus signs: sent bare, `+` in a query means a space, which no type has but behind `;`."""
    return None if media_type is None else _LOST_PLUS.sub("+", media_type)


async def referrers(call: Call) -> Response:
    """Who names this digest as subject; an empty index where nobody does (distribution-spec, "Listing Referrers")."""
    subject = Digest.parse(call.argument)
    query = call.query()
    artifact_type = _restored(call.single(query, "artifactType"))
    last = call.single(query, "last")
    registry = call.shared.registry
    found = await registry.browse.referrers(
        call.repository,
        subject,
        artifact_type=artifact_type,
        after=Digest.parse(last) if last else None,
        count=registry.limits.referrers_page,
    )
    headers = []
    if artifact_type:
        headers.append(("OCI-Filters-Applied", "artifactType"))
    if found.last is not None:
        path = f"{call.shared.prefix}/v2/{call.repository}/referrers/{subject}"
        headers.append(_link(path, artifactType=artifact_type, last=str(found.last)))
    body = b"".join((_REFERRERS_HEAD, b",".join(found.descriptors), b"]}"))
    return call.shared.answers.document(body, _INDEX, *headers)
