"""Rules of CONTRIBUTING.md that no linter knows: lock files, sizes of functions and modules, the changelog."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator

import pytest

import moorage
from tests.docs.markdown import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock")
# Arbitrary, and generous: what is longer is hard to read at one sitting.
FUNCTION_LINES = 60
MODULE_LINES = 400
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def _pinned(lock: str) -> dict[str, str]:
    """Each requirement of a lock file: its name, and everything that belongs to it."""
    text = (ROOT / lock).read_text("utf-8")
    return {part.partition("==")[0]: part for part in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]}


def _names(requirements: list[str]) -> Iterator[str]:
    for requirement in requirements:
        yield re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_files_pin_versions_and_hashes_and_name_no_index(lock: str) -> None:
    """Every requirement has one exact version and at least one hash, and no address stands in the file."""
    pinned = _pinned(lock)

    assert pinned
    assert [name for name, part in pinned.items() if not re.match(r"[a-z0-9-]+==[0-9][^ ]* ", part)] == []
    assert [name for name, part in pinned.items() if "--hash=sha256:" not in part] == []
    assert "://" not in (ROOT / lock).read_text("utf-8")


def test_lock_files_have_everything_that_the_project_asks_for() -> None:
    """A dependency that was added to pyproject.toml is in the lock files too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"]

    missing = {
        "requirements.lock": set(_names(project["project"]["dependencies"] + groups["build"])),
        "requirements-dev.lock": set(_names(groups["dev"])),
    }

    assert {lock: names - set(_pinned(lock)) for lock, names in missing.items()} == {lock: set() for lock in LOCKS}


def test_both_lock_files_agree() -> None:
    """What stands in both is the same version, so that they can be installed together."""
    base, dev = (_pinned(lock) for lock in LOCKS)

    versions = [(base[name].split()[0], dev[name].split()[0]) for name in base.keys() & dev.keys()]

    assert [pair for pair in versions if pair[0] != pair[1]] == []


def test_functions_and_modules_are_small() -> None:
    """No function of the package is longer than 60 lines, and no module longer than 400."""
    too_long = []

    for path in SOURCES:
        text = path.read_text("utf-8")
        if text.count("\n") > MODULE_LINES:
            too_long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    too_long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")

    assert too_long == []


def test_the_changelog_tells_of_this_version() -> None:
    """CHANGELOG.md begins with what is not released yet, or with the version that the code says it is."""
    first = re.search(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert first is not None
    assert first[1] in {"Unreleased", moorage.__version__}
