from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from moorage.errors import CertificateFailed
from moorage.tls import renewal, state
from moorage.tls.issuer import Issued, Window
from moorage.tls.keeper import Keeper
from moorage.tls.pem import read_chain
from moorage.tls.renewal import DAY, HOUR, MINUTE
from moorage.tls.store import CertificateStore
from tests.tls.hand_clock import HandClock
from tests.tls.small_ca import SmallCa, unreachable

NAME = "a.example.com"
YEAR = 365 * DAY


@dataclass
class World:
    """A store, a clock, an authority and its staging server."""

    folder: Path
    lifetime: timedelta = timedelta(days=90)
    names: tuple[str, ...] = (NAME,)
    settings: str = "first"
    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        self.store = CertificateStore(self.folder / "tls")
        self.ca = SmallCa(self.clock, self.lifetime)
        self.staging: SmallCa | None = SmallCa(self.clock, self.lifetime, "staging.example")
        self.random = random.Random(1)

    def keeper(self) -> Keeper:
        """What a started process has."""
        return Keeper(
            lambda: self.names,
            self.ca,
            self.store,
            self.clock,
            staging=self.staging,
            settings=self.settings,
            choose=self.random.randint,
        )

    def work(self, keeper: Keeper | None = None) -> Keeper:
        """One step of a keeper, a new one by default: the process was started again."""
        keeper = keeper or self.keeper()
        asyncio.run(keeper.work())
        return keeper

    def left(self, name: str = NAME) -> float:
        """The share of its lifetime that the certificate in place has before it."""
        facts = read_chain(self.store.pair(name).chain.read_bytes(), name).leaf
        return (facts.not_after - self.clock.now()) / (facts.not_after - facts.not_before)

    def serial(self, name: str = NAME) -> int:
        """Of the certificate in place."""
        return read_chain(self.store.pair(name).chain.read_bytes(), name).leaf.serial

    def known(self, name: str = NAME) -> state.State:
        """What is written down about it."""
        return state.load(self.store, name)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Ninety days, one name."""
    return World(tmp_path)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[int], list[str]]]:
    """The messages of a level so far."""
    with caplog.at_level(logging.INFO, "moorage.tls"):
        yield lambda level: [record.getMessage() for record in caplog.records if record.levelno == level]


def walk(world: World, *, restarts: bool, each: Callable[[], None], span: int = YEAR, steps: int = 40) -> None:
    """Work through *span*, *steps* times in each lifetime; *each* is called after every step."""
    keeper = world.keeper()
    end = world.clock.now() + span
    while world.clock.now() < end:
        keeper = world.work(world.keeper() if restarts else keeper)
        each()
        world.clock.go_on(seconds=world.lifetime.total_seconds() / steps)


@pytest.mark.parametrize("restarts", [False, True], ids=["one process", "a process for each step"])
@pytest.mark.parametrize("days", [6, 45, 64, 90])
def test_a_year_without_advice(tmp_path: Path, days: int, restarts: bool) -> None:  # noqa: FBT001
    """Every certificate is renewed when about two thirds of its lifetime are over, and there is always a good one."""
    world = World(tmp_path, timedelta(days=days))
    shares: list[float] = []

    walk(world, restarts=restarts, each=lambda: shares.append(world.left()))

    assert min(shares) > 1 / 3 - 0.03
    between = [late - early for early, late in zip(world.ca.issued, world.ca.issued[1:], strict=False)]
    assert len(between) >= YEAR // (days * DAY)
    assert all(0.58 < span / (days * DAY) < 0.69 for span in between)
    assert world.ca.tried == world.ca.issued
    assert world.staging is not None
    assert world.staging.tried == []


@pytest.mark.parametrize("days", [6, 45, 64, 90])
def test_a_year_of_an_authority_that_names_windows(tmp_path: Path, days: int) -> None:
    """Each certificate is renewed within its own window, through restarts at every step, and is said to be replaced."""
    world = World(tmp_path, timedelta(days=days))
    lifetime = days * DAY

    def opinion(leaf: x509.Certificate) -> Window:
        begin = int(leaf.not_valid_before_utc.timestamp()) * 1_000_000
        return Window(begin + lifetime // 2, begin + lifetime * 6 // 10, world.clock.now() + 6 * HOUR, "https://why")

    world.ca.opinion = opinion
    chains: list[bytes] = []

    def each() -> None:
        chain = world.store.pair(NAME).chain.read_bytes()
        if chain not in chains:
            chains.append(chain)

    walk(world, restarts=True, each=each)

    between = [late - early for early, late in zip(world.ca.issued, world.ca.issued[1:], strict=False)]
    assert all(0.48 < span / lifetime < 0.64 for span in between)
    assert len({round(span / lifetime, 2) for span in between}) > 1 or len(between) < 3
    assert world.ca.replaced == [None, *chains[: len(world.ca.issued) - 1]]


@pytest.mark.parametrize("days", [6, 45, 64, 90])
def test_a_year_with_outages_of_days(tmp_path: Path, days: int) -> None:
    """An authority that is away for a sixth of a lifetime, again and again, never lets a certificate run out."""
    world = World(tmp_path, timedelta(days=days))
    world.work()
    away, back = days * DAY // 6, days * DAY // 5
    begin, hours = world.clock.now(), 0
    tries_in_outage: list[int] = []

    def each() -> None:
        nonlocal hours
        down = (world.clock.now() - begin) % (away + back) < away
        if down and world.ca.outage is None:
            hours = len(world.ca.tried)
        if not down and world.ca.outage is not None:
            tries_in_outage.append(len(world.ca.tried) - hours)
        world.ca.outage = unreachable() if down else None
        assert world.left() > 0.1

    walk(world, restarts=True, each=each, steps=100 if days > 6 else 40)

    assert len(world.ca.issued) >= YEAR // (days * DAY)
    assert max(tries_in_outage) > 0
    # Six hours at the longest between two tries, and no more than the schedule's in the first of them.
    assert max(tries_in_outage) <= 24 + away // (6 * HOUR)


def test_a_renewal_that_failed_for_weeks_succeeds_within_six_hours(world: World) -> None:
    """The longest wait between two tries is what an outage's end is noticed by."""
    world.work()
    world.clock.go_on(days=61)
    world.ca.outage = unreachable()
    keeper = world.work()
    for _ in range(20 * 24 * 4):
        world.clock.go_on(minutes=15)
        world.work(keeper)
    world.ca.outage = None

    world.clock.go_on(hours=6, minutes=1)
    world.work(keeper)

    assert len(world.ca.issued) == 2
    assert world.known().failures == 0
    assert world.known().last is None


