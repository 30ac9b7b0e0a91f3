from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path

import pytest

from moorage.errors import CertificateFailed
from moorage.observe.metrics import Sample, exposition
from moorage.tls import state
from moorage.tls.keeper import Keeper
from moorage.tls.samples import samples
from moorage.tls.store import CertificateStore, Pair
from moorage.tls.watch import Watch
from tests.tls.hand_clock import HandClock
from tests.tls.small_ca import SmallCa


@pytest.fixture
def clock() -> HandClock:
    """Stands still."""
    return HandClock()


@pytest.fixture
def store(tmp_path: Path) -> CertificateStore:
    """An empty one."""
    return CertificateStore(tmp_path / "tls")


def write(pair: Pair, clock: HandClock, days: int = 90) -> Pair:
    """A new certificate in the files of somebody else."""
    issued = asyncio.run(SmallCa(clock, timedelta(days=days)).issue("a.example"))
    pair.chain.write_bytes(issued.chain)
    pair.key.write_bytes(issued.key)
    return pair


def figures(store: CertificateStore) -> dict[tuple[str, str], float]:
    """Values by a metric's name and the name of its certificate."""
    return {(one.name, one.labels["name"]): one.value for one in samples(store)}


def test_files_that_nobody_renews_are_warned_of(
    tmp_path: Path, store: CertificateStore, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a day from a third of the lifetime on, through restarts, until the file is another."""
    pair = write(Pair(tmp_path / "chain.pem", tmp_path / "key.pem"), clock)
    said: list[int] = []
    with caplog.at_level(logging.WARNING, "moorage.tls"):
        for day in range(92):
            for _ in range(3):
                Watch(pair, store, clock).look()
                clock.go_on(hours=8)
            said += [day] * len(caplog.records)
            last = [record.getMessage() for record in caplog.records][-1:]
            caplog.clear()
        write(pair, clock)
        Watch(pair, store, clock).look()
        assert caplog.records == []

    assert said == list(range(60, 92))
    assert last[0].startswith(f"the certificate for {pair.chain} has expired on ")
    assert "certbot renew" in last[0]


def test_files_that_cannot_be_used_are_left_to_the_server(
    tmp_path: Path, store: CertificateStore, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It speaks of them when it loads them; here they only have no end."""
    Watch(Pair(tmp_path / "absent", tmp_path / "absent"), store, clock).look()

    assert caplog.records == []
    assert figures(store) == {}


def test_monitoring_learns_when_certificates_end_and_what_fails(
    tmp_path: Path, store: CertificateStore, clock: HandClock
) -> None:
    """Expiry, next renewal and failures of each name, and the expiry of the pair in files."""
    ca = SmallCa(clock, timedelta(days=90))
    keeper = Keeper(lambda: ("a.example", "b.example"), ca, store, clock)
    asyncio.run(keeper.renew("a.example"))
    ca.outage = CertificateFailed("no", kind="dns")
    for _ in range(3):
        asyncio.run(keeper.work())
        clock.go_on(hours=1)
    Watch(write(Pair(tmp_path / "chain.pem", tmp_path / "key.pem"), clock), store, clock).look()

    found = figures(store)

    begun = clock.time / 1e6 - 3 * 3600
    assert found["moorage_certificate_not_after_seconds", "a.example"] == pytest.approx(begun + 90 * 86400, abs=3601)
    renewal = found["moorage_certificate_renewal_seconds", "a.example"]
    assert begun + 54 * 86400 < renewal < begun + 60 * 86400
    assert found["moorage_certificate_failures", "a.example"] == 0
    assert found["moorage_certificate_failures", "b.example"] == 3
    assert ("moorage_certificate_not_after_seconds", "b.example") not in found
    assert found["moorage_certificate_not_after_seconds", "files"] > clock.time / 1e6 + 89 * 86400
    assert ("moorage_certificate_renewal_seconds", "files") not in found
    text = exposition(samples(store)).decode()
    assert 'moorage_certificate_not_after_seconds{name="a.example",issuer="Small CA"} ' in text


def test_every_figure_explains_itself(store: CertificateStore, clock: HandClock) -> None:
    """Each metric has a sentence."""
    asyncio.run(Keeper(lambda: ("a.example",), SmallCa(clock, timedelta(days=9)), store, clock).renew("a.example"))

    found: list[Sample] = list(samples(store))

    assert len(found) == 3
    assert all(one.help.endswith(".") for one in found)
    assert state.everything(store)[0].failures == 0
