"""Every command tells about itself: a sentence, options, an example."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile

import click
import pytest

from moorage.cli.main import moorage
from scripts.reference import all_commands
from tests.docs.markdown import pages


@pytest.fixture(scope="module")
def contexts() -> list[click.Context]:
    """The whole tree of commands."""
    return list(all_commands())


def test_all_commands_are_there(contexts: list[click.Context]) -> None:
    """The commands that README.md and the how-to pages speak of exist, and the walk finds those in groups too."""
    paths = {context.command_path for context in contexts}

    words = ("serve", "htpasswd", "user", "ls", "rm", "check", "config", "version")
    user = ("add", "passwd", "list", "disable", "enable", "remove")
    cert = ("obtain", "renew", "list", "show", "import", "export")

    groups = {f"moorage user {word}" for word in user} | {f"moorage cert {word}" for word in cert}
    assert paths >= {f"moorage {word}" for word in words} | groups


def test_every_command_begins_its_help_with_a_sentence(contexts: list[click.Context]) -> None:
    """What a command does is said in one sentence, which is also its line in the list of commands."""
    help_texts = {context.command_path: (context.command.help or "").partition("\n\n")[0] for context in contexts}

    assert [path for path, text in help_texts.items() if not re.fullmatch(r"[A-Z].*\.", text, re.DOTALL)] == []


def test_every_command_has_an_example_of_itself(contexts: list[click.Context]) -> None:
    """--help ends with an example that can be copied; a group's is one of its commands."""
    epilogs = {context.command_path: context.command.epilog or "" for context in contexts}

    examples = {path: re.search(rf"Examples?:.*\b{path}\b", text, re.DOTALL) for path, text in epilogs.items()}

    assert [path for path, example in examples.items() if example is None] == []


def test_every_option_is_explained(contexts: list[click.Context]) -> None:
    """No option is only a name."""
    silent = [
        f"{context.command_path} {parameter.opts[0]}"
        for context in contexts
        for parameter in context.command.params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
    ]

    assert silent == []


def _documented() -> Iterator[list[str]]:
    """The words of every call of `moorage` in the code blocks of all pages and in the examples of all commands."""
    texts = [code for page in pages() for language, code in page.code_blocks if language in {"sh", "ini"}]
    texts += [context.command.epilog or "" for context in all_commands()]
    for line in "\n".join(texts).replace("\\\n", " ").splitlines():
        if served := re.fullmatch(r"make serve ARGS='(.*)'", line):
            yield ["serve", *shlex.split(served[1])]
        elif called := re.search(r"(?:^|[ =|]|bin/)moorage (?!moorage )([a-z].*)", line):
            yield list(takewhile(lambda word: word not in {"|", ">", "<", "&&"}, shlex.split(called[1])))


def _unknown(words: list[str]) -> str:
    """What the parser of the command says against these words; empty if nothing."""
    command: click.Command = moorage
    context = click.Context(command, **command.context_settings)
    while isinstance(command, click.Group):
        child = command.get_command(context, words[0]) if words else None
        if child is None:
            return f"no such command: {words[:1]}"
        command, words = child, words[1:]
        context = click.Context(command, parent=context, **command.context_settings)
    try:
        command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        return error.format_message()
    return ""


def test_what_the_pages_say_to_type_is_understood() -> None:
    """Each call of `moorage` in the documentation and in --help names a command and options that exist."""
    calls = list(_documented())

    refused = {shlex.join(words): said for words in calls if (said := _unknown(words))}

    assert len(calls) > 30
    assert refused == {}
