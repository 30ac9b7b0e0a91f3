from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.auth.policy import ALL_NAMES, NO_NAMES, Action, NameRanges, Rules, allowed, visible_names
from moorage.auth.principal import ANONYMOUS, Principal
from moorage.oci.name import RepositoryName

ALICE = Principal("htpasswd", "alice")
ROOT = Principal("database", "root", admin=True)
NAME = RepositoryName("library/busybox")
CLOSED, PULL_FOR_ALL, OPEN = Rules(), Rules(anonymous_pull=True), Rules(open=True)

P, U, D, C, G = Action.PULL, Action.PUSH, Action.DELETE, Action.CATALOG, Action.PING


@pytest.mark.parametrize(
    ("principal", "rules", "may"),
    [
        (ANONYMOUS, CLOSED, set()),
        (ANONYMOUS, PULL_FOR_ALL, {P}),
        (ANONYMOUS, OPEN, {P, U, D, C, G}),
        (ALICE, CLOSED, {P, U, D, C, G}),
        (ALICE, PULL_FOR_ALL, {P, U, D, C, G}),
        (ROOT, CLOSED, {P, U, D, C, G}),
        (Principal("proxy-header", "alice"), CLOSED, set()),
        (Principal("", ""), PULL_FOR_ALL, {P}),
        (Principal("anonymous", "root", admin=True), CLOSED, set()),
    ],
)
def test_who_may_do_what(principal: Principal, rules: Rules, may: set[Action]) -> None:
    """A principal of a known source may do everything, everybody else what the rules open, and nothing by default."""
    answers = {
        action
        for action in Action
        if allowed(principal, action, None if action in {Action.CATALOG, Action.PING} else NAME, rules)
    }

    assert answers == may


def test_anonymous_pull_needs_a_repository() -> None:
    """Pulling nothing in particular is not what anonymous pull opens."""
    assert not allowed(ANONYMOUS, Action.PULL, None, PULL_FOR_ALL)


@given(
    st.sampled_from([ANONYMOUS, ALICE, ROOT, Principal("other", "x")]),
    st.sampled_from([Action.PULL, Action.PUSH, Action.DELETE]),
    st.builds(Rules, st.booleans(), st.booleans()),
    st.sampled_from(["a", "library/busybox", "z/z/z", "0"]),
)
def test_ranges_and_single_answers_agree(principal: Principal, action: Action, rules: Rules, name: str) -> None:
    """A name is in the visible ranges for an action exactly if the action on it is allowed."""
    repository = RepositoryName(name)

    in_ranges = repository in visible_names(principal, action, rules)

    assert in_ranges == allowed(principal, action, repository, rules)


@pytest.mark.parametrize(
    ("names", "name", "inside"),
    [
        (ALL_NAMES, "", True),
        (ALL_NAMES, "zzz", True),
        (NO_NAMES, "a", False),
        (NameRanges((("team/", "team0"),)), "team/a", True),
        (NameRanges((("team/", "team0"),)), "team0", False),
        (NameRanges((("team/", "team0"),)), "team", False),
        (NameRanges((("a", "b"), ("x", None))), "a", True),
        (NameRanges((("a", "b"), ("x", None))), "b", False),
        (NameRanges((("a", "b"), ("x", None))), "zebra", True),
    ],
)
def test_ranges_are_half_open(names: NameRanges, name: str, inside: bool) -> None:  # noqa: FBT001
    """A range holds its low end and not its high end; without a high end it holds all that follows."""
    assert (name in names) is inside


def test_the_same_name_of_two_sources_is_two_principals() -> None:
    """Identity is the source and the name, and no right belongs to it."""
    assert Principal("htpasswd", "root").identity != Principal("database", "root").identity
    assert Principal("database", "root", admin=True).identity == Principal("database", "root").identity
