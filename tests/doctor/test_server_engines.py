"""Docker's and podman's own configuration."""

from __future__ import annotations

import base64
import ipaddress
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moorage.doctor.client.target import Target, parse_target
from moorage.doctor.engines.docker_daemon import look_at_daemon
from moorage.doctor.engines.places import Places
from moorage.doctor.engines.proxies import Proxies, proxy_for, without_password
from moorage.doctor.engines.steps import look_at_engines
from moorage.doctor.finding import Finding, Verdict
from tests.certificates import Authority, Pair
from tests.doctor.findings import all_of, bad, naming, only
from tests.servers import Moorage

TARGET = parse_target("https://registry.lan:5000")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A machine with Docker and podman, of which nothing is configured; programs can be added in `bin/`."""
    for folder in ("etc/docker", "etc/containers", "home/.docker", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("docker", "podman"):
        program(tmp_path / "bin", name, "true")
    return Places(
        etc=tmp_path / "etc",
        home=tmp_path / "home",
        environment={"PATH": str(tmp_path / "bin"), "XDG_RUNTIME_DIR": str(tmp_path / "run")},
        units=(tmp_path / "lib",),
    )


def program(folder: Path, name: str, script: str) -> None:
    """An executable of this name."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def looked(places: Places, target: Target = TARGET) -> list[Finding]:
    """What is said of the engines; a registry that does not answer is asked in vain at once."""
    return all_of(look_at_engines(target, places, timeout=5))


def daemon(places: Places, **settings: object) -> None:
    """Write daemon.json."""
    places.daemon_file.write_text(json.dumps(settings, indent=1))


def config(places: Places, **settings: object) -> None:
    """Write the docker command's configuration."""
    path = places.home / ".docker" / "config.json"
    path.write_text(json.dumps(settings, indent=1))
    path.chmod(0o600)


def login(user: str = "alice") -> dict[str, str]:
    """An entry as `docker login` writes it."""
    return {"auth": base64.b64encode(f"{user}:geheim".encode()).decode()}


def test_a_machine_with_nothing_configured_is_well(places: Places) -> None:
    """Neither engine needs any configuration."""
    found = looked(places)

    assert bad(found) == []
    assert "nothing in the configuration of Docker and podman concerns registry.lan:5000" in found[-1].what


def test_a_machine_without_engines_is_left_out(tmp_path: Path) -> None:
    """A server needs none."""
    found = looked(Places(etc=tmp_path, home=tmp_path, environment={"PATH": "/nonexistent"}))

    assert [one.verdict for one in found] == [Verdict.SKIPPED]


def test_a_good_login_and_a_mirror_are_well(places: Places) -> None:
    """What is in order is named, the user too, and never the password."""
    daemon(places, **{"registry-mirrors": ["https://mirror.gcr.io"], "log-driver": "json-file"})
    config(places, auths={"registry.lan:5000": login(), "ghcr.io": login("bob")})

    found = looked(places)

    assert bad(found) == []
    assert "a login for registry.lan:5000 is stored, of alice" in found[0].what
    assert "geheim" not in str(found)


@pytest.mark.parametrize(
    ("text", "line"),
    [('{\n  "insecure-registries": ["a"],\n}\n', 3), ('{\n  "a": 1\n  "b": 2\n}\n', 3), ("// mine\n{}", 1)],
    ids=["comma too many", "comma missing", "comment"],
)
def test_json_that_docker_would_not_start_with_is_named_with_its_line(places: Places, text: str, line: int) -> None:
    """The commonest reason why Docker is gone after a change."""
    places.daemon_file.write_text(text)

    one = only(looked(places))

    assert one.what.startswith(f"{places.daemon_file}:{line}: not JSON")
    assert one.verdict is Verdict.WRONG


