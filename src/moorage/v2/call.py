"""What a handler is given once it may run."""

from __future__ import annotations

from typing import NamedTuple

from moorage.auth.certificates import ClientCertificates
from moorage.auth.policy import Rules
from moorage.auth.principal import Principal
from moorage.errors import BadRequest
from moorage.message import Request
from moorage.oci.name import RepositoryName
from moorage.oci.query import parse_query
from moorage.registry.registry import Registry
from moorage.v2.answers import Answers


class Shared(NamedTuple):
    """What all calls have in common.

    *prefix* is the path below which `/v2/` lies, without a final slash. *proxy_header*, in lower case, is where a
    trusted proxy names the user; empty: passwords are asked for here. *accel* is the path below which a trusted proxy
    finds the store's locations, with a final slash; empty: bytes are sent from here. *clients* tells whose a
    client's certificate is; None: nobody is asked for one.
    """

    registry: Registry
    rules: Rules
    answers: Answers
    prefix: str = ""
    proxy_header: bytes = b""
    accel: str = ""
    clients: ClientCertificates | None = None


class Call(NamedTuple):
    """One authorised request: *name* is the repository, None where the route has none; *argument* the raw last part."""

    shared: Shared
    request: Request
    principal: Principal
    name: RepositoryName | None
    argument: str

    @property
    def repository(self) -> RepositoryName:
        """The repository's name, on a route that has one."""
        if self.name is None:
            raise AssertionError("this route has no repository")
        return self.name

    @property
    def who(self) -> str:
        """The principal as it is stored: the same name from two sources is two."""
        return f"{self.principal.source}:{self.principal.name}"

    def query(self) -> dict[str, list[str]]:
        """The query's parameters. Raises BadRequest."""
        return parse_query(self.request.query) if self.request.query else {}

    def single(self, query: dict[str, list[str]], name: str) -> str | None:
        """The parameter's only value, None without it. Raises BadRequest when it comes twice."""
        values = query.get(name)
        if values is None:
            return None
        if len(values) != 1:
            raise BadRequest(400, f"the parameter {name} comes more than once")
        return values[0]

    def location(self, rest: str) -> tuple[str, str]:
        """A Location below this repository: a path only, so that no proxy can make it wrong."""
        return ("Location", f"{self.shared.prefix}/v2/{self.repository}/{rest}")
