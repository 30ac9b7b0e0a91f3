from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.tls.store import CertificateStore
from tests.acme.doors import Doors
from tests.acme.pebble import Pebble


@pytest.fixture
def store(tmp_path: Path) -> CertificateStore:
    """An empty store."""
    return CertificateStore(tmp_path / "tls")


@pytest.fixture
def pebble(tmp_path: Path) -> Iterator[Pebble]:
    """An authority that refuses half of all nonces."""
    with Pebble(tmp_path / "pebble", nonce_reject=50) as pebble:
        yield pebble


@pytest.fixture
def doors(pebble: Pebble, store: CertificateStore) -> Iterator[Doors]:
    """Both ports on which the authority validates, answered from the store."""
    with Doors(store, pebble.http_port, pebble.tls_port) as doors:
        yield doors