@pytest.mark.parametrize(
    ("url", "entry", "said"),
    [
        ("https://registry.lan:5000", "registry.lan:5000", "Docker verifies no certificate of registry.lan:5000"),
        ("https://registry.lan:5000", "https://registry.lan:5000/", "Docker verifies no certificate"),
        ("https://10.1.2.3", "10.0.0.0/8", "Docker verifies no certificate of 10.1.2.3"),
        ("http://registry.lan:5000", "registry.lan:5000", "Docker speaks plain HTTP to registry.lan:5000"),
        ("http://registry.lan:5000", "registry.lan", "accepts that from loopback alone"),
        ("https://registry.lan:5000", "other.lan:5000", ""),
        ("http://127.0.0.1:5000", "registry.lan", ""),
    ],
)
def test_exceptions_from_tls_are_told(places: Places, url: str, entry: str, said: str) -> None:
    """Which hurt where TLS is spoken, and which do not help because host and port have to fit."""
    daemon(places, **{"insecure-registries": [entry]})
    (Path(places.environment["PATH"]) / "podman").unlink()

    found = bad(looked(places, parse_target(url)))

    assert [said in one.what for one in found] == ([True] if said else [])


@pytest.mark.parametrize(
    ("address", "entry", "said"),
    [
        ("127.0.0.1", "other.lan:5000", ""),
        ("10.1.2.3", "10.0.0.0/8", "Docker speaks plain HTTP to registry.lan:5000"),
        ("10.1.2.3", "192.168.0.0/16", "accepts that from loopback alone"),
    ],
)
def test_docker_judges_a_name_by_its_address(places: Places, address: str, entry: str, said: str) -> None:
    """Plain HTTP goes to a name that leads to this machine, or into a network that is excepted."""
    daemon(places, **{"insecure-registries": [entry]})

    target = parse_target("http://registry.lan:5000")
    found = bad(list(look_at_daemon(target, places, [ipaddress.ip_address(address)])))

    assert [said in one.what for one in found] == ([True] if said else [])


def test_podman_too_has_to_be_told_of_plain_http(places: Places) -> None:
    """Both engines are named, each with its own way out."""
    found = bad(looked(places, parse_target("http://registry.lan:5000")))

    assert {one.what.partition(", and ")[2].split()[0] for one in found} == {"Docker", "podman"}


def unit(places: Places, *lines: str) -> Path:
    """Write a drop-in for docker.service."""
    folder = places.etc / "systemd/system/docker.service.d"
    folder.mkdir(parents=True)
    (folder / "proxy.conf").write_text("\n".join(["[Service]", *lines, ""]))
    return folder / "proxy.conf"


PROXY = "http://me:geheim@proxy.corp:3128"


def test_a_proxy_in_the_engines_unit_is_told_without_its_password(places: Places) -> None:
    """A registry inside cannot be reached through it, though curl on the same machine can."""
    path = unit(places, f'Environment="HTTPS_PROXY={PROXY}" "NO_PROXY=localhost,10.0.0.0/8"')

    one = only(looked(places))

    assert f"through the proxy http://****@proxy.corp:3128 ({path}:2)" in one.what
    assert 'NO_PROXY=localhost,10.0.0.0/8,registry.lan"' in one.remedy[0]
    assert "geheim" not in str(one)


def test_a_proxy_in_daemon_json_is_told(places: Places) -> None:
    """Docker 23 and later have them there."""
    daemon(places, proxies={"https-proxy": PROXY, "no-proxy": "*.corp"})

    assert f"{places.daemon_file}:2" in only(looked(places)).what


def test_a_registry_that_is_excepted_is_well(places: Places) -> None:
    """By name, by domain or by network."""
    unit(places, f"Environment=HTTPS_PROXY={PROXY}", "Environment=NO_PROXY=.lan")

    assert bad(looked(places)) == []


def test_a_registry_on_the_internet_may_be_behind_a_proxy(places: Places) -> None:
    """That is what proxies are for."""
    unit(places, f"Environment=HTTPS_PROXY={PROXY}")

    assert bad(looked(places, parse_target("https://registry.example.com"))) == []


