from __future__ import annotations

import asyncio
import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from moorage.tls.acme import AcmeIssuer
from moorage.tls.store import CertificateStore
from tests.acme.asking import QuickClock, check, issue, leftovers, options_for, refusal
from tests.acme.doors import Doors
from tests.acme.pebble import Pebble


@pytest.mark.parametrize("name", ["registry.example.com", "127.0.0.1"])
@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_a_name_and_an_address_are_validated(
    pebble: Pebble, store: CertificateStore, doors: Doors, challenge: Any, name: str
) -> None:
    """Names and addresses get certificates by either door, with half of all nonces refused, and nothing is left."""
    issued = issue(options_for(pebble, challenge=challenge), store, name)

    check(issued, name, pebble.roots())
    assert leftovers(store) == []
    assert doors.asked


def test_keys_are_only_their_owners(pebble: Pebble, store: CertificateStore, doors: Doors) -> None:
    """No file with a key can be read by others, nor can the folders that hold them."""
    issue(options_for(pebble), store, "a.example")

    keys = list(store.folder.rglob("*.pem"))
    assert len(keys) == 2
    for path in keys:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_the_account_is_made_once(pebble: Pebble, store: CertificateStore, doors: Doors) -> None:
    """All names share one account, and every certificate has a key of its own."""
    issuer = AcmeIssuer(options_for(pebble), store, QuickClock())

    async def two() -> list[bytes]:
        issued = await asyncio.gather(issuer.issue("a.example"), issuer.issue("b.example"))
        return [one.key for one in issued]

    keys = asyncio.run(two())
    third = issue(options_for(pebble), store, "c.example")

    assert pebble.count("accounts in memory") == 1
    assert len({*keys, third.key}) == 3


def test_rsa_and_profiles(pebble: Pebble, store: CertificateStore, doors: Doors) -> None:
    """The key is of the kind that was asked for, and the certificate lives as long as its profile says."""
    issued = issue(options_for(pebble, key_type="rsa", profile="shortlived"), store, "a.example")

    leaf = check(issued, "a.example", pebble.roots())
    key = serialization.load_pem_private_key(issued.key, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=6)


def test_an_unknown_profile_is_refused_before_an_order(pebble: Pebble, store: CertificateStore) -> None:
    """A profile that the authority does not have is named, and so are those that it has."""
    error = refusal(options_for(pebble, profile="classic"), store, "a.example")

    assert (error.kind, error.again) == ("invalidProfile", False)
    assert "classic" in error.message
    assert "shortlived" in error.remedy
    assert pebble.count("order-plz") == 0


def test_external_account_binding(tmp_path: Path, store: CertificateStore) -> None:
    """An account is bound to the external one, and wrong or missing keys are said to be that."""
    secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    with Pebble(tmp_path / "p", external_accounts={"kid-1": secret}) as pebble:
        missing = refusal(options_for(pebble), store, "a.example")
        unreadable = refusal(options_for(pebble, eab_key_id="kid-1", eab_hmac_key="a!"), store, "a.example")
        wrong = refusal(options_for(pebble, eab_key_id="kid-2", eab_hmac_key=secret), store, "a.example")
        with Doors(store, pebble.http_port):
            issued = issue(options_for(pebble, eab_key_id="kid-1", eab_hmac_key=secret), store, "a.example")
        check(issued, "a.example", pebble.roots())

    assert (missing.kind, missing.again) == ("externalAccountRequired", False)
    assert "acme.eab_key_id" in missing.remedy
    assert unreadable.kind == "local"
    assert "acme.eab_hmac_key" in unreadable.message
    assert "acme.eab_hmac_key" in wrong.remedy
    assert secret not in f"{missing} {unreadable} {wrong}"


def test_a_restarted_authority_gets_a_new_account_with_the_same_key(
    pebble: Pebble, store: CertificateStore, doors: Doors
) -> None:
    """An authority that has forgotten everything is told of the same key again, and the order that it forgot is too."""
    first = issue(options_for(pebble), store, "a.example")
    (account,) = (store.folder / "accounts").rglob("account.json")
    before = json.loads(account.read_text())["url"], (account.parent / "key.pem").read_bytes()

    pebble.stop()
    pebble.start()
    again = issue(options_for(pebble), store, "a.example")
    other = issue(options_for(pebble), store, "b.example")

    after = json.loads(account.read_text())["url"], (account.parent / "key.pem").read_bytes()
    check(again, "a.example", pebble.roots())
    check(other, "b.example", pebble.roots())
    assert again.key != first.key
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_a_lost_account_file_is_found_again_by_the_key(pebble: Pebble, store: CertificateStore, doors: Doors) -> None:
    """The key alone is the account: the authority says which one it is, and no second one is made."""
    issue(options_for(pebble), store, "a.example")
    (account,) = (store.folder / "accounts").rglob("account.json")
    before = json.loads(account.read_text())

    account.unlink()
    issue(options_for(pebble), store, "b.example")

    assert json.loads(account.read_text())["url"] == before["url"]
    assert pebble.count("accounts in memory") == 1


