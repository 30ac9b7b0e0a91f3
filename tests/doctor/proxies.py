"""Real proxies and registries of others, as the doctor meets them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.certificates import Pair
from tests.programs import need
from tests.servers import answers, free_port, write_htpasswd

SECONDS = 30.0

RIGHT = """
    client_max_body_size 0;
    location /v2/ {
        proxy_pass http://upstream_registry;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_request_buffering off;
        proxy_buffering off;
    }
"""
"""A site's directives as docs/how-to/nginx.md has them."""


class Program:
    """A server program; also a context manager: started until it answers, and killed with its whole group."""

    def __init__(
        self, command: Sequence[object], port: int, scheme: str, log: Path, environment: Mapping[str, str] | None
    ) -> None:
        self.command, self.port, self.scheme, self.log = [str(word) for word in command], port, scheme, log
        self.environment = dict(environment or {})
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """By the name that the table of names has."""
        return f"{self.scheme}://registry.test:{self.port}"

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        deadline = time.monotonic() + SECONDS
        while not answers("127.0.0.1", self.port, self.scheme):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise AssertionError(f"{self.command} does not answer\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()


def nginx(
    folder: Path, site: str, *upstreams: int, pair: Pair | None = None, outside: str = "", port: int | None = None
) -> Program:
    """nginx with one site of these directives; `upstream_registry` is the ports *upstreams* in turn, *outside* stands
    beside the site."""
    folder.mkdir(parents=True)
    port = port or free_port()
    tls = f"ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};" if pair else ""
    servers = "".join(f"server 127.0.0.1:{one}; " for one in upstreams or (1,))
    temporary = "".join(
        f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
{"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 64; }}
http {{
    access_log off; {temporary}
    upstream upstream_registry {{ {servers} }}
    {outside.replace("PORT", str(port))}
    server {{
        listen 127.0.0.1:{port}{" ssl" if pair else ""};
        server_name registry.test;
        {tls}
        {site}
    }}
}}
"""
    )
    command = [need("nginx"), "-c", configuration, "-e", folder / "error.log"]
    return Program(command, port, "https" if pair else "http", folder / "error.log", None)


def caddy(folder: Path, text: str, port: int, pair: Pair) -> Program:
    """Caddy with this Caddyfile."""
    folder.mkdir(parents=True)
    (folder / "Caddyfile").write_text(text)
    command = [need("caddy"), "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"]
    homes = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    assert pair.certificate.exists()
    return Program(command, port, "https", folder / "log", homes)


def distribution(
    folder: Path, program: str, *, users: Mapping[str, str] | None = None, pair: Pair | None = None, delete: bool = True
) -> Program:
    """distribution's own registry: *program* is `docker-registry` (2.8) or `registry` (3.1)."""
    folder.mkdir(parents=True)
    port = free_port()
    lines = [
        "version: 0.1",
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: {str(delete).lower()}}}}}",
        f"http: {{addr: '127.0.0.1:{port}', secret: sealed" + (_tls(pair) if pair else "") + "}",
    ]
    if users:
        write_htpasswd(folder / "htpasswd", users)
        lines.append(f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}")
    (folder / "config.yml").write_text("\n".join(lines))
    command = [need(program), "serve", folder / "config.yml"]
    return Program(command, port, "https" if pair else "http", folder / "log", {"OTEL_TRACES_EXPORTER": "none"})


def _tls(pair: Pair) -> str:
    return f", tls: {{certificate: {pair.certificate}, key: {pair.key}}}"