@pytest.mark.parametrize(
    ("url", "exceptions", "direct"),
    [
        ("https://registry.lan:5000", "", False),
        ("https://registry.lan:5000", "*", True),
        ("https://registry.lan:5000", "registry.lan", True),
        ("https://registry.lan:5000", "REGISTRY.LAN", True),
        ("https://registry.lan:5000", "lan", True),
        ("https://registry.lan:5000", ".lan", True),
        ("https://registry.lan:5000", "*.lan", True),
        ("https://registry.lan:5000", "registry.lan:5000", True),
        ("https://registry.lan:5000", "registry.lan:443", False),
        ("https://registry.lan:5000", "gistry.lan", False),
        ("https://registry.lan:5000", "a, registry.lan ,b", True),
        ("https://registry.lan:5000", "10.0.0.0/8", False),
        ("https://10.1.2.3:5000", "10.0.0.0/8", True),
        ("https://10.1.2.3:5000", "10.1.2.3", True),
        ("https://10.1.2.3:5000", "10.1.2.3:5000", True),
        ("https://10.1.2.3:5000", "10.1.2.4", False),
        ("https://[fd00::5]:5000", "fd00::/8", True),
        ("https://localhost:5000", "", True),
        ("https://127.0.0.1:5000", "", True),
        ("http://registry.lan:5000", "", True),
    ],
)
def test_exceptions_are_read_as_go_reads_them(url: str, exceptions: str, *, direct: bool) -> None:
    """golang.org/x/net/http/httpproxy; only HTTPS_PROXY is set here."""
    found = proxy_for(parse_target(url), Proxies("", "http://proxy:3128", exceptions, "here"))

    assert (found is None) is direct


def test_a_proxys_password_is_never_shown() -> None:
    """With a scheme or without, and with an odd port."""
    assert without_password("http://a:b@p:3128") == "http://****@p:3128"
    assert without_password("a:b@p:3128") == "http://****@p:3128"
    assert without_password("http://p:3128") == "http://p:3128"


@pytest.mark.parametrize(
    ("url", "key", "said"),
    [
        ("https://registry.lan", "registry.lan:443", "the login is stored for registry.lan:443"),
        ("https://registry.lan", "https://registry.lan:443/v2/", "the login is stored for"),
        ("https://registry.lan", "https://registry.lan/v2/", ""),
        ("https://registry.lan", "registry.lan", ""),
        ("https://registry.lan:5000", "registry.lan", ""),
        ("https://registry.lan:5000", "registry.lan:5001", ""),
    ],
)
def test_a_login_under_another_name_is_told(places: Places, url: str, key: str, said: str) -> None:
    """`host` and `host:443` are two registries for docker; another port is another registry for everybody."""
    config(places, auths={key: login()})

    found = bad(looked(places, parse_target(url)))

    assert [said in one.what for one in found] == ([True] if said else [])


def test_a_credential_helper_that_is_missing_is_named(places: Places) -> None:
    """Docker Desktop was removed, and its line stayed."""
    config(places, credsStore="desktop", auths={"registry.lan:5000": {}})

    one = only(looked(places))

    assert "credsStore names desktop, and there is no program docker-credential-desktop" in one.what


def test_a_credential_helper_of_another_registry_is_left_in_peace(places: Places) -> None:
    """A cloud's helper that is missing is no matter of this registry."""
    config(places, credHelpers={"123.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login"})

    assert bad(looked(places)) == []


def test_a_credential_helper_that_fails_is_named_with_its_words(places: Places) -> None:
    """A keyring without a desktop; one that works is well."""
    folder = Path(places.environment["PATH"])
    program(
        folder, "docker-credential-secretservice", "echo 'Cannot autolaunch D-Bus without X11 $DISPLAY' >&2; exit 1"
    )
    program(folder, "docker-credential-pass", "echo '{}'")
    config(places, credsStore="secretservice")
    broken = only(looked(places))
    config(places, credsStore="pass")

    assert "Cannot autolaunch D-Bus" in broken.what
    assert bad(looked(places)) == []


