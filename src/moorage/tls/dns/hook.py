"""dns-01 by a program of the administrator's, with the environment that certbot gives its manual hooks."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Final

from moorage.errors import CertificateFailed
from moorage.tls.dns.records import Record

_SECONDS: Final = 300.0
"""For one run. Hooks wait for slow providers; arbitrary."""
_MOST_OUTPUT: Final = 64 * 1024
_MOST_WORDS: Final = 600


class Hook:
    """Runs *auth_hook* to put a record, and *cleanup_hook*, if there is one, to take it away.

    They get `CERTBOT_DOMAIN`, `CERTBOT_VALIDATION`, `CERTBOT_TOKEN`, `CERTBOT_ALL_DOMAINS` and
    `CERTBOT_REMAINING_CHALLENGES` (always 0: one name at a time), the latter also `CERTBOT_AUTH_OUTPUT`, which is what
    the former printed; both run without a shell and without input, in the folder /.
    """

    def __init__(self, auth_hook: Path, cleanup_hook: Path | None = None, seconds: float = _SECONDS) -> None:
        self._auth_hook, self._cleanup_hook, self._seconds = auth_hook, cleanup_hook, seconds

    def put(self, record: Record) -> str:
        """See Writer."""
        return self._run("acme.dns.auth_hook", self._auth_hook, record, {})

    def remove(self, record: Record, output: str) -> None:
        """See Writer."""
        if self._cleanup_hook is not None:
            self._run("acme.dns.cleanup_hook", self._cleanup_hook, record, {"CERTBOT_AUTH_OUTPUT": output})

    def _run(self, setting: str, program: Path, record: Record, more: dict[str, str]) -> str:
        environment = {
            **os.environ,
            "CERTBOT_DOMAIN": record.domain,
            "CERTBOT_VALIDATION": record.value,
            "CERTBOT_TOKEN": record.token,
            "CERTBOT_ALL_DOMAINS": record.domain,
            "CERTBOT_REMAINING_CHALLENGES": "0",
            **more,
        }
        try:
            process = subprocess.Popen(
                [program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise _failed(f"{setting} {program} cannot be run: {error.strerror}", _not_run(error)) from error
        with process:
            try:
                output, errors = process.communicate(timeout=self._seconds)
            except subprocess.TimeoutExpired:
                # With everything it started, which would keep the pipes open.
                os.killpg(process.pid, signal.SIGKILL)
                raise _failed(
                    f"{setting} {program} has not ended after {self._seconds:.0f} seconds",
                    f"run it by hand with CERTBOT_DOMAIN={record.domain} CERTBOT_VALIDATION=test",
                ) from None
        if process.returncode != 0:
            said = _words(errors) or _words(output)
            raise _failed(
                f"{setting} {program} {_ended(process.returncode)} for {record.domain}" + (f": {said}" if said else ""),
                f"run it by hand with CERTBOT_DOMAIN={record.domain} CERTBOT_VALIDATION=test",
            )
        # As a shell's $(...) does. No variable can hold a zero byte.
        return output[:_MOST_OUTPUT].decode("utf-8", "replace").replace("\0", "").strip()


def _ended(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"exited with {code}"


def _not_run(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "chmod +x it, and let the user of the server reach it"
    if isinstance(error, FileNotFoundError):
        return "is the path right, and is there the interpreter that its first line names?"
    return "its first line must name an interpreter, as in #!/bin/sh"


def _words(output: bytes) -> str:
    """The end of what a program said, where errors stand, on one line."""
    text = " ".join(output[-_MOST_OUTPUT:].decode("utf-8", "replace").split())
    return text if len(text) <= _MOST_WORDS else "..." + text[-_MOST_WORDS:]


def _failed(message: str, remedy: str) -> CertificateFailed:
    return CertificateFailed(message, kind="dns", remedy=remedy)
