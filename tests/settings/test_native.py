from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import ConfigurationError
from moorage.settings.model import Settings
from moorage.settings.names import leaves, options, variables
from moorage.settings.native import load_native


def _value(settings: Settings, path: str) -> object:
    return reduce(getattr, path.split("."), settings)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a configuration that is not written yet, in a working directory without one."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "moorage.yml"


def test_without_anything_the_defaults_hold(file: Path) -> None:
    """No file, no variable, no option: every value is the model's default and says so, and nothing is warned of."""
    loaded = load_native(None, {}, {})

    assert loaded.settings == Settings()
    assert {str(origin) for origin in loaded.origins.values()} == {"default"}
    assert loaded.origins.keys() == leaves().keys()
    assert loaded.warnings == ()
    assert loaded.mode == "native"


def test_a_later_place_wins_over_an_earlier_one(file: Path) -> None:
    """Options over variables over the file over defaults, and each value knows its place."""
    file.write_text("data: /a\nlog:\n  level: debug\nworkers: 2\nlisten: [':1']\n")

    loaded = load_native(
        file, {"MOORAGE_LOG_LEVEL": "error", "MOORAGE_WORKERS": "3"}, {"workers": 4, "listen": (), "database": None}
    )

    assert (loaded.settings.data, loaded.settings.log.level, loaded.settings.workers) == (Path("/a"), "error", 4)
    assert loaded.settings.listen == (":1",)
    assert str(loaded.origins["data"]) == f"{file}:1"
    assert str(loaded.origins["log.level"]) == "MOORAGE_LOG_LEVEL"
    assert str(loaded.origins["workers"]) == "--workers"
    assert str(loaded.origins["listen"]) == f"{file}:5"
    assert str(loaded.origins["database"]) == "default"


@pytest.mark.parametrize(
    ("text", "options", "listen", "origin"),
    [
        ("", {"tls.domains": ("r.example.com",)}, (":443",), "--domain"),
        ("tls: {domains: r.example.com}", {}, (":443",), "{file}:1"),
        ("tls: {domains: []}", {}, ("127.0.0.1:5000",), "default"),
        ("", {"tls.domains": ("r.example.com",), "listen": (":8443",)}, (":8443",), "--listen"),
        ("listen: [':1']", {"tls.domains": ("r.example.com",)}, (":1",), "{file}:1"),
    ],
)
def test_a_public_name_is_served_at_the_port_of_https(
    file: Path, text: str, options: dict[str, object], listen: tuple[str, ...], origin: str
) -> None:
    """With `--domain` alone the server listens at 443; whatever is said of `listen` holds."""
    file.write_text(text)

    loaded = load_native(file, {}, options)

    assert loaded.settings.listen == listen
    assert str(loaded.origins["listen"]) == origin.format(file=file)


def test_the_file_is_found_by_option_variable_or_working_directory(file: Path) -> None:
    """The named file wins over MOORAGE_CONFIG, and that over moorage.yml in the working directory."""
    Path("moorage.yml").write_text("workers: 1\n")
    file.write_text("workers: 2\n")
    option = file.with_name("other.yml")
    option.write_text("workers: 3\n")

    assert load_native(None, {}, {}).settings.workers == 1
    assert load_native(None, {"MOORAGE_CONFIG": str(file)}, {}).settings.workers == 2
    assert load_native(option, {"MOORAGE_CONFIG": str(file)}, {}).settings.workers == 3


