"""The keeper with the authorities that it has in a server: an ACME server, and the private one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from moorage.certificates import certificate_chores, keepers, kept_names
from moorage.jobs.certificates import Watching
from moorage.jobs.lease import LEASE_SECONDS, Leased
from moorage.metadata.migrate import bring_up_to_date
from moorage.metadata.open import open_database
from moorage.settings.certificates import Acme, Dns, Tls
from moorage.settings.model import Settings
from moorage.tls import state
from moorage.tls.acme import AcmeIssuer
from moorage.tls.keeper import Keeper
from moorage.tls.pem import read_chain
from moorage.tls.private_ca import LEAF, PrivateAuthority
from moorage.tls.renewal import DAY
from moorage.tls.samples import samples
from moorage.tls.store import CertificateStore
from tests.acme.asking import QuickClock, options_for
from tests.acme.doors import Doors
from tests.acme.pebble import Pebble
from tests.certificates import Pair
from tests.tls.hand_clock import HandClock

NAME = "a.example.com"


@pytest.fixture
def store(tmp_path: Path) -> CertificateStore:
    """An empty one."""
    return CertificateStore(tmp_path / "tls")


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """The authority."""
    with Pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory, pebble: Pebble) -> Iterator[Pebble]:
    """Its staging server, which knocks at the same door."""
    with Pebble(tmp_path_factory.mktemp("staging"), http_port=pebble.http_port) as running:
        yield running


def serial(store: CertificateStore, name: str = NAME) -> int:
    """Of the certificate in place."""
    return read_chain(store.pair(name).chain.read_bytes(), name).leaf.serial


def set_window(pebble: Pebble, store: CertificateStore, begin: datetime, hours: int) -> None:
    """When the authority wants the certificate in place renewed."""
    times = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (begin, begin + timedelta(hours=hours))]
    pebble.set_window(store.pair(NAME).chain.read_bytes(), times[0], times[1], "https://example.com/why")


def test_a_window_moved_to_now_brings_a_new_certificate(pebble: Pebble, store: CertificateStore) -> None:
    """The running keeper asks again when it is time to, learns of it and renews, saying what is replaced."""
    clock = QuickClock()
    keeper = Keeper(lambda: (NAME,), AcmeIssuer(options_for(pebble), store, clock), store, clock)
    with Doors(store, pebble.http_port):
        asyncio.run(keeper.work())
        first = serial(store)
        before = state.load(store, NAME)
        set_window(pebble, store, datetime.now(UTC) - timedelta(days=3), 24)
        asyncio.run(keeper.work())
        unasked = serial(store)
        clock.ahead += 7 * 3600

        asyncio.run(keeper.work())

    assert before.advice is not None
    assert unasked == first
    assert serial(store) != first
    assert pebble.count("is a replacement of") == 1


def test_a_later_window_is_waited_for(pebble: Pebble, store: CertificateStore) -> None:
    """Its explanation is kept, its moment drawn inside it, and the same after a restart."""
    clock = QuickClock()

    def keeper() -> Keeper:
        return Keeper(lambda: (NAME,), AcmeIssuer(options_for(pebble), store, clock), store, clock)

    begin = datetime.now(UTC) + timedelta(days=20)
    with Doors(store, pebble.http_port):
        asyncio.run(keeper().work())
        set_window(pebble, store, begin, 48)
        first = serial(store)
        moments = set()
        for _ in range(3):
            clock.ahead += 7 * 3600
            asyncio.run(keeper().work())
            advice = state.load(store, NAME).advice
            assert advice is not None
            moments.add((advice.moment, advice.explanation))

    assert serial(store) == first
    ((moment, explanation),) = moments
    assert explanation == "https://example.com/why"
    assert 0 <= moment / 1e6 - begin.timestamp() + 1 <= 48 * 3600 + 1


def test_the_staging_server_is_asked_before_the_authority_after_a_failure(
    pebble: Pebble, rehearsal: Pebble, store: CertificateStore
) -> None:
    """With the door closed the authority sees one try, the staging server those after; open, both issue, in order."""
    clock = QuickClock()
    issuer = AcmeIssuer(options_for(pebble, challenge="http-01"), store, clock)
    rehearsing = options_for(rehearsal, challenge="http-01", rehearsal=True)
    staging = AcmeIssuer(rehearsing, store, clock)
    keeper = Keeper(lambda: (NAME,), issuer, store, clock, staging=staging)
    looked = "Attempting to validate w/ HTTP"
    before = pebble.count(looked), rehearsal.count(looked)
    for _ in range(3):
        asyncio.run(keeper.work())
        clock.ahead += 3600
    known = state.load(store, NAME)
    closed = pebble.count(looked) - before[0], rehearsal.count(looked) - before[1]
    with Doors(store, pebble.http_port) as doors:
        asyncio.run(keeper.work())
        asked = len(doors.asked)

    assert (known.failures, known.last and known.last.staging, known.refused) == (3, True, ())
    assert 0 < closed[0] < closed[1]
    assert store.has(NAME)
    assert asked >= 2
    root = x509.load_pem_x509_certificate(pebble.roots()).subject
    above = read_chain(store.pair(NAME).chain.read_bytes(), NAME).rest[-1]
    assert root.rfc4514_string() == f"CN={above.issuer}"


def test_a_private_authority_is_kept_for_a_year(store: CertificateStore, tmp_path: Path) -> None:
    """Its leaf is renewed in time, by processes that start anew each day, and always signed by the same authority."""
    clock = HandClock()
    settings = Settings(data=tmp_path, listen=("127.0.0.1:5000",), tls=Tls(names=("registry.lan", "10.1.2.3")))
    serials: list[int] = []
    for _ in range(365):
        for keeper in keepers(settings, store, clock):
            asyncio.run(keeper.work())
        facts = read_chain(store.pair(LEAF).chain.read_bytes(), LEAF).leaf
        assert facts.not_after - clock.now() > 25 * DAY
        assert {"registry.lan", "10.1.2.3", "localhost"} <= set(facts.names)
        serials += [] if facts.serial in serials else [facts.serial]
        clock.go_on(days=1)

    assert 6 <= len(serials) <= 8
    assert len(PrivateAuthority(store, clock).certificates()) == 1


def test_another_name_gives_the_private_leaf_its_name_at_once(store: CertificateStore, tmp_path: Path) -> None:
    """A leaf that lacks a configured name is not kept until its time."""
    clock = HandClock()
    for names in (("registry.lan",), ("registry.lan", "other.lan")):
        settings = Settings(data=tmp_path, tls=Tls(names=names))
        (keeper,) = keepers(settings, store, clock)
        asyncio.run(keeper.work())

    stored = [read_chain(store.pair(name).chain.read_bytes(), name).leaf.names for name in store.names()]
    assert any("other.lan" in names for names in stored)


def test_until_a_domain_has_its_certificate_the_private_leaf_is_kept_too(
    store: CertificateStore, tmp_path: Path
) -> None:
    """It is what clients see meanwhile, and after that nobody needs it."""
    settings = Settings(data=tmp_path, tls=Tls(domains=(NAME,)), listen=(":443",))
    ours, meanwhile = keepers(settings, store, HandClock())

    assert ours.names() == (NAME,)
    assert ours.issuer.title == "acme-v02.api.letsencrypt.org"
    assert ours.staging is not None
    assert ours.staging.title == "acme-staging-v02.api.letsencrypt.org"
    assert list(meanwhile.names()) == [LEAF]
    store.put(NAME, b"x", b"y", now=1)
    assert list(meanwhile.names()) == []


@pytest.mark.parametrize(
    "dns",
    [
        Dns(method="hook", auth_hook=Path("/bin/true")),
        Dns(method="rfc2136", server="127.0.0.1:53", key_name="k", key_secret="c2VjcmV0"),
        Dns(method="rfc2136", server="127.0.0.1"),
        Dns(method="provider", provider="cloudflare", provider_options={"auth_token": "x"}),
    ],
)
def test_every_way_into_the_dns_can_be_set_up(store: CertificateStore, tmp_path: Path, dns: Dns) -> None:
    """What the settings take is what the issuer is made of."""
    settings = Settings(data=tmp_path, tls=Tls(domains=("*.example.com",)), acme=Acme(dns=dns))

    ours, _ = keepers(settings, store, HandClock())

    assert ours.idle() is False


def test_the_chore_gets_what_is_due_and_lets_go_of_the_lease(
    pebble: Pebble, store: CertificateStore, tmp_path: Path
) -> None:
    """In a server's background process: one look, one certificate, and the lease is free for a command."""
    settings = Settings(
        data=tmp_path,
        tls=Tls(domains=(NAME,)),
        acme=Acme(directory=pebble.directory, ca_file=pebble.ca_file, profile="default"),
        listen=("127.0.0.1:5000",),
    )
    clock = QuickClock()

    async def scenario() -> bool:
        await bring_up_to_date(None, tmp_path)
        database = open_database(None, tmp_path)
        (chore,) = certificate_chores(settings, store, database, clock, "ours")
        task = asyncio.create_task(chore.run())
        try:
            other = Leased("certificates", _never, interval=1, database=database, clock=clock, holder="other")
            await _until(lambda: store.has(NAME))
            for _ in range(int(LEASE_SECONDS * 20)):
                if await other.take():
                    return True
                await asyncio.sleep(0.05)
            return False
        finally:
            task.cancel()
            await asyncio.wait((task,))
            await database.close()

    with Doors(store, pebble.http_port):
        assert asyncio.run(scenario())


