from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import ConfigurationError
from moorage.settings.classic import load_classic
from moorage.settings.classic_keys import KEYS, expanded, tree
from moorage.settings.model import Settings
from moorage.settings.origin import Loaded

Load = Callable[..., Loaded]

OPEN = "nobody is asked for a password"
CLEAR = "passwords travel in the clear"

REGISTRY_2 = """\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""
REGISTRY_3 = REGISTRY_2.replace("  filesystem:", "  tag:\n    concurrencylimit: 8\n  filesystem:")

MINIMAL = "version: 0.1\nstorage: filesystem\n"
LETS_ENCRYPT = (
    "{letsencrypt: {cachefile: /c, hosts: [r.example.com, s.example.com], email: me@example.com,"
    " directoryurl: 'https://ca.example/dir'}}"
)


def _value(settings: Settings, path: str) -> object:
    return reduce(getattr, path.split("."), settings)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a classic configuration from text, or without a file."""

    def load(text: str | None = None, environ: Mapping[str, str] | None = None, **options: object) -> Loaded:
        file = None
        if text is not None:
            file = tmp_path / "config.yml"
            file.write_text(text)
        return load_classic(file, environ or {}, options)

    return load


@pytest.mark.parametrize("text", [None, REGISTRY_2, REGISTRY_3])
def test_the_images_own_configurations_make_the_same_open_registry(load: Load, text: str | None) -> None:
    """Without a file, and with those of registry:2 and :3: port 5000 on every address, no deletes, one warning."""
    loaded = load(text)

    settings = loaded.settings
    assert loaded.mode == "classic"
    assert settings.listen == (":5000",)
    assert settings.data == Path("/var/lib/registry")
    assert settings.auth.kind == "none"
    assert settings.allow_plaintext is True
    assert settings.storage.delete_enabled is False
    assert settings.http.headers == {"X-Content-Type-Options": ("nosniff",)}
    assert (settings.log.format, settings.log.fields) == ("text", {"service": "registry"})
    assert [warning for warning in loaded.warnings if OPEN not in warning] == []
    assert len(loaded.warnings) == 1


TUTORIAL = {
    "REGISTRY_AUTH": "htpasswd",
    "REGISTRY_AUTH_HTPASSWD_REALM": "Registry Realm",
    "REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd",
    "REGISTRY_HTTP_ADDR": "0.0.0.0:443",
    "REGISTRY_HTTP_TLS_CERTIFICATE": "/certs/domain.crt",
    "REGISTRY_HTTP_TLS_KEY": "/certs/domain.key",
    "REGISTRY_STORAGE_DELETE_ENABLED": "true",
    "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/srv/registry",
}


def test_the_variables_of_the_tutorial_make_a_closed_registry(load: Load) -> None:
    """The most copied `docker run -e ...` has its whole effect, and nothing to warn of."""
    loaded = load(None, TUTORIAL)

    settings = loaded.settings
    assert settings.auth.kind == "htpasswd"
    assert (settings.auth.realm, settings.auth.htpasswd) == ("Registry Realm", Path("/auth/htpasswd"))
    assert settings.listen == ("0.0.0.0:443",)
    assert (settings.tls.certificate, settings.tls.key) == (Path("/certs/domain.crt"), Path("/certs/domain.key"))
    assert settings.storage.delete_enabled is True
    assert settings.data == Path("/srv/registry")
    assert loaded.warnings == ()
    assert str(loaded.origins["auth.htpasswd"]) == "REGISTRY_AUTH_HTPASSWD_PATH (auth.htpasswd.path)"