def test_a_named_file_that_is_missing_is_an_error(file: Path) -> None:
    """Only the default file may be absent."""
    with pytest.raises(ConfigurationError, match="No such file"):
        load_native(None, {"MOORAGE_CONFIG": str(file)}, {})


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("listen: '127.0.0.1:1'", "listen", ("127.0.0.1:1",)),
        ("listen: ['127.0.0.1:1', 'unix:/x', '[0::1]:2']", "listen", ("127.0.0.1:1", "unix:/x", "[::1]:2")),
        ("http:", "http.prefix", "/"),
        ("http:\n  headers: {A: b, C: [d, e]}", "http.headers", {"A": ("b",), "C": ("d", "e")}),
        ("http:\n  headers:", "http.headers", {}),
        ("http:\n  drain_timeout: 0", "http.drain_timeout", 0.0),
        ("http: {timeouts: {header: 1m}, limits: {manifest_bytes: 8MiB}}", "http.limits.manifest_bytes", 8 << 20),
        ("auth: none", "auth.kind", "none"),
        ("auth: {htpasswd: users}", "auth.kind", "htpasswd"),
        ("auth: {realm: yes}", "auth.realm", "yes"),
        ("auth: {realm: 0123}", "auth.realm", "0123"),
        ("storage: {delete_enabled: off}", "storage.delete_enabled", False),
        ("workers:", "workers", None),
        ("log: {level: WARN}", "log.level", "warning"),
        ("log: {fields: {a: 1}}", "log.fields", {"a": "1"}),
        ("tls: {certificate: a, key: b, client_cas: c}", "tls.client_cas", (Path("c"),)),
        ("listen: :1\ntls: {own_clients: true}", "tls.own_clients", True),
        ("tls: {own_clients: true, names: [a], client_principal: cn}", "tls.client_principal", "cn"),
        ("http: {external_url: 'https://registry.example.com/'}", "http.external_url", "https://registry.example.com"),
    ],
)
def test_values_are_read_by_the_type_of_their_setting(file: Path, text: str, path: str, value: object) -> None:
    """One value may stand for a list of one, an empty section is no section, text is never taken for a number."""
    file.write_text(text)

    assert _value(load_native(file, {}, {}).settings, path) == value


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("data: x\ndrain_timeout: 5", 2, "drain_timeout: is not known; did you mean http.drain_timeout?"),
        ("http:\n  drain_timout: 5", 2, "http.drain_timout: is not known; did you mean drain_timeout?"),
        ("zzzzzzzz: 1", 1, "zzzzzzzz: is not known"),
        ("log: {}\nversion: 0.1", 2, "version: is no setting of Moorage; .* moorage serve FILE"),
        ("data: x\ndata: y", 2, "data: is given a second time"),
        ("- data", 1, "a configuration is a map"),
        ("data", 1, "a configuration is a map"),
        ("http: 3", 1, "http: is a section"),
        ("http:\n- 3", 1, "http: is a section"),
        ("data:", 1, "data: has no value"),
        ("data: ''", 1, "data: a path is not empty"),
        ("data: [a]", 1, "data: "),
        ("listen: x", 1, "listen: an address is written"),
        ("listen:\n- :1\n- q", 3, r"listen\[1\]: an address is written .*; this is 'q'"),
        ("listen: []", 1, "listen: needs one value"),
        ("workers: many", 1, "workers: is a whole number; this is 'many'"),
        ("workers: 0", 1, "workers: should be greater"),
        ("workers: 99999999999999999999", 1, "workers: "),
        ("auth: ldap", 1, "auth.kind: is one of users, htpasswd, proxy or none; this is 'ldap'"),
        ("auth:\n  kind: htpasswd", 2, "auth.htpasswd does not name the file"),
        ("auth:\n  kind: users\n  htpasswd: x", 2, "auth.kind is users"),
        ("auth: {realm: 'a\"b'}", 1, "auth.realm: .*without quotes"),
        ("tls:\n  certificate: x", 2, "tls.key is not set"),
        ("tls:\n  key: x", 2, "tls.certificate is not set"),
        ("tls:\n  client_cas: [x]", 2, "tls.client_cas needs tls.certificate"),
        ("auth: none\nlisten: :1\ntls:\n  own_clients: true", 4, "tls.own_clients needs tls.certificate"),
        ("allow_plaintext: true\nlisten: :1\ntls:\n  own_clients: true", 4, "tls.own_clients needs tls.certificate"),
        ("tls:\n  client_principal: cn\n  names: [a]", 2, "tls.client_principal is cn, and no client is asked"),
        ("tls: {minimum: tls1.1}", 1, "tls.minimum: is one of tls1.2 or tls1.3"),
        ("http: {prefix: registry}", 1, "http.prefix: a prefix is"),
        ("http: {external_url: 'https://a/b'}", 1, "http.external_url: an external URL"),
        ("http: {external_url: 'https://u:p@a'}", 1, "http.external_url: an external URL"),
        ("http: {trusted_proxies: [10.0.0.1/8]}", 1, r"http.trusted_proxies\[0\]: a network is written"),
        ("http: {trusted_proxies: [everyone]}", 1, "a network is written"),
        ("http: {headers: {'a b': c}}", 1, "http.headers: 'a b' is not the name of a header"),
        ('http: {headers: {A: "b\\r\\nC: d"}}', 1, "http.headers: the value of A"),
        ("http: {headers: {Content-Length: '1'}}", 1, "http.headers: Content-Length is the server's own"),
        ("http: {drain_timeout: -1s}", 1, "http.drain_timeout: a duration is written"),
        ("http:\n  timeouts:\n    header: 0", 3, "http.timeouts.header: should be greater than 0"),
        ("http: {limits: {manifest_bytes: big}}", 1, "a size is written"),
        ("validation: {urls_allow: ['(']}", 1, "not a regular expression"),
        ("validation: {index_platforms: list}", 1, "validation.platforms is given exactly when"),
        ("validation: {platforms: [{os: linux}]}", 1, r"validation.platforms\[0\].architecture: is missing"),
        (
            "validation:\n  index_platforms: list\n  platforms:\n  - {os: a, architecture: b, c: d}",
            4,
            r"validation.platforms\[0\].c: is not known here",
        ),
        ("log: {access: maybe}", 1, "log.access: is true or false; this is 'maybe'"),
        ("database: mysql://u:p@h/d", 1, "database: a database is written"),
    ],
)
def test_faults_in_the_file_are_named_with_their_line(file: Path, text: str, line: int, complaint: str) -> None:
    """The sentence names file, line and setting, and for a misspelt key the one that was probably meant."""
    file.write_text(text)

    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_native(file, {}, {})

    assert str(caught.value).startswith(f"{file}:{line}: ")


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("MOORAGE_LISTEN", "127.0.0.1:1, [::1]:2", "listen", ("127.0.0.1:1", "[::1]:2")),
        ("MOORAGE_LISTEN", "['127.0.0.1:1', '[::1]:2']", "listen", ("127.0.0.1:1", "[::1]:2")),
        ("MOORAGE_HTTP_HEADERS", "{A: [b, c]}", "http.headers", {"A": ("b", "c")}),
        ("MOORAGE_HTTP_TRUSTED_PROXIES", "unix", "http.trusted_proxies", ("unix",)),
        ("MOORAGE_AUTH", "none", "auth.kind", "none"),
        ("MOORAGE_AUTH_KIND", "none", "auth.kind", "none"),
        ("MOORAGE_AUTH_REALM", "null", "auth.realm", "null"),
        ("MOORAGE_AUTH_REALM", "", "auth.realm", "Moorage"),
        ("MOORAGE_AUTH_ANONYMOUS_PULL", "true", "auth.anonymous_pull", True),
        ("MOORAGE_DATABASE", "postgresql://u:p@h/d", "database", "postgresql://u:p@h/d"),
        ("MOORAGE_VALIDATION_URLS_ALLOW", "^a,^b", "validation.urls_allow", ("^a", "^b")),
        ("MOORAGE_VALIDATION_URLS_ALLOW", "['^a{1,2}']", "validation.urls_allow", ("^a{1,2}",)),
    ],
)
def test_variables_hold_text_lists_and_maps(file: Path, variable: str, text: str, path: str, value: object) -> None:
    """A list is separated by commas or YAML, a map is YAML, text is itself, and empty is not set."""
    assert _value(load_native(None, {variable: text}, {}).settings, path) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MOORAGE_WORKERS", "x"),
        ("MOORAGE_HTTP_HEADERS", "A: b: c"),
        ("MOORAGE_HTTP_HEADERS", "just text"),
        ("MOORAGE_LISTEN", "[a: [}]"),
        ("MOORAGE_LISTEN", ","),
        ("MOORAGE_DATA", "a\udcff"),
        ("MOORAGE_AUTH_REALM", "\x07"),
    ],
)
def test_faults_in_a_variable_name_it(file: Path, variable: str, text: str) -> None:
    """The sentence begins with the variable."""
    with pytest.raises(ConfigurationError) as caught:
        load_native(None, {variable: text}, {})

    assert str(caught.value).startswith(f"{variable}: ")


