"""Step `login`: whether the password opens the door, and whether it arrives there at all."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlsplit

from moorage.doctor.client.api import realm_line, realm_path
from moorage.doctor.client.challenge import Challenge, challenges
from moorage.doctor.client.http import Answer
from moorage.doctor.client.journey import Journey
from moorage.doctor.client.target import Login
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong

_SLOW_SECONDS: Final = 1.0
"""bcrypt at cost 10 takes a tenth of it, at 14 more than it; clients send hundreds of requests (arbitrary)."""


async def look(journey: Journey) -> AsyncIterator[Finding]:
    """Findings on logging in; `journey.authorization` is set where it worked."""
    first, login = journey.first, journey.options.login
    assert first is not None, "an earlier step saw to it"
    if journey.target.tls and journey.trusted is None:
        yield skipped("no password is sent over a connection that clients would refuse")
        return
    if login is None:
        words = "nobody has to log in" if first.status == 200 else "no --user was given"
        yield skipped(words)
        return
    if first.status == 200:
        yield warning(
            "the registry asks nobody to log in, so the password was not tried",
            "Docker stores what it is given without a word, and never sends it. Everybody who reaches the registry can"
            " use it.",
            "moorage serve --auth htpasswd --htpasswd FILE ...    # or built-in users, which is the default",
        )
        return
    challenge = challenges(first.all("WWW-Authenticate"))[0]
    if challenge.scheme == "bearer":
        async for finding in _by_token(journey, challenge, login):
            yield finding
    else:
        async for finding in _by_password(journey, login):
            yield finding


def basic(login: Login) -> str:
    """The Authorization header of a user (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()


async def _by_password(journey: Journey, login: Login) -> AsyncIterator[Finding]:
    header, line = basic(login), journey.line()
    answer = await asyncio.to_thread(line.ask, "GET", "/v2/", {"Authorization": header})
    if answer.status == 200:
        journey.authorization = header
        again = await asyncio.to_thread(line.ask, "GET", "/v2/", {"Authorization": header})
        seconds = min(answer.seconds, again.seconds)
        yield ok(f"{login.user} logs in ({seconds * 1000:.0f} ms)", user=login.user, seconds=round(seconds, 4))
        if seconds > _SLOW_SECONDS:
            yield warning(
                f"each request with the password takes {seconds:.1f} s",
                "The cost in the password's hash is too high for a registry that checks it on every request, or the"
                " server is out of breath. A push sends hundreds of requests.",
                f"moorage htpasswd FILE {login.user}    # a hash of a sensible cost",
                seconds=round(seconds, 3),
            )
        return
    if answer.status == 401:
        malformed = await asyncio.to_thread(line.ask, "GET", "/v2/", {"Authorization": "Basic %%%"})
        yield _refused(journey, login, answer, malformed)
        return
    yield _odd(journey, answer)


def _refused(journey: Journey, login: Login, answer: Answer, malformed: Answer) -> Finding:
    """Wrong, or never arrived? Moorage has other words for malformed credentials than for none."""
    first = journey.first
    assert first is not None, "an earlier step saw to it"
    ours = any(one.parameters.get("realm") == "Moorage" for one in challenges(first.all("WWW-Authenticate")))
    same = _words(answer) == _words(first)
    facts: dict[str, Any] = {"user": login.user, "status": 401, "same_as_without": same}
    stripped = (
        'proxy_set_header Authorization $http_authorization;    # nginx; and no proxy_set_header Authorization ""',
        "ProxyPassInherit On; SetEnvIf Authorization .+ HTTP_AUTHORIZATION=$0    # Apache",
    )
    reset = (f"moorage user passwd {login.user}", f"moorage htpasswd FILE {login.user}")
    if not same or not (ours or _has_proxy(first)):
        return wrong(
            f"{login.user} is refused: {answer.said}",
            "The user name or the password is wrong, or the account is disabled. Names are case-sensitive; a trailing"
            " newline belongs to no password (printf, not echo).",
            *reset,
            blocks=True,
            **facts,
        )
    if ours and _words(malformed) == _words(first):
        return wrong(
            f"the password never arrives: something on the way strips the Authorization header{first.by}",
            'Moorage answers even malformed credentials as if there were none. Clients say "unauthorized:'
            ' authentication required" or "no basic auth credentials", however right the password is.',
            *stripped,
            blocks=True,
            **facts,
        )
    return wrong(
        f"{login.user} is refused, in the very words that are said to a client without a password{first.by}",
        "Either the user name or the password is wrong, or the proxy in front strips the Authorization header. Asking"
        " the registry itself, past the proxy, tells which.",
        "on the server: curl -i -u USER http://127.0.0.1:5000/v2/",
        *stripped[:1],
        *reset[:1],
        blocks=True,
        **facts,
    )


def _words(answer: Answer) -> tuple[int, bytes]:
    return answer.status, answer.body


def _has_proxy(answer: Answer) -> bool:
    """No registry of today names itself in Server; proxies do."""
    return bool(answer["Server"] or answer["Via"])


async def _by_token(journey: Journey, bearer: Challenge, login: Login) -> AsyncIterator[Finding]:
    realm = bearer.parameters.get("realm", "")
    parts, target = urlsplit(realm), journey.target
    if (parts.scheme, parts.hostname) != (target.scheme, target.host) and parts.scheme != "https":
        yield skipped(f"no password is sent to {realm}, which is another host without TLS")
        return
    scope = f"repository:{journey.options.repository}:pull,push,delete"
    line = realm_line(journey, realm, secret=True)
    path = realm_path(realm, bearer, scope)
    try:
        answer = await asyncio.to_thread(line.ask, "GET", path, {"Authorization": basic(login)})
    except ssl.SSLCertVerificationError as error:
        yield wrong(
            f"the certificate of the place where tokens come from is refused: {error.verify_message} ({realm})",
            "Clients refuse it, too, and so get no token.",
            f"moorage doctor --client {parts.scheme}://{parts.netloc}",
            blocks=True,
        )
        return
    token = _token(answer)
    if answer.status == 200 and token:
        header = f"Bearer {token}"
        tried = await asyncio.to_thread(journey.line().ask, "GET", "/v2/", {"Authorization": header})
        if tried.status == 200:
            journey.authorization = header
            yield ok(f"{login.user} gets a token from {realm} and is let in with it", user=login.user, realm=realm)
        else:
            yield wrong(
                f"the token from {realm} is refused by the registry: {tried.said}",
                "The two do not agree on key, issuer or service; their clocks differ; or a proxy strips the"
                " Authorization header.",
                "compare issuer, service and keys in the settings of both",
                blocks=True,
            )
        return
    if answer.status in {401, 403}:
        yield wrong(
            f"{login.user} gets no token from {realm}: {answer.said}",
            "The user name or the password is wrong there.",
            f"curl -i -u {login.user} '{realm}?service={bearer.parameters.get('service', '')}'",
            blocks=True,
        )
        return
    yield _odd(journey, answer)


def _token(answer: Answer) -> str:
    try:
        value = json.loads(answer.body)
    except ValueError:
        return ""
    found = (value.get("token") or value.get("access_token")) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _odd(journey: Journey, answer: Answer) -> Finding:
    if answer.status == 429:
        return warning(
            f"too many attempts{answer.by}: {answer.said}",
            f"Try again in {answer['Retry-After'] or 'a few'} seconds.",
            f"moorage doctor --client {journey.target.url}",
        )
    return wrong(
        f"logging in is answered with {answer.said}{answer.by}",
        "Neither let in nor refused: a proxy in between, or the registry itself, has a fault of its own.",
        "read the log of what answers",
        blocks=True,
    )
