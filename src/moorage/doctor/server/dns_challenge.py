"""What dns-01 needs on this machine: the programs, packages and servers that the settings name."""

from __future__ import annotations

import importlib.util
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from moorage.doctor.accounts import Account, acting_as
from moorage.doctor.finding import Finding, ok, wrong
from moorage.settings.certificates import Dns


def look_at_writer(dns: Dns, user: Account) -> Iterator[Finding]:
    """Whether the TXT record can be tried at all, by the server's *user*."""
    if dns.method == "hook":
        found = [path for path in (dns.auth_hook, dns.cleanup_hook) if path is not None]
        troubles = [finding for path in found if (finding := _judge_hook(path, user)) is not None]
        yield from troubles
        if not troubles:
            yield ok(f"{' and '.join(map(str, found))} can be run")
    elif dns.method == "provider":
        if importlib.util.find_spec("lexicon") is None:
            yield wrong(
                f"acme.dns.provider is {dns.provider}, and dns-lexicon is not installed",
                "No certificate can be got or renewed.",
                "pip install 'moorage[dns]'",
            )
        else:
            yield ok(f"dns-lexicon is installed, for {dns.provider}")
    elif dns.method == "rfc2136":
        yield ok(f"updates go to {dns.server}" + (f", signed by the key {dns.key_name}" if dns.key_name else ""))


def _judge_hook(path: Path, user: Account) -> Finding | None:
    quoted = shlex.quote(str(path))
    with acting_as(user):
        there = path.is_file() if os.access(path.parent, os.X_OK, effective_ids=True) else None
        may = os.access(path, os.X_OK, effective_ids=True)
    if may and there:
        return None
    if there is False:
        what, remedy = "is missing", f"ls -l {shlex.quote(str(path.parent))}"
    else:
        what, remedy = f"cannot be run by {user.name}", f"sudo chmod 755 {quoted}; namei -l {quoted}"
    return wrong(f"the hook {path} {what}", "No certificate can be got or renewed.", remedy, path=str(path))