def test_a_secret_is_in_no_complaint(file: Path) -> None:
    """A database's URL that is wrong is refused without being quoted."""
    for given_by in ({"MOORAGE_DATABASE": "mysql://u:geheim@h"}, {}):
        file.write_text("" if given_by else "database: 'mysql://u:geheim@h'\n")
        with pytest.raises(ConfigurationError) as caught:
            load_native(file, given_by, {})

        assert "geheim" not in str(caught.value)
    assert "geheim" not in repr(Settings(database="postgresql://u:geheim@h/d"))


def test_a_misspelt_variable_is_a_warning_with_a_suggestion(file: Path) -> None:
    """The server starts, and says which name was probably meant."""
    loaded = load_native(None, {"MOORAGE_LISEN": ":1", "MOORAGE_QQQQQQQQ": "x", "PATH": "/bin"}, {})

    assert loaded.settings == Settings()
    assert loaded.warnings == (
        "MOORAGE_LISEN: no setting has this name; did you mean MOORAGE_LISTEN?",
        "MOORAGE_QQQQQQQQ: no setting has this name",
    )


KUBERNETES = {
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "5000",
    "SERVICE_PORT_HTTP_API": "5000",
    "PORT": "tcp://10.0.0.1:5000",
    "PORT_5000_TCP": "tcp://10.0.0.1:5000",
    "PORT_5000_TCP_PROTO": "tcp",
    "PORT_5000_TCP_PORT": "5000",
    "PORT_5000_TCP_ADDR": "10.0.0.1",
}


