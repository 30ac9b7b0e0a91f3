"""The page as text: every line that is not to be pasted begins with `#`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from moorage.trust.place import Place
from moorage.trust.step import Step

_WIDTH = 100
_RULE = "# " + "-" * (_WIDTH - 2)
# For whoever pipes the page into a shell: nothing at all is done then.
_GUARD = "echo 'This page is to be read: copy the lines of your client from it.' >&2; exit 1"


def text_page(place: Place, steps: Sequence[Step], *, names: Sequence[str] = (), wrong: str = "") -> str:
    """*steps* for the registry at *place*, whose certificate is for *names*; *wrong*: the name that was asked for."""
    parts = [*_head(place, names, wrong), _GUARD]
    for step in steps:
        parts += _section(step)
    return "\n".join(parts) + "\n"


def _head(place: Place, names: Sequence[str], wrong: str) -> Iterable[str]:
    yield _RULE
    yield from _prose(f"How to trust the registry {place.label}")
    yield _RULE
    if wrong:
        yield from _prose(
            f"You asked for {wrong}, but the certificate is for {', '.join(names)}: these lines are for {place.label}."
        )
        yield "#"
    for paragraph in paragraphs(place):
        yield from _prose(paragraph)
        yield "#"
    yield from _prose(f"On a machine that has Moorage, all of this is one command: moorage trust {place.label}")


def paragraphs(place: Place) -> tuple[str, ...]:
    """What everybody has to know first; the HTML says the same."""
    why = (
        f"{place.label} has its certificate from a private authority of its own. A client that does not know it says"
        " x509: certificate signed by unknown authority. Give the client the authority's certificate, once."
    )
    what = (
        "Find your client, read its lines, and paste them into its terminal. They fetch the certificate, ask for its"
        " SHA-256 fingerprint, and write nothing unless the two agree."
    )
    fingerprint = (
        "The server shows the fingerprint on its own terminal when it starts, and by moorage cert authorities. Have it"
        " sent to you by a way that you trust: it is the one thing that nobody between you and the server can forge,"
        " and so it is not on this page. If there are several, give all of them, with commas between."
    )
    return why, what, fingerprint


def _section(step: Step) -> Iterable[str]:
    yield ""
    yield _RULE
    yield f"# {step.key}: {step.title}"
    yield from _prose(step.why)
    yield from _prose(f"Restart: {step.restart}")
    for line in step.use.splitlines():
        yield f"#   Then: {line}"
    yield _RULE
    yield ""
    yield step.install
    yield ""
    yield f"# To undo it ({step.key}):"
    yield ""
    yield step.undo


def _prose(text: str) -> Iterable[str]:
    for line in textwrap.wrap(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"
