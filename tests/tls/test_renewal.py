from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import CertificateFailed
from moorage.tls import renewal, state
from moorage.tls.issuer import Window
from moorage.tls.renewal import DAY, HOUR, MINUTE, SECOND
from moorage.tls.state import Advice, Failure, State
from moorage.tls.store import CertificateStore

NOW = 1_800_000_000 * SECOND
CA = "ca.example"


def placed(days: float = 90, **more: object) -> State:
    """A certificate by CA that was got at NOW."""
    known = State(
        name="a.example",
        names=("a.example",),
        serial="1f",
        issuer=CA,
        authority="E7",
        not_before=NOW - HOUR,
        not_after=NOW + int(days * DAY) - HOUR,
        obtained=NOW,
        settings="s",
        tried=CA,
    )
    return replace(known, **more)  # type: ignore[arg-type]


def failure(*, kind: str = "dns", again: bool = True, after: float | None = None) -> CertificateFailed:
    """A try that came to nothing."""
    return CertificateFailed("it failed", kind=kind, remedy="mend it", again=again, retry_after=after)


def step(known: State, now: int = NOW, *, staging: bool = True) -> renewal.Step:
    """What comes next."""
    return renewal.next_step(known, now, issuer=CA, staging=staging)


@pytest.mark.parametrize("days", [0.25, 1, 6, 45, 64, 90, 397])
def test_without_advice_two_thirds_of_the_lifetime_pass(days: float) -> None:
    """Renewal comes a little before a third of the lifetime is left, whatever the lifetime is."""
    moment = step(placed(days)).at

    share = (moment - NOW) / (days * DAY - HOUR)
    assert 0.60 < share < 0.67


def test_the_jitter_is_the_certificates_own() -> None:
    """Two certificates of the same moment come due at different times, each always at its own."""
    moments = {serial: step(placed(serial=serial)).at for serial in map(str, range(50))}

    assert len(set(moments.values())) == 50
    assert max(moments.values()) - min(moments.values()) > 3 * DAY
    assert moments == {serial: step(placed(serial=serial), NOW + DAY).at for serial in moments}


@pytest.mark.parametrize(
    ("known", "offset", "reason"),
    [
        (State(), -NOW, "there is none that can be used"),
        (placed(issuer="old.example"), -NOW, "it is from old.example, and ca.example is configured"),
        (placed(advice=Advice(NOW, NOW + DAY, NOW + HOUR, "")), HOUR, "the authority names this time"),
        (placed(advice=Advice(NOW - DAY, NOW, NOW - HOUR, "")), -HOUR, "the authority names this time"),
        (
            placed(100, advice=Advice(NOW + 99 * DAY, NOW + 100 * DAY, NOW + 99 * DAY, "")),
            95 * DAY - HOUR,
            "a twentieth of its lifetime is left, although the authority names a later time",
        ),
    ],
)
def test_a_certificate_is_due_for_a_reason(known: State, offset: int, reason: str) -> None:
    """None, one of another authority, the authority's own window, and the end that no window may put off."""
    assert renewal.due(known, issuer=CA) == renewal.Due(NOW + offset, reason)


def test_an_imported_certificate_is_kept_until_its_time() -> None:
    """Nobody knows who issued it, and so it is renewed in time and not at once."""
    assert step(placed(issuer="", obtained=0)).at > NOW + 50 * DAY


def test_the_moment_in_a_window_is_drawn_once() -> None:
    """It is kept as long as the window is the same, and drawn again when that changes."""
    drawn: list[tuple[int, int]] = []

    def choose(start: int, end: int) -> int:
        drawn.append((start, end))
        return start + len(drawn)

    first = renewal.advised(placed(), Window(NOW, NOW + DAY, NOW + HOUR, "https://why"), NOW, choose)
    again = renewal.advised(first, Window(NOW, NOW + DAY, NOW + 2 * HOUR, "https://new"), NOW + HOUR, choose)
    moved = renewal.advised(again, Window(NOW - DAY, NOW, NOW + 2 * HOUR), NOW + HOUR, choose)

    assert [known.advice.moment if known.advice else 0 for known in (first, again, moved)] == [
        NOW + 1,
        NOW + 1,
        NOW - DAY + 2,
    ]
    assert drawn == [(NOW, NOW + DAY), (NOW - DAY, NOW)]
    assert again.advice is not None
    assert (again.advice.explanation, again.ask_again) == ("https://new", NOW + 2 * HOUR)


@pytest.mark.parametrize(
    ("window", "ask_again"),
    [
        (None, 6 * HOUR),
        (Window(NOW, NOW, NOW + HOUR), 6 * HOUR),
        (Window(NOW, NOW - 1, NOW + HOUR), 6 * HOUR),
        (Window(NOW, NOW + 1, NOW - HOUR), MINUTE),
        (Window(NOW, NOW + 1, NOW + 400 * DAY), DAY),
    ],
)
def test_an_authority_is_asked_neither_too_often_nor_too_rarely(window: Window | None, ask_again: int) -> None:
    """Whatever it says about asking again stays between a minute and a day (RFC 9773, 4.3.2)."""
    known = renewal.advised(placed(), window, NOW, lambda start, end: start)

    assert known.ask_again - NOW == ask_again
    assert not renewal.asks(known, NOW)
    assert renewal.asks(known, NOW + ask_again)


