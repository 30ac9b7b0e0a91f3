from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.settings.classic import load_classic
from moorage.settings.names import leaves
from moorage.settings.native import load_native
from moorage.settings.render import MASK, masked, render

EVERYTHING = """\
data: /srv/a b
listen: [':5000', '[::1]:5001', 'unix:/run/x']
workers: 3
auth:
  htpasswd: users
  realm: "yes: 'no' é"
  anonymous_pull: true
tls: {certificate: a, key: b, client_cas: [c], ciphers: [AES128-SHA], minimum: tls1.3}
http:
  external_url: https://r.example.com
  headers: {X-A: ["1", 'b: c'], X-B: "null"}
  trusted_proxies: [10.0.0.0/8, "fd00::/8", unix]
  drain_timeout: 1m30.5s
  limits: {blob_bytes: 10GB, manifest_bytes: 8MiB}
storage: {read_only: true}
validation: {urls_allow: ["^a{1,2}", '#'], index_platforms: list, platforms: [{os: linux, architecture: amd64}]}
log: {level: debug, fields: {a: "true", b: "~", c: ""}}
"""


def _written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "moorage.yml"
    file.write_text(text)
    return file


def test_what_is_shown_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    """The output of `moorage config` is a moorage.yml, whatever the values are."""
    loaded = load_native(_written(tmp_path, EVERYTHING), {}, {})

    again = load_native(_written(tmp_path, render(loaded)), {}, {})

    assert again.settings == loaded.settings


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "No TLS."),
        ("listen: ':5000'", "TLS with a certificate of the server's own private authority."),
        ("listen: ':5000'\nallow_plaintext: true", "No TLS."),
        ("tls: {domains: r.example.com}", "TLS with certificates that are got from acme.directory for tls.domains."),
        ("tls: {certificate: a, key: b}", "TLS with the certificate in tls.certificate."),
    ],
)
def test_where_the_certificate_comes_from_is_said(tmp_path: Path, text: str, says: str) -> None:
    """It follows from several settings, so nobody has to work it out."""
    assert render(load_native(_written(tmp_path, text), {}, {})).splitlines()[1] == f"# {says}"


def test_every_setting_is_shown_with_its_origin(tmp_path: Path) -> None:
    """A default, a line of the file, a variable and an option are told apart, one line for each setting."""
    file = _written(tmp_path, "http:\n  drain_timeout: 90s\n")

    lines = render(load_native(file, {"MOORAGE_LOG_LEVEL": "error"}, {"workers": 2})).splitlines()

    shown = {line.split(":")[0].strip(): line for line in lines if "  # " in line}
    assert len([line for line in lines if "  # " in line]) == len(leaves())
    assert lines[0] == "# What is in force (native mode), and where each value came from."
    assert shown["drain_timeout"].startswith("  drain_timeout: 1m30s ")
    assert shown["drain_timeout"].endswith(f"  # {file}:2")
    assert shown["workers"].endswith("  # --workers")
    assert shown["level"].endswith("  # MOORAGE_LOG_LEVEL")
    assert shown["data"].endswith("  # default")


def test_the_classic_mode_names_its_own_keys() -> None:
    """What came from a classic configuration is shown by the name it had there."""
    text = render(load_classic(None, {"REGISTRY_HTTP_ADDR": ":1"}, {}))

    assert "(classic mode)" in text
    assert "# REGISTRY_HTTP_ADDR (http.addr)" in text
    assert "# image default (storage.filesystem.rootdirectory)" in text


def test_no_password_is_shown() -> None:
    """The database's URL keeps everything but its password."""
    text = render(
        load_native(Path("/dev/null"), {"MOORAGE_DATABASE": "postgresql://u:geh@eim:@db:5432/m?sslpassword=geheim"}, {})
    )

    assert "geh" not in text
    assert f"postgresql://u:{MASK}@db:5432/m?sslpassword={MASK}" in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///data/moorage.db", "sqlite:///data/moorage.db"),
        ("postgresql:///m?host=/run/postgresql", "postgresql:///m?host=/run/postgresql"),
        ("postgresql://u@h/m", "postgresql://u@h/m"),
        ("postgresql://u:p@h/m", f"postgresql://u:{MASK}@h/m"),
        ("postgresql://u:p/q?r#s@h/m", f"postgresql://u:{MASK}@h/m"),
        ("postgresql://:p@h/m", f"postgresql://:{MASK}@h/m"),
        ("postgresql://h/m?user=u&password=p&x=y", f"postgresql://h/m?user=u&password={MASK}&x=y"),
        ("postgresql://h/m?PassWord=p", f"postgresql://h/m?PassWord={MASK}"),
        ("secret", MASK),
    ],
)
def test_passwords_in_urls_are_masked(url: str, shown: str) -> None:
    """Before the last @ and in parameters, however the rest is written."""
    assert masked(url) == shown


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="&"), min_size=9, max_size=30))
def test_no_part_of_a_password_survives(password: str) -> None:
    """Whatever characters a password has, none of it stands in what is shown."""
    assert masked(f"postgresql://u:{password}@h/m") == f"postgresql://u:{MASK}@h/m"


def test_a_strange_file_name_cannot_add_lines(tmp_path: Path) -> None:
    """Control characters in an origin are not printed."""
    file = tmp_path / "a\nlisten: ['evil']\x1b[31m.yml"
    file.write_text("workers: 2\n")

    text = render(load_native(file, {}, {}))

    assert "\x1b" not in text
    assert len(text.splitlines()) == len(render(load_native(None, {"MOORAGE_CONFIG": "/dev/null"}, {})).splitlines())
