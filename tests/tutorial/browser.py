"""A real Chromium without a window, by its DevTools protocol over a pipe."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.programs import need, readable

SECONDS = 60.0
POLICIES = Path("/etc/chromium/policies/managed")
# Descriptors 3 and 4 are where --remote-debugging-pipe listens and answers.
_PIPES = 'in=$1 out=$2; shift 2; exec "$@" 3<&"$in" 4>&"$out"'


@dataclass
class Visit:
    """What a person sees who opens an address: who *asks* for a password, and then the page."""

    asks: list[dict[str, str]] = field(default_factory=list)
    text: str = ""
    media_type: str = ""


class Chromium:
    """The browser, run by *prefix*, with its profile in *folder*; a context manager."""

    def __init__(self, prefix: Sequence[str], folder: Path) -> None:
        ours, self._write = os.pipe()
        self._read, theirs = os.pipe()
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
        command = [need("chromium"), *options, f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank"]
        self._log = (folder.parent / "chromium.log").open("wb")
        self._process = subprocess.Popen(
            [*prefix, "bash", "-c", _PIPES, "bash", str(ours), str(theirs), *command],
            pass_fds=(ours, theirs),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder.parent)},
        )
        os.close(ours)
        os.close(theirs)
        self._number = 0
        self._buffer = b""
        self._deadline = 0.0

    def visit(self, url: str, user: str, password: str) -> Visit:
        """Open *url* in a new tab, log in where it asks, and wait until the page is there."""
        self._deadline = time.monotonic() + SECONDS
        visit = Visit()
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime"):
            self._call(f"{domain}.enable", session)
        self._call("Fetch.enable", session, handleAuthRequests=True)
        self._send("Page.navigate", session, url=url)
        navigation = self._number
        loaded = False
        while not loaded:
            message = self._next()
            method, parameters = message.get("method"), message.get("params", {})
            if message.get("id") == navigation:
                error = message["result"].get("errorText")
                if error == "net::ERR_NETWORK_CHANGED":
                    # A container's network went away just now. The browser would reload by itself, somewhat later.
                    visit.asks.clear()
                    self._send("Page.navigate", session, url=url)
                    navigation = self._number
                    continue
                # A download, or no connection.
                assert error is None, error
            elif method == "Fetch.requestPaused":
                self._send("Fetch.continueRequest", session, requestId=parameters["requestId"])
            elif method == "Fetch.authRequired":
                visit.asks.append(parameters["authChallenge"])
                answer = {"response": "ProvideCredentials", "username": user, "password": password}
                request = parameters["requestId"]
                self._send("Fetch.continueWithAuth", session, requestId=request, authChallengeResponse=answer)
            loaded = method == "Page.loadEventFired"
        visit.text = self._evaluate(session, "document.body.innerText")
        visit.media_type = self._evaluate(session, "document.contentType")
        return visit

    def _evaluate(self, session: str, expression: str) -> str:
        return str(self._call("Runtime.evaluate", session, expression=expression)["result"]["value"])

    def _call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        self._send(method, session, **parameters)
        while (message := self._next()).get("id") != self._number:
            pass
        assert "error" not in message, f"{method}: {message['error']}"
        result: dict[str, Any] = message["result"]
        return result

    def _send(self, method: str, session: str = "", **parameters: Any) -> None:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = self._deadline - time.monotonic()
            ready = left > 0 and readable(self._read, left)
            data = os.read(self._read, 65536) if ready else b""
            assert data, f"Chromium says nothing: {Path(self._log.name).read_text(errors='replace')[-2000:]}"
            self._buffer += data
        first, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        return message

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._log.close()


def trusting(certificate: bytes) -> str:
    """The policy by which Chromium trusts the authority *certificate* (PEM) as the system's own: CACertificates."""
    lines = certificate.decode().strip().splitlines()
    return json.dumps({"CACertificates": [base64.b64encode(base64.b64decode("".join(lines[1:-1]))).decode()]})
