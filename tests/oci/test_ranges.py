from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import RangeInvalid
from moorage.oci.ranges import MOST_RANGES, parse_content_range, parse_range

SIZE = 2048


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        ("bytes=500-1499", [(500, 1500)]),
        ("bytes=500-", [(500, 2048)]),
        ("bytes=-500", [(1548, 2048)]),
        ("bytes=2000-5000", [(2000, 2048)]),
        ("bytes=0-0", [(0, 1)]),
        ("bytes=2047-2047", [(2047, 2048)]),
        ("bytes=0-", [(0, 2048)]),
        ("bytes=-9999", [(0, 2048)]),
        ("bytes=0-99999999999999999999", [(0, 2048)]),
        (f"bytes=-{'9' * 10_000}", [(0, 2048)]),
        (f"bytes={'0' * 10_000}5-7", [(5, 8)]),
        ("Bytes=0-1", [(0, 2)]),
        ("BYTES = 0-1 ", [(0, 2)]),
        ("bytes=0-1,4-5", [(0, 2), (4, 6)]),
        ("bytes=4-5, 0-1", [(4, 6), (0, 2)]),
        ("bytes=,0-1,\t,", [(0, 2)]),
        ("bytes=0-1,9999-", [(0, 2)]),
        ("bytes=0-1,2-3", [(0, 2), (2, 4)]),
        ("bytes=-1,0-0", [(2047, 2048), (0, 1)]),
        ("bytes=" + ",".join(f"{i * 4}-{i * 4}" for i in range(MOST_RANGES)), [(i * 4, i * 4 + 1) for i in range(64)]),
    ],
)
def test_range(header: str, ranges: list[tuple[int, int]]) -> None:
    """Satisfiable ranges come half-open, clipped to the content, in the order asked for."""
    assert parse_range(header, SIZE) == ranges


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=1-2-3",
        "bytes=--5",
        "bytes=+1-2",
        "bytes=1_0-20",
        "bytes=1 - 2",
        "bytes=１-２",
        "bytes=0-²",
        "bytes=0x0-0x1",
        "bytes=0-1;2-3",
        "bytes=0-1,x",
        "bytes=0-1\n",
        "bytes: 0-1",
        "bytes 0-1",
        "items=0-1",
        "0-1",
        "=0-1",
        "bytes=0-1,0-1",
        "bytes=0-10,5-20",
        "bytes=0-,-1",
        "bytes=" + ",".join("0-" for _ in range(10_000)),
        "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 2 * MOST_RANGES + 2, 2)),
        "bytes=" + "," * 1_000_000,
        "bytes=" + "-" * 1_000_000,
    ],
)
def test_ignored(header: str) -> None:
    """Another unit, a malformed header, overlapping or too many ranges: everything is sent."""
    assert parse_range(header, SIZE) is None


@pytest.mark.parametrize(
    "header",
    [
        "bytes=500-0",
        "bytes=5000-10000",
        "bytes=2048-",
        "bytes=2048-2048",
        "bytes=9999-",
        "bytes=-0",
        "bytes=-000",
        "bytes=99999999999999999999-",
        f"bytes={'9' * 10_000}-{'9' * 10_000}",
        "bytes=2048-,9999-",
        "bytes=0-1,5-4",
        "bytes=0-1,-0",
    ],
)
def test_unsatisfiable(header: str) -> None:
    """Nothing to send is 416, which tells the size."""
    with pytest.raises(RangeInvalid) as caught:
        parse_range(header, SIZE)

    assert caught.value.headers == (("Content-Range", "bytes */2048"),)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=5-6", "bytes="])
def test_empty_content(header: str) -> None:
    """An empty blob is sent whole: no Content-Range can describe it, and some clients ask for ranges always."""
    assert parse_range(header, 0) is None


specs = st.one_of(
    st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: (min(pair), max(pair))),
    st.tuples(st.integers(0, 40), st.none()),
    st.tuples(st.none(), st.integers(1, 40)),
)


@given(st.lists(specs, min_size=1, max_size=4), st.integers(1, 30))
def test_equals_slices(asked: list[tuple[int | None, int | None]], size: int) -> None:
    """Each range selects what the RFC's words select one by one, unless together they say a byte twice."""
    header = "bytes=" + ",".join(f"{'' if a is None else a}-{'' if b is None else b}" for a, b in asked)
    content = range(size)
    selected = [
        content[-last:] if first is None and last else content[first : None if last is None else last + 1]
        for first, last in asked
    ]
    expected = [positions for positions in selected if positions]

    if not expected:
        with pytest.raises(RangeInvalid):
            parse_range(header, size)
        return
    ranges = parse_range(header, size)

    if len({at for positions in expected for at in positions}) < sum(map(len, expected)):
        assert ranges is None
    else:
        assert ranges == [(positions[0], positions[-1] + 1) for positions in expected]


@given(st.text(alphabet="bytes=0159-, ", max_size=30).map("bytes=".__add__), st.integers(0, 20))
def test_always_within(header: str, size: int) -> None:
    """Whatever is asked, what is answered lies within the content and is not empty."""
    try:
        ranges = parse_range(header, size)
    except RangeInvalid:
        return

    assert ranges is None or (ranges and all(0 <= start < end <= size for start, end in ranges))


@pytest.mark.parametrize(
    ("header", "first_and_last"),
    [
        ("0-0", (0, 0)),
        ("0-1023", (0, 1023)),
        ("1024-2047", (1024, 2047)),
        ("bytes 0-5/6", (0, 5)),
        ("bytes 0-5/*", (0, 5)),
        ("bytes=0-5", (0, 5)),
        ("0-5/10", (0, 5)),
        (f"0-{2**63 - 1}", (0, 2**63 - 1)),
    ],
)
def test_content_range(header: str, first_and_last: tuple[int, int]) -> None:
    """A chunk says where it lies, in the protocol's form or in HTTP's."""
    assert parse_content_range(header) == first_and_last


@pytest.mark.parametrize(
    "header",
    [
        "",
        "-",
        "0-",
        "-5",
        "5",
        "10-5",
        "-1-5",
        "0--5",
        "0-99999999999999999999",
        f"0-{2**63}",
        f"{2**63}-{2**63}",
        "0" * 20 + "-5",
        "bytes 0-5/5",
        "bytes 0-5/0",
        "bytes 0-5/",
        "bytes 0-5/99999999999999999999",
        "bytes */6",
        "bytes  0-5",
        "Bytes 0-5",
        "0-5\n",
        " 0-5",
        "0-5,7-8",
        "0x0-0x5",
        "１-２",
        "+0-5",
        "0 - 5",
        "9" * 100_000 + "-" + "9" * 100_000,
        "-" * 100_000,
    ],
)
def test_malformed_content_range(header: str) -> None:
    """Anything else is 416, without a number that no file has."""
    with pytest.raises(RangeInvalid) as caught:
        parse_content_range(header)

    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_content_range_returns(one: int, other: int) -> None:
    """Every pair in order comes back; every other is refused."""
    header = f"{one}-{other}"

    if one <= other:
        assert parse_content_range(header) == (one, other)
    else:
        with pytest.raises(RangeInvalid):
            parse_content_range(header)
