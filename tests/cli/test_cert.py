from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from moorage.durable import FolderLock
from moorage.errors import CertificateFailed
from moorage.tls import state
from moorage.tls.keeper import Keeper
from moorage.tls.store import CertificateStore
from tests.acme.pebble import Pebble
from tests.certificates import Authority, Pair
from tests.cli.conftest import Command, Result
from tests.cli.terminal import Terminal
from tests.programs import need_root
from tests.servers import COMMAND, Moorage
from tests.tls.hand_clock import HandClock
from tests.tls.small_ca import SmallCa
from tests.volumes import Volume

NAME = "a.example.com"


@pytest.fixture
def store(volume: Volume) -> CertificateStore:
    """The certificates of the volume."""
    return CertificateStore(volume.data / "moorage" / "tls")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Somebody else's."""
    return Authority(tmp_path / "authority")


@pytest.fixture
def pair(authority: Authority) -> Pair:
    """A certificate for NAME."""
    return authority.issue(NAME, "www.example.com")


def import_(moorage: Command, pair: Pair, name: str = NAME) -> Result:
    """Import *pair* by the command."""
    return moorage("cert", "import", name, "--certificate", pair.certificate, "--key", pair.key)


def snapshot(folder: Path) -> dict[Path, bytes]:
    """Every file below *folder*."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_imported_certificate_is_there_and_can_be_taken_out_again(
    volume: Volume, moorage: Command, store: CertificateStore, pair: Pair, tmp_path: Path
) -> None:
    """What comes out is what went in, under certbot's names, and only its owner can read the key."""
    imported = import_(moorage, pair)
    exported = moorage("cert", "export", NAME, "--to", tmp_path / "out")

    assert (imported.code, imported.out) == (0, "")
    assert f"imported the certificate for {NAME}, good until " in imported.err
    assert "once tls.domains has a.example.com (moorage serve --domain a.example.com)" in imported.err
    assert exported.code == 0
    assert (tmp_path / "out" / "fullchain.pem").read_bytes() == pair.certificate.read_bytes()
    assert (tmp_path / "out" / "privkey.pem").read_bytes() == pair.key.read_bytes()
    for key in (tmp_path / "out" / "privkey.pem", store.pair(NAME).key):
        assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("*.example.com", "*.example.com"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("192.0.2.7", "192.0.2.7"),
        ("Büro.example.com.", "xn--bro-hoa.example.com"),
    ],
)
def test_every_kind_of_name_comes_and_goes(
    volume: Volume, moorage: Command, authority: Authority, tmp_path: Path, written: str, stored: str
) -> None:
    """Wildcards, addresses and names beyond ASCII are imported, listed, shown and exported under one name."""
    imported = import_(moorage, authority.issue(stored), written)
    (listed,) = json.loads(moorage("cert", "list", "--json").out)
    shown = moorage("cert", "show", written)
    exported = moorage("cert", "export", written, "--to", tmp_path / "out")

    assert (imported.code, shown.code, exported.code) == (0, 0, 0), imported.err + shown.err
    assert (listed["name"], listed["names"]) == (stored, [stored])
    assert shown.out.splitlines()[0] == f"name:         {stored}"


def test_an_export_overwrites_nothing_unless_it_is_told_to(
    volume: Volume, moorage: Command, pair: Pair, tmp_path: Path
) -> None:
    """Another program's files stay as they are."""
    import_(moorage, pair)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "privkey.pem").write_bytes(b"precious")

    refused = moorage("cert", "export", NAME, "--to", tmp_path / "out")

    assert refused.code == 6
    assert f"{tmp_path / 'out' / 'privkey.pem'} is there already; --force" in refused.err
    assert snapshot(tmp_path / "out") == {tmp_path / "out" / "privkey.pem": b"precious"}
    assert moorage("cert", "export", NAME, "--to", tmp_path / "out", "--force").code == 0


