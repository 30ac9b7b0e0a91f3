"""Writes those parts of docs/reference that the code itself knows best; `make docs` runs it. (All of settings.md is
written by moorage.settings.reference.)

A part stands between `<!-- make docs: NAME -->` and `<!-- end -->`; what is around it is written by hand. With --check
nothing is written, and the exit code is 1 if a part is not what it would be.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from moorage.cli.exit_codes import EXIT_CODES, FOR_SYSTEMD, FOR_SYSTEMD_MEANING
from moorage.cli.main import moorage
from moorage.errors import RegistryError

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
COLUMNS = 100
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


def exit_codes() -> str:
    """The table of exit codes; 0 is everybody's, and 2 is click's."""
    rows = [(0, "done"), (2, "the command line cannot be read; nothing was done")]
    rows += [(code, meaning) for _, code, meaning in EXIT_CODES]
    rows.append((FOR_SYSTEMD, FOR_SYSTEMD_MEANING))
    return _table(("Code", "Meaning"), ((f"`{code}`", meaning) for code, meaning in sorted(set(rows))))


def all_commands(command: click.Command = moorage, parent: click.Context | None = None) -> Iterator[click.Context]:
    """The context of every command below and with *command*, groups before what they hold."""
    context = click.Context(command, info_name=command.name, parent=parent, **command.context_settings)
    context.terminal_width = COLUMNS
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from all_commands(child, context)


def commands() -> str:
    """What each command says with --help."""
    return "\n".join(
        f"## {context.command_path}\n\n```text\n{context.get_help().rstrip()}\n```\n" for context in all_commands()
    )


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "error-codes": error_codes,
    "exit-codes": exit_codes,
}


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
