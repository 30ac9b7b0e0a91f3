"""Asks Pebble for certificates as the keeper does, and looks closely at what comes back."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store

from moorage.errors import CertificateFailed
from moorage.tls.acme import AcmeIssuer, AcmeOptions
from moorage.tls.issuer import Issued
from moorage.tls.names import is_address
from moorage.tls.store import CertificateStore
from tests.acme.pebble import Pebble


class QuickClock:
    """A minute of waiting passes in a tenth of a second; real programs that are waited for get that long."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.slept: list[float] = []

    def now(self) -> int:
        return time.time_ns() // 1000 + int(self.ahead * 1e6)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        real = min(seconds, 0.1)
        await asyncio.sleep(real)
        self.ahead += seconds - real


def options_for(pebble: Pebble, **more: Any) -> AcmeOptions:
    """The options for *pebble*, with *more* of them."""
    # Random otherwise, which is Pebble's way to test clients.
    values: dict[str, Any] = {"directory": pebble.directory, "ca_file": pebble.ca_file, "profile": "default"}
    return AcmeOptions(**(values | more))


def issue(
    options: AcmeOptions,
    store: CertificateStore,
    name: str,
    previous: bytes | None = None,
    clock: QuickClock | None = None,
) -> Issued:
    """One certificate."""
    return asyncio.run(AcmeIssuer(options, store, clock or QuickClock()).issue(name, previous))


def refusal(
    options: AcmeOptions, store: CertificateStore, name: str, clock: QuickClock | None = None
) -> CertificateFailed:
    """How asking for a certificate fails; AssertionError if it does not."""
    with pytest.raises(CertificateFailed) as caught:
        issue(options, store, name, clock=clock)
    return caught.value


def check(issued: Issued, name: str, roots: bytes) -> x509.Certificate:
    """The leaf, once it is certain that a client that trusts *roots* takes the pair for *name*."""
    leaf, *rest = x509.load_pem_x509_certificates(issued.chain)
    key = serialization.load_pem_private_key(issued.key, None)
    assert key.public_key() == leaf.public_key()
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one.value) for one in san] == [name]
    if not is_address(name):
        verifier = (
            PolicyBuilder()
            .store(Store(x509.load_pem_x509_certificates(roots)))
            .build_server_verifier(x509.DNSName(name.replace("*", "any")))
        )
        verifier.verify(leaf, rest)
    return leaf


def leftovers(store: CertificateStore) -> list[Path]:
    """Answers to challenges that are still there, notes of them, and files that were never finished."""
    places = (store.folder / "challenges" / "http", store.folder / "challenges" / "alpn")
    found = [path for place in places if place.is_dir() for path in place.iterdir()]
    found += [path for place in ("accounts", "orders") for path in (store.folder / place).rglob(".*.tmp")]
    return found + list((store.folder / "orders").rglob("challenge.json"))


def only(options: AcmeOptions, **changed: Any) -> AcmeOptions:
    """*options* with some changed."""
    return replace(options, **changed)