def test_what_the_authority_said_counts_while_it_cannot_be_asked() -> None:
    """An outage does not forget the window."""
    known = placed(advice=Advice(NOW, NOW + DAY, NOW + HOUR, ""))

    after = renewal.unadvised(known, failure(after=7200), NOW)

    assert after.advice == known.advice
    assert after.ask_again == NOW + 2 * HOUR


def test_failures_wait_longer_and_longer_and_never_end() -> None:
    """A minute first, six hours at last; each wait is at least the one before, and there always is a next try."""
    known, now, waits = State(tried=CA), NOW, []
    for _ in range(40):
        known = renewal.failed(known, failure(kind="unreachable"), now, staging=False)
        waits.append(step(known, now).at - now)
        now = step(known, now).at

    assert waits[:8] == [minutes * MINUTE for minutes in (1, 2, 2, 5, 10, 10, 10, 20)]
    assert waits == sorted(waits)
    assert waits[-1] == 6 * HOUR
    assert known.first_failure == NOW


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (failure(), MINUTE),
        (failure(after=1), MINUTE),
        (failure(after=7200), 2 * HOUR),
        (failure(after=1e9), 7 * DAY),
        (failure(again=False), 6 * HOUR),
        (failure(again=False, after=86400), DAY),
    ],
)
def test_a_failure_says_how_long_to_wait(error: CertificateFailed, wait: int) -> None:
    """The longer of our own wait and the authority's; what only a person can mend waits longest."""
    known = renewal.failed(State(tried=CA), error, NOW, staging=True)

    assert step(known).at - NOW == wait


def test_after_a_failure_the_staging_server_is_asked_first() -> None:
    """Its success opens the way to one try at the authority itself; its age matters, and a new failure ends it."""
    known = renewal.failed(State(tried=CA), failure(), NOW, staging=False)
    passed = renewal.passed(known, NOW + MINUTE)

    assert step(State()).where == "production"
    assert step(known).where == "staging"
    assert step(known, staging=False).where == "production"
    assert (step(passed, NOW + MINUTE).where, step(passed, NOW + MINUTE).at) == ("production", 0)
    assert step(passed, NOW + 2 * HOUR).where == "staging"
    assert step(renewal.failed(passed, failure(), NOW + HOUR, staging=False), NOW + HOUR).where == "staging"