def test_passwords_without_tls_get_one_warning_off_loopback(load: Load) -> None:
    """Plain HTTP is allowed, as there, but said; on loopback and over TLS there is nothing to say."""
    auth = {name: text for name, text in TUTORIAL.items() if "AUTH" in name}

    clear = load(None, auth)

    assert [CLEAR in warning for warning in clear.warnings] == [True]
    assert load(None, auth | {"REGISTRY_HTTP_ADDR": "127.0.0.1:5000"}).warnings == ()


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("log: {level: WARN}", "log.level", "warning"),
        ("loglevel: debug", "log.level", "debug"),
        ("loglevel: debug\nlog: {level: error}", "log.level", "error"),
        ("log: {formatter: json}", "log.format", "json"),
        ("log: {formatter: logstash}", "log.format", "json"),
        ("log: {fields: {a: 1, b: x}}", "log.fields", {"a": "1", "b": "x"}),
        ("log: {accesslog: {disabled: true}}", "log.access", False),
        ("log: {accesslog: {disabled: no}}", "log.access", True),
        ("auth: none", "auth.kind", "none"),
        ("auth: {none: {}}", "auth.kind", "none"),
        ("auth: {htpasswd: {path: a}}", "auth.kind", "htpasswd"),
        ("auth: {htpasswd: {path: a}}", "auth.realm", "Moorage"),
        ("auth: {htpasswd: {path: a, realm: 'x: y'}}", "auth.realm", "x: y"),
        ("http: {addr: 'localhost:1'}", "listen", ("localhost:1",)),
        ("http: {addr: /run/r.sock, net: unix}", "listen", ("unix:/run/r.sock",)),
        ("http: {prefix: /a/b/}", "http.prefix", "/a/b/"),
        ("http: {debug: {addr: 'localhost:5001'}}", "metrics.listen", ("localhost:5001",)),
        ("http: {debug: {addr: ':5001', prometheus: {enabled: false}}}", "metrics.path", None),
        ("http: {debug: {addr: ':5001', prometheus: {enabled: true}}}", "metrics.path", "/metrics"),
        ("http: {debug: {addr: ':5001', prometheus: {enabled: true, path: /m}}}", "metrics.path", "/m"),
        ("http: {debug: {prometheus: {enabled: true}}}", "metrics.listen", ()),
        ("http: {host: 'https://r.example.com:5000'}", "http.external_url", "https://r.example.com:5000"),
        ("http: {draintimeout: 1m30s}", "http.drain_timeout", 90.0),
        ("http: {draintimeout: 5000000000}", "http.drain_timeout", 5.0),
        ("http: {draintimeout: '0'}", "http.drain_timeout", 0.0),
        (
            "http: {headers: {Strict-Transport-Security: [max-age=1]}}",
            "http.headers",
            {"Strict-Transport-Security": ("max-age=1",)},
        ),
        ("http: {tls: {certificate: a, key: b, clientcas: [c, d]}}", "tls.client_cas", (Path("c"), Path("d"))),
        (f"http: {{tls: {LETS_ENCRYPT}}}", "tls.domains", ("r.example.com", "s.example.com")),
        (f"http: {{tls: {LETS_ENCRYPT}}}", "acme.email", "me@example.com"),
        (f"http: {{tls: {LETS_ENCRYPT}}}", "acme.directory", "https://ca.example/dir"),
        (f"http: {{tls: {LETS_ENCRYPT}}}", "listen", (":5000",)),
        ("http: {tls: {letsencrypt: {cachefile: c, hosts: [a.b]}, clientcas: [c]}}", "tls.client_cas", (Path("c"),)),
        ("http: {tls: {clientauth: verify-client-cert-if-given}}", "tls.client_auth", "verify-if-given"),
        ("http: {tls: {clientauth: request-client-cert}}", "tls.client_auth", "verify-if-given"),
        ("http: {tls: {clientauth: require-any-client-cert}}", "tls.client_auth", "require-and-verify"),
        ("http: {tls: {minimumtls: tls1.3}}", "tls.minimum", "tls1.3"),
        ("http: {tls: {minimumtls: tls1.0}}", "tls.minimum", "tls1.2"),
        (
            "http: {tls: {ciphersuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]}}",
            "tls.ciphers",
            ("ECDHE-RSA-AES128-GCM-SHA256",),
        ),
        ("http: {tls: {ciphersuites: [TLS_AES_128_GCM_SHA256]}}", "tls.minimum", "tls1.3"),
        ("catalog: {maxentries: 5}", "listing.catalog_max_entries", 5),
        ("catalog: {maxentries: -1}", "listing.catalog_max_entries", 1000),
        ("tags: {maxtags: 7}", "listing.tags_max_entries", 7),
        ("tags: {maxtags: 0}", "listing.tags_max_entries", 10000),
        ("validation: {disabled: true}", "validation.index_platforms", "none"),
        ("validation: {manifests: {urls: {allow: [^a, ^b]}}}", "validation.urls_allow", ("^a", "^b")),
        ("validation: {disabled: true, manifests: {urls: {allow: [^a]}}}", "validation.urls_allow", ()),
        ("validation: {manifests: {urls: {deny: [^a]}}}", "validation.urls_deny", ("^a",)),
        ("validation: {manifests: {indexes: {platforms: None}}}", "validation.index_platforms", "none"),
    ],
)
def test_keys_have_their_effect(load: Load, text: str, path: str, value: object) -> None:
    """What distribution does with a key, the setting that it becomes does here."""
    assert _value(load(MINIMAL + text).settings, path) == value


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("filesystem: {rootdirectory: /x}", "data", Path("/x")),
        ("filesystem:", "data", Path("/var/lib/registry")),
        ("delete: {enabled: true}\n  filesystem:", "storage.delete_enabled", True),
        ("maintenance: {readonly: {enabled: true}}\n  filesystem:", "storage.read_only", True),
        ("maintenance: {uploadpurging: {enabled: false}}\n  filesystem:", "storage.upload_purge.enabled", False),
        ("maintenance: {uploadpurging: {age: 24h}}\n  filesystem:", "storage.upload_purge.age", 86400.0),
        ("maintenance: {uploadpurging: {interval: 90m}}\n  filesystem:", "storage.upload_purge.interval", 5400.0),
        ("maintenance: {uploadpurging: {dryrun: true}}\n  filesystem:", "storage.upload_purge.dry_run", True),
    ],
)
def test_storage_keys_have_their_effect(load: Load, text: str, path: str, value: object) -> None:
    """The driver and what stands beside it."""
    assert _value(load(f"version: 0.1\nstorage:\n  {text}\n").settings, path) == value