def test_certbots_folder_is_imported_as_it_is(
    volume: Volume, moorage: Command, store: CertificateStore, pair: Pair, tmp_path: Path
) -> None:
    """Its links are followed, and no key needs to be named."""
    (tmp_path / "archive").mkdir()
    shutil.copy(pair.certificate, tmp_path / "archive" / "fullchain1.pem")
    shutil.copy(pair.key, tmp_path / "archive" / "privkey1.pem")
    (tmp_path / "live").mkdir()
    for name in ("fullchain", "privkey"):
        (tmp_path / "live" / f"{name}.pem").symlink_to(f"../archive/{name}1.pem")

    result = moorage("cert", "import", NAME, "--certificate", tmp_path / "live")

    assert result.code == 0, result.err
    assert store.has(NAME)


def test_a_file_with_both_gives_the_chain_no_key(
    volume: Volume, moorage: Command, store: CertificateStore, pair: Pair, tmp_path: Path
) -> None:
    """The public half of the store never holds a key, whatever the file did."""
    both = tmp_path / "both.pem"
    both.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())

    result = moorage("cert", "import", NAME, "--certificate", both)

    assert result.code == 0, result.err
    assert b"PRIVATE" not in store.pair(NAME).chain.read_bytes()


def _encrypt(pair: Pair) -> None:
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    form, cipher = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, cipher))


def _der(pair: Pair) -> None:
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.DER))


def _folder(pair: Pair) -> None:
    pair.certificate.unlink()
    pair.certificate.mkdir()


def _leaf_last(pair: Pair) -> None:
    pair.certificate.write_bytes(pair.ca.read_bytes() + pair.certificate.read_bytes())


def _another_key(pair: Pair) -> None:
    pair.key.write_bytes(Authority(pair.key.parent / "other").issue("x").key.read_bytes())


def _moved(days: int) -> object:
    """The certificate of a CA whose clock is *days* ahead."""

    def change(pair: Pair) -> None:
        clock = HandClock()
        clock.go_on(days=days)
        issued = asyncio.run(SmallCa(clock, timedelta(days=9)).issue(NAME))
        pair.certificate.write_bytes(issued.chain)
        pair.key.write_bytes(issued.key)

    return change


@pytest.mark.parametrize(
    ("change", "file", "says"),
    [
        (lambda pair: pair.key.unlink(), "key", "there is no such file"),
        (_encrypt, "key", "the key is encrypted; write it without a passphrase: openssl pkey -in"),
        (_another_key, "key", "the key is not that of the certificate in"),
        (_der, "certificate", "is a certificate in DER; write it as PEM: openssl x509 -inform der"),
        (_folder, "certificate", "is a folder, not a file"),
        (_leaf_last, "certificate", "the server's own certificate has to be the first in the file"),
        (_moved(-10), "certificate", "the certificate expired on"),
        (_moved(2), "certificate", "the certificate is not valid before"),
        (lambda pair: pair.certificate.write_bytes(b""), "certificate", "is empty"),
        (lambda pair: pair.certificate.write_bytes(pair.key.read_bytes()), "certificate", "are the two files swapped?"),
    ],
)
def test_what_cannot_be_imported_changes_nothing(
    volume: Volume, moorage: Command, store: CertificateStore, pair: Pair, change: object, file: str, says: str
) -> None:
    """Each mistake is a sentence with the file, and the certificate in place stays."""
    assert import_(moorage, pair).code == 0
    before = snapshot(store.folder)
    assert callable(change)
    change(pair)

    result = import_(moorage, pair)

    assert result.code == 3, result
    assert result.err.startswith(f"moorage: {getattr(pair, file)}: ")
    assert says in result.err
    assert "secret" not in result.err
    assert snapshot(store.folder) == before


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        (
            "a.exmaple.com",
            3,
            "is for a.example.com, www.example.com, and not for a.exmaple.com; did you mean a.example",
        ),
        ("https://a.example.com/", 6, "a domain is written without a scheme: a.example.com"),
        ("a.example.com:5000", 6, "a certificate is for a name, whatever the port: write a.example.com"),
        ("a_b.example.com", 6, "a domain is labels of letters, digits and dashes"),
    ],
)
def test_a_name_with_a_mistake_is_told(
    volume: Volume, moorage: Command, store: CertificateStore, pair: Pair, name: str, code: int, says: str
) -> None:
    """Names are checked before anything is stored."""
    result = import_(moorage, pair, name)

    assert (result.code, store.has(NAME)) == (code, False)
    assert says in result.err


