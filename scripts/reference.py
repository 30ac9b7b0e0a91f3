"""Writes those parts of docs/reference that the code itself knows best; `make docs` runs it.

A part stands between `<!-- make docs: NAME -->` and `<!-- end -->`; what is around it is written by hand. With --check
nothing is written, and the exit code is 1 if a part is not what it would be.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from moorage.errors import RegistryError

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
PART = re.compile(r"(?<=<!-- make docs: )(?P<name>[a-z-]+) -->\n(?P<text>.*?)(?=<!-- end -->)", re.DOTALL)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _leaves(root: type[RegistryError]) -> Iterator[type[RegistryError]]:
    for child in root.__subclasses__():
        if child.__module__ == root.__module__:
            yield child
            yield from _leaves(child)


def _meaning(error: type[RegistryError]) -> str:
    """The docstring's first sentence, without what it says of the exception's own attributes."""
    return re.sub(r"; \*.*", ".", (error.__doc__ or "").partition("\n")[0])


def error_codes() -> str:
    """The table of every error that a client can get."""
    rows = ((f"`{error.code}`", str(error.status), _meaning(error), error.default) for error in _leaves(RegistryError))
    return _table(("Code", "Status", "Meaning", "Message"), rows)


PARTS: dict[str, Callable[[], str]] = {"error-codes": error_codes}


def renewed(page: str) -> str:
    """*page* with all its parts as the code has them now. Raises KeyError for a part that nobody knows."""
    return PART.sub(lambda part: f"{part['name']} -->\n\n{PARTS[part['name']]()}\n", page)


def main(arguments: list[str]) -> int:
    """Exit code 0, or 1 if a page is not current and was only to be checked."""
    stale = [
        page for page in sorted(REFERENCE.glob("*.md")) if renewed(page.read_text("utf-8")) != page.read_text("utf-8")
    ]
    for page in stale:
        if "--check" in arguments:
            print(f"docs/reference/{page.name} is not current: run `make docs`", file=sys.stderr)
        else:
            page.write_text(renewed(page.read_text("utf-8")), "utf-8")
            print(f"docs/reference/{page.name} written")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