def test_a_list_of_platforms_is_taken_over(load: Load) -> None:
    """`platforms: list` with its platformlist, each platform of which needs both words."""
    indexes = "validation: {manifests: {indexes: {platforms: List, platformlist: [{architecture: amd64, os: linux}]}}}"

    validation = load(MINIMAL + indexes).settings.validation

    assert validation.index_platforms == "list"
    assert [(platform.os, platform.architecture) for platform in validation.platforms] == [("linux", "amd64")]


@pytest.mark.parametrize(
    "text",
    [
        "log: {reportcaller: true, hooks: [{type: mail, disabled: true, levels: [panic]}]}",
        "http: {secret: x, relativeurls: true, http2: {disabled: false}, h2c: {enabled: false}}",
        "http: {debug: {prometheus: {enabled: true, path: /metrics}}}",
        "notifications: {events: {includereferences: true}, endpoints: [{name: a, disabled: true, url: 'http://b'}]}",
        "notifications: {endpoints: []}",
        "middleware: {storage: [{name: redirect, disabled: true, options: {baseurl: x}}]}",
        "redis: {}",
        "proxy: {remoteurl: '', ttl: 0}",
        "validation: {enabled: true}",
        "compatibility: {schema1: {enabled: false}}",
        "health: {storagedriver: {enabled: true, interval: 1s, threshold: 3}}",
    ],
)
def test_keys_that_change_nothing_are_accepted_without_a_word(load: Load, text: str) -> None:
    """What is done anyway, switched off or empty deserves no warning; only the open registry does."""
    assert [warning for warning in load(MINIMAL + text).warnings if OPEN not in warning] == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("log: {formatter: logstash}", "log.formatter"),
        ("log: {hooks: [{type: mail, levels: [panic], options: {smtp: {addr: a}}}]}", "log.hooks"),
        ("http: {relativeurls: false}", "http.relativeurls"),
        ("http: {h2c: {enabled: true}}", "http.h2c.enabled"),
        ("http: {host: r.example.com}", "http.host"),
        ("http: {tls: {minimumtls: tls1.1}}", "http.tls.minimumtls"),
        ("http: {tls: {clientauth: require-any-client-cert}}", "http.tls.clientauth"),
        (
            "http: {tls: {certificate: a, key: b, letsencrypt: {cachefile: c, hosts: [d]}}}",
            "http.tls.letsencrypt.cachefile",
        ),
        ("notifications: {endpoints: [{name: a, url: 'http://b', headers: {A: [b]}}]}", "notifications.endpoints"),
        ("redis: {addr: 'localhost:6379', pool: {maxidle: 16}}", "redis"),
        ("redis: {addrs: ['localhost:6379'], tls: {rootcas: [a]}}", "redis"),
        ("health: {file: [{file: /x, interval: 10s}]}", "health.file"),
        ("health: {http: [{uri: 'http://x', headers: {A: [b]}}]}", "health.http"),
        ("health: {tcp: [{addr: 'x:1'}]}", "health.tcp"),
        ("middleware: {storage: [{name: cloudfront, options: {baseurl: x, duration: 20m}}]}", "middleware.storage"),
        ("middleware: {repository: [{name: a}]}", "middleware.repository"),
        ("policy: {repository: {classes: [image]}}", "policy.repository.classes"),
        ("compatibility: {schema1: {enabled: true}}", "compatibility.schema1.enabled"),
        ("reporting: {bugsnag: {apikey: x}}", "reporting"),
    ],
)
def test_keys_that_do_nothing_or_otherwise_are_told_once(load: Load, text: str, key: str) -> None:
    """One warning, with file, line and key; what stands below is not told again."""
    loaded = load(f"{MINIMAL}{text}")

    told = [warning for warning in loaded.warnings if OPEN not in warning]
    assert len(told) == 1
    assert f"config.yml:3: {key}: " in told[0]


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("version: 0.1\nstorage: {s3: {bucket: b, secretkey: geheim}}", 2, "storage.s3"),
        ("version: 0.1\nstorage:\n  filesystem: {}\n  s3: {bucket: b}", 4, "storage.s3"),
        ("version: 0.1\nstorage: s3", 2, "storage.s3"),
        ("version: 0.1\nstorage:\n  azure: {accountkey: geheim}", 3, "storage.azure"),
        ("version: 0.1\nstorage:\n  gcs: {bucket: b}", 3, "storage.gcs"),
        ("version: 0.1\nstorage:\n  swift: {anything: b}", 3, "storage.swift"),
        ("version: 0.1\nstorage:\n  oss: {anything: b}", 3, "storage.oss"),
        ("version: 0.1\nstorage:\n  inmemory:", 3, "storage.inmemory"),
        (MINIMAL + "auth: {token: {realm: a, service: b}}", 3, "auth.token"),
        (MINIMAL + "auth:\n  token:", 4, "auth.token"),
        (MINIMAL + "auth: {silly: {realm: a, service: b}}", 3, "auth.silly"),
        (MINIMAL + "proxy: {remoteurl: 'https://registry-1.docker.io', password: geheim}", 3, "proxy.remoteurl"),
        (MINIMAL + "http: {tls: {letsencrypt: {cachefile: a}}}", 3, "http.tls.letsencrypt.cachefile"),
        (MINIMAL + "http: {tls: {letsencrypt: {cachefile: a, hosts: ['a b']}}}", 3, "http.tls.letsencrypt.hosts[0]"),
        (
            MINIMAL + "http: {tls: {letsencrypt: {cachefile: a, hosts: [b.c], email: d}}}",
            3,
            "http.tls.letsencrypt.email",
        ),
        (MINIMAL + "http: {tls: {letsencrypt: {hosts: [b]}}}", 3, "http.tls.letsencrypt.hosts"),
    ],
)
def test_what_must_not_be_ignored_is_refused(load: Load, text: str, line: int, key: str) -> None:
    """A driver, a kind of authentication, a mode that is not here: going on would lose data or open the registry."""
    with pytest.raises(ConfigurationError) as caught:
        load(text)

    assert f"config.yml:{line}: {key}: " in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "begins with version"),
        ("[]", "begins with version"),
        ("storage: filesystem", "config.yml:1: version: has to be 0.1"),
        ("data: /x\nlisten: ':1'", "config.yml:1: version: has to be 0.1 .* goes with --config FILE"),
        ("data: /x\nfoo: 1", "config.yml:1: version: has to be 0.1$"),
        ("version: 0.2\nstorage: filesystem", "config.yml:1: version: has to be 0.1"),
        ("version: [0.1]\nstorage: filesystem", "version: has to be 0.1"),
        ("version: 0.1", "storage: names no driver"),
        ("version: 0.1\nstorage: {delete: {enabled: true}}", "storage: names no driver"),
        (
            "version: 0.1\nstorage: {filesytem: {}}",
            "config.yml:2: storage.filesytem: is not known; did you mean filesystem",
        ),
        (MINIMAL + "http:\n  adr: x", r"config.yml:4: http.adr: is not known; did you mean addr\?"),
        (MINIMAL + "htpp: {}", r"config.yml:3: htpp: is not known; did you mean http\?"),
        (MINIMAL + "http: {tls: {letsencrypt: {mail: x}}}", "http.tls.letsencrypt.mail: is not known"),
        (MINIMAL + "notifications: {endpoints: [{nam: x}]}", "notifications.endpoints.nam: is not known"),
        (MINIMAL + "redis: {adr: x}", "redis.adr: is not known"),
        (MINIMAL + "http: 3", "config.yml:3: http: is a section"),
        (MINIMAL + "http: {addr: [a]}", "http.addr: is a text"),
        (MINIMAL + "http: {addr: nowhere}", "http.addr: an address is written"),
        (MINIMAL + "http: {addr: a, net: udp}", "http.net: is tcp or unix"),
        (MINIMAL + "http: {net: unix}", "http.net: needs http.addr"),
        (MINIMAL + "http: {draintimeout: soon}", "http.draintimeout: a duration is written"),
        (MINIMAL + "http: {prefix: a}", "http.prefix: a prefix is"),
        (MINIMAL + "http: {tls: {certificate: a}}", "http.tls.certificate: needs http.tls.key"),
        (MINIMAL + "http: {tls: {key: a}}", "http.tls.key: needs http.tls.certificate"),
        (MINIMAL + "http: {tls: {clientcas: [a]}}", "http.tls.clientcas: needs http.tls.certificate"),
        (MINIMAL + "http: {tls: {clientauth: maybe}}", "http.tls.clientauth: is one of"),
        (MINIMAL + "http: {tls: {minimumtls: ssl3}}", "http.tls.minimumtls: is one of tls1.2 or tls1.3"),
        (MINIMAL + "http: {tls: {ciphersuites: [TLS_RSA_WITH_RC4_128_SHA]}}", "no suite that can be offered"),
        (MINIMAL + "auth: {htpasswd: {realm: a}}", "auth.htpasswd.path is not set"),
        (MINIMAL + "auth: {htpasswd: {path: a}, none: {}}", "auth: names more than one kind: htpasswd, none"),
        (MINIMAL + "auth: htpaswd", r"auth.htpaswd: is not known; did you mean htpasswd\?"),
        (MINIMAL + "log: {level: loud}", "log.level: is one of"),
        (MINIMAL + "log: {formatter: xml}", "log.formatter: is one of json or text"),
        (MINIMAL + "log: {accesslog: {disabled: maybe}}", "log.accesslog.disabled: is true or false"),
        (MINIMAL + "catalog: {maxentries: many}", "catalog.maxentries: is a whole number"),
        (MINIMAL + "tags: {maxtags: -1}", "tags.maxtags: is not negative"),
        (MINIMAL + "validation: {manifests: {urls: {allow: ['(']}}}", r"urls.allow\[0\]: not a regular expression"),
        (MINIMAL + "validation: {manifests: {indexes: {platforms: list}}}", "platformlist is not set"),
        (MINIMAL + "validation: {manifests: {indexes: {platforms: some}}}", "indexes.platforms: is one of"),
    ],
)
def test_faults_in_the_file_are_named(load: Load, text: str, complaint: str) -> None:
    """A missing version, an unknown key with what was meant, a value that is none: by the classic key's name."""
    with pytest.raises(ConfigurationError, match=complaint):
        load(text)