def test_a_certificate_without_its_key_is_told(volume: Volume, moorage: Command, pair: Pair) -> None:
    """The option that lacks is named."""
    result = moorage("cert", "import", NAME, "--certificate", pair.certificate)

    assert result.code == 6
    assert f"a certificate needs its key: name the file with --key, for {pair.certificate}" in result.err


def test_a_missing_intermediate_is_a_warning(volume: Volume, moorage: Command, pair: Pair) -> None:
    """It may be right for a private authority, so it is taken and told about."""
    result = import_(moorage, pair)

    assert result.code == 0
    assert (
        "holds the server's certificate alone, which is right only if Test CA is what the clients trust" in result.err
    )


def test_the_list_tells_what_is_there_and_what_fails(
    volume: Volume, moorage: Command, store: CertificateStore, tmp_path: Path
) -> None:
    """Names, issuer, expiry, next renewal, and the last error in words with its remedy."""
    clock = HandClock()
    ca = SmallCa(clock, timedelta(days=90))
    keeper = Keeper(lambda: (NAME, "b.example.com"), ca, store, clock)
    asyncio.run(keeper.renew(NAME))
    ca.outage = CertificateFailed("b.example.com has no address", kind="dns", remedy="set an A record")
    asyncio.run(keeper.work())

    result = moorage("cert", "list")
    facts = json.loads(moorage("cert", "list", "--json").out)

    head, first, second, _, failure = result.out.splitlines()
    assert re.split(r"\s{2,}", head) == ["NAME", "ISSUER", "EXPIRES (UTC)", "LEFT", "RENEWAL (UTC)", "STATE"]
    cells = re.split(r"\s{2,}", first)
    assert (cells[:2], cells[3], cells[5]) == ([NAME, "Small CA"], "89 days", "good")
    assert re.fullmatch(r"b\.example\.com {10,}20\d\d-\d\d-\d\d \d\d:\d\d {2}failed 1 time", second)
    assert failure.startswith("b.example.com: b.example.com has no address; set an A record [20")
    assert [(one["name"], one["state"], one["failures"]) for one in facts] == [
        (NAME, "good", 0),
        ("b.example.com", "none", 1),
    ]
    assert facts[0]["days_left"] == 89
    assert facts[0]["renewal_reason"] == "two thirds of its lifetime are over"
    assert facts[1]["last_error"]["kind"] == "dns"


def test_the_list_has_the_pair_in_files_and_says_what_is_wrong_with_it(
    volume: Volume, moorage: Command, pair: Pair, tmp_path: Path
) -> None:
    """The files of `tls.certificate` are looked at as the server does."""
    config = tmp_path / "moorage.yml"
    config.write_text(f"tls: {{certificate: {pair.certificate}, key: {pair.key}}}\n")

    good = moorage("cert", "list")
    shown = moorage("cert", "show", "files")
    _another_key(pair)
    bad = moorage("cert", "list")

    assert "files (a.example.com, www.example.com)" in good.out
    assert "by others" in good.out
    assert f"files:        {pair.certificate}" in shown.out
    assert "renewal:      by whatever made it" in shown.out
    assert "cannot be used" in bad.out
    assert f"{pair.key}: the key is not that of the certificate in {pair.certificate}" in bad.out
    assert moorage("cert", "renew").err.startswith(f"moorage: tls.certificate names {pair.certificate}: whatever made")


def test_show_tells_all_that_openssl_does(
    volume: Volume, moorage: Command, store: CertificateStore, pair: Pair
) -> None:
    """Serial and fingerprint are those that OpenSSL shows."""
    import_(moorage, pair)
    asked = ["openssl", "x509", "-in", str(store.pair(NAME).chain), "-noout", "-serial", "-fingerprint", "-sha256"]
    serial, fingerprint = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()

    result = moorage("cert", "show", NAME)

    shown = dict(line.split(":", 1) for line in result.out.splitlines() if not line.startswith(" "))
    assert shown["serial"].strip().upper() == serial.partition("=")[2].lstrip("0")
    assert shown["SHA-256"].strip() == fingerprint.partition("=")[2]
    assert shown["for"].strip() == "a.example.com, www.example.com"
    assert shown["key"].strip() == "ECDSA P-256"
    assert json.loads(moorage("cert", "show", NAME, "--json").out)["fingerprint"] == fingerprint.partition("=")[2]


