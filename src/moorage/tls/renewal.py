"""When a certificate is renewed, and when it is tried again: decisions about a `State`, without a disk or a network.

Everything is a share of the certificate's own lifetime, so that six days and ninety both come out right. What is
remembered across restarts is in the state; what is decided is the same for whoever asks at the same moment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from moorage.errors import CertificateFailed
from moorage.tls.issuer import Window
from moorage.tls.pem import CertificateFacts
from moorage.tls.state import Advice, Failure, State

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

RETRIES: Final = tuple(
    minutes * MINUTE for minutes in (1, 2, 2, 5, 10, 10, 10, *[20] * 4, *[30] * 6, 60, 60, 60, 120, 120, 180, 180, 360)
)
"""How long to wait after each failure in a row; the last for all that follow. certmagic's schedule, without its end."""

MOST_REFUSALS: Final = 5
"""In an hour. Let's Encrypt's limit of failed validations for a name and an account."""

_LONGEST_HOLD: Final = 7 * DAY
"""Of a Retry-After: the longest of Let's Encrypt's limits. What lies further ahead was written with a wrong clock."""
_ASK: Final = (MINUTE, DAY)
"""RFC 9773, 4.3.2: the shortest and longest time between two questions."""
_ASK_UNKNOWN: Final = 6 * HOUR
"""RFC 9773, 4.3.3: where the authority says nothing."""
_ASK_FAILED: Final = HOUR
_STAGED: Final = HOUR
"""How long a success at the staging server vouches for the settings (arbitrary)."""
_EARLY: Final = 3
"""So many renewals in a row may come long before their time, and then none for a thirtieth of the lifetime: an
authority whose windows are always in the past must not make us order without end (arbitrary)."""
_INTERRUPTED: Final = 3
"""So many tries may be cut off by the end of the process before the next has to wait (arbitrary)."""

Choose = Callable[[int, int], int]
"""A random number between two, both included."""


@dataclass(frozen=True, slots=True)
class Due:
    """From which *moment* on a certificate is to be renewed, 0 for at once, and why, as in "renewed because ..."."""

    moment: int
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """What to do at the moment *at* and no sooner: ask the authority, or first its staging server."""

    at: int
    where: Literal["staging", "production"]
    due: Due


def due(state: State, *, issuer: str) -> Due:
    """When the certificate in place is to be renewed by the Issuer with the title *issuer*."""
    if not state.serial:
        return Due(0, "there is none that can be used")
    if state.issuer not in {"", issuer}:
        return Due(0, f"it is from {state.issuer}, and {issuer} is configured")
    emergency = state.not_after - state.lifetime // 20
    if state.advice is not None:
        if state.advice.moment <= emergency:
            return Due(state.advice.moment, "the authority names this time")
        return Due(emergency, "a twentieth of its lifetime is left, although the authority names a later time")
    return Due(_two_thirds(state), "two thirds of its lifetime are over")