def test_a_key_given_again_is_told_and_the_last_one_counts(load: Load) -> None:
    """As with distribution, whose own sample has such keys; but it is said."""
    loaded = load(MINIMAL + "http:\n  addr: :1\n  addr: :2\n")

    assert loaded.settings.listen == (":2",)
    assert any("config.yml:5: addr is given a second time" in warning for warning in loaded.warnings)


def test_moorages_own_variables_and_options_hold_on_top(load: Load) -> None:
    """What distribution has no key for is set as ever; an option wins over all."""
    loaded = load(
        MINIMAL, {"MOORAGE_WORKERS": "3", "REGISTRY_HTTP_ADDR": ":1", "MOORAGE_WORKRES": "4"}, listen=("[::1]:2",)
    )

    assert (loaded.settings.workers, loaded.settings.listen) == (3, ("[::1]:2",))
    assert str(loaded.origins["listen"]) == "--listen"
    assert "MOORAGE_WORKRES: no setting has this name; did you mean MOORAGE_WORKERS?" in loaded.warnings


def test_the_file_may_be_named_by_distributions_variable(load: Load, tmp_path: Path) -> None:
    """REGISTRY_CONFIGURATION_PATH stands in for the argument, and is no unknown variable."""
    file = tmp_path / "other.yml"
    file.write_text(MINIMAL + "http: {addr: ':7'}")

    loaded = load(None, {"REGISTRY_CONFIGURATION_PATH": str(file)})

    assert loaded.settings.listen == (":7",)
    assert [warning for warning in loaded.warnings if OPEN not in warning] == []


