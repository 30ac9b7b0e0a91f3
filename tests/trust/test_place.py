"""Where a registry is, as people write it, and what never becomes a path."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.trust.place import parse_place


@pytest.mark.parametrize(
    ("written", "label", "url", "stem"),
    [
        ("registry.example.com", "registry.example.com", "https://registry.example.com", "registry.example.com"),
        ("Registry.Example.com:443", "registry.example.com", "https://registry.example.com", "registry.example.com"),
        ("registry:5000", "registry:5000", "https://registry:5000", "registry_5000"),
        ("https://registry.example.com:5000/", "registry.example.com:5000", "https://registry.example.com:5000", None),
        ("10.0.0.5:5000", "10.0.0.5:5000", "https://10.0.0.5:5000", "10.0.0.5_5000"),
        ("[FD00::1]:5000", "[fd00::1]:5000", "https://[fd00::1]:5000", "fd00__1_5000"),
        ("fd00:0:0::1", "[fd00::1]", "https://[fd00::1]", "fd00__1"),
    ],
)
def test_a_place_is_written_as_in_the_names_of_images(written: str, label: str, url: str, stem: str | None) -> None:
    """Case, scheme and the port 443 go; an IPv6 address has its brackets."""
    place = parse_place(written)

    assert (place.label, place.url) == (label, url)
    assert stem is None or place.stem == stem


@pytest.mark.parametrize(
    "written",
    [
        "",
        ".",
        "..",
        "../etc",
        "a/b",
        "registry.example.com/team/app",
        "http://registry.example.com",
        "user@registry.example.com",
        "registry.example.com:",
        "registry.example.com:0",
        "registry.example.com:65536",
        "registry.example.com:05000",
        "registry.example.com:80:80",
        "-registry",
        "registry-",
        "under_score",
        "registry..com",
        "*.example.com",
        "registry.example.com.",
        "1.2.3",
        "1.2.3.256",
        "010.0.0.1",
        "[fd00::1",
        "[fd00::1]5000",
        "[fd00::1]:",
        "[registry]",
        "fe80::1%eth0",
        "registry$(id)",
        "registry'",
        'registry"',
        "registry`id`",
        "regis\ntry",
        "regis try",
        "regis\0try",
        "пример.рф",
        "a" * 64,
        ".".join(["abcdefgh"] * 30),
    ],
)
def test_what_is_no_place_is_refused(written: str) -> None:
    """Nothing that could be another folder, another host or a command gets through."""
    with pytest.raises(ValueError):
        parse_place(written)


@given(st.text(alphabet=st.sampled_from("ab1.-:[]/%@ \n'\"$`\\*_~#&;<>é"), max_size=24))
def test_whatever_is_accepted_is_safe_in_a_path_and_in_quotes(written: str) -> None:
    """A place holds letters, digits, dots, dashes, colons and brackets, and begins with no dot and no dash."""
    try:
        place = parse_place(written)
    except ValueError:
        return

    assert re.fullmatch(r"[a-z0-9\[][a-z0-9.:\]-]*", place.label)
    assert re.fullmatch(r"[a-z0-9_][a-z0-9._-]*", place.stem)
    assert parse_place(place.label) == place
