"""`moorage nginx`: a site for nginx in front of the registry, with the settings that belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from moorage.cli.settings_options import parse_domain
from moorage.errors import UserError
from moorage.settings.listen import TcpAddress, UnixAddress, parse_address

USER_HEADER = "X-Remote-User"
"""In which nginx tells who has given a right password."""
ACCEL_PREFIX = "/moorage-blobs/"
"""nginx's internal location for the files of blobs."""

# One line each for what people change; everything else is the same for all.
_SITE = """\
# Made by: {command}
# Put it into /etc/nginx/conf.d/{file}, then: nginx -t && systemctl reload nginx
#
# moorage.yml for it:
#
{settings}

upstream moorage {{
    server {upstream};
    # Connections to it are kept open.
    keepalive 32;
}}
{redirect}
server {{
{listen}
    server_name {domain};
{certificate}
    # Layers may have any size, and go through as they come instead of through this machine's disk.
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_buffering off;
    chunked_transfer_encoding on;

    # A large layer is flushed to the disk before it is acknowledged; a slow client may take its time.
    client_body_timeout 300s;
    send_timeout 300s;
    proxy_connect_timeout 10s;
    proxy_send_timeout 300s;
    proxy_read_timeout 900s;

    proxy_http_version 1.1;
    proxy_set_header Connection "";
    # With the port, if there is one; X-Forwarded-For is set and not appended to, since nobody stands before this proxy.
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    # Who has got through to here is who nginx says, whatever a client sends.
    proxy_set_header {header} {user};

    location / {{
        proxy_pass http://moorage;
{auth}    }}
{accel}{errors}}}
"""
_AUTH = """\
        auth_basic "{realm}";
        auth_basic_user_file {htpasswd};
        # The password has done its work.
        proxy_set_header Authorization "";
        # A header set here replaces all that are set above.
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header {header} $remote_user;
        # Clients look for it beside the challenge.
        add_header Docker-Distribution-Api-Version registry/2.0 always;
        proxy_hide_header Docker-Distribution-Api-Version;
        error_page 401 @unauthorized;
"""
_ERRORS = """
    location @unauthorized {
        internal;
        default_type application/json;
        add_header Docker-Distribution-Api-Version registry/2.0 always;
        return 401 '{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}';
    }
"""
_ACCEL = """
    # Moorage says which file, nginx sends it: it has to be able to read the folder.
    location {prefix} {{
        internal;
        alias {folder}/;
        sendfile on;
        tcp_nopush on;
        # What Moorage says of the blob, instead of what nginx thinks of the file.
        etag off;
        add_header ETag $upstream_http_etag always;
        add_header Docker-Content-Digest $upstream_http_docker_content_digest always;
        add_header Docker-Distribution-Api-Version registry/2.0 always;
        add_header X-Content-Type-Options nosniff always;
        add_header Content-Security-Policy $upstream_http_content_security_policy always;
    }}
"""


@dataclass(frozen=True, slots=True)
class Site:
    """What a site is made from; *folder* is the data folder where nginx sends blobs itself."""

    command: str
    domain: str
    upstream: str
    tls: bool
    certificate: Path
    key: Path
    htpasswd: Path | None
    folder: Path | None


def render(site: Site) -> str:
    """The whole file. Raises UserError for what nginx cannot be told."""
    for path in (site.certificate, site.key, site.htpasswd, site.folder):
        if path is not None and any(character in str(path) for character in "\"'{};\\$# \t\n"):
            raise UserError(f"{path}: nginx's configuration cannot name a path with blanks or one of \"'{{}};\\$#")
    auth = ""
    if site.htpasswd is not None:
        auth = _AUTH.format(realm="Moorage", htpasswd=site.htpasswd, header=USER_HEADER)
    listen = (
        ["    listen 443 ssl http2;", "    listen [::]:443 ssl http2;"]
        if site.tls
        else ["    listen 80;", "    listen [::]:80;"]
    )
    return _SITE.format(
        command=site.command,
        file=f"{site.domain}.conf",
        settings="\n".join(f"#   {line}" for line in _settings(site)),
        upstream=_server(site.upstream),
        redirect=_redirect(site.domain) if site.tls else "",
        listen="\n".join(listen),
        domain=site.domain,
        certificate=_certificate(site) if site.tls else "",
        header=USER_HEADER,
        user='""',
        auth=auth,
        accel=""
        if site.folder is None
        else _ACCEL.format(prefix=ACCEL_PREFIX, folder=site.folder / "docker/registry/v2"),
        errors=_ERRORS if site.htpasswd is not None else "",
    )