def test_a_window_moved_to_the_past_renews_at_once(world: World) -> None:
    """As for a revocation: the next question brings a new certificate, and its own window is not that one."""
    windows = [Window(0, 0, 0)]
    world.ca.opinion = lambda leaf: windows[0]
    past = world.clock.now() - DAY
    windows[0] = Window(world.clock.now() + 60 * DAY, world.clock.now() + 62 * DAY, world.clock.now() + HOUR)
    keeper = world.work()
    first = world.serial()

    world.clock.go_on(minutes=30)
    windows[0] = Window(past, past + HOUR, world.clock.now() + HOUR)
    world.work(keeper)
    unasked = world.serial()
    world.clock.go_on(minutes=31)
    world.work(keeper)

    assert unasked == first
    assert world.serial() != first
    assert len(world.ca.issued) == 2


def test_a_question_that_fails_stops_nothing(world: World) -> None:
    """An authority that does not answer about renewal still gets asked for it in time."""

    def broken(leaf: x509.Certificate) -> Window:
        raise CertificateFailed("no answer", kind="unreachable", retry_after=600)

    world.ca.opinion = broken

    walk(world, restarts=True, each=lambda: None, span=100 * DAY)

    assert len(world.ca.issued) == 2


def test_one_failing_name_stops_no_other(tmp_path: Path, log: Callable[[int], list[str]]) -> None:
    """Each name has its own tries, and the log says in words what failed and what to do."""
    world = World(tmp_path, names=("bad.example.com", NAME, "*.example.com"))
    fine = world.ca.issue

    async def issue(name: str, previous: bytes | None = None) -> Issued:
        if name.startswith("bad"):
            raise CertificateFailed("bad.example.com has no address", kind="dns", remedy="set an A record")
        return await fine(name, previous)

    world.ca.issue = issue  # type: ignore[method-assign]

    world.work()

    assert [world.store.has(name) for name in world.names] == [False, True, True]
    (failed,) = log(logging.WARNING)
    assert "bad.example.com has no address; set an A record; the next try is at " in failed
    assert failed.endswith("there is none yet")
    good, _ = log(logging.INFO)
    assert good.startswith(f"a new certificate is in place for {NAME}, by ca.example (Small CA), good until ")
    assert "to be renewed about" in good
    known = world.known("bad.example.com")
    assert (known.failures, known.last and known.last.kind) == (1, "dns")


