from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import ConfigurationError
from moorage.settings.classic import load_classic
from moorage.settings.classic_environment import overlay, unfold
from moorage.settings.classic_keys import variables
from moorage.settings.document import Mapping as MappingNode
from moorage.settings.document import parse_document, plain


def _root(text: str) -> MappingNode:
    root = parse_document(text, "config.yml").root
    assert isinstance(root, MappingNode)
    return unfold(root)


def _laid(text: str, environ: Mapping[str, str]) -> tuple[object, list[str]]:
    root, warnings = overlay(_root(text), environ)
    return plain(root), warnings


@pytest.mark.parametrize(
    ("text", "environ", "result"),
    [
        ("a: b", {}, {"a": "b"}),
        ("http: {addr: x}", {"REGISTRY_HTTP_ADDR": ":1"}, {"http": {"addr": ":1"}}),
        ("a: b", {"REGISTRY_HTTP_ADDR": ":1"}, {"a": "b", "http": {"addr": ":1"}}),
        ("http:", {"REGISTRY_HTTP_ADDR": ":1"}, {"http": {"addr": ":1"}}),
        ("http: {addr: x, net: y}", {"REGISTRY_HTTP": "{addr: z}"}, {"http": {"addr": "z"}}),
        ("http: {addr: x}", {"REGISTRY_HTTP_ADDR": ""}, {"http": {"addr": None}}),
        # a section that is chosen by name
        ("storage: filesystem", {}, {"storage": {"filesystem": None}}),
        (
            "storage: {filesystem: {rootdirectory: /a}, delete: {enabled: true}}",
            {"REGISTRY_STORAGE": "filesystem"},
            {"storage": {"filesystem": None}},
        ),
        (
            "storage: {filesystem: {rootdirectory: /a}}",
            {"REGISTRY_STORAGE": "s3", "REGISTRY_STORAGE_S3_BUCKET": "b"},
            {"storage": {"s3": {"bucket": "b"}}},
        ),
        (
            "storage: {filesystem: {rootdirectory: /a}}",
            {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/b", "REGISTRY_STORAGE_DELETE_ENABLED": "true"},
            {"storage": {"filesystem": {"rootdirectory": "/b"}, "delete": {"enabled": "true"}}},
        ),
        (
            "storage: filesystem",
            {"REGISTRY_STORAGE_MAINTENANCE_READONLY": "{enabled: true}"},
            {"storage": {"filesystem": None, "maintenance": {"readonly": {"enabled": "true"}}}},
        ),
        (
            "storage: {filesystem: {}, maintenance: {uploadpurging: {enabled: true, age: 1h}}}",
            {"REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE": "2h"},
            {"storage": {"filesystem": {}, "maintenance": {"uploadpurging": {"enabled": "true", "age": "2h"}}}},
        ),
        (
            "a: b",
            {"REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_PATH": "/p", "REGISTRY_AUTH_HTPASSWD_REALM": "r"},
            {"a": "b", "auth": {"htpasswd": {"path": "/p", "realm": "r"}}},
        ),
        ("a: b", {"REGISTRY_AUTH": "{htpasswd: {path: /p}}"}, {"a": "b", "auth": {"htpasswd": {"path": "/p"}}}),
        # lists
        (
            "http: {tls: {clientcas: [a, b]}}",
            {"REGISTRY_HTTP_TLS_CLIENTCAS_1": "c", "REGISTRY_HTTP_TLS_CLIENTCAS_2": "d"},
            {"http": {"tls": {"clientcas": ["a", "c", "d"]}}},
        ),
        ("http: {}", {"REGISTRY_HTTP_TLS_CLIENTCAS": "[a, b]"}, {"http": {"tls": {"clientcas": ["a", "b"]}}}),
        (
            "notifications: {endpoints: [{name: a, url: b}]}",
            {"REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL": "c", "REGISTRY_NOTIFICATIONS_ENDPOINTS_1_NAME": "d"},
            {"notifications": {"endpoints": [{"name": "a", "url": "c"}, {"name": "d"}]}},
        ),
        # names that differ from the file's
        ("{}", {"REGISTRY_HEALTH_FILECHECKERS_0_FILE": "/f"}, {"health": {"file": [{"file": "/f"}]}}),
        ("{}", {"REGISTRY_HEALTH_FILE_0_FILE": "/f"}, {"health": {"file": [{"file": "/f"}]}}),
        (
            "{}",
            {"REGISTRY_COMPATIBILITY_SCHEMA1_TRUSTKEY": "k"},
            {"compatibility": {"schema1": {"signingkeyfile": "k"}}},
        ),
        # open maps
        (
            "log: {fields: {a: b}}",
            {"REGISTRY_LOG_FIELDS_A": "c", "REGISTRY_LOG_FIELDS_D": "e"},
            {"log": {"fields": {"a": "c", "d": "e"}}},
        ),
        (
            "http: {headers: {X-Content-Type-Options: [nosniff]}}",
            {
                "REGISTRY_HTTP_HEADERS_Access-Control-Allow-Origin": "['*']",
                "REGISTRY_HTTP_HEADERS_X-CONTENT-TYPE-OPTIONS": "[x]",
            },
            {"http": {"headers": {"X-Content-Type-Options": ["x"], "access-control-allow-origin": ["*"]}}},
        ),
        (
            "middleware: {storage: [{name: redirect, options: {baseurl: a}}]}",
            {"REGISTRY_MIDDLEWARE_STORAGE_0_OPTIONS_BASEURL": "b"},
            {"middleware": {"storage": [{"name": "redirect", "options": {"baseurl": "b"}}]}},
        ),
    ],
)
def test_variables_are_laid_over_the_file(text: str, environ: dict[str, str], result: object) -> None:
    """By key, by index, by lower-cased name in open maps; each replaces what it names as a whole."""
    assert _laid(text, environ) == (result, [])


@pytest.mark.parametrize(
    ("variable", "warning"),
    [
        ("REGISTRY_HTTP_ADR", "did you mean REGISTRY_HTTP_ADDR?"),
        ("REGISTRY_HTPP_ADDR", "did you mean REGISTRY_HTTP_ADDR?"),
        ("REGISTRY_HTTP_TLS_CERTIFCATE", "did you mean REGISTRY_HTTP_TLS_CERTIFICATE?"),
        ("REGISTRY_STORAGE_FILESYSTEM_ROTDIRECTORY", "did you mean REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY?"),
        ("REGISTRY_AUTH_HTPASSWD_PAHT", "did you mean REGISTRY_AUTH_HTPASSWD_PATH?"),
        ("REGISTRY_HTTP_ADDR_PORT", "REGISTRY_HTTP_ADDR"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS_FIRST", "REGISTRY_HTTP_TLS_CLIENTCAS"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS_0_0", "REGISTRY_HTTP_TLS_CLIENTCAS"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS_-1", "REGISTRY_HTTP_TLS_CLIENTCAS"),
        ("REGISTRY_HTTP_", "no key of the configuration"),
        ("REGISTRY_", "no key of the configuration"),
        ("REGISTRY_ZZZZZZ", "no key of the configuration has this name"),
        ("REGISTRY_http_addr", "did you mean REGISTRY_HTTP_ADDR?"),
    ],
)
def test_a_misspelt_variable_is_a_warning_with_a_suggestion(variable: str, warning: str) -> None:
    """It changes nothing, and the name that was probably meant is told."""
    text = "http: {addr: x}\nauth: {htpasswd: {path: p}}\nstorage: {filesystem: {rootdirectory: r}}"

    result, warnings = _laid(text, {variable: "y"})

    assert result == plain(_root(text))
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{variable}: ")
    assert warning in warnings[0]


@pytest.mark.parametrize(
    ("variable", "text", "complaint"),
    [
        ("REGISTRY_STORAGE_FILESYTEM_ROOTDIRECTORY", "/x", "did you mean REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"),
        ("REGISTRY_AUTH_HTPASWD_PATH", "/x", "did you mean REGISTRY_AUTH_HTPASSWD_PATH"),
        ("REGISTRY_AUTH", "htpaswd", "did you mean htpasswd"),
        ("REGISTRY_AUTH_NONE", "", "more than one kind"),
        ("REGISTRY_AUTH", "", "would open the registry"),
        ("REGISTRY_AUTH", "token", "auth.token"),
        ("REGISTRY_STORAGE", "inmemory", "storage.inmemory"),
        ("REGISTRY_STORAGE_S3_BUCKET", "b", "storage.s3"),
        ("REGISTRY_PROXY_REMOTEURL", "https://registry-1.docker.io", "proxy.remoteurl"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS_3", "x", "index 3, and the list has 0"),
        ("REGISTRY_HTTP_ADDR", "[", "not YAML"),
        ("REGISTRY_HTTP_ADDR", "*x", "names nothing"),
        ("REGISTRY_HTTP_ADDR", "nowhere", "an address is written"),
        ("REGISTRY_HTTP", "{adr: x}", "http.adr: is not known"),
        ("REGISTRY_HTTP", "x", "http: is a section"),
        ("REGISTRY_LOG_LEVEL", "loud", "is one of"),
        ("REGISTRY_HTTP_SECRET", "a\udcffb", "not YAML"),
    ],
)
def test_what_could_open_the_registry_or_cannot_be_read_is_an_error(
    tmp_path: Path, variable: str, text: str, complaint: str
) -> None:
    """An unknown driver or kind of authentication, and values that are none; the sentence names the variable."""
    file = tmp_path / "config.yml"
    file.write_text("version: 0.1\nstorage: {filesystem: {rootdirectory: r}}\nauth: {htpasswd: {path: p, realm: r}}\n")

    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_classic(file, {variable: text}, {})

    assert caught.value.source in (variable, str(file))
    assert variable in str(caught.value) or "more than one" in complaint


def test_the_links_of_kubernetes_are_ignored() -> None:
    """A service called `registry` or `registry-auth` in the same namespace changes nothing and is not told."""
    links = {
        f"{prefix}_{name}": value
        for prefix in ("REGISTRY", "REGISTRY_AUTH", "REGISTRY_STORAGE", "REGISTRY_HTTP")
        for name, value in {
            "SERVICE_HOST": "10.0.0.1",
            "SERVICE_PORT": "5000",
            "SERVICE_PORT_HTTP": "5000",
            "PORT": "tcp://10.0.0.1:5000",
            "PORT_5000_TCP": "tcp://10.0.0.1:5000",
            "PORT_5000_TCP_PROTO": "tcp",
            "PORT_5000_TCP_PORT": "5000",
            "PORT_5000_TCP_ADDR": "10.0.0.1",
        }.items()
    }

    assert _laid("version: 0.1", links) == ({"version": "0.1"}, [])


def test_values_remember_the_variable_that_gave_them() -> None:
    """A list that a variable changed, and a key that it added, lead to it."""
    root, _warnings = overlay(_root("http: {addr: x}"), {"REGISTRY_HTTP_NET": "tcp", "REGISTRY_HTTP_ADDR": "y"})

    http = root.entries["http"]
    assert isinstance(http, MappingNode)
    assert {name: origin.source for name, origin in http.keys.items()} == {
        "addr": "REGISTRY_HTTP_ADDR",
        "net": "REGISTRY_HTTP_NET",
    }


@given(
    st.dictionaries(
        st.sampled_from(sorted(variables())) | st.text(max_size=12).map("REGISTRY_".__add__),
        st.text(max_size=30) | st.sampled_from(["true", "{a: b}", "[a]", "1"]),
        max_size=4,
    )
)
def test_any_environment_is_a_configuration_or_refused(environ: Mapping[str, str]) -> None:
    """Whatever stands in the variables, loading them raises nothing but ConfigurationError."""
    try:
        source: str = load_classic(None, environ, {}).mode
    except ConfigurationError as error:
        source = error.source or ""

    assert source in {"classic", *environ}
