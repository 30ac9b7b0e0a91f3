"""What one kind of client needs: its lines, and what to know about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NO_RESTART = "Nothing has to be restarted."


@dataclass(frozen=True, slots=True)
class Step:
    """*install* and *undo* are whole blocks to paste into a shell; *use* shows the client's own commands after it.

    *why* says where the client looks. *restart* says what has to be restarted, or begins with
    `NO_RESTART`.
    """

    key: str
    title: str
    why: str
    install: str
    undo: str
    restart: str = NO_RESTART
    use: str = ""
    language: Literal["sh", "powershell"] = "sh"
