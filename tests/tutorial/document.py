"""The tutorial as a script: what is typed where, and what is seen then.

The info strings of its blocks say where they belong; a reader sees only the first word's colours:

    ```sh             typed in a terminal of the server
    ```sh laptop      typed on the other machine
    ```sh both        typed on the one and then on the other
    ```sh server      typed in the server's own terminal, and left running until `<!-- Ctrl-C -->`
    ```yaml FILE      written into FILE on the server, in the folder where the reader is
    ```url laptop     opened in a browser on the other machine

The word `fails` after these says that the last command ends with an error. A `text` or `json` block belongs to the
block before it, and is what is seen then. In it `...` stands for what varies or is left out: within a line for any
text, alone on a line for any lines, none included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_PART = re.compile(r"^```(?P<info>[^\n]+)\n(?P<code>.*?)^```$|^<!-- (?P<event>[^\n]+) -->$", re.DOTALL | re.MULTILINE)
_SHOWN = {"text", "json"}
CTRL_C = "Ctrl-C"


@dataclass
class Step:
    """One block and what is shown below it. *line* is the block's first line in the page, for messages."""

    line: int
    kind: str
    words: tuple[str, ...]
    code: str
    shown: str | None = None

    @property
    def laptop(self) -> bool:
        return "laptop" in self.words

    @property
    def fails(self) -> bool:
        return "fails" in self.words


def read(page: Path) -> list[Step]:
    """Every step of *page* in order; AssertionError where the page is not written as the module says."""
    text = page.read_text("utf-8")
    steps: list[Step] = []
    for part in _PART.finditer(text):
        line = text.count("\n", 0, part.start()) + 2
        if part["event"]:
            assert part["event"] == CTRL_C, f"line {line}: unknown event {part['event']}"
            steps.append(Step(line, CTRL_C, (), ""))
            continue
        kind, *words = part["info"].split()
        if kind in _SHOWN:
            assert [step.shown for step in steps[-1:]] == [None], f"line {line}: what is shown belongs to no block"
            steps[-1].shown = part["code"]
        else:
            assert kind in {"sh", "yaml", "url"}, f"line {line}: {kind} is no block of the tutorial"
            steps.append(Step(line, kind, tuple(words), part["code"]))
    return steps


def matches(shown: str, seen: str) -> bool:
    """Whether *seen* is what the page shows, blanks at the ends of lines aside."""
    lines = [line.rstrip() for line in shown.strip().splitlines()]
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else r"[^\n]*?".join(map(re.escape, line.split("..."))) + r"\n" for line in lines
    )
    return re.fullmatch(pattern, plain(seen)) is not None


def plain(seen: str) -> str:
    """What a terminal showed, without colours and movements, and without blanks at the ends of its lines."""
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()=>78].?", "", re.sub(r"\r+\n", "\n", seen))
    lines = [line.rpartition("\r")[2].rstrip() for line in text.strip().split("\n")]
    return "".join(f"{line}\n" for line in lines).lstrip("\n")
