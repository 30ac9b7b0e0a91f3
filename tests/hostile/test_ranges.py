"""Range, If-Range and If-None-Match as nobody should send them; against a blob of 2,048 bytes."""

from __future__ import annotations

import re

import pytest

from tests.content import digest_of
from tests.hostile.target import REPOSITORY, Target
from tests.raw_http import Answer, Line, message

SIZE = 2048

UNSATISFIABLE = [
    "bytes=500-0",
    "bytes=9999-",
    "bytes=-0",
    "bytes=2048-",
    "bytes=5000-10000",
    "bytes=" + "9" * 400 + "-",
]

IGNORED = [
    ("another unit", "items=0-5"),
    ("no unit", "0-5"),
    ("no range", "bytes="),
    ("only a comma", "bytes=,"),
    ("a dash", "bytes=-"),
    ("text", "bytes=a-b"),
    ("a sign", "bytes=+0-5"),
    ("an underscore", "bytes=0-1_0"),
    ("full-width digits", "bytes=０-５"),
    ("a NUL's escape", "bytes=0-%00"),
    ("three numbers", "bytes=0-5-9"),
    ("a float", "bytes=0-5.0"),
    ("something bad behind something good", "bytes=0-5,x"),
    ("10,000 ranges", "bytes=" + ",".join("0-0" for _ in range(6000))),
    ("overlapping ranges", "bytes=0-1000,500-1500"),
    ("the same range twice", "bytes=0-99,0-99"),
    ("the whole again and again", "bytes=0-,0-,0-,0-"),
]


def _blob(target: Target, headers: dict[str, str], method: str = "GET") -> Answer:
    return target.alice.ask(method, f"/v2/{REPOSITORY}/blobs/{digest_of(target.layer)}", headers)


@pytest.mark.parametrize("value", UNSATISFIABLE)
def test_range_that_no_blob_has(target: Target, value: str) -> None:
    """A range that cannot be satisfied is 416 with the blob's size."""
    answer = _blob(target, {"Range": value})

    assert answer.status == 416
    assert answer.header("content-range") == f"bytes */{SIZE}"
    assert answer.codes == ["RANGE_INVALID"]


@pytest.mark.parametrize(("words", "value"), IGNORED, ids=[row[0] for row in IGNORED])
def test_range_that_is_none(target: Target, words: str, value: str) -> None:
    """What is no range of bytes is ignored: everything comes, once."""
    raw = message("GET", f"/v2/{REPOSITORY}/blobs/{digest_of(target.layer)}", target.alice.headers)
    with Line(target.server) as line:
        line.send(raw[:-2] + f"Range: {value}\r\n\r\n".encode())

        answer = line.answer()

    assert answer.status == 200, words
    assert answer.body == target.layer


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, SIZE),
        ("bytes=-500", SIZE - 500, SIZE),
        ("bytes=-99999", 0, SIZE),
        ("bytes=2000-5000", 2000, SIZE),
        ("bytes=0-99999999999999999999999", 0, SIZE),
        ("BYTES=1-2", 1, 3),
        ("bytes= 1-2 ,", 1, 3),
    ],
)
def test_range_is_clipped_to_the_blob(target: Target, value: str, start: int, end: int) -> None:
    """One range is 206 with exactly those bytes."""
    answer = _blob(target, {"Range": value})

    assert answer.status == 206
    assert answer.header("content-range") == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.body == target.layer[start:end]


def test_several_ranges_come_in_parts(target: Target) -> None:
    """Ranges that do not overlap come as multipart/byteranges, in the order asked for."""
    answer = _blob(target, {"Range": "bytes=1000-1009,0-4,-3"})

    match = re.fullmatch(r"multipart/byteranges; boundary=([A-Za-z0-9]+)", answer.header("content-type"))
    assert answer.status == 206
    assert match is not None
    pieces = answer.body.split(b"--" + match[1].encode())[1:-1]
    assert [piece.partition(b"\r\n\r\n")[2][:-2] for piece in pieces] == [
        target.layer[1000:1010],
        target.layer[:5],
        target.layer[-3:],
    ]


@pytest.mark.parametrize("value", ["bytes=0-5", "bytes=500-0", "bytes=9999-", "nonsense"])
def test_head_knows_no_range(target: Target, value: str) -> None:
    """HEAD with a Range is 200 with the whole length."""
    answer = _blob(target, {"Range": value}, "HEAD")

    assert answer.status == 200
    assert answer.header("content-length") == str(SIZE)


def test_two_range_headers_are_none(target: Target) -> None:
    """Of two Range headers none is believed."""
    headers = [*target.alice.headers.items(), ("Range", "bytes=0-1"), ("Range", "bytes=2-3")]
    with Line(target.server) as line:
        line.send(message("GET", f"/v2/{REPOSITORY}/blobs/{digest_of(target.layer)}", headers))

        answer = line.answer()

    assert answer.body == target.layer


@pytest.mark.parametrize(
    ("words", "condition", "status"),
    [
        ("its own tag", '"{digest}"', 206),
        ("another tag", '"sha256:0"', 200),
        ("its own tag, weak", 'W/"{digest}"', 200),
        ("a date", "Wed, 21 Oct 2015 07:28:00 GMT", 200),
        ("nonsense", '"', 200),
    ],
)
def test_if_range(target: Target, words: str, condition: str, status: int) -> None:
    """If-Range lets a Range count only for the very same content."""
    answer = _blob(target, {"Range": "bytes=0-9", "If-Range": condition.format(digest=digest_of(target.layer))})

    assert answer.status == status, words


@pytest.mark.parametrize(
    ("words", "condition", "status"),
    [
        ("a star", "*", 304),
        ("its own tag", '"{digest}"', 304),
        ("its own tag, weak", 'W/"{digest}"', 304),
        ("a list with it", '"a", W/"b" , "{digest}"', 304),
        ("its digest without quotes", "{digest}", 304),
        ("another tag", '"sha256:0"', 200),
        ("an open quote", '"', 200),
        ("nothing", "", 200),
        ("8,000 tags", ",".join('"a"' for _ in range(4000)), 200),
        ("8,000 quotes", '"' * 8000, 200),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 and value.isascii() else "",
)
@pytest.mark.parametrize("route", ["blobs", "manifests"])
def test_if_none_match(target: Target, route: str, words: str, condition: str, status: int) -> None:
    """If-None-Match spares what the client has, and nothing else."""
    digest = digest_of(target.layer) if route == "blobs" else target.manifest_digest

    answer = target.alice.ask(
        "GET", f"/v2/{REPOSITORY}/{route}/{digest}", {"If-None-Match": condition.format(digest=digest)}
    )

    assert answer.status == status, words
    assert bool(answer.body) == (status == 200)


def test_empty_blob_has_no_range(target: Target) -> None:
    """No range of an empty blob can be satisfied; the header is ignored and nothing comes, with 200."""
    digest = target.alice.push_blob("ranges/empty", b"")

    answer = target.alice.ask("GET", f"/v2/ranges/empty/blobs/{digest}", {"Range": "bytes=0-"})

    assert answer.status in {200, 416}
    assert answer.status == 416 or answer.body == b""