def test_show_knows_near_names(volume: Volume, moorage: Command, pair: Pair) -> None:
    """A typo is answered with what was meant."""
    import_(moorage, pair)

    result = moorage("cert", "show", "a.exampel.com")

    assert result.code == 6
    assert "there is no certificate for 'a.exampel.com'; did you mean a.example.com?" in result.err


@pytest.mark.parametrize("words", [("list",), ("show", NAME), ("export", NAME, "--to", "x")])
def test_no_registry_is_told(moorage: Command, words: tuple[str, ...], tmp_path: Path) -> None:
    """Looking makes no folder."""
    result = moorage("cert", *words)

    assert result.code == 6
    assert "there is no registry in data" in result.err
    assert not (tmp_path / "data").exists()


def test_root_leaves_no_key_that_the_server_cannot_read(
    volume: Volume, moorage: Command, store: CertificateStore, pair: Pair
) -> None:
    """Where the folder is another user's, the command says as whom it is to be given."""
    need_root()
    os.chown(volume.data / "moorage", 1, 1)

    result = import_(moorage, pair)

    assert result.code == 6
    assert "belongs to daemon, who could not read a key that root writes: sudo -u daemon ..." in result.err
    assert not store.has(NAME)


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """An ACME server."""
    with Pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory, pebble: Pebble) -> Iterator[Pebble]:
    """Another one, whose certificates are worth nothing, that looks at the same door."""
    with Pebble(tmp_path_factory.mktemp("staging"), http_port=pebble.http_port) as running:
        yield running


def words(pebble: Pebble) -> list[str]:
    """The options for *pebble*."""
    return [
        *("--acme-directory", pebble.directory),
        *("--acme-ca-file", str(pebble.ca_file)),
        *("--acme-profile", "default"),
        *("--tls-plain-listen", f"127.0.0.1:{pebble.http_port}"),
    ]


def test_a_certificate_is_got_without_a_server(moorage: Command, pebble: Pebble, tmp_path: Path) -> None:
    """In an empty folder: the command answers the challenge itself, and closes the door behind it."""
    got = moorage("cert", "obtain", NAME, *words(pebble))
    again = moorage("cert", "obtain", NAME, *words(pebble))
    listed = json.loads(moorage("cert", "list", "--json").out)

    assert got.code == 0, got.err
    assert re.fullmatch(rf"{NAME}: a new certificate by Pebble .* is in place, good until 20.* UTC\n", got.out)
    assert again.out.endswith("nothing is due\n")
    assert [(one["name"], one["state"]) for one in listed] == [(NAME, "good")]
    assert listed[0]["window"] is not None
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", pebble.http_port)) != 0


def test_renewal_follows_the_authoritys_word_and_ours(moorage: Command, pebble: Pebble, tmp_path: Path) -> None:
    """Not due, then moved to now by the authority, then by force; without names all that are there."""
    store = CertificateStore(tmp_path / "data" / "moorage" / "tls")
    assert moorage("cert", "obtain", NAME, *words(pebble)).code == 0

    def serial() -> int:
        return x509.load_pem_x509_certificate(store.pair(NAME).chain.read_bytes()).serial_number

    serials = [serial()]
    assert "nothing is due" in moorage("cert", "renew", *words(pebble)).out
    serials.append(serial())
    begin = datetime.now(UTC) - timedelta(days=2)
    times = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (begin, begin + timedelta(days=1))]
    pebble.set_window(store.pair(NAME).chain.read_bytes(), times[0], times[1])
    by_window = moorage("cert", "renew", *words(pebble))
    serials.append(serial())
    assert moorage("cert", "renew", NAME, "--force", *words(pebble)).code == 0
    serials.append(serial())

    assert "a new certificate by Pebble" in by_window.out, by_window
    assert serials[0] == serials[1]
    assert len(set(serials)) == 3


