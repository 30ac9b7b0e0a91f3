"""Conditional requests. The entity tag of a manifest or blob is its digest in double quotes."""

from __future__ import annotations

import re
from typing import Final

from moorage.oci.digest import Digest

_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"|([^\s,"]+)')


def none_match(header: str, digest: Digest) -> bool:
    """Tell whether an If-None-Match header names *digest*, so that the answer to GET and HEAD is 304.

    It holds `*` or a list (RFC 9110, 13.1.2). Comparison is weak; tags without quotes count too, since clients send
    the Docker-Content-Digest header back as they got it.
    """
    wanted = str(digest)
    return header.strip(" \t") == "*" or any(
        wanted in (match[1], match[2].removeprefix("W/") if match[2] else None) for match in _TAG.finditer(header)
    )


def if_range(header: str, digest: Digest) -> bool:
    """Tell whether an If-Range header names *digest*, so that Range counts; otherwise everything is sent.

    Comparison is strong (RFC 9110, 13.1.5): a weak tag or a date never matches.
    """
    return header.strip(" \t") == f'"{digest}"'
