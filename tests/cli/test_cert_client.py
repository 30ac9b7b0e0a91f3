from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from moorage.clock import SystemClock
from moorage.tls.machine import Names
from moorage.tls.private_ca import PrivateAuthority
from moorage.tls.signing import load_signer
from moorage.tls.store import CertificateStore
from tests.cli.conftest import Command
from tests.programs import need_root
from tests.servers import COMMAND
from tests.volumes import Volume


def _issue(moorage: Command, *words: str) -> str:
    result = moorage("cert", "issue-client", *words)
    assert result.code == 0, result.err
    return result.out


def test_a_certificate_and_its_key_are_two_files(volume: Volume, moorage: Command, tmp_path: Path) -> None:
    """Named as docker wants them; the key is for its owner alone, and belongs to the certificate."""
    out = _issue(moorage, "ann", "--days", "7", "--out", "keys", "--host", "registry.lan:5000")

    certificate, key = tmp_path / "keys" / "ann.cert", tmp_path / "keys" / "ann.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    load_signer(certificate.read_bytes(), key.read_bytes())
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 8
    assert out.startswith("made keys/ann.cert and keys/ann.key, good until ")
    assert "/etc/docker/certs.d/registry.lan:5000/ann.cert" in out
    assert "PRIVATE" not in out


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("ci-runner", "ci-runner"),
        ("ann@example.com", "ann@example.com"),
        ("Ann Example", "Ann_Example"),
        ("team/ci", "team_ci"),
        ("a'b\"c$d`e;f", "a_b_c_d_e_f"),
        ("王小明", "王小明"),
    ],
)
def test_a_name_that_no_file_should_have_is_one_in_the_certificate(
    volume: Volume, moorage: Command, tmp_path: Path, name: str, stem: str
) -> None:
    """The files' names are safe in a shell and in a path, and the certificate's is the user's."""
    out = _issue(moorage, name, "--host", "h")

    leaf = x509.load_pem_x509_certificate((tmp_path / f"{stem}.cert").read_bytes())
    assert leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == name
    assert f"  curl --cert {stem}.cert --key {stem}.key https://h/v2/\n" in out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "the user name is empty"),
        ("a:b", "a colon"),
        ("#a", "begins a comment"),
        (" a", "white space at an end"),
        ("a\nb", "control characters"),
        (".a", "no dot or dash before it"),
        ("a" * 65, "at most 64 bytes"),
        ("ä" * 33, "at most 64 bytes"),
    ],
)
def test_a_name_that_no_client_can_have_is_refused(volume: Volume, moorage: Command, name: str, said: str) -> None:
    """Before anything is made."""
    result = moorage("cert", "issue-client", "--", name)

    assert result.code not in {0, 1}
    assert said in result.err
    assert json.loads(moorage("cert", "clients", "--json").out) == []


@pytest.mark.parametrize("there", ["ann.cert", "ann.key"])
def test_a_file_that_is_there_is_not_overwritten(volume: Volume, moorage: Command, tmp_path: Path, there: str) -> None:
    """It may be the only copy of a key that is in use."""
    (tmp_path / there).write_text("mine")

    result = moorage("cert", "issue-client", "ann")

    assert result.code not in {0, 1}
    assert f"{there} is there already" in result.err
    assert (tmp_path / there).read_text() == "mine"
    assert json.loads(moorage("cert", "clients", "--json").out) == []


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ("http: {external_url: 'https://hub.example/'}", "hub.example"),
        ("http: {external_url: 'https://hub.example:8443'}", "hub.example:8443"),
        ("listen: '10.0.0.5:5000'", "10.0.0.5:5000"),
        ("listen: '[fd00::5]:5000'", "[fd00::5]:5000"),
        ("{listen: ':5000', tls: {names: ['*.house.lan', registry.lan]}}", "registry.lan:5000"),
        ("{listen: ':443', tls: {domains: [hub.example]}}", "hub.example"),
    ],
)
def test_the_printed_steps_are_for_the_registry_of_the_settings(
    volume: Volume, moorage: Command, tmp_path: Path, settings: str, host: str
) -> None:
    """As images' names have it; the port of https is left out."""
    (tmp_path / "moorage.yml").write_text(settings)

    out = _issue(moorage, "ann", "--config", "moorage.yml")

    assert f"/etc/docker/certs.d/{host}/ann.cert\n" in out
    assert f"https://{host}/v2/\n" in out


@pytest.mark.parametrize("host", ["https://a", "a/b", "a b", "a;b", "$(a)", "a:port"])
def test_a_host_that_is_none_is_refused(volume: Volume, moorage: Command, host: str) -> None:
    """What is printed is typed into a shell."""
    result = moorage("cert", "issue-client", "ann", "--host", host)

    assert result.code not in {0, 1}
    assert "is no host" in result.err


