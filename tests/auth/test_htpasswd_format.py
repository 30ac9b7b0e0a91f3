from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moorage.auth import passwords
from moorage.auth.htpasswd_format import Content, parse
from moorage.auth.principal import Principal
from moorage.errors import ConfigurationError

HASH = passwords.hash_bcrypt("password", 4)
OTHER = passwords.hash_bcrypt("different", 4)
COST_5 = "$2y$05$biUtpN8JHgCe9clSD7SQMuSq8KfjVepTQLDXx78n97c.I6YrNTCRm"
MD5 = "$apr1$mYBnYy8P$T0DjeAWL3jRhaVsUsEYBT."


def users(content: Content) -> dict[str, str]:
    """Everybody who can log in, with the hash that counts."""
    return {name: account.password_hash for name, account in content.accounts.items() if account.principal is not None}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (f"alice:{HASH}\n", {"alice": HASH}),
        (f"alice:{HASH}", {"alice": HASH}),
        (f"alice:{HASH}\r\nbob:{OTHER}\r\n", {"alice": HASH, "bob": OTHER}),
        (f"# who\n\n  \t\nalice:{HASH}\n#bob:{OTHER}\n", {"alice": HASH}),
        (f"  alice:{HASH}  \n", {"alice": HASH}),
        (f"alice:{HASH}:a remark\n", {"alice": HASH}),
        (f"al ice:{HASH}\n", {"al ice": HASH}),
        (f"Ålice:{HASH}\n", {"Ålice": HASH}),
        (f"alice:{HASH}\nalice:{OTHER}\n", {"alice": OTHER}),
        (f"alice:{HASH}\nalice:{MD5}\n", {}),
        (f"\ufeffalice:{HASH}\n", {"alice": HASH}),
        (f"alice:{MD5}\nbob:{OTHER}\n", {"bob": OTHER}),
        (f"alice:password\nbob:{OTHER}\n", {"bob": OTHER}),
        (f"alice:{HASH[:-1]}\nbob:{OTHER}\n", {"bob": OTHER}),
        (f"alice:\nbob:{OTHER}\n", {"bob": OTHER}),
        ("", {}),
        ("# nobody yet\n", {}),
    ],
)
def test_who_is_in_a_file(data: str, expected: dict[str, str]) -> None:
    """Exactly the users with a bcrypt hash can log in, each with the last hash that the file has for them."""
    assert users(parse(data.encode(), "f")) == expected


def test_users_are_principals_of_their_source() -> None:
    """A user of a file is the principal of that name and the source "htpasswd", without rights of its own."""
    content = parse(f"alice:{HASH}\n".encode(), "f")

    assert content.accounts["alice"].principal == Principal("htpasswd", "alice", admin=False)