def test_logins_that_others_can_read_are_a_warning(places: Places) -> None:
    """A password in base64 is no secret; a file without one is."""
    path = places.home / ".docker" / "config.json"
    config(places, auths={"registry.lan:5000": login()})
    path.chmod(0o644)
    readable = only(looked(places))
    config(places, auths={"registry.lan:5000": {}}, credsStore="none")
    program(Path(places.environment["PATH"]), "docker-credential-none", "true")
    path.chmod(0o644)

    assert readable.remedy == (f"chmod 600 {path}",)
    assert bad(looked(places)) == []


@pytest.mark.parametrize("mine", [True, False])
def test_a_login_that_only_one_of_root_and_user_has_is_told(places: Places, tmp_path: Path, *, mine: bool) -> None:
    """`docker login` and then `sudo docker push`, or the other way round."""
    other = tmp_path / "alice"
    (other / ".docker").mkdir(parents=True)
    holder = places.home if mine else other
    path = holder / ".docker" / "config.json"
    path.write_text(json.dumps({"auths": {"registry.lan:5000": login()}}))
    path.chmod(0o600)
    both = Places(places.etc, places.home, places.environment, {"alice": other}, places.units)

    one = only(looked(both))

    assert ("root is logged in" if mine else "alice is logged in") in one.what


def test_podmans_login_under_another_name_is_told(places: Places) -> None:
    """podman keeps its own."""
    folder = Path(places.environment["XDG_RUNTIME_DIR"]) / "containers"
    folder.mkdir(parents=True)
    (folder / "auth.json").write_text(json.dumps({"auths": {"registry.lan:443": login()}}))
    (folder / "auth.json").chmod(0o600)

    one = only(looked(places, parse_target("https://registry.lan")))

    assert one.remedy == ("podman login registry.lan",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[registry]]\nlocation = "registry.lan:5000"\ninsecure = true\n', "podman verifies no certificate"),
        ('[[registry]]\nprefix = "registry.lan:5000/team"\nblocked = true\n', "take nothing from registry.lan:5000"),
        ('[[registry]]\nprefix = "registry.lan:5000"\nlocation = "other.lan"\n', "takes other.lan for"),
        ('[[registry]]\nprefix = "*.lan"\ninsecure = true\n', "podman verifies no certificate"),
        ('[registries.insecure]\nregistries = ["registry.lan:5000"]\n', "podman verifies no certificate"),
        ("[[registry]]\nlocation = registry.lan\n", "not TOML"),
        ('[[registry]]\nlocation = "registry.lan"\ninsecure = true\n', ""),
        ('unqualified-search-registries = ["docker.io"]\n', ""),
    ],
)
def test_registries_conf_is_read(places: Places, text: str, said: str) -> None:
    """What podman was told about this registry, in today's form and the first one."""
    (places.etc / "containers" / "registries.conf").write_text(text)

    found = bad(looked(places))

    assert [said in one.what for one in found] == ([True] if said else [])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Moorage, Authority]]:
    """A registry whose certificate a private authority has signed."""
    folder = tmp_path_factory.mktemp("served")
    authority = Authority(folder / "authority")
    with Moorage(folder / "server", users={}, pair=authority.issue("127.0.0.1")) as server:
        yield server, authority


def certs(places: Places, name: str) -> Path:
    """Docker's folder of this name."""
    folder = places.etc / "docker" / "certs.d" / name
    folder.mkdir(parents=True)
    return folder