@pytest.mark.parametrize("prefix", ["REGISTRY_", "MOORAGE_", "REGISTRY_AUTH_", "MOORAGE_HTTP_"])
def test_the_links_of_kubernetes_are_not_settings(file: Path, prefix: str) -> None:
    """A service called `registry` or `moorage` puts variables into every pod; they change nothing and are not told."""
    loaded = load_native(None, {prefix + name: value for name, value in KUBERNETES.items()}, {})

    assert (loaded.settings, loaded.warnings) == (Settings(), ())


def test_classic_variables_get_one_warning_and_no_effect(file: Path) -> None:
    """However many REGISTRY_* there are, beside Kubernetes' own."""
    classic = {f"REGISTRY_STORAGE_S3_{name}": "x" for name in "ABCDE"} | {
        "REGISTRY_AUTH": "none",
        "REGISTRY_PORT": "tcp://1",
    }

    loaded = load_native(None, classic, {})

    assert loaded.settings == Settings()
    assert len(loaded.warnings) == 1
    assert "REGISTRY_AUTH" in loaded.warnings[0]
    assert "and 3 more" in loaded.warnings[0]
    assert "moorage serve --classic" in loaded.warnings[0]


def test_names_lead_to_one_setting_each() -> None:
    """No two settings share a variable or an option."""
    flags = [leaf.flag for leaf in options()]

    assert len({leaf.variable for leaf in leaves().values()}) == len(leaves())
    assert variables()["MOORAGE_HTTP_DRAIN_TIMEOUT"].path == "http.drain_timeout"
    assert len(set(flags)) == len(flags)
    assert {"--data", "--listen", "--auth", "--tls-certificate", "--allow-plaintext"} <= set(flags)


def test_settings_do_not_change() -> None:
    """A value that was read cannot be set again."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().auth.kind = "none"


def _outcome(file: Path, environ: Mapping[str, str]) -> object:
    """The type of the settings, or what the complaint names."""
    try:
        return type(load_native(file, environ, {}).settings)
    except ConfigurationError as error:
        return error.source


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def _files(draw: st.DrawFn) -> str:
    """A configuration whose keys are real and whose values are anything."""
    path = draw(st.sampled_from(list(leaves())))
    lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate(path.split("."))]
    return "\n".join(lines) + " " + repr(draw(TREES))


@given(data=st.binary(max_size=100) | _files().map(str.encode))
def test_any_file_is_a_configuration_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever stands in a file, loading it gives settings or a ConfigurationError, and nothing else."""
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_bytes(data)

    assert _outcome(file, {}) in (Settings, str(file))


@given(st.dictionaries(st.sampled_from(sorted(variables())), st.text(max_size=30), max_size=3))
def test_any_environment_is_a_configuration_or_refused(environ: Mapping[str, str]) -> None:
    """Whatever stands in the variables, loading them gives settings or a ConfigurationError that names one of them."""
    assert _outcome(Path("/dev/null"), environ) in {Settings, *environ}