def next_step(state: State, now: int, *, issuer: str, staging: bool) -> Step:
    """What comes next; due where its moment has come. *staging*: whether there is such a server."""
    found = due(state, issuer=issuer)
    at = found.moment
    if found.moment < state.obtained + state.lifetime // 3 and len(state.early) >= _EARLY:
        at = max(at, state.early[-_EARLY] + state.lifetime // 30)
    at = max(at, _sane(state.next_attempt, now), _sane(state.held_until, now))
    if state.interrupted >= _INTERRUPTED:
        at = max(at, _sane(state.begun + retry_after(state.interrupted - _INTERRUPTED + 1), now))
    if staging and state.failures and not now - _STAGED <= state.staged <= now:
        return Step(at, "staging", found)
    return Step(max(at, allowed(state, now)), "production", found)


def allowed(state: State, now: int) -> int:
    """From when on the authority itself may be asked without reaching its limit of failures."""
    refused = _last_hour(state.refused, now)
    return refused[-MOST_REFUSALS] + HOUR if len(refused) >= MOST_REFUSALS else 0


def retry_after(failures: int) -> int:
    """Microseconds to wait after so many *failures* in a row, one at least."""
    return RETRIES[min(failures, len(RETRIES)) - 1]


def with_certificate(state: State, facts: CertificateFacts | None) -> State:
    """The state beside the certificate that is in place, whoever put it there."""
    if facts is None:
        gone = replace(state, names=(), serial="", issuer="", authority="", not_before=0, not_after=0, obtained=0)
        return replace(gone, advice=None, ask_again=0, warned=0)
    if state.serial == f"{facts.serial:x}" and state.not_after == facts.not_after:
        return state
    return replace(
        state,
        names=facts.names,
        serial=f"{facts.serial:x}",
        issuer="",
        authority=facts.issuer,
        not_before=facts.not_before,
        not_after=facts.not_after,
        obtained=0,
        advice=None,
        ask_again=0,
        warned=0,
    )


def with_settings(state: State, settings: str, issuer: str) -> State:
    """The state under these *settings*; what only a person could change is tried again when they change."""
    if state.tried != issuer:
        # Another authority has counted nothing yet.
        state = replace(
            state, failures=0, first_failure=0, last=None, held_until=0, refused=(), staged=0, interrupted=0
        )
        return replace(state, tried=issuer, settings=settings, next_attempt=0, ask_again=0)
    if state.settings != settings:
        return replace(state, settings=settings, next_attempt=0, ask_again=0, staged=0, interrupted=0)
    return state


def asks(state: State, now: int) -> bool:
    """Whether it is time to ask the issuer of the certificate in place about renewal."""
    return bool(state.serial) and not now < state.ask_again <= now + _ASK[1]


def advised(state: State, window: Window | None, now: int, choose: Choose) -> State:
    """The state after the issuer was asked: a window that it has not named before gets its moment drawn."""
    if window is None or window.end <= window.start:
        # RFC 9773, 4.2: an end that is not after the start is to be treated as no answer.
        return replace(state, advice=None, ask_again=now + _ASK_UNKNOWN)
    again = min(max(window.ask_again, now + _ASK[0]), now + _ASK[1])
    before = state.advice
    if before is not None and (before.start, before.end) == (window.start, window.end):
        return replace(state, advice=replace(before, explanation=window.explanation), ask_again=again)
    moment = choose(window.start, window.end)
    return replace(state, advice=Advice(window.start, window.end, moment, window.explanation), ask_again=again)


def unadvised(state: State, error: CertificateFailed, now: int) -> State:
    """The state after the issuer could not be asked; what it said before still counts."""
    wait = _ASK_FAILED if error.retry_after is None else int(error.retry_after * SECOND)
    return replace(state, ask_again=now + min(max(wait, _ASK[0]), _ASK[1]))


def begun(state: State, now: int) -> State:
    """The state while a try goes on; also what is found after a process that did not live to see its end."""
    return replace(state, begun=now, interrupted=state.interrupted + 1)


def cut_off(state: State) -> State:
    """The state after a try that was given up in good order, as at the end of the server: it counts for nothing."""
    return replace(state, begun=0, interrupted=max(0, state.interrupted - 1))


def failed(state: State, error: CertificateFailed, now: int, *, staging: bool) -> State:
    """The state after a try came to nothing."""
    failures = state.failures + 1
    wait = retry_after(failures) if error.again else RETRIES[-1]
    held = now + min(int((error.retry_after or 0) * SECOND), _LONGEST_HOLD)
    refused = _last_hour(state.refused, now)
    # Who was never reached has counted nothing.
    if not staging and error.kind not in {"unreachable", "not-acme"}:
        refused = (*refused, now)
    return replace(
        state,
        failures=failures,
        first_failure=state.first_failure if state.failures else now,
        last=Failure(now, error.kind, error.message, error.remedy, error.again, staging),
        next_attempt=now + wait,
        held_until=held if error.retry_after else 0,
        refused=refused[-MOST_REFUSALS:],
        staged=0,
        begun=0,
        interrupted=0,
    )


def passed(state: State, now: int) -> State:
    """The state after the staging server issued one: the authority itself may be asked, once."""
    return replace(state, staged=now, next_attempt=0, begun=0, interrupted=0)


def issued(state: State, before: State, facts: CertificateFacts, now: int, *, issuer: str) -> State:
    """The state after a new certificate was put in place of the one that *before* tells of."""
    early = bool(before.serial) and before.issuer == issuer and now < before.obtained + before.lifetime // 3
    return replace(
        with_certificate(state, facts),
        issuer=issuer,
        obtained=now,
        early=(*before.early[1 - _EARLY :], now) if early else (),
        failures=0,
        first_failure=0,
        last=None,
        next_attempt=0,
        held_until=0,
        refused=(),
        staged=0,
        begun=0,
        interrupted=0,
    )


def warns(state: State, now: int, planned: int | None) -> bool:
    """Whether the log should say today that the certificate is running out.

    *planned* is when it will be renewed, None where nobody does that; a plan that is on its course worries nobody.
    """
    if not state.serial or 3 * (state.not_after - now) > state.lifetime or now - DAY < state.warned <= now:
        return False
    return planned is None or state.failures > 0 or now >= state.not_after


def _two_thirds(state: State) -> int:
    """Sooner by up to a twentieth, so that many certificates do not come due at once; always the same for each."""
    start = max(state.not_before, state.obtained)
    lifetime = max(1, state.not_after - start)
    share = int.from_bytes(hashlib.sha256(state.serial.encode()).digest()[:4]) / 2**32
    return start + lifetime * 2 // 3 - int(lifetime / 20 * share)


def _last_hour(moments: tuple[int, ...], now: int) -> tuple[int, ...]:
    return tuple(one for one in moments if now - HOUR < one <= now)


def _sane(moment: int, now: int) -> int:
    return moment if moment <= now + _LONGEST_HOLD else 0
