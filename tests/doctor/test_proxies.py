"""Proxies that are set up wrongly, each in one way: the doctor names it. Set up rightly: it says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.doctor.finding import Finding, Verdict
from tests.certificates import Authority, Pair
from tests.doctor.fixtures import HOST, Table, options, the, troubles, walked
from tests.doctor.proxies import RIGHT, Program, caddy, distribution, nginx
from tests.servers import Moorage, free_port

LOGIN = ("ann", "correct horse")
USERS = dict([LOGIN])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs for the proxies."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    """A good certificate for the name."""
    return authority.issue(HOST)


@pytest.fixture(scope="module")
def moorage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moorage]:
    """The registry behind the proxies."""
    with Moorage(tmp_path_factory.mktemp("moorage"), users=USERS) as server:
        yield server


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """distribution 2.8, whose Locations are absolute, behind the proxies."""
    with distribution(tmp_path_factory.mktemp("classic") / "registry", "docker-registry", users=USERS) as server:
        yield server


def seen(server: Program, authority: Authority, login: tuple[str, str] | None = LOGIN, **more: object) -> list[Finding]:
    """What the doctor finds there."""
    return walked(options(server.url, login, ca_file=authority.path, **more))


def without(directive: str) -> str:
    """The right site without one of its directives."""
    assert directive in RIGHT
    return RIGHT.replace(directive, "")


def with_(*directives: str) -> str:
    """The right site with more directives in its location."""
    return RIGHT.replace("location /v2/ {", "location /v2/ {\n" + "\n".join(directives))


CATCH_ALL = 'location / { default_type text/html; return 200 "<!doctype html><title>Welcome</title>"; }'
LIVE = "proxy_pass http://upstream_registry;"

WRONG_SITES: dict[str, tuple[str, str, str, str, str]] = {
    "body limit": (
        without("client_max_body_size 0;"),
        "proxy",
        "wrong",
        "an upload of 2 MiB of known length is too large: 413 (Server: nginx",
        "client_max_body_size 0;",
    ),
    "buffering": (
        without("proxy_request_buffering off;"),
        "proxy",
        "warning",
        "bodies are collected on the way",
        "proxy_request_buffering off;",
    ),
    "authorization stripped": (
        with_('proxy_set_header Authorization "";'),
        "login",
        "wrong",
        "the password never arrives: something on the way strips the Authorization header (Server: nginx",
        "$http_authorization",
    ),
    "prefix": (
        RIGHT.replace("location /v2/", "location /registry/v2/"),
        "api",
        "wrong",
        "/v2/ is answered with 404 Not Found (Server: nginx",
        "location /v2/ {",
    ),
    "catch-all": (CATCH_ALL, "api", "wrong", "/v2/ is answered with 200", "location /v2/ {"),
    "login page": (
        "location / { return 302 https://sso.example.com/login?next=/v2/; }",
        "api",
        "wrong",
        "leads on to https://sso.example.com/login",
        "auth_request",
    ),
    "loop": (
        "location / { return 301 https://$http_host$request_uri; }",
        "api",
        "wrong",
        f"leads on to https://{HOST}",
        "X-Forwarded-Proto",
    ),
    "forbidden": ("location / { return 403; }", "api", "wrong", "403 Forbidden (Server: nginx", "curl -i"),
    "registry down": (
        RIGHT.replace("http://upstream_registry", "http://127.0.0.1:1"),
        "api",
        "wrong",
        "502 Bad Gateway (Server: nginx",
        "on the server: moorage doctor",
    ),
    "password of the proxy": (
        with_("auth_basic Private;", "auth_basic_user_file /dev/null;"),
        "api",
        "wrong",
        "the proxy itself asks for a password",
        "auth_basic",
    ),
    "no challenge": (
        with_("proxy_hide_header WWW-Authenticate;"),
        "api",
        "wrong",
        "401 comes without a challenge",
        "proxy_pass_header WWW-Authenticate;",
    ),
    "two challenges": (
        with_('add_header WWW-Authenticate "Bearer realm=\\"https://registry.test/token\\"" always;'),
        "api",
        "warning",
        "401 comes with 2 challenges: Basic, Bearer",
        "auth_basic",
    ),
    "no version": (
        with_("proxy_hide_header Docker-Distribution-Api-Version;"),
        "api",
        "warning",
        "Docker-Distribution-Api-Version is missing",
        "curl -i",
    ),
    "no location": (
        with_("proxy_hide_header Location;"),
        "push",
        "wrong",
        "an upload begins without a Location",
        "proxy_pass_header Location;",
    ),
    "no range": (
        with_("proxy_hide_header Range;"),
        "proxy",
        "wrong",
        "an upload of 2 MiB in chunks, as docker does, is answered with no Range header",
        "proxy_pass_header Range;",
    ),
    "no digest": (
        with_("proxy_hide_header Docker-Content-Digest;"),
        "pull",
        "warning",
        "the header Docker-Content-Digest is missing",
        "proxy_pass_header Docker-Content-Digest;",
    ),
    "ranges dropped": (
        with_('proxy_set_header Range "";'),
        "proxy",
        "warning",
        "a part of a blob cannot be fetched: 200",
        "proxy_set_header Range $http_range;",
    ),
    "compression": (
        with_("gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;"),
        "proxy",
        "warning",
        "blobs come compressed by the proxy (Content-Encoding: gzip)",
        "gzip off;",
    ),
    "no chunks": (
        with_("if ($http_transfer_encoding) { return 411; }"),
        "proxy",
        "wrong",
        "an upload of 2 MiB in chunks, as docker does, is refused: 411",
        "proxy_request_buffering off;",
    ),
    "no deletes": (
        with_("limit_except GET HEAD POST PUT PATCH { deny all; }"),
        "tidy",
        "ok",
        "the user may not delete, so the tiny image stays",
        "",
    ),
}


@pytest.mark.parametrize("case", WRONG_SITES)
def test_a_site_of_nginx_with_one_fault(
    case: str, tmp_path: Path, moorage: Moorage, authority: Authority, pair: Pair
) -> None:
    """The step, what is wrong there, and the directive that mends it."""
    site, step, verdict, what, remedy = WRONG_SITES[case]
    with nginx(tmp_path / "nginx", site, moorage.port, pair=pair) as server:
        found = seen(server, authority)

    finding = the(found, what)
    assert (finding.step, finding.verdict.value) == (step, verdict)
    assert remedy in "\n".join(finding.remedy)
    # Nothing is laid at the door of a step that comes before the fault.
    assert {one.step for one in found if one.verdict in {Verdict.WARNING, Verdict.WRONG}} <= {step, "pull", "proxy"}


def test_nginx_as_our_own_page_has_it_is_well(
    tmp_path: Path, moorage: Moorage, authority: Authority, pair: Pair
) -> None:
    """No false alarm, and the proxy is named."""
    with nginx(tmp_path / "nginx", RIGHT, moorage.port, pair=pair) as server:
        found = seen(server, authority, slow_seconds=2.0)

    assert troubles(found) == []
    the(found, "answers for the registry")
    the(found, "an upload of 101 MiB goes through")


def test_a_location_of_plain_http_is_named(tmp_path: Path, classic: Program, authority: Authority, pair: Pair) -> None:
    """The registry is not told that its clients come by https; the walk goes on to find what else there is."""
    site = without("proxy_set_header X-Forwarded-Proto $scheme;")
    with nginx(tmp_path / "nginx", site, classic.port, pair=pair) as server:
        found = seen(server, authority)

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("push", "wrong")
    assert "at an http:// address (Location)" in what
    assert "proxy_set_header X-Forwarded-Proto $scheme;" in the(found, what).remedy[0]


@pytest.mark.parametrize(("header", "place"), [("$host", "https://registry.test"), ("registry.inside", "inside")])
def test_a_location_at_another_host_is_named(
    header: str, place: str, tmp_path: Path, classic: Program, authority: Authority, pair: Pair
) -> None:
    """The registry is told another name, or the name without the port."""
    site = RIGHT.replace("Host $http_host", f"Host {header}")
    with nginx(tmp_path / "nginx", site, classic.port, pair=pair) as server:
        found = seen(server, authority)

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("push", "wrong")
    assert "an upload is to go on at another host" in what
    assert place in what


def test_behind_another_s_registry_a_stripped_password_is_one_of_two_causes(
    tmp_path: Path, classic: Program, authority: Authority, pair: Pair
) -> None:
    """distribution has the same words for a wrong password and none; both causes are named."""
    site = with_('proxy_set_header Authorization "";')
    with nginx(tmp_path / "nginx", site, classic.port, pair=pair) as server:
        found = seen(server, authority)

    finding = the(found, "in the very words that are said to a client without a password (Server: nginx")
    assert "strips the Authorization header" in finding.meaning
    assert "password is wrong" in finding.meaning


def test_a_wrong_password_is_called_so(tmp_path: Path, moorage: Moorage, authority: Authority, pair: Pair) -> None:
    """Also behind a proxy: Moorage has words of its own for it."""
    with nginx(tmp_path / "nginx", RIGHT, moorage.port, pair=pair) as server:
        found = seen(server, authority, ("ann", "wrong"))

    [(step, _, what)] = troubles(found)
    assert step == "login"
    assert "ann is refused: 401 UNAUTHORIZED: the user name or the password is wrong" in what


def test_replicas_that_share_nothing_are_found_by_a_push(
    tmp_path: Path, moorage: Moorage, authority: Authority, pair: Pair
) -> None:
    """What one began the other does not know."""
    with Moorage(tmp_path / "second", users=USERS) as second:
        with nginx(tmp_path / "nginx", RIGHT, moorage.port, second.port, pair=pair) as server:
            found = seen(server, authority)

    finding = the(found, "an upload that was just begun is not known any more: 404")
    assert "share no storage" in finding.meaning


def test_replicas_that_share_nothing_are_found_by_asking(
    tmp_path: Path, moorage: Moorage, authority: Authority, pair: Pair
) -> None:
    """Pushes stick to one of them, and what is read comes from either."""
    outside = "map $request_method $pool { GET both; default first; }"
    site = RIGHT.replace("http://upstream_registry", "http://$pool")
    with Moorage(tmp_path / "second", users=USERS) as second:
        pools = f"upstream both {{ server 127.0.0.1:{moorage.port}; server 127.0.0.1:{second.port}; }}"
        pools += f" upstream first {{ server 127.0.0.1:{moorage.port}; }}"
        with nginx(tmp_path / "nginx", site, pair=pair, outside=outside + pools) as server:
            found = seen(server, authority)

    assert the(found, "requests only").verdict is Verdict.WRONG


def test_http_that_leads_on_to_https_is_named(tmp_path: Path) -> None:
    """Clients are to be given the address with TLS."""
    with nginx(tmp_path / "nginx", "location / { return 301 https://registry.test:8443$request_uri; }") as server:
        found = walked(options(server.url), "api")

    assert the(found, "http leads on to https://registry.test:8443/v2/").verdict is Verdict.WRONG


def test_http_at_a_port_of_tls_is_named(tmp_path: Path, moorage: Moorage, pair: Pair) -> None:
    """nginx answers such a request with a page; the doctor tries the other way, too."""
    with nginx(tmp_path / "nginx", RIGHT, moorage.port, pair=pair) as server:
        found = walked(options(f"http://{HOST}:{server.port}"), "api")

    finding = the(found, "speaks TLS, not plain HTTP")
    assert f"moorage doctor --client https://{HOST}:{server.port}" in finding.remedy


def test_old_tls_alone_is_named(tmp_path: Path, moorage: Moorage, authority: Authority, pair: Pair) -> None:
    """Nothing newer than TLS 1.0; the certificate is looked at all the same, and no password is sent."""
    site = "ssl_protocols TLSv1; ssl_ciphers DEFAULT:@SECLEVEL=0;" + RIGHT
    with nginx(tmp_path / "nginx", site, moorage.port, pair=pair) as server:
        found = seen(server, authority)

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("tls", "wrong")
    assert "the newest that is spoken is TLSv1, " in what
    assert the(found, "vouches for").verdict is Verdict.OK
    assert the(found, "no password is sent").step == "login"


def test_a_name_that_no_site_has_is_named(tmp_path: Path, moorage: Moorage, authority: Authority, pair: Pair) -> None:
    """nginx ends handshakes for names that it does not know."""
    outside = "server { listen 127.0.0.1:PORT ssl default_server; ssl_reject_handshake on; }"
    names = Table({"other.test": ("127.0.0.1",)}, {})
    with nginx(tmp_path / "nginx", RIGHT, moorage.port, pair=pair, outside=outside) as server:
        found = walked(options(server.url.replace(HOST, "other.test"), names=names, ca_file=authority.path), "api")

    finding = the(found, "the server has no certificate for the name other.test")
    assert finding.step == "tls"


def caddyfile(port: int, upstream: int, pair: Pair, timeouts: str = "") -> str:
    """Caddy in front of the registry."""
    return f"""
{{
    admin off
    auto_https off
    servers {{
        {timeouts}
    }}
}}
https://{HOST}:{port} {{
    bind 127.0.0.1
    tls {pair.certificate} {pair.key}
    reverse_proxy 127.0.0.1:{upstream}
}}
"""


def test_caddy_is_well(tmp_path: Path, moorage: Moorage, authority: Authority, pair: Pair) -> None:
    """No false alarm behind another proxy."""
    port = free_port()
    with caddy(tmp_path / "caddy", caddyfile(port, moorage.port, pair), port, pair) as server:
        found = seen(server, authority)

    assert troubles(found) == []
    the(found, "Caddy answers for the registry")


def test_a_server_without_a_certificate_for_the_name_is_named(
    tmp_path: Path, moorage: Moorage, authority: Authority, pair: Pair
) -> None:
    """Servers that get certificates by themselves end the handshake while they have none."""
    port = free_port()
    names = Table({"other.test": ("127.0.0.1",)}, {})
    with caddy(tmp_path / "caddy", caddyfile(port, moorage.port, pair), port, pair):
        found = walked(options(f"https://other.test:{port}", names=names), "api")

    finding = the(found, "the server ends the handshake by an internal error")
    assert "other.test" in finding.meaning


def test_an_impatient_proxy_is_found_by_a_slow_upload(
    tmp_path: Path, moorage: Moorage, authority: Authority, pair: Pair
) -> None:
    """Caddy gives a body two seconds in all; so do Traefik and balancers, with sixty."""
    port = free_port()
    text = caddyfile(port, moorage.port, pair, "timeouts {\n read_body 2s\n }")
    with caddy(tmp_path / "caddy", text, port, pair) as server:
        found = seen(server, authority, slow_seconds=6.0)

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("proxy", "wrong")
    assert "an upload that takes 6 s" in what
