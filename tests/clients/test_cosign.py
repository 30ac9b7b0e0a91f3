"""cosign: signs an image with a key and verifies it, offline; signatures lie in the registry as referrers or tags."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.conftest import Registry
from tests.clients.images import tar
from tests.programs import Shell

# No transparency log and no trust root fetched from outside.
SIGN = ("--yes", "--key=cosign.key", "--use-signing-config=false", "--tlog-upload=false")
VERIFY = ("--key=cosign.pub", "--insecure-ignore-tlog")


@dataclass(frozen=True)
class Cosign:
    shell: Shell
    registry: Registry
    trust: tuple[str, ...]

    def __call__(self, command: str, *arguments: str | Path) -> str:
        return self.shell("cosign", command, *self.trust, *arguments)

    def fails(self, command: str, *arguments: str | Path) -> str:
        return self.shell.fails("cosign", command, *self.trust, *arguments)

    def login(self, password: str | None = None) -> None:
        arguments = ("--username", self.registry.user, "--password-stdin", self.registry.host)
        self.shell("cosign", "login", *arguments, stdin=self.registry.password if password is None else password)

    def image(self, repository: str) -> str:
        """Pushes a small image by crane; its name by digest."""
        layer = self.shell.home / "layer.tar"
        layer.write_bytes(tar({"name": repository.encode()}))
        name = f"{self.registry.host}/{repository}"
        return self.shell("crane", "append", "--oci-empty-base", f"--new_layer={layer}", f"--new_tag={name}:1")

    def tags(self, repository: str) -> list[str]:
        return self.shell("crane", "ls", f"{self.registry.host}/{repository}").split()


@pytest.fixture
def cosign(registry: Registry, new_shell: Callable[..., Shell]) -> Cosign:
    """With a fresh pair of keys in its home."""
    trust = {"SSL_CERT_FILE": str(registry.ca)} if registry.ca else {}  # for crane, which makes the image
    shell = new_shell(COSIGN_PASSWORD="of the key", **trust)
    shell("cosign", "generate-key-pair")
    return Cosign(shell, registry, (f"--registry-cacert={registry.ca}",) if registry.ca else ())


def test_login_takes_the_right_password_only(cosign: Cosign, repository: str) -> None:
    """`cosign login` only stores the password; signing with a wrong one is refused."""
    cosign.login()
    image = cosign.image(repository)

    cosign.login("not-the-password")

    assert "UNAUTHORIZED" in cosign.fails("sign", *SIGN, image)


def test_sign_and_verify(cosign: Cosign, repository: str) -> None:
    """An unsigned image does not verify; a signed one does, by its key and no other; the signature is a referrer."""
    cosign.login()
    image = cosign.image(repository)

    unsigned = cosign.fails("verify", *VERIFY, image)
    cosign("sign", *SIGN, image)
    verified = json.loads(cosign("verify", *VERIFY, image))
    cosign.shell("cosign", "generate-key-pair", "--output-key-prefix=other")
    stranger = cosign.fails("verify", "--key=other.pub", "--insecure-ignore-tlog", image)

    assert "no signatures found" in unsigned or "no matching signatures" in unsigned
    assert verified[0]["critical"]["image"]["docker-manifest-digest"] == image.partition("@")[2]
    assert "signature" in stranger
    assert cosign.tags(repository) == ["1"]


def test_attest_and_verify_the_attestation(cosign: Cosign, repository: str) -> None:
    """A signed statement about an image is stored beside it and found by its type."""
    cosign.login()
    image = cosign.image(repository)
    (cosign.shell.home / "predicate.json").write_text('{"tested": true}')
    statement = ("--type=https://moorage.test/tested", "--predicate=predicate.json")

    cosign("attest", *SIGN, *statement, image)

    assert "payload" in cosign("verify-attestation", *VERIFY, statement[0], image)


def test_signature_in_a_tag(cosign: Cosign, repository: str) -> None:
    """The older form, a tag `sha256-....sig` beside the image, is pushed and verified too."""
    cosign.login()
    image = cosign.image(repository)

    cosign("sign", *SIGN, "--new-bundle-format=false", image)

    assert image.partition("@")[2].replace(":", "-") + ".sig" in cosign.tags(repository)
    assert cosign("verify", *VERIFY, "--new-bundle-format=false", image)


def test_unknown_authority_is_refused(tls_registry: Registry, new_shell: Callable[..., Shell]) -> None:
    """Without the CA cosign does not talk to the registry."""
    image = f"{tls_registry.host}/any/image@sha256:{'0' * 64}"

    said = new_shell().fails("cosign", "tree", image)

    assert "x509: certificate signed by unknown authority" in said
