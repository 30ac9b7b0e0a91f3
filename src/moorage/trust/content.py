"""What the files of clients hold, byte for byte: written by the command and by the shell lines alike.

Each begins with a line that says whose it is. A file is ours if it begins so and holds nothing that a person added.
"""

from __future__ import annotations

from collections.abc import Sequence

from moorage.trust.certificates import Certificate, read_certificates
from moorage.trust.place import Place

MARK = "# Written by moorage trust"
KEPT = ".before-moorage"
"""After the name of a file that was there before ours; no client reads files that end so."""


def mark(place: Place) -> str:
    """The first line of every file of ours; PEM, TOML and YAML parsers all pass over it."""
    return f"{MARK} for {place.label}"


def bundle(place: Place, certificates: Sequence[Certificate]) -> bytes:
    """The file with the authority's certificates."""
    return f"{mark(place)}\n".encode() + b"".join(one.pem for one in certificates)


def hosts_toml_lines(place: Place, ca: str) -> tuple[str, ...]:
    """containerd's `hosts.toml`, where *ca* is the path of the certificate (containerd, docs/hosts.md)."""
    return (
        mark(place),
        f'server = "{place.url}"',
        f'[host."{place.url}"]',
        '  capabilities = ["pull", "resolve", "push"]',
        f'  ca = "{ca}"',
    )


def hosts_toml(place: Place, ca: str) -> bytes:
    """The same as a file."""
    return ("\n".join(hosts_toml_lines(place, ca)) + "\n").encode()


def is_our_bundle(content: bytes) -> bool:
    """Whether `bundle` made *content*, for whatever authority: our line, and nothing but certificates after it."""
    first, _, rest = content.partition(b"\n")
    if not first.startswith(MARK.encode()):
        return False
    try:
        pem = b"".join(one.pem for one in read_certificates(rest))
    except ValueError:
        return False
    return b"".join(pem.split()) == b"".join(rest.split())
