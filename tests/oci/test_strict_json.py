from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.oci.strict_json import MOST_CONTAINERS, MOST_DEPTH, MOST_INTEGER, JsonInvalid, parse_json


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"null", None),
        (b" \t\r\n[]\n", []),
        (b'{"a": [true, false, null, "x", 1, -1, 1.5, 1e3]}', {"a": [True, False, None, "x", 1, -1, 1.5, 1000.0]}),
        (b'"\\ud83d\\ude00 \\u0000 \\\\ud800"', "😀 \0 \\ud800"),
        ('"😀é"'.encode(), "😀é"),
        (f"[{MOST_INTEGER}, -{MOST_INTEGER}]".encode(), [MOST_INTEGER, -MOST_INTEGER]),
        (b"[0, -0, 999999999999999, 1000000000000000]", [0, 0, 999999999999999, 1000000000000000]),
        (b'{"a": {"a": 1}, "A": 2}', {"a": {"a": 1}, "A": 2}),
        (b"[" * MOST_DEPTH + b"]" * MOST_DEPTH, json.loads("[" * MOST_DEPTH + "]" * MOST_DEPTH)),
        (b"[" + b"{}," * 1000 + b"{}]", [{}] * 1001),
        (b'["' + b"[{" * 1_000_000 + b'"]', ["[{" * 1_000_000]),
        (b'["\\"[' + b"[" * 100 + b'\\\\", ["]"]]', ['"[' + "[" * 100 + "\\", ["]"]]),
    ],
)
def test_json(body: bytes, value: object) -> None:
    """JSON is read as its specification says."""
    assert parse_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b'"',
        b'"\\',
        b"[1,]",
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b"// comment\n{}",
        b"{} {}",
        b"{}x",
        b"{}\0",
        b"01",
        b"+1",
        b"1_000",
        b".5",
        b"tru",
        b"True",
        b'"a\nb"',
        b'"a\0b"',
        b'"\\x41"',
        b'"\\u00"',
        b'"\\u 041"',
        "１".encode(),
        "[1\N{NO-BREAK SPACE}]".encode(),
        b"NaN",
        b"[Infinity]",
        b'{"a":-Infinity}',
        b"1e999",
        b"[-1e999]",
        b"1" + b"0" * 400 + b".0",
        b"9007199254740992",
        b"-9007199254740992",
        b"[9223372036854775808]",
        b"1" * 17,
        b"1" * 4_001,
        b"-" + b"1" * 5_001,
        b"1" * 1_000_000,
        b'{"a":1,"a":1}',
        b'{"b":{"a":1,"c":2,"a":3}}',
        b'{"a":1,"\\u0061":2}',
        b'"\\ud800"',
        b'{"\\udfff":1}',
        b'["\\ude00\\ud83d"]',
        b'"\\ud800\\u0041"',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
        b'"\xff"',
        b'"\xc0\xaf"',
        b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'[{"a":' * 50_000,
        b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1),
        b"[" * MOST_DEPTH + b"[],[]" + b"]" * MOST_DEPTH,
        b'["\\\\",' + b"[" * MOST_DEPTH + b"]" * MOST_DEPTH + b"]",
        b"[" + b"{}," * MOST_CONTAINERS + b"{}]",
        b'"' + b'\\"' * 1_000_000 + b"[" * 100,  # no end: one pass, not one for each quote
        b'"' * 1_000_001 + b"[" * 100,
        b"\\" * 1_000_000 + b"[" * 100,
    ],
    ids=lambda body: f"{body[:20]!r}-{len(body)}",
)
def test_refused(body: bytes) -> None:
    """What is not JSON, or what two readers may take differently, is refused by one error, however large."""
    with pytest.raises(JsonInvalid) as caught:
        parse_json(body)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_little_stack() -> None:
    """Deep in a call stack a nested document is at worst refused; the interpreter's own error never escapes."""
    body = b"[" * 60 + b"]" * 60
    limit, frame, depth = sys.getrecursionlimit(), sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1

    sys.setrecursionlimit(depth + 40)
    try:
        value = parse_json(body)
    except JsonInvalid:
        value = None
    finally:
        sys.setrecursionlimit(limit)

    assert value is None or json.dumps(value).encode() == body


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MOST_INTEGER, MOST_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), inner),
    max_leaves=100,
)


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_returns(value: object, ascii_only: bool, indent: int | None) -> None:  # noqa: FBT001 -- drawn by hypothesis
    """Every value that JSON can hold comes back, escaped or not."""
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()

    assert parse_json(body) == value


def stricter(body: bytes, read: Callable[[bytes], object]) -> None:
    """Fail unless *body* is refused, or is read as Python reads it."""
    try:
        value = read(body)
    except JsonInvalid:
        return
    assert value == json.loads(body)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@given(st.binary(max_size=40))
def test_bytes(body: bytes) -> None:
    """Any bytes are refused, or have the meaning that every JSON reader gives them."""
    stricter(body, parse_json)


@given(
    st.lists(
        st.sampled_from(
            ["{", "}", "[", "]", ",", ":", '"a"', '"b"', "1", "-", "e9", "\\", '"', "\\ud800", "NaN", "9" * 16]
        ),
        max_size=24,
    )
)
def test_tokens(tokens: list[str]) -> None:
    """The same for bytes that look like JSON."""
    stricter("".join(tokens).encode(), parse_json)


@given(st.integers(1, 2 * MOST_DEPTH), st.integers(0, 3), st.sampled_from(["[]", '{"a":0}', '"[{"', '"\\"["']))
def test_depth(depth: int, siblings: int, sibling: str) -> None:
    """Depth alone decides, not how much stands beside it or what looks like brackets in strings."""
    body = "[" * depth + ",".join([sibling] * siblings) + "]" * depth
    levels = depth + (1 if siblings and not sibling.startswith('"') else 0)

    if levels <= MOST_DEPTH:
        assert parse_json(body.encode()) == json.loads(body)
    else:
        with pytest.raises(JsonInvalid):
            parse_json(body.encode())
