"""When an authority wants a certificate renewed (RFC 9773, 4.2)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from moorage.tls.acme.network import Answer
from moorage.tls.acme.problems import no_acme
from moorage.tls.issuer import Window

_URL: Final = re.compile(r"https?://[!-~]{1,1000}")
_SOONEST, _LATEST = 60.0, 86400.0
"""Seconds; "reasonable limits" of RFC 9773, 4.3.2: once a minute and once a day."""
_OTHERWISE: Final = 6 * 3600.0
"""Where the authority does not say when to ask again (RFC 9773, 4.3.3)."""


def parse_window(answer: Answer, now: int) -> Window:
    """The window in *answer*; *now* in microseconds. Raises CertificateFailed."""
    document = answer.json()
    window = document.get("suggestedWindow")
    if not isinstance(window, dict):
        raise no_acme(answer.url, "renewal information without a window")
    start, end = _time(answer, window.get("start")), _time(answer, window.get("end"))
    if end <= start:
        raise no_acme(answer.url, "a renewal window that ends before it begins")
    wait = _OTHERWISE if answer.retry_after is None else min(max(answer.retry_after, _SOONEST), _LATEST)
    explanation = document.get("explanationURL")
    shown = explanation if isinstance(explanation, str) and _URL.fullmatch(explanation) else ""
    return Window(start, end, now + int(wait * 1e6), shown)


def _time(answer: Answer, text: Any) -> int:
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        raise no_acme(answer.url, "a renewal window without its times") from None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e6)
