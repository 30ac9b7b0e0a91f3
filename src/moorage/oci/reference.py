"""Tags, and the part of a manifest's path that is a tag or a digest."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NewType

from moorage.errors import TagInvalid
from moorage.oci.digest import Digest
from moorage.oci.excerpt import excerpt

Tag = NewType("Tag", str)
"""A tag that `parse_tag` accepted. It may be `CON` or differ from another by case alone: no file's name as it is."""

_GRAMMAR: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@lru_cache(maxsize=4096)
def parse_tag(text: str) -> Tag:
    """Return *text* as a tag; raises TagInvalid.

    The grammar is that of distribution-spec, "Pulling manifests".
    """
    if _GRAMMAR.fullmatch(text) is None:
        raise TagInvalid(
            f"invalid tag {excerpt(text)}: 1 to 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'"
        )
    return Tag(text)


def parse_reference(text: str) -> Tag | Digest:
    """Return a Digest if *text* contains a colon, else a Tag; raises DigestInvalid or TagInvalid.

    The colon decides (distribution-spec main, `<tag-or-digest>`); `sha256-...` without one is a tag.
    Tell them apart by `isinstance(x, Digest)`.
    """
    return Digest.parse(text) if ":" in text else parse_tag(text)
