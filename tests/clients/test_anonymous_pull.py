"""A registry that lets everyone pull: who has no login gets what is there and pushes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.images import two_platforms
from tests.programs import Shell
from tests.servers import Moorage


@dataclass(frozen=True)
class Public:
    """The public registry and an image on it."""

    server: Moorage
    image: str
    layout: Path


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Public]:
    """With an image of two platforms, pushed by somebody who may."""
    folder = tmp_path_factory.mktemp("public")
    layout, _ = two_platforms(folder / "layout")
    with Moorage(folder / "server", "--anonymous-pull", users={"alice": "c0rrect-horse"}) as server:
        image = f"{server.host}/public/image:1"
        shell = Shell(folder / "home")
        login = ("login", "--plain-http", "-u", server.user, "--password-stdin", server.host)
        shell("oras", *login, stdin=server.password)
        shell("oras", "cp", "--recursive", "--to-plain-http", "--from-oci-layout", f"{layout.folder}:multi", image)
        yield Public(server, image, layout.folder)


@pytest.fixture
def stranger(new_shell: Callable[..., Shell], tmp_path: Path) -> Shell:
    """A home where nobody has ever logged in."""
    logins = tmp_path / "auth.json"
    logins.write_text("{}")
    return new_shell(REGISTRY_AUTH_FILE=str(logins))


PULLS = {
    "crane": "crane validate --remote {image}",
    "oras": "oras manifest fetch --plain-http {image}",
    "regctl": "regctl --host=reg={host},tls=disabled manifest get {image}",
    "skopeo": "skopeo copy --all --src-tls-verify=false docker://{image} oci:pulled:1",
}

PUSHES = {
    "crane": "crane tag {image} other",
    "oras": "oras tag --plain-http {image} other",
    "regctl": "regctl --host=reg={host},tls=disabled image copy {image} {host}/public/image:other",
    "skopeo": "skopeo copy --all --dest-tls-verify=false oci:{layout}:multi docker://{host}/public/image:other",
}


@pytest.mark.parametrize("client", PULLS)
def test_everyone_pulls(public: Public, stranger: Shell, client: str) -> None:
    """Each client pulls without a login; skopeo sends an empty user name and an empty password for none."""
    command = PULLS[client].format(image=public.image, host=public.server.host)

    stranger(*command.split())


@pytest.mark.parametrize("client", PUSHES)
def test_nobody_pushes_without_a_login(public: Public, stranger: Shell, client: str) -> None:
    """Each client is refused a push for want of a login."""
    command = PUSHES[client].format(image=public.image, host=public.server.host, layout=public.layout)

    said = stranger.fails(*command.split())

    assert "unauthorized" in said.lower() or "authentication required" in said or "credential" in said
