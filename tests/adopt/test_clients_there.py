"""What clients attached here is found by the same clients when another registry runs on the volume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.adopt.peers import PEERS, Peer
from tests.content import Client
from tests.programs import Shell
from tests.servers import COMMAND, Moorage

NAME = "team/app"
SBOM = "application/vnd.example.sbom"
# No transparency log and no trust root fetched from outside.
SIGN = ("--yes", "--key=cosign.key", "--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry")
VERIFY = ("--key=cosign.pub", "--insecure-ignore-tlog", "--allow-http-registry")


def host(client: Client) -> str:
    """`ADDRESS:PORT` of whatever answers the client."""
    return f"{client.server.address}:{client.server.port}"


def push_image(shell: Shell, registry: str) -> str:
    """Push an image of one file by oras; its name by digest."""
    (shell.home / "file.txt").write_text("content")
    said = shell("oras", "push", "--plain-http", "--format=json", f"{registry}/{NAME}:1", "file.txt:text/plain")
    return f"{registry}/{NAME}@{json.loads(said)['digest']}"


def attach(shell: Shell, name: str, content: str) -> str:
    """Attach an artifact by oras; its digest."""
    (shell.home / "sbom.json").write_text(content)
    options = ("--plain-http", "--format=json", f"--artifact-type={SBOM}")
    said = shell("oras", "attach", *options, name, "sbom.json:application/json")
    return str(json.loads(said)["digest"])


def discover(shell: Shell, name: str) -> set[str]:
    """The digests of what `oras discover` finds attached to the image."""
    found = json.loads(shell("oras", "discover", "--plain-http", "--format=json", name))
    return {entry["digest"] for entry in found.get("referrers") or []}


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_oras_finds_what_is_attached(peer: Peer, tmp_path: Path) -> None:
    """`oras discover` finds there what `oras attach` attached here, and here again what it attached there."""
    shell = Shell(tmp_path / "home")
    shell.home.mkdir()
    with Moorage(tmp_path, users={}) as server:
        image = push_image(shell, server.host)
        here = attach(shell, image, "here")
        assert discover(shell, image) == {here}
        assert server.stop() == 0
    digest = image.partition("@")[2]

    with peer.serve(tmp_path / "data") as client:
        image = f"{host(client)}/{NAME}@{digest}"
        assert discover(shell, image) == {here}
        there = attach(shell, image, "there")
        assert discover(shell, image) == {here, there}
    with Moorage(tmp_path, users={}) as server:
        shell(COMMAND, "adopt", str(server.data))

        assert discover(shell, f"{server.host}/{NAME}@{digest}") == {here, there}
        assert shell("oras", "repo", "tags", "--plain-http", f"{server.host}/{NAME}").split()[0] == "1"


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_cosign_verifies_there(peer: Peer, tmp_path: Path) -> None:
    """An image that `cosign sign` signed here verifies there, and one signed there verifies here."""
    shell = Shell(tmp_path / "home", {"COSIGN_PASSWORD": "of the key"})
    shell("cosign", "generate-key-pair")
    with Moorage(tmp_path, users={}) as server:
        signed = push_image(shell, server.host)
        shell("cosign", "sign", *SIGN, signed)
        (shell.home / "file.txt").write_text("another")
        said = shell("oras", "push", "--plain-http", "--format=json", f"{server.host}/{NAME}:2", "file.txt:text/plain")
        other = json.loads(said)["digest"]
        assert server.stop() == 0
    digest = signed.partition("@")[2]

    with peer.serve(tmp_path / "data") as client:
        shell("cosign", "verify", *VERIFY, f"{host(client)}/{NAME}@{digest}")
        shell.fails("cosign", "verify", *VERIFY, f"{host(client)}/{NAME}@{other}")
        shell("cosign", "sign", *SIGN, f"{host(client)}/{NAME}@{other}")
    with Moorage(tmp_path, users={}) as server:
        shell(COMMAND, "adopt", str(server.data))

        for each in (digest, other):
            shell("cosign", "verify", *VERIFY, f"{server.host}/{NAME}@{each}")
