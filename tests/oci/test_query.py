from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import BadRequest
from moorage.oci.query import MOST_FIELDS, decode_component, encode_component, encode_path, parse_query


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        ("", {}),
        ("&&", {}),
        ("n=5&last=b", {"n": ["5"], "last": ["b"]}),
        ("tag=a&tag=b&tag=a", {"tag": ["a", "b", "a"]}),
        ("digest=sha256:0f", {"digest": ["sha256:0f"]}),
        ("digest=sha256%3A0f", {"digest": ["sha256:0f"]}),
        ("n=", {"n": [""]}),
        ("n", {"n": [""]}),
        ("=x", {"": ["x"]}),
        ("a=b=c", {"a": ["b=c"]}),
        ("a;b=c;d", {"a;b": ["c;d"]}),
        ("a=x%2By+z", {"a": ["x+y z"]}),
        ("a=%26%3D%25", {"a": ["&=%"]}),
        ("a=%2526", {"a": ["%26"]}),
        ("a=%e2%82%AC", {"a": ["€"]}),
        ("a=%0d%0a%22%1b", {"a": ['\r\n"\x1b']}),
        ("%6e=1", {"n": ["1"]}),
        ("last=../../", {"last": ["../../"]}),
        ("last=%25_", {"last": ["%_"]}),
    ],
)
def test_query(raw: str, fields: dict[str, list[str]]) -> None:
    """Fields come decoded once, in order, repeated ones together."""
    assert parse_query(raw) == fields


@pytest.mark.parametrize(
    "raw",
    [
        "a=%",
        "a=%1",
        "a=%g0",
        "a=%%30",
        "a=%+1",
        "a=% 1",
        "a=%1１",
        "a=%00",
        "last=x%00y",
        "%00=a",
        "a=%ff",
        "a=%c0%af",  # overlong
        "a=%ed%a0%80",  # a lone surrogate
        "a=%f4%90%80%80",  # beyond Unicode
        "a=%e2%82",
        "a=%e2%8&b=%2",
        "a=%e2&b=%82%ac",
        "a=b c",
        "a=b\n",
        "a=\0",
        "a=\x7f",
        "a=é",
        "a=\xff",
        "a=\ud800",
        "&".join(["a=b"] * (MOST_FIELDS + 1)),
        "&" * 1_000_000,
    ],
)
def test_malformed(raw: str) -> None:
    """What has no one reading is a 400 of HTTP, not a guess."""
    with pytest.raises(BadRequest) as caught:
        parse_query(raw)

    assert caught.value.status == 400


def test_most_fields() -> None:
    """The limit itself is within it."""
    assert parse_query("&".join(["tag=b"] * MOST_FIELDS)) == {"tag": ["b"] * MOST_FIELDS}


texts = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@given(st.lists(st.tuples(texts, texts)))
def test_query_returns(fields: list[tuple[str, str]]) -> None:
    """What we encode into a Link comes back when the client follows it."""
    raw = "&".join(f"{encode_component(name)}={encode_component(value)}" for name, value in fields)
    expected: dict[str, list[str]] = {}
    for name, value in fields:
        expected.setdefault(name, []).append(value)

    assert parse_query(raw) == expected


@given(texts)
def test_encoded_is_safe_in_a_header(text: str) -> None:
    """What we encode has no character that ends a header, a URI reference in angle brackets, or a field."""
    component, path = encode_component(text), encode_path(text)

    assert decode_component(component) == decode_component(path) == text
    assert not set(component) & set('\r\n<>"&=+#?/; ')
    assert not set(path) & set('\r\n<>"#? ')
    assert (component + path).isascii()


def test_path_keeps_its_shape() -> None:
    """Slashes and a digest's colon stay readable in a Location."""
    assert encode_path("/v2/a/blobs/sha256:0f") == "/v2/a/blobs/sha256:0f"


@given(st.text(alphabet=st.sampled_from("a%0fF&=+é\n\0"), max_size=30))
def test_never_raises_anything_else(raw: str) -> None:
    """Any text is fields or a 400."""
    try:
        fields = parse_query(raw)
    except BadRequest:
        return

    assert all("\0" not in name and values for name, values in fields.items())


def test_plus_in_a_path() -> None:
    """A plus in a path is a plus."""
    assert decode_component("a+b%2B") == "a+b+"
