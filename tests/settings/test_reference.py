from __future__ import annotations

from pathlib import Path

import pytest

from moorage.settings.classic_keys import KEYS, Fate
from moorage.settings.names import leaves, sections
from moorage.settings.reference import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md"


def test_the_reference_page_is_what_the_settings_are() -> None:
    """docs/reference/settings.md is renewed with every change: `make docs`."""
    assert PAGE.read_text("utf-8") == page()


@pytest.mark.parametrize("path", list(leaves()))
def test_every_setting_is_documented(path: str) -> None:
    """Each has a sentence, and a row with its name and its variable."""
    leaf = leaves()[path]

    assert leaf.description.endswith(".")
    assert f"| `{path}` | `{leaf.variable}` |" in page()


def test_every_section_says_what_it_is() -> None:
    """A section's docstring is the first line below its heading."""
    assert [path for path, section in sections().items() if not (section.__doc__ or "").endswith(".")] == []


def test_every_classic_key_that_is_told_or_refused_says_why() -> None:
    """The note is the sentence that an administrator reads at start."""
    silent = [
        key.path
        for key in KEYS
        if key.fate in (Fate.DIFFERENTLY, Fate.NOT_YET, Fate.REFUSED) and key.when.__name__ != "never"
    ]

    assert [path for path in silent if not next(key.note for key in KEYS if key.path == path)] == []


def test_a_setting_that_takes_over_a_classic_key_exists() -> None:
    """The table names no setting that the model does not have."""
    assert {key.to for key in KEYS if key.to} <= leaves().keys()