def test_the_mail_address_follows_the_setting(pebble: Pebble, store: CertificateStore, doors: Doors) -> None:
    """A changed or removed mail address reaches the authority with the next certificate."""
    issue(options_for(pebble, email="a@example.com"), store, "a.example")
    (account,) = (store.folder / "accounts").rglob("account.json")
    first = json.loads(account.read_text())["contact"]

    issue(options_for(pebble, email="b@example.com"), store, "b.example")
    second = json.loads(account.read_text())["contact"]

    assert first == ["mailto:a@example.com"]
    assert second == ["mailto:b@example.com"]
    assert pebble.count("accounts in memory") == 1


def test_an_unusable_account_key_is_not_replaced_behind_ones_back(pebble: Pebble, store: CertificateStore) -> None:
    """A damaged key is named with its file; making a new account is the administrator's choice."""
    refusal(options_for(pebble), store, "a.example")
    (key,) = (store.folder / "accounts").rglob("key.pem")
    key.write_bytes(b"-----BEGIN NONSENSE-----\n")

    error = refusal(options_for(pebble), store, "a.example")

    assert (error.kind, error.again) == ("local", False)
    assert str(key) in error.message
    assert key.read_bytes().startswith(b"-----BEGIN NONSENSE")


def test_valid_authorizations_are_not_validated_again(tmp_path: Path, store: CertificateStore) -> None:
    """An order whose authorization is already valid goes straight to its certificate."""
    with Pebble(tmp_path / "p", authz_reuse=100) as pebble:
        options = options_for(pebble)
        with Doors(store, pebble.http_port):
            first = issue(options, store, "a.example")
        second = issue(options, store, "a.example", previous=first.chain)
        check(second, "a.example", pebble.roots())

    assert second.key != first.key


def test_a_blocked_name_is_rejected_in_words(tmp_path: Path, store: CertificateStore) -> None:
    """A name that the authority does not issue for is said to be that, and is not tried again."""
    with Pebble(tmp_path / "p", blocked=["blocked.example"]) as pebble:
        error = refusal(options_for(pebble), store, "blocked.example")

    assert (error.kind, error.again) == ("rejectedIdentifier", False)
    assert "blocked.example is a forbidden domain" in error.message


def test_a_closed_port_is_said_and_the_other_door_is_tried_next(pebble: Pebble, store: CertificateStore) -> None:
    """Nobody answers on port 80: the error names the port, and the next attempt goes to 443."""
    with Doors(store, tls_port=pebble.tls_port) as doors:
        error = refusal(options_for(pebble), store, "a.example")
        asked = list(doors.asked)
        issued = issue(options_for(pebble), store, "a.example")
        later = issue(options_for(pebble), store, "a.example", previous=issued.chain)

    assert error.kind == "connection"
    assert "port 80 of a.example" in error.remedy
    assert asked == []
    check(issued, "a.example", pebble.roots())
    check(later, "a.example", pebble.roots())
    assert leftovers(store) == []


def test_somebody_else_at_the_port_is_said(pebble: Pebble, store: CertificateStore, tmp_path: Path) -> None:
    """Another web server on port 80 answers 404: the error says that something else answers there."""
    with Doors(CertificateStore(tmp_path / "another"), pebble.http_port):
        error = refusal(options_for(pebble, challenge="http-01"), store, "a.example")

    assert error.kind == "unauthorized"
    assert "something else answers http://a.example/.well-known/acme-challenge/" in error.remedy
    assert leftovers(store) == []


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("*.example.com", {}, "wildcard"),
        ("*.example.com", {"challenge": "http-01"}, "wildcard"),
        ("127.0.0.1", {"challenge": "dns-01"}, "no challenge"),
        ("a.example", {"plain_http": False, "tls_alpn": False}, "no challenge"),
    ],
)
def test_what_cannot_be_validated_costs_no_order(
    pebble: Pebble, store: CertificateStore, name: str, more: dict[str, Any], words: str
) -> None:
    """Where no challenge can be answered, that is said before the authority hears of it."""
    error = refusal(options_for(pebble, **more), store, name)

    assert (error.kind, error.again) == ("challenge", False)
    assert words in error.message
    assert pebble.count("order-plz") == 0


def test_without_port_80_the_door_is_443(pebble: Pebble, store: CertificateStore) -> None:
    """`auto` takes tls-alpn-01 where port 80 is not ours."""
    with Doors(store, tls_port=pebble.tls_port) as doors:
        issued = issue(options_for(pebble, plain_http=False), store, "a.example")

    check(issued, "a.example", pebble.roots())
    assert set(doors.asked) == {"a.example"}


def test_polls_wait_as_long_as_the_authority_asks(tmp_path: Path, store: CertificateStore) -> None:
    """Retry-After is obeyed between polls, a number or a date, up to a limit of our own."""
    clocks = []
    for seconds in (30, 3000):
        with Pebble(tmp_path / f"{seconds}", retry_after=seconds) as pebble, Doors(store, pebble.http_port):
            clocks.append(QuickClock())
            issue(options_for(pebble), store, "a.example", clock=clocks[-1])

    assert 28 <= max(clocks[0].slept) <= 32
    assert max(clocks[1].slept) == 60
