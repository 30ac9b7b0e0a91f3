"""Requests behind one another on one connection: every answer, in order, whatever is fast and whatever is slow."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.content import MANIFEST, OCTETS, Client, digest_of, noise
from tests.raw_http import Answer, chunked, head, message
from tests.wire.served import LARGE, REPOSITORY, SMALL, Served, eventually, lines_of


@dataclass(frozen=True)
class Step:
    """One request and what its answer must be."""

    raw: bytes
    method: str
    status: int
    body: bytes | None = None


def _push(served: Served, number: int, *, in_chunks: bool) -> Step:
    data = noise(1 + (number * 7919) % 100_000, seed=number)
    path = f"/v2/wire/pushed/blobs/uploads/?digest={digest_of(data)}"
    headers = {**served.alice.headers, "Content-Type": OCTETS}
    if in_chunks:
        return Step(head("POST", path, {**headers, "Transfer-Encoding": "chunked"}) + chunked(data, 4093), "POST", 201)
    return Step(message("POST", path, headers, data), "POST", 201)


KINDS: dict[str, Callable[[Served, int], Step]] = {
    "a manifest": lambda served, _: Step(served.get("manifests/v1"), "GET", 200, served.manifest),
    "a small blob": lambda served, _: Step(served.blob(SMALL), "GET", 200, SMALL),
    "a large blob": lambda served, _: Step(served.blob(LARGE), "GET", 200, LARGE),
    "a range": lambda served, number: Step(
        served.blob(LARGE, {"Range": f"bytes={number * 1009}-{number * 1009 + 70_000}"}),
        "GET",
        206,
        LARGE[number * 1009 : number * 1009 + 70_001],
    ),
    "a HEAD": lambda served, _: Step(
        message("HEAD", f"/v2/{REPOSITORY}/blobs/{digest_of(LARGE)}", served.alice.headers), "HEAD", 200, b""
    ),
    "a stranger": lambda served, _: Step(message("GET", f"/v2/{REPOSITORY}/tags/list"), "GET", 401),
    "a miss": lambda served, _: Step(served.get("manifests/none"), "GET", 404),
    "a push": lambda served, number: _push(served, number, in_chunks=False),
    "a push in chunks": lambda served, number: _push(served, number, in_chunks=True),
    "a session": lambda served, _: Step(
        message("POST", "/v2/wire/pushed/blobs/uploads/", served.alice.headers, b""), "POST", 202
    ),
    "a refused body": lambda served, _: Step(
        message("PUT", "/v2/UPPER/manifests/t", {**served.alice.headers, "Content-Type": MANIFEST}, b"x" * 9000),
        "PUT",
        400,
    ),
    "a bad manifest": lambda served, _: Step(
        message("PUT", "/v2/wire/pushed/manifests/t", {**served.alice.headers, "Content-Type": MANIFEST}, b"[" * 5000),
        "PUT",
        400,
    ),
    "an upgrade": lambda served, _: Step(
        served.get("manifests/v1", {"Connection": "Upgrade", "Upgrade": "h2c"}), "GET", 200, served.manifest
    ),
}


def _pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % len(raw) for cut in cuts), len(raw)]
    return [raw[start:end] for start, end in pairwise(edges)]


def _check(steps: list[Step], served: Served, cuts: list[int]) -> None:
    raw = b"".join(step.raw for step in steps)
    with served.line() as line:
        line.send_and_receive(*_pieces(raw, cuts))
        answers = [line.answer(step.method) for step in steps]

        assert line.silent(0.005)
    assert [answer.status for answer in answers] == [step.status for step in steps]
    for answer, step in zip(answers, steps, strict=True):
        assert step.body is None or answer.body == step.body
        assert not answer.closes


@settings(
    max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 10**6), max_size=12),
)
def test_any_mixture_in_any_pieces(plain: Served, kinds: list[str], cuts: list[int]) -> None:
    """However a pipeline is mixed and wherever TCP cuts it, each request gets its own answer, in order."""
    _check([KINDS[kind](plain, number) for number, kind in enumerate(kinds)], plain, cuts)


@pytest.mark.parametrize("seed", range(4))
def test_long_mixture(served: Served, seed: int) -> None:
    """The same for a hundred requests, on plain sockets and over TLS."""
    choice = random.Random(seed)
    kinds = choice.choices([kind for kind in sorted(KINDS) if kind != "a large blob"], k=100)
    kinds[50] = "a large blob"

    _check(
        [KINDS[kind](served, seed * 1000 + number) for number, kind in enumerate(kinds)],
        served,
        [choice.randrange(10**6) for _ in range(50)],
    )


def test_every_byte_alone(plain: Served) -> None:
    """A pipeline that arrives byte by byte is the same pipeline."""
    steps = [KINDS[kind](plain, 3) for kind in ("a miss", "a refused body", "a push in chunks", "a manifest")]
    steps[2] = Step(
        head(
            "POST",
            f"/v2/wire/pushed/blobs/uploads/?digest={digest_of(b'abc')}",
            {**plain.alice.headers, "Transfer-Encoding": "chunked"},
        )
        + b"1;x=y\r\na\r\n2\r\nbc\r\n0\r\nX-Trailer: x\r\n\r\n",
        "POST",
        201,
    )
    steps[1] = Step(message("PUT", "/v2/UPPER/manifests/t", plain.alice.headers, b"x" * 100), "PUT", 400)
    raw = b"".join(step.raw for step in steps)

    _check(steps, plain, list(range(len(raw))))


def test_thousands_behind_one_another(plain: Served) -> None:
    """A client that sends 5,000 requests at once gets 5,000 answers, and others get theirs meanwhile."""
    with plain.line() as line, plain.line() as other:
        line.send_and_receive(plain.get("manifests/v1") * 2500)
        other.send(plain.get("manifests/v1"))
        line.send_and_receive(plain.get("manifests/v1") * 2500)
        beside = other.answer()
        answers = [line.answer() for _ in range(5000)]

    assert beside.body == plain.manifest
    assert {answer.body for answer in answers} == {plain.manifest}


@pytest.mark.parametrize("count", [1, 3, 40])
def test_half_close_behind_a_pipeline(plain: Served, count: int) -> None:
    """A client that says it sends no more still gets every answer it asked for, and then the end."""
    with plain.line() as line:
        line.send(plain.get("manifests/v1") * (count - 1) + plain.blob(LARGE))
        line.half_close()

        answers = [line.answer() for _ in range(count)]

        assert line.rest() == b""
    assert answers[-1].body == LARGE
    assert {answer.body for answer in answers[:-1]} <= {plain.manifest}


def test_order_when_the_socket_is_full(served: Served) -> None:
    """Answers that the kernel takes from a file and answers from memory stay in order when neither fits any more."""
    choice = random.Random(72)
    steps: list[tuple[bytes, bytes]] = []
    for _ in range(25):
        steps += [(served.blob(SMALL), SMALL)] * choice.randrange(60)
        start = choice.randrange(len(LARGE) - 300_000)
        end = start + choice.randrange(70_000, 300_000)
        steps.append((served.blob(LARGE, {"Range": f"bytes={start}-{end - 1}"}), LARGE[start:end]))
    with served.line(receive_buffer=4096) as line:
        line.socket.settimeout(0.3)
        with suppress(TimeoutError):
            line.send(b"".join(raw for raw, _ in steps))
        line.socket.settimeout(20)

        for number, (_, body) in enumerate(steps):
            assert line.answer().body == body, number
            if not choice.randrange(50):
                time.sleep(0.02)


@pytest.mark.parametrize("how", ["told to close", "refused with an endless body"])
def test_nothing_behind_the_last_answer(plain: Served, how: str) -> None:
    """What is pipelined behind an answer that ends the connection is neither answered nor done."""
    digest = digest_of(how.encode())
    push = message("POST", f"/v2/wire/behind/blobs/uploads/?digest={digest}", plain.alice.headers, how.encode())
    if how == "told to close":
        last = plain.get("manifests/v1", {"Connection": "close"})
    else:
        last = head("PUT", "/v2/wire/behind/manifests/t", {"Transfer-Encoding": "chunked"}) + chunked(b"abc")
    with plain.line() as line:
        line.send(plain.get("manifests/v1"))
        assert line.answer().status == 200  # this worker knows the password now, and answers at once
        line.send(last + push)
        answer = line.answer()
        rest = line.rest()

    assert answer.closes
    assert rest == b""
    time.sleep(0.3)
    assert plain.alice.ask("HEAD", f"/v2/wire/behind/blobs/{digest}").status == 404


def test_two_users_never_mix(served: Served) -> None:
    """On one connection and on many at once, each request is its own user's: in its answer and in its log line."""
    expected: dict[str, str] = {}
    lock = threading.Lock()

    def ask(seed: int) -> None:
        choice = random.Random(seed)
        users = [choice.choice([served.alice, served.bob]) for _ in range(60)]
        steps = [
            choice.choice(
                [
                    message("POST", "/v2/wire/users/blobs/uploads/", user.headers, b""),
                    served.get("manifests/v1", user=user),
                    served.get("manifests/none", user=user),
                ]
            )
            for user in users
        ]
        with served.line() as line:
            line.send(b"".join(steps))
            answers = [line.answer() for _ in users]
        with lock:
            expected.update(
                {answer.header("x-request-id"): user.user for answer, user in zip(answers, users, strict=True)}
            )
        _finish_own(served, users, answers)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logged = _logged(served, expected)

    assert logged == expected
    assert len(expected) == 8 * 60


def _finish_own(served: Served, users: list[Client], answers: list[Answer]) -> None:
    """A session that one user began is nobody else's."""
    for user, answer in zip(users, answers, strict=True):
        if answer.status == 202:
            other = served.bob if user is served.alice else served.alice
            assert other.ask("GET", answer.header("location")).status == 404
            return


def _logged(served: Served, expected: dict[str, str]) -> dict[str, str]:
    """Who asked, by request id, once the log has every line."""
    found: dict[str, str] = {}

    def complete() -> bool:
        found.update(
            {str(line["id"]): str(line["principal"]) for line in lines_of(served.server) if line.get("id") in expected}
        )
        return len(found) == len(expected)

    assert eventually(complete)
    return found