def test_after_a_failure_the_staging_server_goes_first(world: World) -> None:
    """The authority is asked again only when the staging server has issued one."""
    assert world.staging is not None
    world.ca.outage = world.staging.outage = CertificateFailed("port 80 is closed", kind="connection", remedy="open it")
    keeper = world.work()
    for _ in range(12):
        world.clock.go_on(hours=1)
        world.work(keeper)
    tried_while_wrong = len(world.ca.tried), len(world.staging.tried)

    world.ca.outage = world.staging.outage = None
    world.clock.go_on(hours=6)
    world.work(keeper)

    assert tried_while_wrong[0] == 1
    assert tried_while_wrong[1] > 5
    assert world.store.has(NAME)
    assert len(world.ca.tried) == 2
    assert world.ca.replaced == [None]


def test_a_staging_server_that_is_away_is_passed_over(world: World) -> None:
    """Its outage is no reason to have no certificate."""
    assert world.staging is not None
    world.ca.outage = unreachable()
    keeper = world.work()
    world.ca.outage, world.staging.outage = None, unreachable()

    world.clock.go_on(minutes=2)
    world.work(keeper)

    assert world.store.has(NAME)


def test_a_restart_loop_asks_no_authority_more_often(world: World) -> None:
    """Started again every second for an hour, it fails no more often than a server that runs."""
    world.staging = None
    world.ca.outage = CertificateFailed("port 80 is closed", kind="connection", remedy="open it")

    for _ in range(1200):
        world.clock.go_on(seconds=3)
        world.work()

    assert len(world.ca.tried) == 5


def test_a_process_that_dies_in_every_try_comes_to_a_rest(world: World) -> None:
    """What is begun is written down first, so that the next process knows of it."""

    class Killed(BaseException):
        """Nothing that runs sees it, as with a kill."""

    world.ca.outage = Killed()  # type: ignore[assignment]
    for _ in range(100):
        world.clock.go_on(seconds=1)
        try:
            world.work()
        except Killed:
            pass

    assert len(world.ca.tried) <= 5
    world.ca.outage = None
    world.clock.go_on(hours=1)
    world.work()
    assert world.store.has(NAME)


def test_a_process_that_died_behind_the_new_certificate_orders_no_second_one(world: World) -> None:
    """Killed between the certificate and the note about it: the next process finds the one and makes up the other."""
    keeper = world.work()
    begun = renewal.begun(world.known(), world.clock.now())
    state.save(world.store, NAME, begun)
    issued = asyncio.run(world.ca.issue(NAME))
    world.store.put(NAME, issued.chain, issued.key, now=world.clock.now() + 1)
    made = len(world.ca.tried)

    for _ in range(5):
        world.work()
        world.work(keeper)
        world.clock.go_on(days=10)

    assert len(world.ca.tried) == made
    assert world.known().serial == f"{world.serial():x}"
    world.clock.go_on(days=12)
    world.work()
    assert len(world.ca.tried) == made + 1


