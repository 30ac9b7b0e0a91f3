"""The server's own certificate: in files, in certbot's folder, and from the private authority."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import AuthorityInformationAccessOID

from moorage.app import Folders
from moorage.certificates import names_of
from moorage.clock import SystemClock
from moorage.doctor.accounts import account, me
from moorage.doctor.finding import Finding, Verdict
from moorage.doctor.mounts import parse_mounts
from moorage.doctor.server.certbot import Schedules, look_at_certbot, look_for_newer
from moorage.doctor.server.certificate_files import Surroundings, look_at_files, read_leaf
from moorage.doctor.server.certificates import look_at_certificates
from moorage.doctor.server.private_authority import look_at_authority
from moorage.settings.model import Settings
from moorage.tls.pem import CertificateFacts
from moorage.tls.private_ca import PrivateAuthority
from moorage.tls.store import CertificateStore
from tests.certificates import Authority, Pair, make_key
from tests.doctor.findings import all_of, bad, let_in, naming, only, own_folder
from tests.programs import need_root
from tests.servers import Moorage

NOBODY = 65534
NAME = "registry.example.com"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's, which other users cannot be let in to."""
    with own_folder() as folder:
        yield folder


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Signs certificates of thirty days."""
    return Authority(tmp_path / "authority")


def around(uid: int | None = None, *, days: float = 0, mounts: str = "", container: bool = False) -> Surroundings:
    """Now, or so many days later, for this user or another."""
    user = me() if uid is None else account(uid)
    now = SystemClock().now() + int(days * 86400 * 1_000_000)
    return Surroundings(user, now, parse_mounts(mounts), container)


def looked(
    certificate: Path, key: Path | None, where: Surroundings | None = None, external: str | None = f"https://{NAME}"
) -> list[Finding]:
    """What is said of two files, or of certbot's folder."""
    tls = {"certificate": certificate} | ({"key": key} if key else {})
    settings = Settings.model_validate({"tls": tls, "http": {"external_url": external} if external else {}})
    return list(look_at_files(settings, where or around()))


def test_a_pair_that_fits_is_well(authority: Authority) -> None:
    """A fresh certificate for the name that people use."""
    pair = authority.issue(NAME)

    found = looked(pair.certificate, pair.key)

    assert bad(found) == []
    assert f"is for {NAME}" in found[-1].what


@pytest.mark.parametrize(
    ("days", "said", "verdict"),
    [
        (15, "", None),
        (21.5, "8 days are left of 30", Verdict.WARNING),
        (31, "expired on", Verdict.WRONG),
        (-2, "is not valid before", Verdict.WRONG),
    ],
)
def test_the_time_of_a_certificate_is_judged_by_its_lifetime(
    authority: Authority, days: float, said: str, verdict: Verdict | None
) -> None:
    """It is well until what renews at a third is late; then a warning, and at its end it is wrong."""
    pair = authority.issue(NAME)

    found = bad(looked(pair.certificate, pair.key, around(days=days)))

    assert [(said in one.what, one.verdict) for one in found] == ([(True, verdict)] if verdict else [])


def encrypted(pair: Pair) -> None:
    """Give the key a passphrase."""
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))


def binary(pair: Pair) -> None:
    """Write the certificate as DER."""
    found = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    pair.certificate.write_bytes(found.public_bytes(serialization.Encoding.DER))


def anothers(pair: Pair) -> None:
    """Put another key in the key's place."""
    pair.key.write_bytes(
        make_key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def backwards(pair: Pair) -> None:
    """Put the authority's certificate before the server's."""
    pair.certificate.write_bytes(pair.ca.read_bytes() + pair.certificate.read_bytes())


def gone(pair: Pair) -> None:
    """Remove the key."""
    pair.key.unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (encrypted, "the key is encrypted"),
        (binary, "DER"),
        (anothers, "the key is not that of the certificate in"),
        (backwards, "has to be the first in the file, and it is number 2"),
        (gone, "there is no such file"),
    ],
)
def test_files_that_cannot_be_used_are_named(authority: Authority, spoil: Callable[[Pair], None], said: str) -> None:
    """The file and what is wrong with it, in one finding that stops what needs the certificate."""
    pair = authority.issue(NAME)
    spoil(pair)

    one = only(looked(pair.certificate, pair.key))

    assert said in one.what
    assert one.verdict is Verdict.WRONG
    assert one.blocks