def test_two_servers_on_one_store_make_one_order(pebble: Pebble, store: CertificateStore, tmp_path: Path) -> None:
    """Replicas share the lease: one gets the certificate, and the other finds it."""
    settings = Settings(
        data=tmp_path,
        tls=Tls(domains=(NAME,)),
        acme=Acme(directory=pebble.directory, ca_file=pebble.ca_file, profile="default"),
        listen=("127.0.0.1:5000",),
    )
    made = "orders in the db"
    before = pebble.count(made)
    clocks = [QuickClock(), QuickClock()]

    async def scenario() -> None:
        await bring_up_to_date(None, tmp_path)
        databases = [open_database(None, tmp_path) for _ in range(2)]
        tasks = [
            asyncio.create_task(chore.run())
            for number, database in enumerate(databases)
            for chore in certificate_chores(settings, store, database, clocks[number], f"server {number}")
        ]
        await _until(lambda: state.load(store, NAME).ask_again > 0)
        looks = [len(clock.slept) for clock in clocks]
        await _until(lambda: all(len(clock.slept) > seen + 3 for clock, seen in zip(clocks, looks, strict=True)))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for database in databases:
            await database.close()

    with Doors(store, pebble.http_port):
        asyncio.run(scenario())

    assert store.has(NAME)
    assert pebble.count(made) - before == 1


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (Settings(tls=Tls(domains=(NAME,)), listen=(":443",)), {NAME, "private", "private.2"}),
        (Settings(tls=Tls(names=("registry.lan",))), {"private", "private.2"}),
        (Settings(tls=Tls(certificate=Path("c"), key=Path("k"))), {"_files"}),
        (Settings(), set()),
    ],
)
def test_monitoring_hears_only_of_what_is_kept_now(store: CertificateStore, settings: Settings, kept: set[str]) -> None:
    """A domain that was taken out of the settings, or files that were used once, wake nobody when they expire."""
    for name in (NAME, "gone.example.com", "private", "private.2", state.FILES):
        state.save(store, name, state.State(serial="1f", not_after=1))

    told = {one.labels["name"] for one in samples(store, kept_names(settings, store))}

    assert told == {name.removeprefix("_") for name in kept}


