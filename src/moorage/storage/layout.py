"""Where the classic layout of the distribution registry keeps what, as paths below its root.

    blobs/<algorithm>/<first two hex digits>/<hex>/data                 bytes: layers, configs and manifests alike
    repositories/<name>/_layers/<algorithm>/<hex>/link                  the blob belongs to the repository
    repositories/<name>/_manifests/revisions/<algorithm>/<hex>/link     the manifest does
    repositories/<name>/_manifests/tags/<tag>/current/link              what the tag names
    repositories/<name>/_manifests/tags/<tag>/index/<algorithm>/<hex>/link   what it ever named

A link file holds a digest, `sha256:<hex>`, without a newline. Names nest, and no component of a name begins with `_`.
"""

from __future__ import annotations

import re
from typing import Final

from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName
from moorage.oci.reference import Tag

LOCATION: Final = re.compile(
    r"blobs/(?:sha256/([0-9a-f]{2})/\1[0-9a-f]{62}|sha512/([0-9a-f]{2})/\2[0-9a-f]{126})/data", re.ASCII
)
"""What `blob` makes, and nothing else."""


def blob(digest: Digest) -> str:
    """The file of a blob's bytes."""
    return f"blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"


def layers(repository: RepositoryName) -> str:
    """The folder of a repository's blob links."""
    return f"repositories/{repository}/_layers"


def revisions(repository: RepositoryName) -> str:
    """The folder of a repository's manifest links."""
    return f"repositories/{repository}/_manifests/revisions"


def tags(repository: RepositoryName) -> str:
    """The folder of a repository's tags."""
    return f"repositories/{repository}/_manifests/tags"


def tag(repository: RepositoryName, name: Tag) -> str:
    """The folder of one tag."""
    return f"{tags(repository)}/{name}"