def test_a_rehearsal_asks_the_staging_server_and_stores_nothing(
    moorage: Command, pebble: Pebble, staging: Pebble, tmp_path: Path
) -> None:
    """A dry run is the whole way at the server that counts nothing."""
    both = tmp_path / "both.pem"
    both.write_bytes(pebble.ca_file.read_bytes() + staging.ca_file.read_bytes())
    (tmp_path / "moorage.yml").write_text(
        f"tls: {{domains: [{NAME}], plain_listen: ['127.0.0.1:{pebble.http_port}']}}\n"
        f"acme: {{directory: '{pebble.directory}', staging_directory: '{staging.directory}', ca_file: {both},"
        " profile: default}\n"
    )
    orders = pebble.count("There are now")

    result = moorage("cert", "obtain", "--dry-run")

    assert result.code == 0, result.err
    assert re.fullmatch(rf"{NAME}: Pebble .* would issue a certificate, good until 20.* UTC\n", result.out)
    assert pebble.count("There are now") == orders
    assert not CertificateStore(tmp_path / "data" / "moorage" / "tls").has(NAME)


def test_what_keeps_an_authority_from_issuing_is_told(moorage: Command, pebble: Pebble, tmp_path: Path) -> None:
    """The reason, what to do, exit code 8; and the list remembers it."""
    pebble.dns.servfail("broken.example.com")

    result = moorage("cert", "obtain", "broken.example.com", *words(pebble))
    listed = moorage("cert", "list")

    assert result.code == 8
    assert result.out == ""
    assert result.err.startswith("moorage: broken.example.com: ")
    assert "failed 1 time" in listed.out
    assert listed.out.count("broken.example.com") >= 2


def test_a_port_that_is_taken_is_told(moorage: Command, pebble: Pebble) -> None:
    """Before the authority is asked, so that no try is lost."""
    with socket.create_server(("127.0.0.1", pebble.http_port)):
        result = moorage("cert", "obtain", NAME, *words(pebble))

    assert result.code == 4
    assert f"port {pebble.http_port} is in use on 127.0.0.1: stop what listens there" in result.err
    assert f"it is process {os.getpid()} of " in result.err
    assert "--tls-plain-listen" in result.err


def test_an_unreachable_directory_is_told(moorage: Command, pebble: Pebble) -> None:
    """With its address."""
    result = moorage("cert", "obtain", NAME, *words(pebble), "--acme-directory", "https://127.0.0.1:9/dir")

    assert result.code == 8
    assert "127.0.0.1:9" in result.err


def test_a_typo_in_a_name_that_is_kept_is_told(moorage: Command, pebble: Pebble, tmp_path: Path) -> None:
    """No authority is asked for a name that nobody configured."""
    (tmp_path / "moorage.yml").write_text(f"tls: {{domains: [{NAME}]}}\n")

    result = moorage("cert", "obtain", "a.exmaple.com", *words(pebble))

    assert result.code == 6
    assert (
        "a.exmaple.com is not among the names of this server (tls.domains); did you mean a.example.com?" in result.err
    )


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            ("renew",),
            "the certificate for a.example.com is from ca.lan:9000, and these settings name acme-v02.api.letsenc",
        ),
        (("renew", NAME), "give the server's own --config, or the same --acme-directory"),
        (("obtain", NAME), "is from ca.lan:9000"),
        (("renew", "a.exmaple.com"), "there is no certificate for a.exmaple.com; did you mean a.example.com?"),
        (("renew", "private"), "private is not among the names of this server"),
    ],
)
def test_no_other_authority_is_asked_by_mistake(
    volume: Volume, moorage: Command, store: CertificateStore, pair: Pair, command: tuple[str, ...], says: str
) -> None:
    """A server that was told its authority on the command line is known by what it has done; nothing is asked for."""
    import_(moorage, pair)
    state.save(store, NAME, replace(state.load(store, NAME), tried="ca.lan:9000"))
    before = snapshot(store.folder)

    result = moorage("cert", *command)

    assert result.code == 6
    assert says in result.err
    assert snapshot(store.folder) == before


