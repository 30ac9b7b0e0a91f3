"""The protocol's front door: find the route, ask who it is, decide, answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from moorage.auth.authenticator import Authenticator
from moorage.auth.policy import allowed
from moorage.auth.principal import ANONYMOUS, Principal
from moorage.errors import BadRequest, Denied, NameInvalid, NameUnknown, RegistryError, Unauthorized, Unsupported
from moorage.message import Request, Response
from moorage.oci.credentials import parse_basic, parse_user
from moorage.oci.name import RepositoryName, parse_name
from moorage.v2 import blobs, listings, manifests, routes, uploads
from moorage.v2.call import Call, Shared
from moorage.v2.known_answers import KnownAnswers
from moorage.v2.routes import Target, find_target

_log = logging.getLogger("moorage.v2")

_OUR_TROUBLE = 500

Handler = Callable[[Call], Awaitable[Response]]

HANDLERS: dict[tuple[str, str], Handler] = {
    ("ping", "GET"): listings.ping,
    ("ping", "HEAD"): listings.ping,
    ("catalog", "GET"): listings.catalog,
    ("catalog", "HEAD"): listings.catalog,
    ("tags", "GET"): listings.tags,
    ("tags", "HEAD"): listings.tags,
    ("referrers", "GET"): listings.referrers,
    ("referrers", "HEAD"): listings.referrers,
    ("manifest", "GET"): manifests.pull,
    ("manifest", "HEAD"): manifests.stat,
    ("manifest", "PUT"): manifests.push,
    ("manifest", "DELETE"): manifests.delete,
    ("blob", "GET"): blobs.pull,
    ("blob", "HEAD"): blobs.stat,
    ("blob", "DELETE"): blobs.delete,
    ("uploads", "POST"): uploads.begin,
    ("upload", "GET"): uploads.status,
    ("upload", "HEAD"): uploads.status,
    ("upload", "PATCH"): uploads.append,
    ("upload", "PUT"): uploads.finish,
    ("upload", "DELETE"): uploads.cancel,
}


class V2:
    """The face at `/v2/`.

    `authorize` is the only place that decides; every handler, and every answer that is remembered, stands behind it.
    """

    def __init__(self, shared: Shared, authenticator: Authenticator) -> None:
        self.shared = shared
        self.authenticator = authenticator
        self._known = KnownAnswers(shared.registry.pull.version)

    async def __call__(self, request: Request) -> Response:
        """Answer *request*; every failure that the protocol has a code for becomes that code."""
        target = version = None
        try:
            principal = self.shown(request)
            if principal is None:
                principal = await self.logged_in(request)
            request.principal = principal.name
            prefix = self.shared.prefix
            target = find_target(request.path.removeprefix(prefix) if prefix else request.path)
            name = self.authorize(request, principal, target)
            if target is None:
                raise NameUnknown("no such endpoint", detail={"path": request.path[:200]})
            intake = self.shared.registry.intake
            if intake.ready and target.route.steady:
                known = self._known.get(request)
                if known is not None:
                    return known
                version = self._known.version
            elif not intake.ready and target.route is not routes.PING:
                await intake.require(name)
            handler = HANDLERS[target.route.name, request.method]
            answer = await handler(Call(self.shared, request, principal, name, target.argument))
        except (RegistryError, BadRequest) as error:
            if isinstance(error, Unsupported) and not error.allow and target is not None:
                error.allow = tuple(method for method in target.route.actions if method in _ALWAYS)  # RFC 9110, 15.5.6
            if error.status >= _OUR_TROUBLE:
                _log.error("request %s: %s: %r", request.id, error, error.__cause__)
            answer = self.shared.answers.error(error)
        if version is not None:
            self._known.put(request, answer, version)
        return answer

    def shown(self, request: Request) -> Principal | None:
        """Who asks, where no password says so; None where one does. Raises Denied for a revoked certificate."""
        shared = self.shared
        certified = ANONYMOUS if request.certificate is None else self._certified(request)
        if shared.rules.open:
            return certified
        if shared.proxy_header:
            return _named_by_proxy(request, shared.proxy_header)
        return None if b"authorization" in request.headers else certified

    def _certified(self, request: Request) -> Principal:
        if request.certificate is None or self.shared.clients is None:
            return ANONYMOUS
        return self.shared.clients.principal(request.certificate)

    async def logged_in(self, request: Request) -> Principal:
        """Who asks by a password. Raises Unauthorized for credentials that are wrong or malformed.

        It decides alone: whoever gives a wrong one is refused, whatever certificate the connection has shown.
        """
        if b"authorization" in request.repeated:
            raise Unauthorized("more than one Authorization header")
        credentials = parse_basic(request.headers[b"authorization"])
        if credentials is None:
            return self._certified(request)
        principal = await self.authenticator.authenticate(*credentials, request.peer)
        if principal is None:
            raise Unauthorized("the user name or the password is wrong")
        return principal

    def authorize(self, request: Request, principal: Principal, target: Target | None) -> RepositoryName | None:
        """Let the request through, with its repository's name, or raise.

        A stranger learns nothing, not even which paths exist: whatever they may not do is Unauthorized. Raises Denied
        for a principal, NameInvalid for a name outside the grammar, Unsupported for a method that the route lacks.
        """
        stranger = principal is ANONYMOUS and not self.shared.rules.open
        if target is None:
            if stranger:
                raise Unauthorized
            return None
        action = target.route.actions.get(request.method)
        if action is None and not stranger:
            raise Unsupported(f"{request.method} is not supported here", allow=tuple(target.route.actions))
        name = self._name(request, target, stranger=stranger)
        if action is None or not allowed(principal, action, name, self.shared.rules):
            raise Unauthorized if stranger else Denied
        return name

    def _name(self, request: Request, target: Target, *, stranger: bool) -> RepositoryName | None:
        if not target.route.named:
            return None
        try:
            name = parse_name(target.repository)
        except NameInvalid:
            if stranger:
                raise Unauthorized from None
            raise
        request.repository = name
        return name


def _named_by_proxy(request: Request, header: bytes) -> Principal:
    """Whom a trusted proxy names; what anybody else writes into its header is as if it were not there."""
    value = request.headers.get(header)
    if value is None or not request.proxied:
        return ANONYMOUS
    if header in request.repeated:
        raise Unauthorized("the proxy names more than one user")
    user = parse_user(value)
    return ANONYMOUS if user is None else Principal("proxy", user)


# What no setting switches off.
_ALWAYS = ("GET", "HEAD")