DOCUMENTED = (
    "{version,loglevel,log.level,log.formatter,log.fields,log.accesslog.disabled,log.reportcaller}",
    "log.hooks.{type,disabled,levels,options.smtp.addr,options.smtp.username,options.smtp.password}",
    "log.hooks.options.{smtp.insecure,from,to}",
    "storage.filesystem.{rootdirectory,maxthreads}",
    "storage.s3.{accesskey,secretkey,region,regionendpoint,redirectendpoint,forcepathstyle,bucket,encrypt,keyid}",
    "storage.s3.{secure,skipverify,v4auth,chunksize,multipartcopychunksize,multipartcopymaxconcurrency}",
    "storage.s3.{multipartcopythresholdsize,rootdirectory,storageclass,useragent,usedualstack,accelerate}",
    "storage.s3.{usefipsendpoint,objectacl,loglevel}",
    "storage.azure.{accountname,accountkey,container,rootdirectory,realm,max_retries,retry_delay}",
    "storage.azure.credentials.{type,clientid,tenantid,secret}",
    "storage.gcs.{bucket,keyfile,credentials,rootdirectory,chunksize}",
    "storage.{inmemory,swift,oss,tag.concurrencylimit,delete.enabled,redirect.disable}",
    "storage.cache.{blobdescriptor,layerinfo,blobdescriptorsize}",
    "storage.maintenance.{uploadpurging.enabled,uploadpurging.age,uploadpurging.interval,uploadpurging.dryrun}",
    "storage.maintenance.readonly.enabled",
    "auth.{silly.realm,silly.service,none,htpasswd.realm,htpasswd.path}",
    "auth.token.{realm,service,issuer,rootcertbundle,jwks,signingalgorithms,autoredirect,autoredirectpath}",
    "middleware.{registry,repository,storage}.{name,disabled,options}",
    "{catalog.maxentries,tags.maxtags}",
    "http.{addr,net,prefix,host,secret,relativeurls,draintimeout,headers,http2.disabled,h2c.enabled}",
    "http.tls.{certificate,key,clientcas,clientauth,minimumtls,ciphersuites}",
    "http.tls.letsencrypt.{cachefile,email,hosts,directoryurl}",
    "http.debug.{addr,prometheus.enabled,prometheus.path}",
    "notifications.{events.includereferences,endpoints.name,endpoints.disabled,endpoints.url,endpoints.headers}",
    "notifications.endpoints.{timeout,threshold,backoff,ignoredmediatypes,ignore.mediatypes,ignore.actions}",
    "redis.{addr,password,db,dialtimeout,readtimeout,writetimeout,pool.maxidle,pool.maxactive,pool.idletimeout}",
    "redis.{tls.enabled,tls.certificate,tls.key,tls.rootcas,addrs,username,mastername,maxidleconns,poolsize}",
    "redis.{sentinelusername,sentinelpassword,connmaxidletime}",
    "health.{storagedriver.enabled,storagedriver.interval,storagedriver.threshold,file.file,file.interval}",
    "health.{http.uri,http.headers,http.statuscode,http.timeout,http.interval,http.threshold,tcp.addr,tcp.timeout}",
    "proxy.{remoteurl,username,password,ttl,exec.command,exec.lifetime,cachewritetimeout}",
    "validation.{enabled,disabled,manifests.urls.allow,manifests.urls.deny,manifests.indexes.platforms}",
    "validation.manifests.indexes.platformlist.{architecture,os}",
    "{policy.repository.classes,compatibility.schema1.enabled,compatibility.schema1.signingkeyfile}",
    "reporting.{bugsnag.apikey,newrelic.licensekey}",
)


