from __future__ import annotations

import pytest

from moorage.settings.advice import advice
from moorage.settings.model import Settings

TLS = {"certificate": "a", "key": "b"}
CLASSIC = {"allow_plaintext": True, "auth": {"kind": "htpasswd", "htpasswd": "users"}}


@pytest.mark.parametrize(
    "values",
    [
        {"listen": ["localhost:5000", "[::1]:5000", "127.0.0.9:1", "unix:/run/x"]},
        {"listen": [":5000"], "tls": TLS},
        {"listen": [":5000"], "tls": {"names": ["registry.lan"]}},
    ],
)
def test_passwords_that_cannot_be_overheard_are_nothing_to_say(values: dict[str, object]) -> None:
    """Loopback, a unix socket, or TLS, wherever its certificate comes from."""
    assert advice(Settings.model_validate(CLASSIC | values), "classic") == ()


@pytest.mark.parametrize(
    ("listen", "named"),
    [
        ([":5000"], ":5000"),
        (["0.0.0.0:5000"], "0.0.0.0:5000"),
        (["127.0.0.1:1", "[::]:2"], "[::]:2"),
        (["registry.example.com:5000"], "registry.example.com:5000"),
    ],
)
def test_passwords_in_the_clear_are_told_in_classic_mode(listen: list[str], named: str) -> None:
    """The sentence names the address and what to set."""
    sentences = advice(Settings.model_validate(CLASSIC | {"listen": listen}), "classic")

    assert len(sentences) == 1
    assert f"clear: {named} can be reached" in sentences[0]
    assert "REGISTRY_HTTP_TLS_CERTIFICATE" in sentences[0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"auth": {"kind": "none"}}, ["may pull, push and delete everything", "127.0.0.1:5000"]),
        ({"auth": {"kind": "none"}, "storage": {"delete_enabled": False}}, ["may pull and push everything"]),
        ({"auth": {"kind": "none"}, "storage": {"read_only": True}}, ["may pull everything"]),
        ({"auth": {"anonymous_pull": True}}, ["classic engine", "still have to log in to pull"]),
    ],
)
def test_what_an_administrator_has_to_know_is_said_once(values: dict[str, object], words: list[str]) -> None:
    """An open registry says what everyone may do; anonymous pull says which clients it shuts out."""
    sentences = advice(Settings.model_validate(values), "native")

    assert len(sentences) == 1
    assert all(word in sentences[0] for word in words)


def test_anonymous_pull_of_an_open_registry_is_nothing_to_say() -> None:
    """Where nobody has a password, nobody fails to log in."""
    settings = Settings.model_validate({"auth": {"kind": "none", "anonymous_pull": True}})

    assert len(advice(settings, "native")) == 1