def _settings(site: Site) -> list[str]:
    """The lines of moorage.yml."""
    address = parse_address(site.upstream)
    peer = "unix" if isinstance(address, UnixAddress) else "127.0.0.1"
    lines = [f'listen: ["{site.upstream}"]', "http:"]
    lines += [f"  external_url: {'https' if site.tls else 'http'}://{site.domain}", f"  trusted_proxies: [{peer}]"]
    if site.folder is not None:
        lines.append(f"  accel_redirect: {ACCEL_PREFIX}")
    if site.htpasswd is not None:
        lines += ["auth:", "  kind: proxy", f"  proxy_header: {USER_HEADER}"]
    return lines


def _server(upstream: str) -> str:
    address = parse_address(upstream)
    return f"unix:{address.path}" if isinstance(address, UnixAddress) else str(address)


def _redirect(domain: str) -> str:
    return f"""
server {{
    listen 80;
    listen [::]:80;
    server_name {domain};
    # certbot's webroot: certbot certonly --webroot -w /var/www/html -d {domain}
    location /.well-known/acme-challenge/ {{
        root /var/www/html;
    }}
    location / {{
        return 308 https://$host$request_uri;
    }}
}}
"""


def _certificate(site: Site) -> str:
    return f"""
    ssl_certificate     {site.certificate};
    ssl_certificate_key {site.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:moorage:10m;
    ssl_session_tickets off;
"""


@click.command(
    epilog="Example: moorage nginx --domain registry.example.com --tls > /etc/nginx/conf.d/registry.example.com.conf"
)
@click.option("--domain", required=True, help="The name under which people reach the registry.")
@click.option("--tls", is_flag=True, help="nginx speaks TLS on port 443; without it plain HTTP on port 80.")
@click.option(
    "--certificate", type=click.Path(path_type=Path), help="With --tls: the certificate; certbot's by default."
)
@click.option("--key", type=click.Path(path_type=Path), help="With --tls: its key; certbot's by default.")
@click.option("--basic-auth", is_flag=True, help="nginx asks for the password, and tells Moorage who it was.")
@click.option(
    "--htpasswd",
    type=click.Path(path_type=Path),
    default=Path("/etc/nginx/registry.htpasswd"),
    show_default=True,
    help="With --basic-auth: the file of users.",
)
@click.option(
    "--upstream", default="127.0.0.1:5000", show_default=True, help="Where Moorage listens: host:port or unix:/path."
)
@click.option(
    "--send-blobs",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Let nginx send blobs itself from this data folder of Moorage.",
)
def nginx(
    *,
    domain: str,
    tls: bool,
    certificate: Path | None,
    key: Path | None,
    basic_auth: bool,
    htpasswd: Path,
    upstream: str,
    send_blobs: Path | None,
) -> None:
    """Print a site for nginx in front of the registry, and the settings that belong to it.

    Nothing is written and nothing is changed.
    """
    if (certificate is None) != (key is None):
        raise UserError("--certificate and --key are given together")
    if basic_auth and not tls:
        click.echo("moorage: passwords travel in the clear without --tls", err=True)
    name, address = parse_domain(domain), _upstream(upstream)
    live = Path("/etc/letsencrypt/live") / name
    site = Site(
        command=_command(name, tls=tls, basic_auth=basic_auth, upstream=address),
        domain=name,
        upstream=address,
        tls=tls,
        certificate=certificate or live / "fullchain.pem",
        key=key or live / "privkey.pem",
        htpasswd=htpasswd.absolute() if basic_auth else None,
        folder=send_blobs.absolute() if send_blobs else None,
    )
    click.echo(render(site), nl=False)


def _upstream(text: str) -> str:
    try:
        address = parse_address(text)
    except ValueError as error:
        raise UserError(f"--upstream {text!r}: {error}") from None
    if isinstance(address, TcpAddress) and not address.host:
        raise UserError(f"--upstream {text!r}: say which host, as in 127.0.0.1{text}")
    return str(address)


def _command(domain: str, *, tls: bool, basic_auth: bool, upstream: str) -> str:
    words = ["moorage nginx", f"--domain {domain}"]
    words += ["--tls"] if tls else []
    words += ["--basic-auth"] if basic_auth else []
    words += [] if upstream == "127.0.0.1:5000" else [f"--upstream {upstream}"]
    return " ".join(words)
