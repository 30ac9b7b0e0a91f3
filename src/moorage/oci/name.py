"""Repository names."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NewType

from moorage.errors import NameInvalid
from moorage.oci.excerpt import excerpt

RepositoryName = NewType("RepositoryName", str)
"""A name that `parse_name` accepted: safe as a path of folders, ASCII, at most 255 bytes."""

MOST_BYTES: Final = 255
"""Clients limit host, slash and name together to this (distribution-spec, "Pulling manifests")."""

MOST_COMPONENTS: Final = 64
"""Deeper names are nobody's; the specification sets no figure (arbitrary)."""

# A separator never starts like what stands before it, so a name can be split in one way only, and a hostile one costs
# little more than a good one. No possessive repetition says so, here or elsewhere: Python 3.11.2, which Debian 12 has,
# gets some of them wrong (github.com/python/cpython/issues/106052), and took `a-/b` for a name.
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_GRAMMAR: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")


@lru_cache(maxsize=4096)
def parse_name(text: str) -> RepositoryName:
    """Return *text* as a repository name; raises NameInvalid.

    The grammar is that of distribution-spec, "Pulling manifests".
    """
    if len(text) > MOST_BYTES:
        raise NameInvalid(f"a repository name has at most {MOST_BYTES} characters")
    if _GRAMMAR.fullmatch(text) is None:
        raise NameInvalid(
            f"invalid repository name {excerpt(text)}: lower-case letters and digits, in parts joined by"
            " '.', '_', '__', dashes or '/'"
        )
    if text.count("/") >= MOST_COMPONENTS:
        raise NameInvalid(f"a repository name has at most {MOST_COMPONENTS} parts between slashes")
    return RepositoryName(text)
