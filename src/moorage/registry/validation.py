"""What a pushed manifest has to satisfy beyond being one: which content must be there, and which URLs it may name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from moorage.errors import ManifestInvalid
from moorage.oci.excerpt import excerpt
from moorage.oci.manifest import Descriptor, Manifest

# RFC 9110, 4.1, asks for at least 8,000; a bound also bounds what an operator's expressions are tried on.
_MOST_URL_CHARACTERS = 8000


@dataclass(frozen=True, slots=True)
class Validation:
    """The rules in force.

    - *sparse*: a manifest may name content that its repository does not have. The specification lets a registry refuse
      that, and a push that lost a layer on its way should fail while its owner is looking.
    - *platforms*: the entries of an index that must be there: None all, else those for one of these, each an operating
      system and an architecture.
    - *urls_allow*, *urls_deny*: of the first, if there are any, one must be found in every URL; of the second, none.
    """

    sparse: bool = False
    platforms: frozenset[tuple[str, str]] | None = None
    urls_allow: tuple[re.Pattern[str], ...] = ()
    urls_deny: tuple[re.Pattern[str], ...] = ()

    def blobs(self, manifest: Manifest) -> Iterator[tuple[Descriptor, bool]]:
        """The config and the layers, once each, and whether they must be there; not those that come from elsewhere."""
        return _once((descriptor, not self.sparse) for descriptor in manifest.blobs)

    def children(self, manifest: Manifest) -> Iterator[tuple[Descriptor, bool]]:
        """An index's entries, once each, and whether they must be there."""
        return _once((descriptor, self._needs(descriptor)) for descriptor in manifest.children)

    def _needs(self, entry: Descriptor) -> bool:
        return not self.sparse and (self.platforms is None or entry.platform in self.platforms)

    def check_urls(self, manifest: Manifest) -> None:
        """Raises ManifestInvalid for a URL of some content that clients must not be sent to.

        This registry never fetches one, but clients do: theirs are `http` and `https` alone.
        """
        for descriptor in (*manifest.blobs, *manifest.nondistributable):
            for url in descriptor.urls:
                if not _may_be_fetched(url):
                    raise ManifestInvalid(f"not an http or https URL: {excerpt(url)}")
                if self.urls_allow and not any(pattern.search(url) for pattern in self.urls_allow):
                    raise ManifestInvalid(f"this registry does not allow the URL {excerpt(url)}")
                if any(pattern.search(url) for pattern in self.urls_deny):
                    raise ManifestInvalid(f"this registry denies the URL {excerpt(url)}")


def _once(described: Iterable[tuple[Descriptor, bool]]) -> Iterator[tuple[Descriptor, bool]]:
    seen = set()
    for descriptor, needed in described:
        key = (descriptor.digest, descriptor.size, needed)
        if key not in seen:
            seen.add(key)
            yield descriptor, needed


def _may_be_fetched(url: str) -> bool:
    if len(url) > _MOST_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.fragment