def test_a_missing_intermediate_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    """The server's certificate alone, from an authority that says where its own is to be had."""
    key = make_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "E7")])
    place = x509.AccessDescription(
        AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://e7.example/ca.der")
    )
    now = datetime.now(UTC)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.AuthorityInformationAccess([place]), critical=False)
        .sign(make_key(), hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    (tmp_path / "key.pem").chmod(0o600)

    one = only(looked(tmp_path / "cert.pem", tmp_path / "key.pem"))

    assert "the intermediate one, E7, is missing" in one.what
    assert "http://e7.example/ca.der" in one.remedy[0]


def test_a_certificate_for_another_name_is_named(authority: Authority) -> None:
    """What people type is in the settings, and the certificate is for something else."""
    pair = authority.issue("old.example.com", "192.0.2.7")

    one = only(looked(pair.certificate, pair.key))

    assert one.what == f"the certificate is for old.example.com, 192.0.2.7, and http.external_url is {NAME}"
    assert "x509: certificate is valid for" in one.meaning


def test_an_address_to_listen_at_is_no_name(authority: Authority) -> None:
    """Whoever listens at an interface's address has a certificate for a name all the same."""
    pair = authority.issue(NAME)
    settings = Settings.model_validate(
        {"listen": ["10.0.0.5:443"], "tls": {"certificate": pair.certificate, "key": pair.key}}
    )

    assert bad(look_at_files(settings, around())) == []


def test_a_key_that_everybody_can_read_is_a_warning(authority: Authority) -> None:
    """Also behind a link; the command names the file itself."""
    pair = authority.issue(NAME)
    pair.key.chmod(0o644)
    let_in(pair.key)

    one = only(looked(pair.certificate, pair.key))

    assert "can be read by every user" in one.what
    assert str(pair.key) in one.remedy[0]


def test_a_key_that_the_servers_user_cannot_read_is_named(authority: Authority) -> None:
    """certbot lets root in alone, and the server runs as somebody else; root, who asks, could read it."""
    need_root()
    pair = authority.issue(NAME)
    let_in(pair.key)

    one = only(looked(pair.certificate, pair.key, around(NOBODY)))

    assert one.what == f"nobody, the user of the server, cannot read {pair.key}"
    assert one.remedy[0].startswith("sudo setfacl -R -m u:nobody:rX")


def test_a_file_that_is_mounted_by_itself_is_a_warning(authority: Authority) -> None:
    """A bind mount of one file stays at the file that was there first."""
    pair = authority.issue(NAME)
    mounts = f"731 720 254:1 /etc/tls/cert.pem {pair.certificate} ro - ext4 /dev/vda1 rw"

    one = only(looked(pair.certificate, pair.key, around(mounts=mounts, container=True)))

    assert "is mounted by itself, and not its folder" in one.what


@pytest.fixture
def live(tmp_path: Path, authority: Authority) -> Path:
    """certbot's folder for NAME: links from live/ into archive/, and the plan for its renewal."""
    home = tmp_path / "letsencrypt"
    archive, folder = home / "archive" / NAME, home / "live" / NAME
    archive.mkdir(parents=True)
    folder.mkdir(parents=True)
    pair = authority.issue(NAME)
    (archive / "fullchain1.pem").write_bytes(pair.certificate.read_bytes() + pair.ca.read_bytes())
    shutil.copy(pair.key, archive / "privkey1.pem")
    for name in ("fullchain", "privkey"):
        (folder / f"{name}.pem").symlink_to(f"../../archive/{NAME}/{name}1.pem")
    (home / "renewal").mkdir()
    plan(folder, "webroot")
    return folder


def plan(folder: Path, authenticator: str, more: str = "") -> None:
    """Write certbot's own file about the renewal."""
    home = folder.parent.parent
    text = f"""# renew_before_expiry = 30 days
version = 2.1.0
archive_dir = {home}/archive/{NAME}
cert = {folder}/cert.pem
[renewalparams]
account = 0123
authenticator = {authenticator}
{more}
server = https://acme-v02.api.letsencrypt.org/directory
[[webroot_map]]
{NAME} = /var/www/html
"""
    (home / "renewal" / f"{NAME}.conf").write_text(text)


def cron(folder: Path, line: str = "17 3,15 * * * root certbot renew -q") -> Schedules:
    """A machine whose only schedule is this line."""
    folder.mkdir(exist_ok=True)
    (folder / "certbot").write_text(line + "\n")
    return Schedules((folder,))


def test_certbots_folder_is_well_as_it_is(live: Path, tmp_path: Path) -> None:
    """Links are followed, certbot knows the certificate, and something makes it renew."""
    found = [
        *looked(live, None),
        *look_at_certbot(live, Settings(), cron(tmp_path / "cron.d")),
        *look_for_newer(live, leaf_of(live), live.parent.parent),
    ]

    assert bad(found) == []
    assert "certbot renews registry.example.com (webroot), by cron" in naming_ok(found, "certbot renews")


def leaf_of(folder: Path) -> CertificateFacts:
    """The facts of a folder's certificate."""
    leaf = read_leaf(folder / "fullchain.pem", me())
    assert leaf is not None
    return leaf


def naming_ok(found: list[Finding], text: str) -> str:
    """The sentence that says all is well with what has *text* in it."""
    return next(one.what for one in found if one.verdict is Verdict.OK and text in one.what)


def test_links_that_lead_nowhere_are_told_to_be_certbots(live: Path) -> None:
    """Only live/ was copied or mounted, and not archive/."""
    shutil.rmtree(live.parent.parent / "archive")

    on_the_host = only(looked(live, None))
    in_a_container = only(looked(live, None, around(container=True)))

    assert f"is a link to ../../archive/{NAME}/fullchain1.pem, which is not there" in on_the_host.what
    assert on_the_host.remedy[0].startswith("sudo cp -rL /etc/letsencrypt/live/NAME")
    home = live.parent.parent
    assert in_a_container.remedy == (f"docker run -v {home}:{home}:ro ...",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda live: (live.parent.parent / "renewal" / f"{NAME}.conf").unlink(), "certbot does not know"),
        (lambda live: plan(live, "manual"), "certbot is to ask a person at each renewal"),
        (lambda live: plan(live, "standalone"), "certbot wants port 80 for itself"),
    ],
)
def test_renewals_that_will_fail_are_named(
    live: Path, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    """What certbot's own files say of the next renewal."""
    change(live)
    settings = Settings(listen=("0.0.0.0:80", "0.0.0.0:443"))

    assert said in only(look_at_certbot(live, settings, cron(tmp_path / "cron.d"))).what


def test_a_hook_answers_in_a_persons_place(live: Path, tmp_path: Path) -> None:
    """`manual` with a hook needs nobody."""
    plan(live, "manual", "manual_auth_hook = /usr/local/bin/dns")

    assert bad(look_at_certbot(live, Settings(), cron(tmp_path / "cron.d"))) == []


@pytest.mark.parametrize("line", ["# 0 3 * * * root certbot renew", "0 3 * * * root backup"])
def test_a_machine_on_which_nothing_renews_is_a_warning(live: Path, tmp_path: Path, line: str) -> None:
    """The certificate was got once, and nothing will ever renew it."""
    one = only(look_at_certbot(live, Settings(), cron(tmp_path / "cron.d", line)))

    assert "nothing on this machine makes it renew" in one.what


def test_a_copy_that_was_left_behind_is_named(live: Path, tmp_path: Path, authority: Authority) -> None:
    """certbot has renewed, and the two files that were copied by hand are the old ones."""
    copied = tmp_path / "copied"
    copied.mkdir()
    old = authority.issue(NAME)
    shutil.copy(old.certificate, copied / "fullchain.pem")
    newer = renewed(authority, old, days=60)
    (live.parent.parent / "archive" / NAME / "fullchain1.pem").write_bytes(newer)

    one = only(look_for_newer(copied / "fullchain.pem", leaf_of(copied), live.parent.parent))

    assert f"is a copy, and {live} has been renewed since" in one.what
    assert one.remedy == (f"moorage serve --tls-certificate {live} ...",)


def renewed(authority: Authority, pair: Pair, days: int) -> bytes:
    """A certificate for the same names that ends later, as PEM."""
    old = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    builder = x509.CertificateBuilder(
        old.issuer,
        old.subject,
        old.public_key(),
        99,
        old.not_valid_before_utc,
        datetime.now(UTC) + timedelta(days=days),
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_renewed_file_that_is_not_served_is_named(tmp_path: Path, authority: Authority) -> None:
    """The server sees a file that was mounted by itself; on the disk there is a newer one under the same name."""
    pair = authority.issue(NAME, "127.0.0.1")
    with Moorage(tmp_path / "server", users={}, pair=pair) as server:
        before = all_of(look_at_certificates(files_of(server, pair), SystemClock(), around(), served=True))
        other = authority.issue(NAME, "127.0.0.1")
        after = all_of(look_at_certificates(files_of(server, other), SystemClock(), around(), served=True))

    assert bad(before) == []
    assert "the server shows that certificate" in before[-1].what
    assert "shows another certificate than" in only(after).what


def files_of(server: Moorage, pair: Pair) -> Settings:
    """The settings of *server*, with the files of *pair*."""
    return Settings.model_validate(
        {
            "data": server.data,
            "listen": [server.host],
            "tls": {"certificate": pair.certificate, "key": pair.key},
        }
    )


@pytest.fixture
def private(tmp_path: Path) -> tuple[Settings, CertificateStore]:
    """A private authority as a server makes it, for a name and for 127.0.0.1."""
    settings = Settings.model_validate(
        {"data": tmp_path / "data", "listen": ["127.0.0.1:5443"], "tls": {"names": ["registry.lan"]}}
    )
    store = CertificateStore(Folders(settings.data).tls)
    PrivateAuthority(store, SystemClock()).prepare(names_of(settings))
    return settings, store


def test_a_private_authority_is_well_and_shows_its_fingerprint(private: tuple[Settings, CertificateStore]) -> None:
    """The fingerprint is what clients are told to compare."""
    settings, store = private

    found = list(look_at_authority(settings, store, SystemClock(), around()))

    assert bad(found) == []
    fingerprint = PrivateAuthority(store, SystemClock()).fingerprints()[0]
    assert fingerprint.replace(":", "") in found[0].what.replace(":", "")


def test_a_private_authority_that_is_not_made_yet_is_well(tmp_path: Path) -> None:
    """The look makes nothing."""
    settings = Settings.model_validate({"data": tmp_path / "data", "tls": {"names": ["registry.lan"]}})

    found = list(look_at_authority(settings, CertificateStore(tmp_path / "tls"), SystemClock(), around()))

    assert bad(found) == []
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_was_added_is_named(private: tuple[Settings, CertificateStore]) -> None:
    """Until the next start the certificate is not for it."""
    settings, store = private
    more = Settings.model_validate(
        {"data": settings.data, "listen": ["127.0.0.1:5443"], "tls": {"names": ["registry.lan", "hub.lan"]}}
    )

    one = only(look_at_authority(more, store, SystemClock(), around()))

    assert "is not for hub.lan, which the settings name" in one.what


def test_a_key_of_the_authority_that_everybody_can_read_is_a_warning(
    private: tuple[Settings, CertificateStore],
) -> None:
    """Whoever has it makes certificates that every client believes."""
    settings, store = private
    key = next(store.folder.glob("authority/*/ca.key"))
    for folder in (key.parent, store.folder / "authority", store.folder):
        folder.chmod(0o755)
    key.chmod(0o644)
    let_in(key)

    one = only(look_at_authority(settings, store, SystemClock(), around()))

    assert str(key) in one.what


def test_a_damaged_authority_is_named(private: tuple[Settings, CertificateStore]) -> None:
    """With a new one every client would have to trust it anew, so the backup is what is told of."""
    settings, store = private
    for path in store.folder.glob("authority/*/ca.crt"):
        path.write_text("nonsense")

    one = only(look_at_authority(settings, store, SystemClock(), around()))

    assert one.verdict is Verdict.WRONG
    assert "backup" in one.meaning


@pytest.mark.parametrize(("days", "said"), [(3 * 3650, "is not valid"), (0, "")])
def test_the_authority_has_a_time_too(private: tuple[Settings, CertificateStore], days: float, said: str) -> None:
    """In thirty years clients refuse it."""
    settings, store = private

    found = bad(look_at_authority(settings, store, SystemClock(), around(days=days)))

    assert bool(found) is bool(said)
    assert not found or "expired on" in naming(found, "private authority").what