def test_the_end_of_the_server_in_a_try_counts_for_nothing(world: World) -> None:
    """A cancelled try is no failure, and the next process goes on at once."""
    reached: list[asyncio.Event] = []

    async def never(name: str, previous: bytes | None = None) -> Issued:
        reached[-1].set()
        await asyncio.Event().wait()
        raise AssertionError

    fine, world.ca.issue = world.ca.issue, never  # type: ignore[method-assign]

    async def cancel() -> None:
        reached.append(asyncio.Event())
        task = asyncio.create_task(world.keeper().work())
        await reached[-1].wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for _ in range(5):
        asyncio.run(cancel())
    world.ca.issue = fine  # type: ignore[method-assign]
    world.work()

    assert world.store.has(NAME)


def test_what_only_a_person_can_mend_is_tried_when_the_settings_change(world: World) -> None:
    """Until then every six hours."""
    world.ca.outage = CertificateFailed("bound to no account", kind="externalAccountRequired", again=False)
    world.staging = None
    keeper = world.work()
    world.clock.go_on(hours=5)
    world.work(keeper)
    assert len(world.ca.tried) == 1

    world.settings, world.ca.outage = "second", None
    world.work()

    assert world.store.has(NAME)


def test_another_process_may_have_renewed_it(world: World) -> None:
    """The store is looked at again before anything is asked for."""
    ours, other = world.keeper(), world.keeper()
    world.work(ours)
    world.clock.go_on(days=61)
    world.work(other)

    assert ours.idle()
    world.work(ours)

    assert len(world.ca.issued) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda pair: pair.key.write_bytes(b""),
        lambda pair: pair.chain.write_bytes(b"-----BEGIN"),
        lambda pair: pair.key.unlink(),
    ],
)
def test_a_damaged_pair_is_made_anew(world: World, damage: Callable[[object], object]) -> None:
    """A pair that cannot be used is as none."""
    world.work()
    damage(world.store.pair(NAME))

    world.work()

    assert len(world.ca.issued) == 2
    assert world.left() > 0.9


def test_a_certificate_for_another_name_is_refused(world: World, log: Callable[[int], list[str]]) -> None:
    """What an authority issues is looked at before it takes anybody's place."""
    world.work()
    before = world.serial()
    world.ca.names = lambda name: ["b.example.com"]
    world.clock.go_on(days=61)

    world.work()

    assert world.serial() == before
    assert "that cannot be used: it is for b.example.com" in log(logging.WARNING)[0]


def test_a_surprise_in_an_issuer_is_a_failure_like_others(world: World, log: Callable[[int], list[str]]) -> None:
    """A defect of ours must not ask an authority without end."""
    world.staging = None
    world.ca.outage = ZeroDivisionError("oops")

    for _ in range(10):
        world.work()

    assert len(world.ca.tried) == 1
    assert "ZeroDivisionError: oops" in log(logging.WARNING)[0]


def test_a_full_disk_costs_no_order(world: World, log: Callable[[int], list[str]]) -> None:
    """Where nothing can be written down, nobody is asked; and it is said once."""
    world.store.place("states").rmdir()
    (world.store.folder / "states").write_bytes(b"")
    keeper = world.work()
    world.work(keeper)

    assert world.ca.tried == []
    assert len([text for text in log(logging.WARNING) if "cannot be seen to" in text]) == 1


@pytest.mark.parametrize("days", [-200, 200])
def test_a_wrong_clock_is_told_and_makes_no_orders_without_end(
    world: World, days: int, log: Callable[[int], list[str]]
) -> None:
    """The certificate is put in place for those whose clocks are right, and the next try waits for a person."""
    clock = HandClock()
    clock.go_on(days=days)
    world.ca = SmallCa(clock, world.lifetime)
    keeper = world.keeper()

    for _ in range(5):
        world.work(keeper)
        world.clock.go_on(minutes=10)

    assert world.store.has(NAME)
    assert len(world.ca.tried) == 1
    assert any("timedatectl set-ntp true" in text for text in log(logging.WARNING))


