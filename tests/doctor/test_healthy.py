"""Registries that are well: the doctor has nothing to say against them, and leaves nothing behind."""

from __future__ import annotations

import sqlite3
import ssl
from collections.abc import Iterable
from pathlib import Path
from urllib.request import urlopen

import pytest

from moorage.doctor.finding import Finding, Verdict
from tests.certificates import Authority
from tests.doctor.fixtures import HOST, options, the, troubles, walked
from tests.doctor.proxies import distribution
from tests.servers import Moorage, free_port

LOGIN = ("ann", "correct horse")
USERS = dict([LOGIN])


def looked_at(found: Iterable[Finding]) -> list[str]:
    """The steps that were taken."""
    return list(dict.fromkeys(one.step for one in found if one.verdict is not Verdict.SKIPPED))


ALL = ["name", "port", "tls", "clock", "certificate", "api", "login", "push", "pull", "proxy", "tidy"]


def test_moorage_on_loopback_is_well(tmp_path: Path) -> None:
    """Plain HTTP that never leaves the machine."""
    with Moorage(tmp_path, users=USERS) as server:
        found = walked(options(server.url, LOGIN))

        assert troubles(found) == []
        assert looked_at(found) == [step for step in ALL if step != "certificate"]


def test_moorage_with_tls_is_well(tmp_path: Path) -> None:
    """A certificate from an authority that was given, and everything by name."""
    authority = Authority(tmp_path / "authority")
    with Moorage(tmp_path / "moorage", users=USERS, pair=authority.issue(HOST)) as server:
        found = walked(options(f"https://{HOST}:{server.port}", LOGIN, ca_file=authority.path))

    assert troubles(found) == []
    assert looked_at(found) == ALL


def test_moorage_with_an_authority_of_its_own_is_well_once_that_is_trusted(tmp_path: Path) -> None:
    """Before, the doctor names `moorage trust`, since /ca.crt has the authority; on plain HTTP it names the way on."""
    plain = free_port()
    words = ("--tls-name", HOST, "--tls-plain-listen", f"127.0.0.1:{plain}")
    with Moorage(tmp_path / "moorage", *words, users=USERS, secure=True) as server:
        url = f"https://{HOST}:{server.port}"
        before = walked(options(url, LOGIN))
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        with urlopen(f"{server.url}/ca.crt", context=unverified) as answer:
            (tmp_path / "ca.crt").write_bytes(answer.read())
        after = walked(options(url, LOGIN, ca_file=tmp_path / "ca.crt"))
        redirected = walked(options(f"http://{HOST}:{plain}"))

    [(step, verdict, what)] = troubles(before)
    assert (step, verdict) == ("certificate", "wrong")
    assert "nobody here trusts the authority that signed it" in what
    assert f"sudo moorage trust {HOST}:{server.port}" in the(before, what).remedy
    assert troubles(after) == []
    assert looked_at(after) == ALL
    assert [what for _, _, what in troubles(redirected)] == [f"http leads on to {url}/v2/"]


def test_moorage_with_client_certificates_is_well(tmp_path: Path) -> None:
    """With a certificate and its key for the doctor to show; a wrong one is refused by name."""
    authority, clients = Authority(tmp_path / "authority"), Authority(tmp_path / "clients", "Clients")
    right, wrong = clients.issue("ann", client=True), authority.issue("ann", client=True)
    (tmp_path / "moorage.yml").write_text(f"tls: {{client_cas: [{clients.path}]}}\n")
    settings = ("--config", str(tmp_path / "moorage.yml"))
    with Moorage(tmp_path / "moorage", *settings, users=USERS, pair=authority.issue(HOST)) as server:
        url = f"https://{HOST}:{server.port}"
        well, refused = (
            walked(options(url, LOGIN, ca_file=authority.path, client_certificate=(pair.certificate, pair.key)))
            for pair in (right, wrong)
        )

    assert troubles(well) == []
    assert looked_at(well) == ALL
    assert [what for _, _, what in troubles(refused)] == ["the server refuses the client certificate"]


def test_an_open_moorage_is_well(tmp_path: Path) -> None:
    """Nobody logs in, and everything is looked at all the same."""
    with Moorage(tmp_path, users={}) as server:
        found = walked(options(server.url))

    assert troubles(found) == []
    assert looked_at(found) == [step for step in ALL if step not in {"certificate", "login"}]
    the(found, "nobody has to log in")


def test_without_a_user_only_the_way_to_the_door_is_looked_at(tmp_path: Path) -> None:
    """What is behind it is skipped, and that is said; nothing is wrong with it."""
    with Moorage(tmp_path, users=USERS) as server:
        found = walked(options(server.url))

    assert troubles(found) == []
    assert looked_at(found) == ["name", "port", "tls", "clock", "api"]


@pytest.mark.parametrize("program", ["docker-registry", "registry"])
@pytest.mark.parametrize("delete", [True, False])
def test_distribution_is_well(program: str, delete: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter
    """2.8 and 3.1, which are not ours; where deletion is off, what stays is said."""
    authority = Authority(tmp_path / "authority")
    pair = authority.issue(HOST)
    with distribution(tmp_path / "registry", program, users=USERS, pair=pair, delete=delete) as server:
        found = walked(options(server.url, LOGIN, ca_file=authority.path))

    assert troubles(found) == []
    assert looked_at(found) == ALL
    the(found, "what was pushed is removed" if delete else "deletion is switched off")


def test_nothing_stays_behind(tmp_path: Path) -> None:
    """Neither image nor upload."""
    with Moorage(tmp_path, users=USERS) as server:
        walked(options(server.url, LOGIN))

        assert list((server.data / "moorage" / "uploads").iterdir()) == []
        with sqlite3.connect(server.data / "moorage" / "moorage.db") as database:
            for table in ("tags", "manifests", "uploads"):
                assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
        database.close()


def test_a_user_who_may_not_push_is_told_so(tmp_path: Path) -> None:
    """A registry that can only be read."""
    with Moorage(tmp_path, users=USERS) as server:
        server.stop()
        (tmp_path / "moorage.yml").write_text("storage: {read_only: true}\n")
    with Moorage(tmp_path, "--config", str(tmp_path / "moorage.yml"), users=USERS) as server:
        found = walked(options(server.url, LOGIN))

    [(step, verdict, what)] = troubles(found)
    assert (step, verdict) == ("push", "wrong")
    assert "405" in what
