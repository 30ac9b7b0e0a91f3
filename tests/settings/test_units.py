from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.settings.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("1.5", 1.5),
        ("20s", 20),
        ("1m30s", 90),
        ("1h0m0.5s", 3600.5),
        ("168h", 604800),
        ("100ms", 0.1),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("5ns", 5e-9),
        (".5h", 1800),
        ("7d", 604800),
        ("2w", 1209600),
        (" 3s ", 3),
    ],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    """Go's units, several of them in a row, days and weeks beside them, and bare seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "seconds"), [("5000000000", 5), ("1", 1e-9), ("60s", 60)])
def test_a_bare_number_may_count_nanoseconds(text: str, seconds: float) -> None:
    """In a classic configuration a number without a unit is Go's own nanoseconds."""
    assert parse_duration(text, "ns") == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "s", "1x", "1 s", "-1s", "+1s", "1s1", "1e3", "nan", "inf", "1,5s", "１s", "9" * 18, "1s" * 11, "\0"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Signs, exponents, foreign digits, forgotten units, and more than a century."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize("value", [True, False, None, [], {}])
def test_what_is_no_text_is_no_duration(value: object) -> None:
    """A truth value, nothing, a list and a map are refused rather than taken for numbers."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4194304", 4194304),
        ("4MiB", 4194304),
        ("4mib", 4194304),
        ("4M", 4194304),
        ("32 KiB", 32768),
        ("1.5GB", 1_500_000_000),
        ("10b", 10),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes_are_read_with_their_units(text: str, size: int) -> None:
    """Binary and decimal units; a letter alone is binary."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1.5b", "MiB", "1 MiBs", "1PiB", "9" * 18 + "G", "1e6", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Fractions of a byte, unknown units, signs, and what no file system holds."""
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@given(st.floats(min_value=0, max_value=1e9, allow_nan=False, allow_infinity=False))
def test_a_duration_survives_being_written_and_read(seconds: float) -> None:
    """What `moorage config` shows is read back as the same duration, to the nanosecond."""
    seconds = round(seconds, 9)

    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-12, abs=1e-9)


@given(st.integers(min_value=0, max_value=(1 << 63) - 1))
def test_a_size_survives_being_written_and_read(size: int) -> None:
    """What `moorage config` shows is read back as the same size."""
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=30))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    """No text makes the parsers raise anything but ValueError, or return what is no plain number."""
    for parse in (parse_duration, parse_size):
        try:
            assert parse(text) >= 0
        except ValueError:
            pass
