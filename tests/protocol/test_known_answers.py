"""Answers that are remembered: until the next commit of any process, and only for whoever may have them."""

from __future__ import annotations

import pytest

from moorage.message import Part, Request, Response
from moorage.server.body import EMPTY
from moorage.v2.known_answers import KnownAnswers
from tests.content import Client
from tests.raw_http import Answer, ask
from tests.servers import Moorage

# Each on a connection of its own: enough to come to all four workers, most of them more than once.
TIMES = 24
OLD, NEW = b"1", b"2"


def ask_all(client: Client, name: str, method: str, headers: dict[str, str] | None = None) -> list[Answer]:
    """What the workers say of the tag."""
    return [client.ask(method, f"/v2/{name}/manifests/v1", headers) for _ in range(TIMES)]


def request(method: str = "GET", path: str = "/v2/a/manifests/b", condition: bytes | None = None) -> Request:
    """A request as the server hands it over."""
    headers = {} if condition is None else {b"if-none-match": condition}
    return Request(method, path, "", headers, frozenset(), EMPTY, "192.0.2.1", secure=False)


class Bytes:
    """Content in a store."""

    size = 3

    def fileno(self) -> None:
        """None: it has no descriptor."""

    def read(self, offset: int, length: int) -> bytes:
        """See `Sendable.read`."""
        return b"abc"[offset : offset + length]

    def close(self) -> None:
        """Nothing."""


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_worker_sees_a_push_a_move_and_a_deletion_at_once(alice: Client, name: str, method: str) -> None:
    """Whatever it has answered before: that there is no such tag, which manifest it was, that it has not changed."""
    missing = ask_all(alice, name, method)

    first = alice.push_image(name, "v1", b"layer 1")
    found = ask_all(alice, name, method)
    unchanged = ask_all(alice, name, method, {"If-None-Match": f'"{first}"'})
    second = alice.push_image(name, "v1", b"layer 2")
    changed = ask_all(alice, name, method, {"If-None-Match": f'"{first}"'})
    moved = ask_all(alice, name, method)
    alice.ask("DELETE", f"/v2/{name}/manifests/v1")
    gone = ask_all(alice, name, method, {"If-None-Match": f'"{second}"'})

    assert {answer.status for answer in missing} == {404}
    assert {(answer.status, answer.header("docker-content-digest")) for answer in found} == {(200, first)}
    assert {(answer.status, answer.body) for answer in unchanged} == {(304, b"")}
    assert {(answer.status, answer.header("docker-content-digest")) for answer in changed + moved} == {(200, second)}
    assert {answer.status for answer in gone} == {404}


def test_a_remembered_answer_is_nothing_to_a_stranger(server: Moorage, alice: Client, name: str) -> None:
    """Workers that have just answered alice refuse whoever has no password, in the same words as ever."""
    alice.push_image(name, "v1", b"layer")
    allowed = ask_all(alice, name, "GET")

    refused = [ask(server, "GET", f"/v2/{name}/manifests/v1") for _ in range(TIMES)]

    assert {answer.status for answer in allowed} == {200}
    assert {(answer.status, *answer.codes) for answer in refused} == {(401, "UNAUTHORIZED")}


def test_nothing_is_known_after_a_commit() -> None:
    """An answer is given again while the version stays, and not after."""
    versions = [OLD, OLD, NEW, NEW]
    known = KnownAnswers(lambda: versions.pop(0))
    answer = Response(200, b"", b"body")

    known.get(request())
    known.put(request(), answer, OLD)

    assert [known.get(request()) for _ in range(3)] == [answer, None, None]


def test_what_was_made_before_a_commit_is_not_kept_after_it() -> None:
    """A handler that was overtaken by a commit, and by a request that has seen it, leaves nothing."""
    versions = [OLD, NEW, NEW]
    known = KnownAnswers(lambda: versions.pop(0))
    known.get(request())
    known.get(request())

    known.put(request(), Response(200, b""), OLD)

    assert known.get(request()) is None


def test_without_a_version_there_is_none_to_make_an_answer_from() -> None:
    """Where only another machine knows about commits nothing is remembered."""
    known = KnownAnswers(lambda: None)

    known.get(request())
    known.put(request(), Response(200, b""), OLD)

    assert (known.version, known.get(request())) == (None, None)


@pytest.mark.parametrize(
    "other",
    [request("HEAD"), request(path="/v2/a/manifests/c"), request(condition=b'"x"')],
    ids=["method", "path", "condition"],
)
def test_an_answer_belongs_to_its_question(other: Request) -> None:
    """Method, path and If-None-Match make three questions of one."""
    known = KnownAnswers(lambda: OLD)
    known.get(request())

    known.put(request(), Response(200, b""), OLD)

    assert known.get(other) is None


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (request("PUT"), Response(200, b"")),
        (request(), Response(503, b"")),
        (request(), Response(401, b"")),
        (request(), Response(200, b"", b"x" * 20_000)),
        (request(), Response(200, b"", parts=(Part(Bytes(), 0, 3),))),
        (request(path="/v2/" + "a" * 600), Response(404, b"")),
        (request(condition=b"x" * 300), Response(200, b"")),
    ],
    ids=["a write", "trouble", "a refusal", "a large body", "an open file", "a long path", "a long condition"],
)
def test_what_is_not_kept(asked: Request, answer: Response) -> None:
    """Answers that may differ the next time, can be sent once only, or would fill the memory."""
    known = KnownAnswers(lambda: OLD)
    known.get(asked)

    known.put(asked, answer, OLD)

    assert known.get(asked) is None


def test_names_that_do_not_exist_do_not_keep_others_out() -> None:
    """However many are asked for, the memory is bounded, and what is asked for after them is remembered."""
    known = KnownAnswers(lambda: OLD)
    known.get(request())
    for number in range(10_000):
        known.put(request(path=f"/v2/a/manifests/{number}"), Response(404, b""), OLD)

    known.put(request(), Response(200, b""), OLD)

    kept = sum(known.get(request(path=f"/v2/a/manifests/{number}")) is not None for number in range(10_000))
    assert known.get(request()) is not None
    assert kept <= 4096
