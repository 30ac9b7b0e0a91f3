"""How the tutorial's blocks are read, and what counts as being shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tutorial.document import matches, plain, read


@pytest.mark.parametrize(
    ("shown", "seen"),
    [
        ("added ann\n", "added ann\r\n"),
        ("...\nLogin Succeeded\n", "Password: \r\n\r\nLogin Succeeded\r\n"),
        ("...\nLogin Succeeded\n", "Login Succeeded\n"),
        ("1: digest: sha256:... size: ...\n", "1: digest: sha256:abc size: 527\n"),
        ("a\n...\nb\n", "a\nb\n"),
        ("a\n...\nb\n", "a\n1\n2\nb\n"),
        ("ok\n", "\x1b[32mok\x1b[0m\n"),
        ("done\n", "10 %\r50 %\rdone\n"),
    ],
)
def test_what_is_shown(shown: str, seen: str) -> None:
    """Dots stand for text or for lines; colours, movements and blanks at the ends do not count."""
    assert matches(shown, seen)


@pytest.mark.parametrize(
    ("shown", "seen"),
    [
        ("added ann\n", "added bob\n"),
        ("added ann\n", "added ann\nwarning\n"),
        ("Login Succeeded\n...\n", "Password:\nLogin Succeeded\n"),
        ("a ... b\n", "a 1\n2 b\n"),
        ("size: 1.0\n", "size: 100\n"),
        ("a\n...\nb\n", "b\na\n"),
    ],
)
def test_what_is_not_shown(shown: str, seen: str) -> None:
    """Another text, a line more, another order."""
    assert not matches(shown, seen)


def test_a_terminal_as_a_person_reads_it() -> None:
    """A carriage return before the line's end does not empty the line."""
    assert plain("HTTP/1.1 200 OK\r\r\n\r\r\n{}\r\n") == "HTTP/1.1 200 OK\n\n{}\n"


def test_blocks_and_what_belongs_to_them(tmp_path: Path) -> None:
    """Where a block is typed stands behind its language, and what is seen below it."""
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```sh laptop fails\nfalse\n```\n\n```text\nno\n```\n\n<!-- Ctrl-C -->\n\n```sh\ntrue\n```\n"
    )

    first, event, last = read(page)

    assert (first.kind, first.laptop, first.fails, first.code, first.shown) == ("sh", True, True, "false\n", "no\n")
    assert event.kind == "Ctrl-C"
    assert (last.line, last.laptop, last.fails, last.code, last.shown) == (14, False, False, "true\n", None)


@pytest.mark.parametrize(
    "text",
    [
        "```text\nalone\n```\n",
        "```sh\na\n```\n```text\nb\n```\n```text\nc\n```\n",
        "```ruby\nputs\n```\n",
        "<!-- x -->\n",
    ],
)
def test_a_page_that_cannot_be_typed(tmp_path: Path, text: str) -> None:
    """What belongs to no block, and kinds of blocks that nobody types, are refused."""
    page = tmp_path / "page.md"
    page.write_text(text)

    with pytest.raises(AssertionError, match=r"^line \d+: "):
        read(page)