def test_the_right_authority_in_the_right_folder_is_well(
    places: Places, served: tuple[Moorage, Authority], tmp_path: Path
) -> None:
    """With a client certificate beside it."""
    server, authority = served
    folder = certs(places, server.host)
    shutil.copy(authority.path, folder / "ca.crt")
    client = authority.issue("alice", client=True)
    shutil.copy(client.certificate, folder / "client.cert")
    shutil.copy(client.key, folder / "client.key")

    found = looked(places, parse_target(server.url))

    assert bad(found) == []
    assert f"docker trusts {server.host} by it" in " ".join(one.what for one in found)


def test_a_folder_without_the_port_is_named(places: Places, served: tuple[Moorage, Authority]) -> None:
    """It holds what the right one lacks, and the command that moves it works."""
    server, authority = served
    wrong_place = certs(places, "127.0.0.1")
    shutil.copy(authority.path, wrong_place / "ca.crt")

    one = only(looked(places, parse_target(server.url)))

    assert one.what.startswith(f"{wrong_place} has the authority that signed")
    assert one.remedy[0] == f"sudo mv {wrong_place} {wrong_place.with_name(server.host)}"


def test_a_folder_of_another_registry_on_the_same_host_is_left_in_peace(
    places: Places, served: tuple[Moorage, Authority], tmp_path: Path
) -> None:
    """Two registries on one host have an authority each."""
    server, authority = served
    shutil.copy(authority.path, certs(places, server.host) / "ca.crt")
    shutil.copy(Authority(tmp_path / "other").path, certs(places, "127.0.0.1:1") / "ca.crt")

    assert bad(looked(places, parse_target(server.url))) == []


def test_an_authority_that_did_not_sign_is_named(
    places: Places, served: tuple[Moorage, Authority], tmp_path: Path
) -> None:
    """The registry has a new one, and the client still the old."""
    server, _ = served
    shutil.copy(Authority(tmp_path / "other").path, certs(places, server.host) / "ca.crt")

    one = only(looked(places, parse_target(server.url)))

    assert "none of its authorities signed" in one.what
    assert one.remedy == (f"moorage trust --client docker {server.host}",)


def ca_as_cert(folder: Path, authority: Authority, client: Pair) -> None:
    """The authority's file ends in .cert."""
    shutil.copy(authority.path, folder / "ca.cert")


def ca_as_pem(folder: Path, authority: Authority, client: Pair) -> None:
    """The authority's file ends in .pem."""
    shutil.copy(authority.path, folder / "ca.pem")


def client_as_crt(folder: Path, authority: Authority, client: Pair) -> None:
    """The client's certificate ends in .crt."""
    shutil.copy(authority.path, folder / "ca.crt")
    shutil.copy(client.certificate, folder / "client.crt")
    shutil.copy(client.key, folder / "client.key")


def strange_key(folder: Path, authority: Authority, client: Pair) -> None:
    """The key belongs to another certificate."""
    shutil.copy(authority.path, folder / "ca.crt")
    shutil.copy(client.certificate, folder / "client.cert")
    shutil.copy(authority.issue("bob", client=True).key, folder / "client.key")


def damaged(folder: Path, authority: Authority, client: Pair) -> None:
    """The authority's file is none."""
    (folder / "ca.crt").write_text("<html>")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (ca_as_cert, "ca.cert: there is no ca.key beside it"),
        (ca_as_pem, "ca.pem: docker reads only *.crt as an authority"),
        (client_as_crt, "client.key: there is a key, and no client.cert beside it"),
        (strange_key, "the key is not that of the certificate in"),
        (damaged, "ca.crt: is not PEM"),
    ],
)
def test_endings_are_told_apart_as_docker_does(
    places: Places,
    served: tuple[Moorage, Authority],
    make: Callable[[Path, Authority, Pair], None],
    said: str,
) -> None:
    """`.crt` is an authority, `.cert` with `.key` a client."""
    server, authority = served
    make(certs(places, server.host), authority, authority.issue("alice", client=True))

    assert said in naming(looked(places, parse_target(server.url)), said).what