@pytest.mark.parametrize(
    ("data", "line", "what"),
    [
        (f"alice:{HASH}\nbob\n".encode(), 2, "no colon"),
        (f"alice:{HASH}\n\n#\n:{OTHER}\n".encode(), 4, "no user"),
        (b"\xe9lodie:" + HASH.encode() + b"\n", 1, "not UTF-8"),
        (f"ali\x1bce:{HASH}\n".encode(), 1, "control characters"),
        (f"alice:{HASH}\rbob:{OTHER}\n\x01:{HASH}\n".encode(), 2, "control characters"),
        (f"alice:{HASH}\nbob:{OTHER[:-1]}".encode(), 2, "ends within"),
        (f"alice:{HASH}\nbob:".encode(), 2, "ends within"),
        (f"alice:{HASH}\nbob:$".encode(), 2, "ends within"),
        (f"alice:{HASH}\n".encode("utf-16"), 1, "UTF-16"),
        (f"alice:{HASH}\n".encode("utf-16-be"), 1, "UTF-16"),
        (f"alice:{HASH}\n".encode("utf-32"), 1, "UTF-16"),
        (b"alice\0:x\n", 1, "UTF-16"),
    ],
)
def test_a_broken_line_is_named(data: bytes, line: int, what: str) -> None:
    """What is not an htpasswd file is refused with file, line and reason, and without any of its content."""
    with pytest.raises(ConfigurationError, match=what) as caught:
        parse(data, "auth/htpasswd")

    assert (caught.value.source, caught.value.line) == ("auth/htpasswd", line)
    assert HASH[7:] not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (f"bob:{OTHER}\nalice:{MD5}\n", 2, ["'alice'", "MD5 hash (apr1)", "moorage htpasswd -B 'my file' alice"]),
        (f"bob:{OTHER}\na\u202eb:secret\n", 2, ["'a\\u202eb'", "plain text", "moorage htpasswd -B 'my file' USER"]),
        (f"bob:{OTHER}\nbob:{HASH}\n", 2, ["'bob'", "line 1", "later line counts"]),
        (f"\ufeffbob:{OTHER}\n", 1, ["byte order mark", "registry:2"]),
        (f"bob:{COST_5.replace('$05$', '$15$')}\n", 1, ["'bob'", "cost 15", "seconds"]),
        ("# empty\n", None, ["nobody can log in", "moorage htpasswd -B 'my file' USER"]),
    ],
)
def test_what_an_administrator_should_know(data: str, line: int | None, words: list[str]) -> None:
    """What will not work as its author thinks is noted once, with its line and what to type instead."""
    (note,) = parse(data.encode(), "my file").notes

    assert note.line == line
    assert [word for word in words if word not in note.text] == []
    assert "secret" not in note.text


def test_a_good_file_needs_no_notes() -> None:
    """A file in which everybody can log in says nothing."""
    assert parse(f"# team\r\nalice:{HASH}\r\nbob:{OTHER}\r\n".encode(), "f").notes == ()


@pytest.mark.parametrize(
    ("hashes", "cost"),
    [([], passwords.BCRYPT_COST), ([HASH], 4), ([HASH, COST_5], 5), ([HASH, OTHER, COST_5], 4), ([MD5, COST_5], 5)],
)
def test_strangers_cost_as_much_as_most_users(hashes: list[str], cost: int) -> None:
    """The decoy for unknown users has the commonest cost, and stands for users without a usable hash too."""
    content = parse("".join(f"user{number}:{stored}\n" for number, stored in enumerate(hashes)).encode(), "f")

    assert passwords.bcrypt_cost(content.nobody.password_hash) == cost
    assert content.nobody.principal is None
    assert all(content.accounts[f"user{n}"] == content.nobody for n, stored in enumerate(hashes) if stored == MD5)


LINES = st.sampled_from(
    [
        *(f"{user}:{stored}".encode() for user in ("alice", "bob", "") for stored in (HASH, OTHER, MD5, HASH[:-3], "")),
        b"#alice:x",
        b"alice",
        b":",
        b"::",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xff",
        b"  ",
        b"carol : " + HASH.encode(),
    ]
)
ENDINGS = st.sampled_from([b"\n", b"\r\n", b"\r", b"", b" \n", b"\0", b"\x0b"])
FILES = st.one_of(
    st.binary(max_size=200),
    st.lists(st.tuples(LINES, ENDINGS), max_size=6).map(lambda pairs: b"".join(line + end for line, end in pairs)),
)


@given(FILES)
@example(f"alice:{HASH}\r\nbob:{OTHER}\n".encode())
def test_no_file_crashes_or_lets_in_a_stranger(data: bytes) -> None:
    """Any bytes are either refused by name or let in only users whose name and hash stand in them on one line."""
    try:
        content = parse(data, "f")
    except ConfigurationError as refused:
        refusal = (refused.source, refused.line is not None)
        assert refusal == ("f", True)
        return

    for user, account in content.accounts.items():
        if account.principal is None:
            continue
        assert account.principal == ("htpasswd", user, False)
        assert any(f"{user}:{account.password_hash}".encode() in line for line in data.split(b"\n"))
        assert passwords.bcrypt_cost(account.password_hash) is not None
    assert "mallory" not in content.accounts
    assert not passwords.verify(content.nobody.password_hash, "password")
