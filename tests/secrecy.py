"""What no log may ever hold: passwords in any form, and the header that carries them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

_HEADER = re.compile(
    r"(?i:authorization[\"']?\s*[:=]\s*[\"']?[a-z0-9])|\b[Bb]asic\s+(?=[A-Za-z0-9+/]*[A-Z0-9+/])[A-Za-z0-9+/]{4,}"
)


def leaks(text: str, users: Mapping[str, str], more: Iterable[str] = ()) -> list[str]:
    """The lines of *text* with the password of one of *users*, in the clear or as a client sends it, or one of *more*.

    Also lines with an Authorization header's value, whoever's it is.
    """
    forms = {form for name, password in users.items() if password for form in _forms(name, password)} | set(more)
    return [line for line in text.splitlines() if _HEADER.search(line) or any(form in line for form in forms)]


def _forms(name: str, password: str) -> tuple[str, ...]:
    encoded = base64.b64encode(f"{name}:{password}".encode()).decode("ascii")
    return password, quote(password), quote(password, safe=""), encoded.rstrip("=")
