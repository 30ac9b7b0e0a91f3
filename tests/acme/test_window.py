from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from moorage.errors import CertificateFailed
from moorage.tls.acme import AcmeIssuer, AcmeOptions
from moorage.tls.acme.certificates import certificate_id
from moorage.tls.issuer import Window
from moorage.tls.store import CertificateStore
from tests.acme.asking import QuickClock, check, issue, options_for
from tests.acme.between import Between, Reply
from tests.acme.doors import Doors
from tests.acme.pebble import Pebble
from tests.certificates import Authority

HOUR = 3_600_000_000
DAY = 24 * HOUR
START, END = "2031-01-02T03:04:05Z", "2031-01-03T03:04:05Z"


def window(options: AcmeOptions, chain: bytes, clock: QuickClock | None = None) -> Window | None:
    """When the authority wants *chain* renewed."""
    store = CertificateStore(Path("/nonexistent/store"))
    return asyncio.run(AcmeIssuer(options, store, clock or QuickClock()).window(chain))


@pytest.fixture
def chain(pebble: Pebble, store: CertificateStore, doors: Doors) -> bytes:
    """A fresh certificate."""
    return issue(options_for(pebble), store, "a.example").chain


def test_the_window_that_the_authority_names(pebble: Pebble, chain: bytes) -> None:
    """Start, end, explanation and when to ask again are the authority's; asking needs no account."""
    clock = QuickClock()
    by_itself = window(options_for(pebble), chain)
    pebble.set_window(chain, START, END, "https://example.com/why")

    moved = window(options_for(pebble), chain, clock)

    assert by_itself is not None
    assert 0 < by_itself.end - by_itself.start < 90 * DAY
    assert moved is not None
    assert (moved.start, moved.end - moved.start) == (1_925_089_445_000_000, DAY)
    assert moved.explanation == "https://example.com/why"
    assert 5 * HOUR < moved.ask_again - clock.now() <= 6 * HOUR


@pytest.mark.parametrize(
    "answer",
    [
        "null",
        "[]",
        "<html>",
        "{}",
        '{"suggestedWindow": 1}',
        '{"suggestedWindow": {"start": "soon", "end": "later"}}',
        json.dumps({"suggestedWindow": {"start": END, "end": START}}),
        json.dumps({"suggestedWindow": {"start": START, "end": START}}),
    ],
)
def test_a_window_that_is_none(pebble: Pebble, chain: bytes, answer: str) -> None:
    """Whatever is no window is refused in words."""
    pebble.set_renewal_info(chain, answer)

    with pytest.raises(CertificateFailed) as caught:
        window(options_for(pebble), chain)

    assert caught.value.kind == "not-acme"


def test_an_explanation_that_is_no_url_is_not_shown(pebble: Pebble, chain: bytes) -> None:
    """Nothing but a URL reaches a terminal."""
    pebble.set_window(chain, START, END, "javascript:alert(1)\x1b[2J")

    found = window(options_for(pebble), chain)

    assert found is not None
    assert found.explanation == ""


@pytest.mark.parametrize(("said", "seconds"), [("0", 60), ("3600", 3600), ("9999999", 86400), ("soon", 6 * 3600)])
def test_when_to_ask_again_has_limits(pebble: Pebble, chain: bytes, said: str, seconds: int) -> None:
    """Retry-After counts between a minute and a day; six hours where it says nothing that can be read."""

    def change(_: str, path: str, reply: Reply) -> Reply | None:
        if "renewalInfo" in path:
            reply.headers["Retry-After"] = said
        return reply

    clock = QuickClock()
    with Between(pebble, after=change) as between:
        found = window(options_for(pebble, directory=between.directory), chain, clock)

    assert found is not None
    assert abs(found.ask_again - clock.now() - seconds * 1_000_000) < 30_000_000


def test_no_opinion(pebble: Pebble, chain: bytes, tmp_path: Path) -> None:
    """None: from an authority without renewal information, for an expired certificate, and for what names no issuer."""

    def strip(_: str, path: str, reply: Reply) -> Reply | None:
        if path != "/dir":
            return None
        document = json.loads(reply.body)
        del document["renewalInfo"]
        return Reply(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    later = QuickClock()
    later.ahead = 91 * 86400.0
    own = Authority(tmp_path / "own").issue("a.example").certificate.read_bytes()

    with Between(pebble, after=strip) as between:
        without = window(options_for(pebble, directory=between.directory), chain)
    expired = window(options_for(pebble), chain, later)
    nameless = window(options_for(pebble), own)
    nothing = window(options_for(pebble), b"no certificate")

    assert (without, expired, nameless, nothing) == (None, None, None, None)


def test_a_certificate_that_the_authority_does_not_know(pebble: Pebble, chain: bytes) -> None:
    """A certificate of other roots is refused in words; so is asking an authority that is down."""
    pebble.stop()
    with pytest.raises(CertificateFailed) as down:
        window(options_for(pebble), chain)
    pebble.start()
    with pytest.raises(CertificateFailed) as unknown:
        window(options_for(pebble), chain)

    assert down.value.kind == "unreachable"
    assert unknown.value.kind == "malformed"


def test_a_renewal_says_what_it_replaces(pebble: Pebble, store: CertificateStore, chain: bytes) -> None:
    """The order names the certificate that it replaces; one that was replaced already is asked for without."""
    identifier = certificate_id(chain)
    second = issue(options_for(pebble), store, "a.example", previous=chain)
    replaced = pebble.count("is a replacement of"), pebble.count("has been marked as replaced")
    store.put("a.example", second.chain, second.key, now=1)
    third = issue(options_for(pebble), store, "a.example", previous=chain)

    assert identifier is not None
    assert replaced == (1, 1)
    assert pebble.count("is a replacement of") == 1
    check(third, "a.example", pebble.roots())
    assert len({second.key, third.key}) == 2


def test_a_certificate_of_another_authority_is_replaced_without_saying(
    tmp_path: Path, pebble: Pebble, store: CertificateStore, chain: bytes
) -> None:
    """A certificate of another authority does not keep this one from issuing."""
    with Pebble(tmp_path / "other") as other, Doors(store, other.http_port):
        issued = issue(options_for(other), store, "a.example", previous=chain)

        check(issued, "a.example", other.roots())
        assert other.count("is a replacement of") == 0
