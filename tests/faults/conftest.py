"""The fault library, compiled once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.injection import Faults, build


@pytest.fixture(scope="session")
def fault_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled library."""
    return build(tmp_path_factory.mktemp("library"))


@pytest.fixture
def faults(fault_library: Path, tmp_path: Path) -> Faults:
    """Faults for programs of one test."""
    folder = tmp_path / "faults"
    folder.mkdir()
    return Faults(fault_library, folder)
