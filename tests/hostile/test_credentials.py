"""Authorization headers that nobody should send, and what a stranger learns."""

from __future__ import annotations

import base64
import threading
import time

import pytest

from moorage.v2.routes import ROUTES
from tests.content import MANIFEST, digest_of
from tests.hostile.target import REPOSITORY, USERS, Target
from tests.raw_http import Answer, Line, basic, head, message

CHALLENGE = 'Basic realm="Moorage"'
ALICE = basic("alice", USERS["alice"])


def _encoded(text: bytes) -> str:
    return base64.b64encode(text).decode("ascii")


BAD = [
    ("a scheme alone", "Basic"),
    ("a scheme and a space", "Basic "),
    ("nothing", ""),
    ("no base64", "Basic !!!!"),
    ("base64 with junk that Python's decoder drops", ALICE[:12] + "@" + ALICE[12:]),
    ("base64 with white space within", ALICE[:12] + " " + ALICE[12:]),
    ("base64 that ends early", ALICE[:-3]),
    ("base64 with padding in the middle", ALICE[:10] + "=" + ALICE[10:]),
    ("base64 of the URL alphabet", "Basic " + base64.urlsafe_b64encode(b"alice:\xff\xfe\xfd").decode()),
    ("no colon", f"Basic {_encoded(b'alice')}"),
    ("text that is no UTF-8", f"Basic {_encoded(b'alice:' + bytes([255]))}"),
    ("a lone surrogate", f"Basic {_encoded(b'alice:' + bytes([0xED, 0xA0, 0x80]))}"),
    ("a NUL in the name", f"Basic {_encoded(b'ali' + bytes(1) + b'ce:x')}"),
    ("a NUL in the password", f"Basic {_encoded(USERS['alice'].encode() + bytes(1))}"),
    ("a line feed in the name", f"Basic {_encoded(b'alice' + bytes([10]) + b':x')}"),
    ("a wrong password", basic("alice", "wrong")),
    ("a password that begins right", basic("alice", USERS["alice"][:-1])),
    ("a password with something behind it", basic("alice", USERS["alice"] + "x")),
    ("an empty password", basic("alice", "")),
    ("an unknown user", basic("carol", USERS["alice"])),
    ("a name in another case", basic("Alice", USERS["alice"])),
    ("an empty name", basic("", USERS["alice"])),
    ("a password of 73 bytes", basic("alice", "p" * 73)),
    ("a password of 4,000 bytes", basic("alice", "p" * 4000)),
    ("a password beyond ASCII", basic("alice", "pässwörd\U0001f433")),
    ("a name beyond ASCII", basic("älice", "x")),
    ("a name with a wildcard", basic("%", "x")),
    ("16 KiB", "Basic " + "QUFB" * 4096),
    ("another scheme", "Bearer abc"),
    ("a token without a signature", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9."),
    ("Digest", 'Digest username="alice"'),
    ("two schemes in one line", f"{ALICE}, Bearer x"),
]


@pytest.mark.parametrize(("words", "value"), BAD, ids=[row[0] for row in BAD])
@pytest.mark.parametrize("path", ["/v2/", f"/v2/{REPOSITORY}/manifests/v1"])
def test_bad_credentials(target: Target, path: str, words: str, value: str) -> None:
    """Whatever is not a known user's name and password is 401 with the one challenge and an error body."""
    answer = target.stranger.ask("GET", path, {"Authorization": value})

    assert answer.status == 401, words
    assert answer.header("www-authenticate") == CHALLENGE
    assert answer.header("docker-distribution-api-version") == "registry/2.0"
    assert answer.codes == ["UNAUTHORIZED"]


def test_megabyte_of_credentials(target: Target) -> None:
    """A header of a megabyte is 431 before anybody decodes it."""
    with Line(target.server) as line:
        line.send(head("GET", "/v2/")[:-2])
        line.send_until_refused(b"Authorization: Basic " + b"QUFB" * 262_144 + b"\r\n\r\n", 1 << 20)

        answer = line.answer()

    assert answer.status == 431


def test_two_authorization_headers(target: Target) -> None:
    """Two headers are refused, even if both are right: which one a proxy looked at is not known."""
    for pair in ((ALICE, ALICE), (ALICE, basic("bob", "wrong")), (basic("bob", "wrong"), ALICE)):
        headers = [("Authorization", value) for value in pair]
        with Line(target.server) as line:
            line.send(message("GET", "/v2/", headers))

            answer = line.answer()

        assert answer.status == 401


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_colon_in_a_password(target: Target, scheme: str) -> None:
    """A password may hold a colon, and the scheme's case does not matter."""
    assert ":" in USERS["alice"]

    answer = target.stranger.ask("GET", "/v2/", {"Authorization": scheme + ALICE[5:]})

    assert answer.status == 200


def test_empty_name_and_password_are_a_stranger(target: Target) -> None:
    """podman sends `:` where it has no credentials: the answer is a stranger's, with the challenge."""
    answer = target.stranger.ask("GET", "/v2/", {"Authorization": "Basic Og=="})

    assert answer.status == 401
    assert answer.header("www-authenticate") == CHALLENGE


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_stranger_is_refused_everywhere(target: Target, route: object, method: str) -> None:
    """Every method of every route of the protocol is 401 without credentials, whether the thing exists or not."""
    existing = {
        "{name}": REPOSITORY,
        "{reference}": "v1",
        "{digest}": digest_of(target.layer),
        "{upload}": target.alice.begin_upload("credentials/stranger").rpartition("/")[2],
    }
    missing = {"{name}": "no/such", "{reference}": "none", "{digest}": digest_of(b"none"), "{upload}": "0" * 32}
    answers = []
    for parts in (existing, missing):
        path = str(getattr(route, "path", ""))
        for mark, value in parts.items():
            path = path.replace(mark, value)
        answers.append(target.stranger.ask(method, path, {"Content-Type": MANIFEST}, b"{}"))

    assert [answer.status for answer in answers] == [401, 401]
    assert _facts(answers[0]) == _facts(answers[1])


def _facts(answer: Answer) -> tuple[object, ...]:
    """What does not differ from one answer to the next."""
    passing = {"date", "x-request-id"}
    return answer.status, answer.body, [pair for pair in answer.headers if pair[0] not in passing]


def test_credentials_in_the_target_are_none(target: Target) -> None:
    """Names and passwords in the URL or the query let nobody in."""
    for path in (
        f"http://alice:{USERS['alice'].replace(' ', '%20')}@registry.test/v2/",
        f"/v2/?account=alice&password={USERS['alice'].replace(' ', '%20')}",
    ):
        assert target.stranger.ask("GET", path).status == 401


def test_answers_to_unknown_and_known_names_are_equal(target: Target) -> None:
    """A wrong password of a user and of nobody differ in nothing that can be read."""
    known = target.stranger.ask("GET", "/v2/", {"Authorization": basic("alice", "wrong-1")})
    unknown = target.stranger.ask("GET", "/v2/", {"Authorization": basic("nobody", "wrong-1")})

    assert _facts(known) == _facts(unknown)


def test_guessing_is_slowed_and_others_are_served(target: Target) -> None:
    """Hundreds of guesses at once are 401 or 429 with Retry-After, while a user who is logged in is answered."""
    assert target.alice.ask("GET", "/v2/").status == 200
    statuses: list[int] = []
    retry: list[str] = []
    served: list[int] = []
    stop = threading.Event()

    def guess(worker: int) -> None:
        with Line(target.server, seconds=60) as line:
            for number in range(0, 100, 10):
                guesses = [basic("alice", f"guess-{worker}-{number + step}") for step in range(10)]
                line.send(b"".join(message("GET", "/v2/", {"Authorization": value}) for value in guesses))
                answers = [line.answer() for _ in guesses]
                statuses.extend(answer.status for answer in answers)
                retry.extend(value for answer in answers for value in answer.values("retry-after"))

    def pull() -> None:
        with Line(target.server, seconds=60) as line:
            while not stop.is_set():
                line.send(message("GET", f"/v2/{REPOSITORY}/manifests/v1", target.alice.headers))
                served.append(line.answer().status)
                time.sleep(0.005)

    puller = threading.Thread(target=pull)
    guessers = [threading.Thread(target=guess, args=(number,)) for number in range(8)]
    for thread in (puller, *guessers):
        thread.start()
    for thread in guessers:
        thread.join()
    stop.set()
    puller.join()

    assert set(statuses) <= {401, 429}
    assert len(statuses) == 800
    assert statuses.count(429) == len(retry)
    assert set(served) == {200}