def test_settings_without_which_the_certificate_is_of_no_use_are_named(
    volume: Volume, moorage: Command, tmp_path: Path
) -> None:
    """On standard error, and not where they are set."""
    without = moorage("cert", "issue-client", "ann").err
    (tmp_path / "moorage.yml").write_text("tls: {names: [registry.lan], own_clients: true, client_principal: cn}")
    complete = moorage("cert", "issue-client", "bob", "--config", "moorage.yml").err

    assert "set tls.own_clients" in without
    assert "tls.client_principal is none" in without
    assert complete == ""


def test_certificates_are_listed_and_revoked(volume: Volume, moorage: Command, tmp_path: Path) -> None:
    """By name, or one of them by its serial number, however that is written."""
    for folder in ("one", "two"):
        _issue(moorage, "ann", "--out", folder)
    _issue(moorage, "bob")
    first, second, _ = json.loads(moorage("cert", "clients", "--json").out)
    written = ":".join(f"{first['serial']:0>40}".upper()[at : at + 2] for at in range(0, 40, 2))

    one = moorage("cert", "revoke-client", "ann", "--serial", written)
    rest = moorage("cert", "revoke-client", "ann")

    assert (one.code, one.err) == (0, "revoked 1 certificate of ann\n")
    assert (rest.code, rest.err) == (0, "revoked 1 certificate of ann\n")
    listed = json.loads(moorage("cert", "clients", "--json").out)
    assert [(row["name"], row["state"]) for row in listed] == [("ann", "revoked"), ("ann", "revoked"), ("bob", "good")]
    table = moorage("cert", "clients").out.splitlines()
    assert table[0].split()[:2] == ["NAME", "STATE"]
    assert second["serial"] in table[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("eve",), "no certificate was issued to 'eve'"),
        (("ann",), "the certificates of ann are revoked already"),
        (("ann", "--serial", "abc"), "ann has no certificate with the serial number abc"),
    ],
)
def test_what_cannot_be_revoked_is_told(volume: Volume, moorage: Command, words: tuple[str, ...], said: str) -> None:
    """A typing mistake must not look like a revocation."""
    _issue(moorage, "ann")
    moorage("cert", "revoke-client", "ann")

    result = moorage("cert", "revoke-client", *words)

    assert result.code not in {0, 1}
    assert said in result.err


@pytest.mark.parametrize("words", [("issue-client", "ann"), ("revoke-client", "ann"), ("clients",), ("authorities",)])
def test_where_no_registry_is_nothing_is_made(moorage: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
    """A wrong --data is a wrong --data."""
    result = moorage("cert", *words, "--data", "nowhere")

    assert result.code not in {0, 1}
    assert "there is no registry in nowhere" in result.err
    assert not (tmp_path / "nowhere").exists()


def test_what_root_makes_belongs_to_the_servers_user(volume: Volume, tmp_path: Path) -> None:
    """The server has to read it; the client's own files are root's, who asked for them."""
    need_root()
    ours = volume.data / "moorage"
    for path in (volume.data, *volume.data.rglob("*")):
        os.chown(path, 65534, 65534)

    subprocess.run([COMMAND, "cert", "issue-client", "ann", "--data", volume.data], cwd=tmp_path, check=True)

    made = [ours / "tls", *(ours / "tls").rglob("*")]
    assert len(made) > 5
    assert {path.stat().st_uid for path in made} == {65534}
    assert (tmp_path / "ann.key").stat().st_uid == 0


def test_private_authorities_are_listed_and_retired(volume: Volume, moorage: Command) -> None:
    """With what each may sign; the last one stays."""
    authority = PrivateAuthority(CertificateStore(volume.data / "moorage" / "tls"), SystemClock())
    authority.prepare(Names(("a.lan", "10.0.0.5")))
    authority.prepare(Names(("a.lan", "10.0.0.5", "b.lan")))
    new, old = authority.fingerprints()

    listed = json.loads(moorage("cert", "authorities", "--json").out)
    table = moorage("cert", "authorities").out
    retired = moorage("cert", "retire-authority", old.replace(":", "").lower())
    last = moorage("cert", "retire-authority", new)

    assert [(row["fingerprint"], row["names"]) for row in listed] == [
        (new, ["a.lan", "10.0.0.5", "b.lan"]),
        (old, ["a.lan", "10.0.0.5"]),
    ]
    assert new in table
    assert "a.lan, 10.0.0.5, b.lan" in table
    assert retired.code == 0
    assert authority.fingerprints() == [new]
    assert last.code not in {0, 1}
    assert "it is the only private authority" in last.err
