from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moorage.auth import passwords
from moorage.auth.htpasswd_edit import illegal, remove_user, set_hash, stored_hash
from moorage.auth.htpasswd_format import parse
from moorage.errors import ConfigurationError

NEW = passwords.hash_bcrypt("new", 4)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (b"", b"bob:NEW\n", False),
        (b"alice:x\n", b"alice:x\nbob:NEW\n", False),
        (b"alice:x", b"alice:x\nbob:NEW\n", False),
        (b"alice:x\r\n", b"alice:x\r\nbob:NEW\r\n", False),
        (b"alice:x\r\ncarol:y", b"alice:x\r\ncarol:y\r\nbob:NEW\r\n", False),
        (b"bob:x\nalice:y\n", b"bob:NEW\nalice:y\n", True),
        (b"bob:x\r\nalice:y\r\n", b"bob:NEW\r\nalice:y\r\n", True),
        (b"bob:x", b"bob:NEW\n", True),
        (b"bob:x\nbob:y\n", b"bob:NEW\nbob:NEW\n", True),
        (b"# team\n\n  bob:x:remark\n#bob:z\n", b"# team\n\nbob:NEW\n#bob:z\n", True),
        (b"\xef\xbb\xbfbob:x\n", b"bob:NEW\n", True),
        (b"bobby:x\nBob:y\n", b"bobby:x\nBob:y\nbob:NEW\n", False),
    ],
)
def test_setting_a_password(before: bytes, after: bytes, found: bool) -> None:  # noqa: FBT001
    """Every line of the user changes, or one is added; all else stays, the line endings too."""
    assert set_hash(before, "bob", "NEW", "f") == (after, found)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (b"", b"", False),
        (b"alice:x\n", b"alice:x\n", False),
        (b"alice:x\nbob:y\n", b"alice:x\n", True),
        (b"bob:x\r\n# bob:z\r\nalice:y", b"# bob:z\r\nalice:y", True),
        (b"bob:x\nbob:y\n", b"", True),
    ],
)
def test_removing_a_user(before: bytes, after: bytes, found: bool) -> None:  # noqa: FBT001
    """Every line of the user goes, and nothing else."""
    assert remove_user(before, "bob", "f") == (after, found)


@pytest.mark.parametrize("data", [b"garbage\n", b"alice:x\ngarbage", b"\xff\xfea\0", b":x\n", b"\xe9:x\n"])
def test_another_kind_of_file_is_not_touched(data: bytes) -> None:
    """A file that is not an htpasswd file from end to end is refused by every change and by a search."""
    with pytest.raises(ConfigurationError):
        set_hash(data, "bob", NEW, "f")
    with pytest.raises(ConfigurationError):
        remove_user(data, "bob", "f")
    with pytest.raises(ConfigurationError):
        stored_hash(data, "bob", "f")


@pytest.mark.parametrize(
    ("user", "fine"),
    [
        ("bob", True),
        ("bob@example.com", True),
        ("bob the builder", True),
        ("b#", True),
        ("Ålice", True),
        ("-bob", True),
        ("", False),
        ("a:b", False),
        ("#bob", False),
        (" bob", False),
        ("bob ", False),
        ("b\tb", False),
        ("b\nb", False),
        ("b\x7f", False),
        ("\ud800", False),
    ],
)
def test_which_names_can_stand_in_a_file(user: str, fine: bool) -> None:  # noqa: FBT001
    """A name is fine if it comes out of the file as it went in."""
    assert (illegal(user) is None) is fine


USERS = st.text(max_size=8)
FILES = st.lists(
    st.sampled_from([b"alice:" + NEW.encode(), b"bob:x", b"bob:y:z", b"# remark", b"", b"  carol:x"])
).flatmap(lambda lines: st.sampled_from([b"\n", b"\r\n"]).map(lambda end: b"".join(line + end for line in lines)))


@given(st.sampled_from([b"", b"\xef\xbb\xbf"]), FILES, st.one_of(st.sampled_from(["alice", "bob", "carol"]), USERS))
def test_what_is_set_is_found_and_what_is_removed_is_gone(mark: bytes, data: bytes, user: str) -> None:
    """For every legal name: after setting the registry lets the user in, after removing not, and the others stay."""
    assume(illegal(user) is None)
    before = parse(mark + data, "f").accounts

    data, found = set_hash(mark + data, user, NEW, "f")
    with_user = parse(data, "f").accounts
    data, found_again = remove_user(data, user, "f")
    without_user = parse(data, "f").accounts

    assert (found, found_again) == (user in before, True)
    assert with_user[user].principal == ("htpasswd", user, False)
    assert with_user[user].password_hash == NEW
    assert user not in without_user
    assert set(with_user) - {user} == set(without_user) == set(before) - {user}
    assert stored_hash(data, user, "f") is None
