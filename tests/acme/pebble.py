"""Let's Encrypt's own test server, Pebble, as a process on loopback, with a DNS server that a test can rewrite."""

from __future__ import annotations

import json
import os
import random
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.certificates import Authority
from tests.programs import need

START_SECONDS = 60.0
DEFAULT_PROFILES = {
    "default": {"description": "Ninety days", "validityPeriod": 90 * 86400},
    "shortlived": {"description": "Six days", "validityPeriod": 6 * 86400},
}


def quiet_port(address: str = "127.0.0.1") -> int:
    """A free port that no outgoing connection takes meanwhile, as those of the ephemeral range may be (ip(7))."""
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind((address, port))
                udp.bind((address, port))
            except OSError:
                continue
            return port


class Dns:
    """The answers of pebble-challtestsrv. Every name is 127.0.0.1, without IPv6, until a test says otherwise.

    *server* is where it answers, `ADDRESS:PORT`, by UDP and TCP. Names are written without the final dot.
    """

    def __init__(self, port: int, management: int, address: str = "127.0.0.1") -> None:
        self.port = port
        self.server = f"{address}:{port}"
        self._management = f"http://127.0.0.1:{management}"

    def address(self, host: str, *addresses: str) -> None:
        """A and AAAA records of *host*, in place of those before; none of a kind: the default."""
        for kind, mine in (("a", [a for a in addresses if ":" not in a]), ("aaaa", [a for a in addresses if ":" in a])):
            self.post(f"clear-{kind}", host=host)
            if mine:
                self.post(f"add-{kind}", host=host, addresses=mine)

    def txt(self, host: str, value: str | None) -> None:
        """One more TXT record of *host*; None: no records."""
        if value is None:
            self.post("clear-txt", host=f"{host}.")
        else:
            self.post("set-txt", host=f"{host}.", value=value)

    def servfail(self, host: str, *, on: bool = True) -> None:
        """Whether every query for *host* fails."""
        self.post("set-servfail" if on else "clear-servfail", host=host)

    def caa(self, host: str, issuer: str | None) -> None:
        """Only *issuer* may issue for *host*; None: everybody."""
        if issuer is None:
            self.post("clear-caa", host=host)
        else:
            self.post("add-caa", host=host, policies=[{"tag": "issue", "value": issuer}])

    def cname(self, host: str, target: str | None) -> None:
        """*host* is another name of *target*; None: no longer."""
        if target is None:
            self.post("clear-cname", host=host)
        else:
            self.post("set-cname", host=host, target=target)

    def default(self, ipv4: str) -> None:
        """The address of every name without records of its own; the empty string: none."""
        self.post("set-default-ipv4", ip=ipv4)

    def post(self, path: str, **body: Any) -> None:
        """One call of the management interface (cmd/pebble-challtestsrv/README.md in Pebble's module)."""
        request = urllib.request.Request(f"{self._management}/{path}", json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200


class Pebble:
    """Pebble and pebble-challtestsrv on free ports of 127.0.0.1; a context manager.

    - *folder*: for its configuration, certificates and log.
    - *http_port*, *tls_port*: where http-01 and tls-alpn-01 are validated; free ones by default, on which nothing
      listens until the test does.
    - *nonce_reject*: percent of good nonces that are refused; *authz_reuse*: percent of valid authorizations that
      serve again.
    - *always_valid*: no challenge is validated, all are fine.
    - *external_accounts*: key identifiers with their MAC keys (base64url); given, an account needs one of them.
    - *profiles*: by name, with `description` and `validityPeriod` in seconds.
    - *blocked*: domains that are refused.
    - *retry_after*: seconds between polls that it asks for.
    - *dns_server*: `address:port` of another DNS server to validate by, in place of `dns`.
    - *dns_address*, *dns_port*: where `dns` answers, for other programs than Pebble; else a free port of loopback.

    It keeps no state: after `stop()` and `start()`, on the same ports, all accounts and orders are forgotten and the
    roots are new.
    """

    def __init__(
        self,
        folder: Path,
        *,
        http_port: int | None = None,
        tls_port: int | None = None,
        nonce_reject: int = 0,
        authz_reuse: int = 0,
        always_valid: bool = False,
        external_accounts: Mapping[str, str] | None = None,
        profiles: Mapping[str, Mapping[str, Any]] = DEFAULT_PROFILES,
        blocked: Sequence[str] = (),
        retry_after: int = 1,
        dns_server: str | None = None,
        dns_address: str = "127.0.0.1",
        dns_port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._programs = need("pebble"), need("pebble-challtestsrv")
        self.folder = folder
        authority = Authority(folder / "https", f"HTTPS of {folder.name}")
        self._pair = authority.issue("localhost", "127.0.0.1")
        self.ca_file = authority.path
        self.http_port = http_port or quiet_port()
        self.tls_port = tls_port or quiet_port()
        self.port, self.management_port = quiet_port(), quiet_port()
        self.directory = f"https://localhost:{self.port}/dir"
        self.management = f"https://localhost:{self.management_port}"
        self.log = folder / "pebble.log"
        self._dns_management = quiet_port()
        self.dns = Dns(dns_port or quiet_port(), self._dns_management, dns_address)
        self._dns_server = dns_server or self.dns.server
        self._environment = {
            "PEBBLE_WFE_NONCEREJECT": str(nonce_reject),
            "PEBBLE_AUTHZREUSE": str(authz_reuse),
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_VA_ALWAYS_VALID": "1" if always_valid else "0",
            **(environment or {}),
        }
        self._configuration = {
            "pebble": {
                "listenAddress": f"127.0.0.1:{self.port}",
                "managementListenAddress": f"127.0.0.1:{self.management_port}",
                "certificate": str(self._pair.certificate),
                "privateKey": str(self._pair.key),
                "httpPort": self.http_port,
                "tlsPort": self.tls_port,
                "externalAccountBindingRequired": bool(external_accounts),
                "externalAccountMACKeys": dict(external_accounts or {}),
                "domainBlocklist": list(blocked),
                "retryAfter": {"authz": retry_after, "order": retry_after},
                "keyAlgorithm": "ecdsa",
                "profiles": {name: dict(profile) for name, profile in profiles.items()},
            }
        }
        self._pebble: subprocess.Popen[bytes] | None = None
        self._challenges: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts what does not run, and returns once both answer."""
        if self._challenges is None:
            options = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""]
            places = ["-dnsserver", self.dns.server, "-management", f"127.0.0.1:{self._dns_management}"]
            self._challenges = self._run([self._programs[1], *options, *places])
            self._await(self._challenges, self.dns.port, self.dns.server.rpartition(":")[0])
            self._await(self._challenges, self._dns_management)
        if self._pebble is None:
            path = self.folder / "pebble.json"
            path.write_text(json.dumps(self._configuration))
            self._pebble = self._run([self._programs[0], "-config", str(path), "-dnsserver", self._dns_server])
            self._await(self._pebble, self.port)
            self._await(self._pebble, self.management_port)
        return self

    def stop(self) -> None:
        """Stops Pebble, as an outage does; the DNS goes on. `start()` brings it back on the same ports."""
        _end(self._pebble)
        self._pebble = None

    def close(self) -> None:
        """Stops both."""
        self.stop()
        _end(self._challenges)
        self._challenges = None

    def roots(self) -> bytes:
        """The PEM root of the certificates that it issues; another one after each start."""
        return self._management("/roots/0")

    def set_window(self, chain: bytes, start: str, end: str, explanation: str = "") -> None:
        """When the leaf of *chain* shall be renewed from now on; times as in RFC 3339, 2026-01-02T03:04:05Z."""
        answer = {"suggestedWindow": {"start": start, "end": end}}
        self.set_renewal_info(chain, json.dumps(answer | ({"explanationURL": explanation} if explanation else {})))

    def set_renewal_info(self, chain: bytes, answer: str) -> None:
        """What renewalInfo answers for the leaf of *chain*: any text."""
        body = {"certificate": chain.decode(), "ariResponse": answer}
        self._management("/set-renewal-info/", json.dumps(body).encode())

    def count(self, text: str) -> int:
        """How often *text* is in its log; "There are now 3 orders in the db" and the like tell what was made."""
        return self.log.read_text(errors="replace").count(text)

    def _management(self, path: str, body: bytes | None = None) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(self.management + path, body, timeout=20, context=context) as response:
            answer: bytes = response.read()
            return answer

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={"PATH": os.environ.get("PATH", os.defpath), **self._environment},
            )

    def _await(self, process: subprocess.Popen[bytes], port: int, address: str = "127.0.0.1") -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection((address, port), 1).close()
                return
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"nothing answers at port {port}\n{self.log.read_text()[-3000:]}") from None
                time.sleep(0.02)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is None:
        return
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