def test_the_log_warns_once_a_day_when_the_end_comes_near(world: World, log: Callable[[int], list[str]]) -> None:
    """With how long it is good yet, and with what has failed and how to mend it; a restart says it no sooner."""
    world.work()
    world.clock.go_on(days=75)
    world.staging = None
    world.ca.outage = CertificateFailed("port 80 is closed", kind="connection", remedy="open it")
    for _ in range(3 * 24):
        world.work()
        world.clock.go_on(hours=1)

    said = [text for text in log(logging.WARNING) if "expires in" in text]

    assert len(said) == 3
    assert said[0].startswith(f"the certificate for {NAME} expires in 14 days, on ")
    assert said[0].endswith("and it could not be renewed yet: port 80 is closed; open it")


def test_nothing_is_written_while_there_is_nothing_to_do(world: World) -> None:
    """An idle look costs no disk: neither states nor certificates change."""
    keeper = world.work()
    before = {path: path.stat().st_mtime_ns for path in world.store.folder.rglob("*")}

    assert keeper.idle()
    world.work(keeper)

    assert {path: path.stat().st_mtime_ns for path in world.store.folder.rglob("*")} == before


def test_a_person_renews_when_it_is_due_or_by_force(world: World) -> None:
    """By hand the waits after failures do not count, and a good certificate stays unless it is forced."""
    world.staging = None
    keeper = world.work()
    first = world.serial()
    world.clock.go_on(days=1)

    kept = asyncio.run(keeper.renew(NAME))
    assert (kept.facts and kept.facts.serial) == first
    assert asyncio.run(keeper.renew(NAME, force=True)).facts != kept.facts

    world.clock.go_on(days=70)
    world.ca.outage = unreachable()
    for _ in range(2):
        with pytest.raises(CertificateFailed):
            asyncio.run(keeper.renew(NAME))
    world.ca.outage = None
    before = world.serial()
    asyncio.run(keeper.renew(NAME))
    assert world.serial() != before


def test_a_person_cannot_use_up_the_authoritys_limit(world: World) -> None:
    """After five failures in an hour, and before a Retry-After is over, no try leaves this machine."""
    world.staging = None
    world.ca.outage = CertificateFailed("port 80 is closed", kind="connection", remedy="open it")
    keeper = world.keeper()
    for _ in range(5):
        with pytest.raises(CertificateFailed, match="port 80"):
            asyncio.run(keeper.renew(NAME))

    with pytest.raises(CertificateFailed, match="takes no further try") as caught:
        asyncio.run(keeper.renew(NAME, force=True))

    assert len(world.ca.tried) == 5
    assert caught.value.retry_after == pytest.approx(HOUR / 1e6)


def test_a_rehearsal_leaves_nothing_behind(world: World) -> None:
    """What the staging server issues is told and thrown away; without one that is said."""
    facts = asyncio.run(world.keeper().rehearse(NAME))

    assert facts.names == (NAME,)
    assert not world.store.has(NAME)
    assert world.known() == state.State()
    world.staging = None
    with pytest.raises(CertificateFailed, match="has no staging server"):
        asyncio.run(world.keeper().rehearse(NAME))


def test_a_certificate_of_another_authority_is_replaced_at_once(world: World) -> None:
    """Whoever names another directory need not wait; and the first one stays until the second is there."""
    world.work()
    before = world.serial()
    world.ca = SmallCa(world.clock, world.lifetime, "other.example")
    world.ca.outage = unreachable()
    world.work()
    assert world.serial() == before

    world.ca.outage = None
    world.clock.go_on(seconds=2 * MINUTE / 1e6)
    world.work()

    assert world.serial() != before
    assert world.ca.replaced == [None]
