"""What a principal may do: pure functions, denied unless allowed.

`allowed` answers for one repository; `visible_names` answers the same for all of them at once, as ranges of names, so
that listings and mounts can filter by an index.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from moorage.auth.principal import Principal
from moorage.oci.name import RepositoryName

_AUTHENTICATED: Final = frozenset({"htpasswd", "database", "proxy", "certificate"})


class Action(Enum):
    """Everything that is asked of the policy; CATALOG and PING concern no repository."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    CATALOG = "catalog"
    PING = "ping"


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules in force: *open* lets everyone do everything, *anonymous_pull* lets everyone pull."""

    anonymous_pull: bool = False
    open: bool = False


@dataclass(frozen=True, slots=True)
class NameRanges:
    """A set of repository names: half-open ranges (low, high), compared by code point; high None has no end.

    They are in order and do not touch.
    """

    ranges: tuple[tuple[str, str | None], ...]

    def __contains__(self, name: str) -> bool:
        return any(low <= name and (high is None or name < high) for low, high in self.ranges)


ALL_NAMES: Final = NameRanges((("", None),))
NO_NAMES: Final = NameRanges(())


def allowed(principal: Principal, action: Action, repository: RepositoryName | None, rules: Rules) -> bool:
    """Whether *principal* may do *action* on *repository* (None where the action concerns none).

    Everyone with a password may do everything; without one, pulling is a setting. PING stays refused to the anonymous
    even then: classic Docker asks for credentials only if `GET /v2/` answers 401, and could not push otherwise.
    """
    if rules.open or principal.source in _AUTHENTICATED:
        return True
    return rules.anonymous_pull and action is Action.PULL and repository is not None


def visible_names(principal: Principal, action: Action, rules: Rules) -> NameRanges:
    """The repositories on which `allowed` says yes to *action*."""
    if rules.open or principal.source in _AUTHENTICATED or (rules.anonymous_pull and action is Action.PULL):
        return ALL_NAMES
    return NO_NAMES
