"""Thousands of requests that are wrong somewhere: no 5xx, no traceback, nothing outside the data folder, no silence.

MOORAGE_FUZZ multiplies their number: `MOORAGE_FUZZ=100 pytest tests/hostile/test_fuzz.py`. What the log and the file
system must show is checked when the server ends (conftest.py).
"""

from __future__ import annotations

import json
import os
import re
import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.content import CONFIG, LAYER, MANIFEST, encode, image
from tests.hostile.generators import BASE, Fuzzer
from tests.hostile.target import REPOSITORY, Target
from tests.raw_http import Line, head, message

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [A-Z][A-Za-z -]+\r\n")
TIMES = int(os.environ.get("MOORAGE_FUZZ", "1"))
CONNECTIONS = 200
"""For each seed; every one sends 1 to 8 requests, 2.7 on average."""

FUZZ = settings(
    max_examples=120 * TIMES,
    derandomize=TIMES == 1,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def statuses_of(target: Target, *pieces: bytes) -> list[int]:
    """The status of everything that comes back once all *pieces* are sent and no more will be.

    AssertionError if that is no HTTP, has a status of 500 or more, or a header that came from the client.
    """
    with Line(target.server) as line:
        try:
            line.send_and_receive(*pieces)
            line.half_close()
        except OSError:
            pass  # refused before the end
        received = line.rest()
    statuses = [int(match[1]) for match in STATUS_LINE.finditer(received)]
    assert received.startswith(b"HTTP/1.1 ") or not received, received[:200]
    assert all(100 <= status < 500 for status in statuses), (statuses, b"".join(pieces)[:2000])
    assert b"\r\nx-evil" not in received.lower()
    return statuses


@pytest.mark.parametrize("seed", range(8))
def test_damaged_requests(target: Target, seed: int) -> None:
    """Whatever a connection sends, it is answered by HTTP below 500 or closed, at once."""
    rounds = range(TIMES)
    answered = 0

    for turn in rounds:
        target.alice.push_image(BASE, "v1", target.layer, config=target.config)
        uploads = [target.alice.begin_upload("fuzz/uploads") for _ in range(10)]
        fuzzer = Fuzzer(target, seed if turn == 0 else secrets.randbits(64), uploads)
        for _ in range(CONNECTIONS):
            answered += len(statuses_of(target, *fuzzer.cut(fuzzer.exchange())))

    assert answered > CONNECTIONS * TIMES / 2


TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)
PATHS = st.lists(
    st.sampled_from(
        ["v2", "lib", "base", "blobs", "manifests", "uploads", "tags", "list", "referrers", "_catalog", "..", ""]
    )
    | TOKENS
    | st.binary(max_size=8).map(lambda data: "".join(f"%{byte:02x}" for byte in data)),
    max_size=12,
).map(lambda parts: "/" + "/".join(parts))


@FUZZ
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"]),
    path=PATHS,
    query=TOKENS,
    body=st.binary(),
)
def test_any_target(target: Target, method: str, path: str, query: str, body: bytes) -> None:
    """Any visible characters as target: an answer below 500, and the next request on the connection is understood."""
    raw = message(method, f"{path}?{query}", target.alice.headers, body)
    with Line(target.server) as line:
        line.send(raw)
        answer = line.answer(method)
        after = None
        if not answer.closes:
            line.send(message("GET", "/v2/", target.alice.headers))
            after = line.answer()

    assert answer.status < 500
    assert after is None or after.status == 200


@FUZZ
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["Range", "If-Range", "If-None-Match", "Accept", "Content-Range", "Content-Type", "Expect"]
            ),
            st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60),
        ),
        max_size=6,
    )
)
def test_any_header_value(target: Target, headers: list[tuple[str, str]]) -> None:
    """Any text in the headers that are read: an answer below 500."""
    path = f"/v2/{REPOSITORY}/blobs/{json.loads(target.manifest)['layers'][0]['digest']}"
    raw = head("GET", path, [*target.alice.headers.items(), *headers])

    statuses = statuses_of(target, raw)

    assert [status for status in statuses if status != 100] == statuses[-1:]


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
MEMBERS = st.dictionaries(
    st.sampled_from(
        [
            "schemaVersion",
            "mediaType",
            "config",
            "layers",
            "manifests",
            "subject",
            "annotations",
            "artifactType",
            "blobs",
        ]
    ),
    JSON | st.just(2) | st.sampled_from([MANIFEST, CONFIG, LAYER]),
    max_size=4,
)


@FUZZ
@given(
    members=MEMBERS, descriptor=st.dictionaries(st.sampled_from(["digest", "size", "urls", "data", "platform"]), JSON)
)
def test_any_members_of_a_manifest(target: Target, members: dict[str, Any], descriptor: dict[str, Any]) -> None:
    """Any JSON in a manifest's members is taken or refused; what is taken comes back byte by byte."""
    good = image(b"{}")
    body = encode(good | {"config": good["config"] | descriptor} | members)
    target.alice.push_blob("fuzz/members", b"{}")

    pushed = target.alice.push_manifest("fuzz/members", "t", body)

    assert pushed.status in {201, 400}
    if pushed.status == 201:
        assert target.alice.ask("GET", "/v2/fuzz/members/manifests/t").body == body


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes(target: Target, raw: bytes) -> None:
    """Any bytes at all: an answer below 500, or the end."""
    assert len(statuses_of(target, raw)) <= 2