@pytest.mark.parametrize("key", [path for keys in DOCUMENTED for path in expanded(keys)])
def test_every_key_that_distribution_documents_is_known(key: str) -> None:
    """No key of the documentation of versions 2 and 3 is taken for a misspelling."""
    reduce(lambda branch, name: branch.children[name], key.split("."), tree())


def test_a_key_has_one_fate() -> None:
    """No path stands in the table twice."""
    paths = [path for key in KEYS for path in expanded(key.path)]

    assert len(paths) == len(set(paths))


def _outcome(file: Path, environ: Mapping[str, str]) -> object:
    try:
        return type(load_classic(file, environ, {}).settings)
    except ConfigurationError:
        return Settings


@st.composite
def _files(draw: st.DrawFn) -> str:
    """A configuration with one real key, whose value is anything."""
    names = draw(st.sampled_from([path.replace("[]", "") for key in KEYS for path in expanded(key.path)])).split(".")
    value = draw(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=10),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
            max_leaves=5,
        )
    )
    text = "\n".join(f"{'  ' * depth}{name}:" for depth, name in enumerate(names)) + f" {value!r}\n"
    return draw(st.sampled_from(["version: 0.1\n", MINIMAL])) + text


@given(data=st.binary(max_size=100) | _files().map(str.encode))
def test_any_file_is_a_configuration_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever stands in a file, loading it gives settings or a ConfigurationError, and nothing else."""
    file = tmp_path_factory.getbasetemp() / "any-classic.yml"
    file.write_bytes(data)

    assert _outcome(file, {}) is Settings
