"""Step `api`: whether a registry answers at /v2/, and how it wants its clients to log in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from moorage.doctor.client.challenge import Challenge, challenges
from moorage.doctor.client.http import Answer, Line
from moorage.doctor.client.journey import Journey, unverified, verifying
from moorage.doctor.client.target import PORTS, Target
from moorage.doctor.finding import Finding, ok, warning, wrong

VERSION: Final = "Docker-Distribution-Api-Version"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


async def look(journey: Journey) -> AsyncIterator[Finding]:
    """Findings on the answer to `GET /v2/` without credentials, and on the challenge in it."""
    first = journey.first
    assert first is not None, "the step before saw to it"
    if first.status not in {200, 401} or (first.is_html and not first[VERSION]):
        yield _no_registry(journey, first)
        return
    if first.status == 200 and not _is_registry(first):
        yield wrong(
            f"/v2/ is answered with 200, but not by a registry{first.by}",
            "A page or another service catches all paths; the way to the registry has to come first.",
            f"curl -i {journey.target.url}/v2/",
            "location /v2/ { proxy_pass http://127.0.0.1:5000; }    # nginx",
            blocks=True,
        )
        return
    if first.status == 200:
        yield ok(f"a registry answers at /v2/{first.by}, and asks nobody to log in", status=200)
        return
    found = challenges(first.all("WWW-Authenticate"))
    yield ok(f"a registry answers at /v2/{first.by}: 401, log in first", status=401)
    for finding in _challenge(journey, first, found):
        yield finding
    bearer = next((one for one in found if one.scheme == "bearer"), None)
    if bearer is not None and len(found) == 1:
        async for finding in _realm(journey, bearer):
            yield finding


def _is_registry(answer: Answer) -> bool:
    """Registries answer /v2/ with this header, an empty body or a JSON object."""
    return bool(answer[VERSION]) or answer.body.strip() in {b"", b"{}"}


def _no_registry(journey: Journey, first: Answer) -> Finding:
    """What else answered, and what follows."""
    target, by = journey.target, first.by
    facts: dict[str, Any] = {"status": first.status, "server": first["Server"], "content_type": first["Content-Type"]}
    curl = f"curl -i {target.url}/v2/"
    if first.status in _REDIRECTS:
        return _redirect(target, first, facts)
    if first.status == 400 and b"certificate" in first.body.lower():
        return wrong(
            f"the server wants a certificate of the client's own{by}: 400 without one",
            f"Docker shows what lies in /etc/docker/certs.d/{target.authority} as client.cert with client.key.",
            f"moorage doctor --client {target.url} --cert client.cert --key client.key",
            blocks=True,
            **facts,
        )
    if first.status in {502, 503, 504}:
        return wrong(
            f"{first.status} {first.phrase}{by}: what answers is a proxy that does not reach the registry",
            "The registry is not running, listens elsewhere, or is asked in the wrong way (http for https).",
            "on the server: moorage doctor",
            "on the server: curl -i http://127.0.0.1:5000/v2/",
            blocks=True,
            **facts,
        )
    if first.status == 401:
        return wrong(
            f"the proxy itself asks for a password{by}; the registry is not reached",
            "Clients send one Authorization header only, and the registry wants to see it. Let the registry ask.",
            "remove auth_basic and auth_request from location /v2/    # nginx",
            curl,
            blocks=True,
            **facts,
        )
    if first.status == 403:
        return wrong(
            f"403 Forbidden{by}: something before the registry lets nobody in",
            "A firewall for web applications, a list of allowed addresses, or a block on the client's program name.",
            curl,
            blocks=True,
            **facts,
        )
    what = "a page for people" if first.is_html else "not a registry"
    return wrong(
        f"/v2/ is answered with {first.status} {first.phrase}{by}: {what}",
        "The registry is not at the root of this host: it is under a prefix, which images' names cannot say, or a user"
        " interface or another site catches its path. The address is /v2/, whatever the registry.",
        curl,
        "location /v2/ { proxy_pass http://127.0.0.1:5000; }    # nginx; without a path behind the port",
        blocks=True,
        **facts,
    )


def _redirect(target: Target, first: Answer, facts: dict[str, Any]) -> Finding:
    there = urlsplit(urljoin(f"{target.url}/v2/", first["Location"]))
    shown = f"{there.scheme}://{there.netloc}{there.path}"[:150]
    facts |= {"location": shown}
    if target.scheme == "http" and there.scheme == "https" and there.hostname == target.host:
        return wrong(
            f"http leads on to {shown}",
            "Pushes do not survive a redirect. Clients have to be given the address with TLS from the start.",
            f"moorage doctor --client https://{there.netloc}",
            blocks=True,
            **facts,
        )
    if there.hostname == target.host and there.path.rstrip("/") == "/v2":
        return wrong(
            f"/v2/ leads on to {shown}{first.by}",
            "Clients have to be given the address that it ends at. A redirect to the very same place is a loop: the"
            " proxy does not tell the registry that the client came by https.",
            f"moorage doctor --client {there.scheme}://{there.netloc}",
            "proxy_set_header X-Forwarded-Proto $scheme;    # nginx",
            blocks=True,
            **facts,
        )
    return wrong(
        f"/v2/ leads on to {shown}{first.by}: a login page, or another site",
        "A proxy that logs people in by a page (single sign-on) cannot do so with programs. Leave /v2/ out of it: the"
        " registry asks for a password itself.",
        f"curl -i {target.url}/v2/",
        "remove auth_request or the middleware from the route /v2/",
        blocks=True,
        **facts,
    )


def _challenge(journey: Journey, first: Answer, found: list[Challenge]) -> Iterator[Finding]:
    facts: dict[str, Any] = {"challenges": [one.scheme for one in found]}
    if not found:
        yield wrong(
            "401 comes without a challenge (WWW-Authenticate) that could be read",
            'Clients do not log in, and say "no basic auth credentials". A proxy strips the header or made up the 401.',
            "proxy_pass_header WWW-Authenticate;    # nginx",
            blocks=True,
            **facts,
        )
    elif len(found) > 1:
        yield warning(
            f"401 comes with {len(found)} challenges: {', '.join(one.scheme.capitalize() for one in found)}",
            "Docker understands exactly one; with several it depends on their order whether it can log in. A proxy adds"
            " one of its own.",
            "remove auth_basic from location /v2/    # nginx",
            **facts,
        )
    elif found[0].scheme not in {"basic", "bearer"}:
        yield wrong(
            f"the challenge is {found[0].scheme.capitalize()}, which no client of registries knows",
            "They know Basic and Bearer.",
            "let the registry ask for the password, not the proxy",
            blocks=True,
            **facts,
        )
    elif found[0].scheme == "basic":
        yield ok(f'the challenge is Basic, realm "{found[0].parameters.get("realm", "")}"', **facts)
    if not first[VERSION] and found:
        yield warning(
            f"the header {VERSION} is missing",
            "Old clients take a server without it for no registry. A proxy removes it, or has answered itself.",
            f"curl -i {journey.target.url}/v2/",
        )


async def _realm(journey: Journey, bearer: Challenge) -> AsyncIterator[Finding]:
    """Whether this machine can get at the place where tokens come from."""
    target, realm = journey.target, bearer.parameters.get("realm", "")
    parts = urlsplit(realm)
    facts: dict[str, Any] = {"realm": realm, "service": bearer.parameters.get("service", "")}
    if parts.scheme not in PORTS or not parts.hostname:
        yield wrong(
            f"the Bearer challenge's realm is no URL: {realm or 'empty'}",
            "Clients have to know where to get a token, as a whole URL.",
            f"realm: {target.url}/...    # in the registry's settings",
            blocks=True,
            **facts,
        )
        return
    if target.tls and parts.scheme == "http":
        yield wrong(
            f"tokens are to be had at {realm}, without TLS, though the registry has it",
            "Clients refuse, or send passwords in the clear. The registry does not know that clients come by https.",
            f"realm: https://{parts.netloc}{parts.path}    # in the registry's settings",
            "proxy_set_header X-Forwarded-Proto $scheme;    # nginx",
            blocks=True,
            **facts,
        )
        return
    try:
        answer = await asyncio.to_thread(realm_line(journey, realm).ask, "GET", realm_path(realm, bearer, ""))
    except OSError as error:
        yield wrong(
            f"the place where tokens come from cannot be reached from here: {realm} ({error})",
            "Clients get tokens themselves, so they need a way to it; an internal name will not do.",
            f"curl -i '{realm}'",
            blocks=True,
            **facts,
        )
        return
    if answer.status in {200, 400, 401, 403, 405}:
        yield ok(f"the challenge is Bearer, tokens come from {realm}", **facts, status=answer.status)
    else:
        yield wrong(
            f"the place where tokens come from answers with {answer.said}{answer.by}: {realm}",
            "Without tokens nobody logs in.",
            f"curl -i '{realm}'",
            blocks=True,
            **facts,
        )


def realm_path(realm: str, bearer: Challenge, scope: str) -> str:
    """The path and query by which a token is asked for (distribution, "Token Authentication Specification")."""
    from urllib.parse import urlencode

    parts = urlsplit(realm)
    query = {"service": bearer.parameters.get("service", ""), "scope": scope, "client_id": "moorage-doctor"}
    asked = urlencode({name: value for name, value in query.items() if value})
    return f"{parts.path or '/'}?{parts.query + '&' if parts.query else ''}{asked}"


def realm_line(journey: Journey, realm: str, *, secret: bool = False) -> Line:
    """The way to *realm*: the registry's own where it is the same host; with *secret* to a verified server only.

    Raises OSError where the name is unknown.
    """
    parts, target = urlsplit(realm), journey.target
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    if (parts.scheme, host, port) == (target.scheme, target.host, target.port):
        return journey.line()
    address = journey.options.names.lookup(host)[0]
    context = None
    if parts.scheme == "https":
        context = verifying(journey.options) if secret else unverified(journey.options)
        if secret and journey.options.ca_file is not None:
            context.load_verify_locations(journey.options.ca_file)
    return Line(host, parts.netloc.rpartition("@")[2], address, port, context, journey.options.timeout)
