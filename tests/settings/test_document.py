from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import ConfigurationError
from moorage.settings.document import LARGEST_FILE, Mapping, Scalar, descend, parse_document, plain, read_document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("a: 1\nb: [x, 'y']\n", {"a": "1", "b": ["x", "y"]}),
        (
            "a: on\nb: 022\nc: 22:22\nd: 2020-01-01\ne: 1e3\n",
            {"a": "on", "b": "022", "c": "22:22", "d": "2020-01-01", "e": "1e3"},
        ),
        (
            "a:\nb: ~\nc: null\nd: ''\ne: 'null'\nf: none\n",
            {"a": None, "b": None, "c": None, "d": "", "e": "null", "f": "none"},
        ),
        ("addr: :5000\nhost: 0.0.0.0:443\n", {"addr": ":5000", "host": "0.0.0.0:443"}),
        ("x: &a [1]\ny: *a\n", {"x": ["1"], "y": ["1"]}),
        ("x: &a {p: 1, q: 2}\ny: {<<: *a, q: 3}\n", {"x": {"p": "1", "q": "2"}, "y": {"q": "3", "p": "1"}}),
        ("y: {<<: [{p: 1}, {p: 2, q: 2}]}\n", {"y": {"p": "1", "q": "2"}}),
        ("a: !!str 5\n", {"a": "5"}),
        ("- 1\n- [2, {a: b}]\n", ["1", ["2", {"a": "b"}]]),
        ("\ufeffa: 1\n", {"a": "1"}),
    ],
)
def test_documents_are_read_without_guessing_types(text: str, value: object) -> None:
    """Scalars stay text; only what is empty, `~` or `null` is nothing; anchors and merges hold."""
    assert plain(parse_document(text, "f").root) == value


def test_every_node_knows_its_line() -> None:
    """Keys, values and items each remember where they stand."""
    root = parse_document("a:\n  b: x\n  c:\n    - y\n    - z\n", "f").root

    assert isinstance(root, Mapping)
    assert root.keys["a"].line == 1
    assert descend(root, ("a", "b")).origin.line == 2
    assert descend(root, ("a", "c", 1)).origin.line == 5
    assert descend(root, ("a", "c", 7)).origin.line == 4


def test_keys_given_again_are_told_with_their_lines() -> None:
    """The last one counts, and the reader learns of it."""
    document = parse_document("a: 1\nb: {c: 1, c: 2}\na: 3\n", "f")

    assert plain(document.root) == {"a": "3", "b": {"c": "2"}}
    assert [(key, origin.line) for key, origin in document.duplicates] == [("c", 2), ("a", 3)]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (BOMB, "more than 20000 values"),
        ("[" * 40, "nested deeper"),
        ("[" * 50_000, "nested deeper"),
        ("{a: " * 50_000, "nested deeper"),
        ("".join(f"{'  ' * depth}a:\n" for depth in range(60)), "nested deeper"),
        ("a: &a " + "[" * 20 + "]" * 20 + "\nb: " + "[" * 20 + "*a" + "]" * 20, "nested deeper"),
        ("a: &a [*a]\n", "names nothing"),
        ("a: *b\n", "names nothing"),
        ("a: !!python/object/apply:os.system [id]\n", "tag .* means nothing"),
        ("!!python/name:os.system ''", "tag .* means nothing"),
        ("a: !secret x\n", "tag !secret"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("? [a]\n: b\n", "a key is text"),
        ("a: {<<: 3}\n", "takes a map"),
        ("a: [1\n", "not YAML"),
        ("a: b: c\n", "not YAML"),
        ("\ta: b\n", "not YAML"),
        ('a: "\\UFFFFFFFF"\n', "not YAML"),
        ('a: "\\ud800"\n', "half of a character"),
        ('a: "\\0"\n', "NUL"),
        ("a: \x00\n", "not YAML"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1\n", "not YAML"),
    ],
)
def test_hostile_documents_are_refused(text: str, complaint: str) -> None:
    """Alias bombs, depth, recursion, foreign tags and broken text end in one sentence, quickly."""
    with pytest.raises(ConfigurationError, match=complaint):
        parse_document(text, "f")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        (b"a" * (LARGEST_FILE + 1), "larger than 1 MiB"),
        (b"\xff\xfea\x00:\x00 \x00\x00\xd8", "not YAML"),
        (b"a: \xff\xff\n", "not YAML"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    """The complaint begins with the file's name."""
    file = tmp_path / "moorage.yml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigurationError, match=complaint) as caught:
        read_document(file)

    assert str(caught.value).startswith(str(file))


def test_a_folder_and_an_impossible_name_are_no_files(tmp_path: Path) -> None:
    """What cannot be opened is told, not raised as the system's error."""
    for path in (tmp_path, Path("a\0b")):
        with pytest.raises(ConfigurationError):
            read_document(path)


@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"#%@`?,\n \t0~<\\x", max_size=200))
def test_any_bytes_are_a_document_or_refused(data: bytes | str) -> None:
    """The parser raises nothing but ConfigurationError, and what it returns is text, lists and maps."""
    try:
        root = parse_document(data, "f").root
    except ConfigurationError:
        return

    assert isinstance(plain(root), str | list | dict | None)
    assert not isinstance(root, Scalar) or "\0" not in root.text
