"""Answers that still hold, since nobody has committed since they were made."""

from __future__ import annotations

from collections.abc import Callable

from moorage.message import Request, Response

# Arbitrary, but bounded: at most 64 MiB, if every answer is a manifest of the largest size that is kept. Most of it are
# the very bytes that the remembered rows hold.
_MOST_ANSWERS = 4096
_LARGEST_BYTES = 16 * 1024
# What a client chose and is kept with an answer: no name and digest make a longer path, no tag of ours a longer header.
_LONGEST_PATH = 512
_LONGEST_CONDITION = 256
_METHODS = frozenset({"GET", "HEAD"})
_STATUSES = frozenset({200, 304, 404})


class KnownAnswers:
    """Remembers what depends on nothing but a request's method, path and If-None-Match, and the database.

    It does not know who asks: whether somebody may have an answer is decided before it is looked for. *version* is that
    of the database, which is looked at for each request: after a commit of any process nothing is known.
    """

    def __init__(self, version: Callable[[], bytes | None]) -> None:
        self._look = version
        self._answers: dict[tuple[str, str, bytes | None], Response] = {}
        self.version: bytes | None = None

    def get(self, request: Request) -> Response | None:
        """The answer, or None where it has to be made; *version* is then what it is made from, or None."""
        version = self._look()
        if version != self.version:
            self._answers.clear()
            self.version = version
            return None
        return self._answers.get((request.method, request.path, request.headers.get(b"if-none-match")))

    def put(self, request: Request, answer: Response, version: bytes) -> None:
        """Remember what was made from *version*, if nothing newer was seen meanwhile."""
        condition = request.headers.get(b"if-none-match")
        if (
            version != self.version
            or request.method not in _METHODS
            or answer.status not in _STATUSES
            or answer.parts is not None
            or len(answer.body) > _LARGEST_BYTES
            or len(request.path) > _LONGEST_PATH
            or len(condition or b"") > _LONGEST_CONDITION
        ):
            return
        if len(self._answers) >= _MOST_ANSWERS:
            # Whoever asks for thousands of names that do not exist must not keep the rest from being remembered.
            self._answers.clear()
        self._answers[request.method, request.path, condition] = answer
