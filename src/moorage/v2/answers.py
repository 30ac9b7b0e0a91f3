"""Responses: the headers that every answer carries, and errors as the protocol writes them."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from moorage.errors import (
    BadRequest,
    RangeInvalid,
    RegistryError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from moorage.message import Response, header_lines

API_VERSION = ("Docker-Distribution-Api-Version", "registry/2.0")
_NOSNIFF = ("X-Content-Type-Options", "nosniff")


def with_nosniff(extra: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The operator's headers, and the one against content types that browsers guess, if it is not among them."""
    headers = list(extra)
    return headers if any(name.lower() == "x-content-type-options" for name, _ in headers) else [_NOSNIFF, *headers]


class Answers:
    """Builds responses. *realm* names the registry in the one challenge that a 401 carries; *extra* are headers of the
    operator's on every answer."""

    def __init__(self, realm: str, extra: Iterable[tuple[str, str]] = ()) -> None:
        self.common = header_lines(API_VERSION, *with_nosniff(extra))
        quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
        self._challenge = header_lines(("WWW-Authenticate", f'Basic realm="{quoted}"'))

    def answer(self, status: int, *headers: tuple[str, str], declared: int | None = None) -> Response:
        """A response without a body; *declared* is the Content-Length that a GET would have."""
        return Response(status, self.common + header_lines(*headers), declared=declared)

    def json(self, value: object, *headers: tuple[str, str], content_type: str = "application/json") -> Response:
        """200 with *value* as JSON."""
        return self.document(orjson.dumps(value), content_type, *headers)

    def document(self, body: bytes, content_type: str, *headers: tuple[str, str]) -> Response:
        """200 with *body*."""
        return Response(200, self.common + header_lines(("Content-Type", content_type), *headers), body)

    def error(self, error: RegistryError | BadRequest) -> Response:
        """The error as the protocol writes it (distribution-spec, "Error Codes")."""
        headers = [("Content-Type", "application/json")]
        head = self.common
        if isinstance(error, BadRequest):
            entry: dict[str, object] = {"code": "UNSUPPORTED", "message": error.message, "detail": None}
        else:
            entry = {"code": error.code, "message": error.message, "detail": error.detail}
        match error:
            case Unauthorized():
                head += self._challenge
            case Unsupported(allow=allow):
                headers.append(("Allow", ", ".join(allow)))
            case TooManyRequests(retry_after=int(seconds)) | Unavailable(retry_after=int(seconds)):
                headers.append(("Retry-After", str(seconds)))
            case RangeInvalid(headers=more):
                headers.extend(more)
            case _:
                pass
        return Response(error.status, head + header_lines(*headers), orjson.dumps({"errors": [entry]}))