def test_without_a_domain_the_command_says_what_lacks(volume: Volume, moorage: Command) -> None:
    """Nothing is configured, nothing is there."""
    result = moorage("cert", "renew")

    assert result.code == 6
    assert "no setting names a domain: say which (NAME), or give the server's own --config and --data" in result.err


def test_the_command_waits_for_whoever_gets_certificates(volume: Volume, pebble: Pebble, tmp_path: Path) -> None:
    """Two that renew at once would use up the authority's patience: the second begins when the first has ended."""
    until = time.time_ns() // 1000 + 3_600_000_000
    volume.sql("INSERT INTO leases (name, holder, expires_at) VALUES ('certificates', 'other', ?)", until)
    waiting = subprocess.Popen(
        [COMMAND, "cert", "obtain", NAME, "--data", volume.data, *words(pebble)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert waiting.stderr is not None
    said = waiting.stderr.readline()
    free = threading.Timer(0, lambda: volume.sql("DELETE FROM leases"))

    free.start()
    out, err = waiting.communicate(timeout=120)

    assert said == "moorage: another process is getting certificates; waiting until it has ended\n"
    assert waiting.returncode == 0, err
    assert "a new certificate" in out
    assert volume.sql("SELECT name FROM leases") == []


def test_the_command_renews_beside_a_running_server(tmp_path: Path, pebble: Pebble, moorage: Command) -> None:
    """The server answers the challenge, and shows the new certificate without being told."""
    server = Moorage(tmp_path / "server", "--domain", NAME, *words(pebble))
    with server:
        first = _shown(server, lambda serial: "Pebble" in serial)
        result = moorage("cert", "renew", NAME, "--force", "--data", server.data, *words(pebble))
        second = _shown(server, lambda serial: serial != first)
        listed = moorage("cert", "list", "--data", server.data)

    assert result.code == 0, result.err
    assert first != second
    assert "good" in listed.out


def _shown(server: Moorage, wanted: object) -> str:
    """Issuer and serial of the certificate that the server shows, once they are as *wanted*."""
    import ssl

    assert callable(wanted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    deadline = time.monotonic() + 60
    found = ""
    while time.monotonic() < deadline:
        with socket.create_connection((server.address, server.port), 10) as plain:
            with context.wrap_socket(plain, server_hostname=NAME) as stream:
                der = stream.getpeercert(binary_form=True)
        assert der is not None
        leaf = x509.load_der_x509_certificate(der)
        found = f"{leaf.issuer.rfc4514_string()} {leaf.serial_number:x}"
        if wanted(found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"it shows {found}\n{server.log_tail()}")


def test_a_person_sees_how_it_goes(pebble: Pebble, tmp_path: Path) -> None:
    """On a terminal each step is a line."""
    with Terminal([COMMAND, "cert", "obtain", NAME, *words(pebble)], tmp_path) as terminal:
        terminal.wait_for("no server runs on data: answering challenges on 127.0.0.1:")
        terminal.wait_for(f"asking localhost:{pebble.port} about {NAME} ...")
        terminal.wait_for("is in place, good until")


def test_a_first_start_beside_the_command_is_kept_out(moorage: Command, pebble: Pebble, tmp_path: Path) -> None:
    """Where no server ever ran, the folder's lock keeps a second command out."""
    (tmp_path / "data" / "moorage").mkdir(parents=True)
    with FolderLock(tmp_path / "data" / "moorage" / "lock"):
        result = moorage("cert", "obtain", NAME, *words(pebble))

    assert result.code == 4
    assert "already uses the data folder" in result.err


def test_the_state_of_an_import_is_fresh(volume: Volume, moorage: Command, store: CertificateStore, pair: Pair) -> None:
    """Failures of before say nothing about the certificate that is there now."""
    state.save(store, NAME, state.State(failures=7, next_attempt=1 << 60))

    import_(moorage, pair)

    assert state.load(store, NAME).failures == 0
    assert state.load(store, NAME).names == (NAME, "www.example.com")