def test_the_private_leaf_is_forgotten_once_every_domain_has_its_own(store: CertificateStore) -> None:
    """It is not renewed any more, and its end is of no interest."""
    settings = Settings(tls=Tls(domains=(NAME,)), listen=(":443",))
    state.save(store, LEAF, state.State(serial="1f", not_after=1))
    store.put(NAME, b"x", b"y", now=1)

    assert list(samples(store, kept_names(settings, store))) == []


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def _never() -> bool:
    return False


def test_files_are_only_watched(store: CertificateStore, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Nobody renews what `tls.certificate` names, on any machine of several."""
    pair = Pair(tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "ca.pem")
    settings = Settings(data=tmp_path, tls=Tls(certificate=pair.certificate, key=pair.key))

    database = open_database(None, tmp_path)
    chores = certificate_chores(settings, store, database, HandClock(), "ours")
    asyncio.run(database.close())

    assert [type(chore) for chore in chores] == [Watching]
    assert keepers(settings, store, HandClock()) == []


def test_a_server_without_tls_loads_nothing_for_it() -> None:
    """The libraries for certificates cost a quarter of a second and some megabytes, which only their users pay."""
    code = (
        "import sys, moorage.app, moorage.server.start, moorage.cli.serve;"
        "print(sorted({'acme', 'josepy', 'requests', 'cryptography', 'dns', 'lexicon'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout == "[]\n"
