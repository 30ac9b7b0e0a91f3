"""Every test has a database and stores of its own."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from moorage.metadata.migrate import bring_up_to_date
from tests.registry.house import House
from tests.storage.stores import filesystem


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an empty database, to copy."""
    data = tmp_path_factory.mktemp("template")
    asyncio.run(bring_up_to_date(None, data))
    return data


@pytest.fixture
def house(template: Path, tmp_path: Path) -> House:
    """A registry whose blobs are in memory."""
    data = tmp_path / "data"
    shutil.copytree(template, data)
    return House(data)


@pytest.fixture
def house_on_disk(house: House) -> House:
    """A registry whose blobs are files."""
    house.store = filesystem(house.data)
    return house