@given(
    st.integers(HOUR, 400 * DAY),
    st.one_of(st.none(), st.tuples(st.integers(0, 2 * NOW), st.integers(0, 100 * DAY))),
    st.integers(0, 100),
)
def test_whatever_an_authority_says_the_end_is_not_reached(
    lifetime: int, window: tuple[int, int] | None, drawn: int
) -> None:
    """Of any lifetime, a twentieth at least is left when the certificate is due, and a certificate has one plan."""
    known = placed(lifetime / DAY, obtained=0, not_before=NOW)
    if window is not None:
        begin, length = window
        known = renewal.advised(
            known, Window(begin, begin + length, NOW), NOW, lambda start, end: start + (end - start) * drawn // 100
        )

    at = step(known).at

    assert at <= known.not_after - known.lifetime // 20
    assert at == step(known, NOW + lifetime // 2).at


@given(
    st.lists(st.tuples(st.sampled_from(["dns", "unreachable", "connection"]), st.booleans()), max_size=60),
    st.booleans(),
)
def test_no_more_than_five_tries_fail_at_the_authority_in_an_hour(
    outcomes: list[tuple[str, bool]],
    staging: bool,  # noqa: FBT001
) -> None:
    """Whatever fails, in whatever order, with a staging server or without one."""
    known, now, refused = State(tried=CA), NOW, []
    for kind, waits_long in outcomes:
        what = step(known, now, staging=staging)
        now = max(now, what.at)
        what = step(known, now, staging=staging)
        if what.where == "staging" and not waits_long:
            known = renewal.passed(known, now)
            what = step(known, now, staging=staging)
            now = max(now, what.at)
        at_staging = step(known, now, staging=staging).where == "staging"
        if not at_staging and kind != "unreachable":
            refused.append(now)
        known = renewal.failed(known, failure(kind=kind), now, staging=at_staging)

    assert all(late - early >= HOUR for early, late in zip(refused, refused[5:], strict=False))


@pytest.mark.parametrize(
    ("settings", "issuer", "expected"),
    [("s", CA, (3, NOW + 6 * HOUR, "staging")), ("t", CA, (3, 0, "staging")), ("s", "b.example", (0, 0, "production"))],
)
def test_changed_settings_are_tried_at_once(settings: str, issuer: str, expected: tuple[int, int, str]) -> None:
    """What a person changed is tried, at the staging server first; another authority has counted nothing yet."""
    known = State(tried=CA, settings="s", failures=2)
    known = renewal.failed(known, failure(again=False), NOW, staging=False)

    after = renewal.with_settings(known, settings, issuer)

    what = renewal.next_step(after, NOW, issuer=issuer, staging=True)
    assert (after.failures, what.at, what.where) == expected


def test_changed_settings_do_not_lift_what_the_authority_asked_for() -> None:
    """A rate limit is the authority's, whatever we change."""
    known = renewal.failed(State(tried=CA, settings="s"), failure(kind="rateLimited", after=86400), NOW, staging=False)

    assert step(renewal.with_settings(known, "t", CA)).at == NOW + DAY


def test_tries_that_never_end_have_to_wait() -> None:
    """A process that is killed in every try may begin three at once, and then waits as after failures."""
    known, waits = State(tried=CA), []
    for _ in range(5):
        waits.append(max(0, step(known).at - NOW))
        known = renewal.begun(known, NOW)

    assert waits == [0, 0, 0, MINUTE, 2 * MINUTE]
    assert step(renewal.cut_off(renewal.begun(State(tried=CA), NOW))).at == 0


def test_an_authority_that_always_says_now_gets_no_orders_without_end() -> None:
    """Three early renewals in a row are believed, and then some days have to pass."""
    known, now, moments = placed(), NOW, []
    for number in range(8):
        known = replace(known, advice=Advice(NOW - DAY, NOW - HOUR, NOW - HOUR, ""))
        now = max(now, step(known, now).at)
        moments.append(now)
        facts = placed(serial=f"a{number}", not_before=now - HOUR, not_after=now + 90 * DAY - HOUR)
        early = (*known.early[-2:], now)
        known = replace(facts, obtained=now, early=early)

    assert moments[:3] == [NOW] * 3
    assert all(late - early >= 3 * DAY for early, late in zip(moments, moments[3:], strict=False))


@pytest.mark.parametrize(
    ("days_left", "known", "planned", "says"),
    [
        (31, placed(failures=1), NOW, False),
        (29, placed(failures=1), NOW, True),
        (29, placed(), NOW + 70 * DAY, False),
        (29, placed(), None, True),
        (29, placed(failures=1, warned=NOW + 60.5 * DAY), NOW, False),
        (29, placed(failures=1, warned=NOW + 59 * DAY), NOW, True),
        (-1, placed(), NOW, True),
        (29, State(), NOW, False),
    ],
)
def test_the_log_warns_from_a_third_of_the_lifetime_on(
    days_left: int,
    known: State,
    planned: int | None,
    says: bool,  # noqa: FBT001
) -> None:
    """Once a day, where nobody renews it, or renewal fails; not where all is on its course."""
    now = NOW + 90 * DAY - HOUR - days_left * DAY

    assert renewal.warns(known, now, planned) is says


@pytest.mark.parametrize("field", ["next_attempt", "held_until"])
def test_what_was_written_with_a_wrong_clock_holds_nothing_up(field: str) -> None:
    """A moment years ahead was written by a clock that has been set since."""
    known = replace(State(tried=CA), **{field: NOW + 400 * DAY})  # type: ignore[arg-type]

    assert step(known).at == 0
    assert renewal.asks(placed(ask_again=NOW + 400 * DAY), NOW)


FULL = placed(
    advice=Advice(1, 2, 3, "https://why"),
    last=Failure(NOW, "dns", "no such name", "set an A record", again=True, staging=False),
    refused=(NOW, NOW + 1),
    early=(NOW,),
    failures=3,
)


def test_a_state_outlives_a_restart(tmp_path: Path) -> None:
    """What was saved is what is loaded, readable by its owner alone."""
    store = CertificateStore(tmp_path / "tls")

    state.save(store, "*.a.example", FULL)

    assert state.load(store, "*.a.example") == replace(FULL, name="*.a.example")
    assert [known.name for known in state.everything(store)] == ["*.a.example"]
    (path,) = (tmp_path / "tls" / "states").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    state.forget(store, "*.a.example")
    assert state.everything(store) == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"failures": -1}',
        b'{"failures": true}',
        b'{"failures": 1e400}',
        b'{"next_attempt": 99999999999999999999999999}',
        b'{"refused": 7}',
        b'{"refused": ["x"]}',
        b'{"advice": []}',
        b'{"advice": {"start": 1}}',
        b'{"last": {"at": "x"}}',
        b'{"issuer": null}',
        b'{"names": [1]}',
    ],
)
def test_a_damaged_state_counts_as_none(tmp_path: Path, text: bytes) -> None:
    """It is never a reason to stop."""
    store = CertificateStore(tmp_path / "tls")
    (store.place("states") / "a.example.json").write_bytes(text)

    assert state.load(store, "a.example") == State()
    assert state.everything(store) == []


def test_a_state_of_another_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    """What a later version added is left out, what an earlier one lacked is as for a certificate never seen."""
    store = CertificateStore(tmp_path / "tls")
    (store.place("states") / "a.example.json").write_bytes(b'{"failures": 4, "colour": "red"}')

    assert state.load(store, "a.example") == State(failures=4)
