from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import NameInvalid
from moorage.oci.name import MOST_BYTES, MOST_COMPONENTS, parse_name


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "0",
        "library/debian",
        "a.b_c__d-e--f---g",
        "x/manifests/y",
        "blobs/uploads",
        "v2",
        "tags/list",
        "con/aux/nul",
        "a" * MOST_BYTES,
        "/".join("a" * MOST_COMPONENTS),
        "-".join("a" * 128),
    ],
)
def test_valid(text: str) -> None:
    """What the grammar of distribution-spec produces is a name, words of the protocol's own paths included."""
    assert parse_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "UPPER/repo",
        "aB",
        "..",
        ".",
        "a/../b",
        "../../etc/passwd",
        "_layers",
        "a/_uploads",
        "_",
        ".git",
        "a___b",
        "a..b",
        "a._b",
        "a_-b",
        "a-.b",
        "-a",
        "a-",
        "a/-b",
        "a_",
        "a.",
        "a:b",
        "a@b",
        "a b",
        "a\n",
        "a/b\n",
        "\na",
        "a\0b",
        "a\\b",
        "a%2fb",
        "%2e%2e",
        "a+b",
        "dépôt",
        "de\u0301po\u0302t",
        "\u0430bc",  # Cyrillic
        "\uff11",  # a digit for \d
        "\u212a",  # the Kelvin sign, "k" to re.IGNORECASE
        "😀",
        "\udcff",
        "a" * (MOST_BYTES + 1),
        "a/" * 127 + "ab",
        "/".join("a" * 100),
        "/".join("a" * (MOST_COMPONENTS + 1)),
        "a" * 10_000_000,
        "a-/b",
        "0-/0",
        "a_/b",
        "a./b",
    ],
)
def test_malformed(text: str) -> None:
    """Everything else is NAME_INVALID, and the message is short and printable whatever was sent."""
    with pytest.raises(NameInvalid) as caught:
        parse_name(text)

    assert len(caught.value.message) < 900
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("repeated", ["a", "a-", "-", "a_", "_", "a.", "a/", "aa--", "__"])
def test_hostile_ends(repeated: str) -> None:
    """A name that fails at its last character fails at once: a grammar that tried every split would not come back."""
    with pytest.raises(NameInvalid):
        parse_name((repeated * MOST_BYTES)[: MOST_BYTES - 1] + "!")


def grammatical(text: str) -> bool:
    """The same grammar in other words: runs of letters and digits, joined one by one."""
    return all(
        all(re.split(r"[._-]+", part)) and set(re.findall(r"[._]+[._-]*|-+[._]+[._-]*", part)) <= {".", "_", "__"}
        for part in text.split("/")
    )


@given(st.text(alphabet="a0._-/", min_size=1, max_size=16))
def test_equals_the_grammar(text: str) -> None:
    """Over the grammar's own characters, exactly what a second reading of the grammar accepts is accepted."""
    try:
        accepted = parse_name(text) == text
    except NameInvalid:
        accepted = False

    assert accepted == grammatical(text)


@given(st.text(max_size=300))
def test_is_a_safe_path(text: str) -> None:
    """Whatever is accepted is a relative path of plain folders."""
    try:
        name = parse_name(text)
    except NameInvalid:
        return

    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-/")
    assert all(part and part[0].isalnum() and part[-1].isalnum() for part in name.split("/"))
