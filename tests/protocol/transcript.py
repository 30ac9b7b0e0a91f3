"""Requests and answers as one reads them on the wire.

    GET /v2/{name}/blobs/{layer}            200  Content-Type: application/octet-stream
                                                 Content-Length: 5

is `Row("GET /v2/{name}/blobs/{layer}", 200, {"Content-Type": "application/octet-stream", "Content-Length": "5"})`.
Words in braces stand for values of the *world* that a test has prepared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.content import Client
from tests.raw_http import Answer

USERS = {"alice": "c0rrect-horse", "bob": "b4ttery-staple"}

Expected = str | None | re.Pattern[str]


@dataclass(frozen=True)
class Row:
    """*request* is `METHOD target`, with *headers* and a *body*.

    *answer* holds headers that must come once and with that value, or not at all where that is None; *codes* the error
    codes of the answer's body, *gives* the body itself. *says* tells the reader, and names the test, what the request
    does not.
    """

    request: str
    status: int
    answer: Mapping[str, Expected] = field(default_factory=dict)
    codes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    gives: bytes | None = None
    says: str = ""

    def __str__(self) -> str:
        return f"{self.request} -> {self.status} {self.says or ' '.join(self.codes)}".strip()


def play(client: Client, row: Row, world: Mapping[str, str]) -> Answer:
    """Make the request and hold the answer against the row."""
    method, target = row.request.format_map(world).split(" ", 1)
    headers = {key: value.format_map(world) for key, value in row.headers.items()}
    answer = client.ask(method, target, headers, row.body)
    assert answer.status == row.status, answer
    assert answer.header("docker-distribution-api-version") == "registry/2.0"
    check_headers(answer, row.answer, world)
    if row.codes:
        assert tuple(answer.codes) == row.codes, answer
    if row.gives is not None:
        assert answer.body == row.gives
    return answer


def check_headers(answer: Answer, expected: Mapping[str, Expected], world: Mapping[str, str]) -> None:
    """Every header that is named comes once with its value, or not at all where that is None."""
    for key, value in expected.items():
        if value is None:
            assert answer.values(key.lower()) == [], answer
        elif isinstance(value, re.Pattern):
            assert value.fullmatch(answer.header(key.lower())), answer
        else:
            assert answer.header(key.lower()) == value.format_map(world), answer
