"""The log of what happens beside requests, as JSON or text lines on standard error."""

from __future__ import annotations

import logging
import sys
import time

import orjson

_LONGEST = 2000


class _Formatter(logging.Formatter):
    """One line per record; a traceback is a field of it."""

    def __init__(self, *, text: bool, fields: dict[str, str]) -> None:
        super().__init__()
        self._text = text
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        message = record.getMessage()[:_LONGEST]
        trace = self.formatException(record.exc_info) if record.exc_info else None
        if self._text:
            line = f"{stamp} {record.levelname.lower():7} {message}"
            return f"{line}\n{trace}" if trace else line
        facts: dict[str, object] = {
            "time": stamp,
            "level": record.levelname.lower(),
            "event": "message",
            "logger": record.name,
            "message": message,
        }
        if trace:
            facts["traceback"] = trace
        return orjson.dumps(facts | self._fields).decode()


def set_up(level: str, *, text: bool, fields: dict[str, str]) -> None:
    """Send everything from *level* on to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(text=text, fields=fields))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(getattr(logging, level.upper()))
    # Its warnings are of connections that ended while something was written to them, which is everyday.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
