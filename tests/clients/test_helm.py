"""helm 4: charts as OCI artifacts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.conftest import Registry
from tests.programs import Shell

TEMPLATE = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-{{ .Chart.Version }}\n"


@dataclass(frozen=True)
class Helm:
    shell: Shell
    registry: Registry
    trust: str

    def __call__(self, command: str, *arguments: str | Path, stdin: str = "") -> str:
        return self.shell("helm", *command.split(), self.trust, *arguments, stdin=stdin)

    def fails(self, command: str, *arguments: str | Path, stdin: str = "") -> str:
        return self.shell.fails("helm", *command.split(), self.trust, *arguments, stdin=stdin)

    def login(self) -> str:
        registry = self.registry
        arguments = ("-u", registry.user, "--password-stdin", registry.host)
        return self("registry login", *arguments, stdin=registry.password)

    def package(self, version: str) -> Path:
        """A chart named `berth`, packed; its file."""
        folder = self.shell.home / "berth"
        (folder / "templates").mkdir(parents=True, exist_ok=True)
        (folder / "Chart.yaml").write_text(f"apiVersion: v2\nname: berth\nversion: {version}\n")
        (folder / "templates" / "map.yaml").write_text(TEMPLATE)
        self.shell("helm", "package", folder)
        return self.shell.home / f"berth-{version}.tgz"


@pytest.fixture
def helm(registry: Registry, new_shell: Callable[..., Shell]) -> Helm:
    """Without repositories or caches of anybody else's."""
    return Helm(new_shell(), registry, f"--ca-file={registry.ca}" if registry.ca else "--plain-http")


def test_login_takes_the_right_password_only(helm: Helm, repository: str) -> None:
    """A wrong password is refused, the right one is taken, and without a login no chart can be pushed."""
    registry, chart = helm.registry, helm.package("1.0.0")

    stranger = helm.fails("push", chart, f"oci://{registry.host}/{repository}")
    wrong = helm.fails("registry login", "-u", registry.user, "--password-stdin", registry.host, stdin="not-it")
    taken = helm.login()

    assert "basic credential not found" in stranger
    assert "401" in wrong
    assert "Login Succeeded" in taken


def test_push_and_pull_of_a_chart(helm: Helm, repository: str, tmp_path: Path) -> None:
    """A chart is pushed, and what is pulled is the same file."""
    helm.login()
    chart = helm.package("1.2.3")
    where = f"oci://{helm.registry.host}/{repository}"
    (tmp_path / "pulled").mkdir()

    helm("push", chart, where)
    helm("pull", f"{where}/berth", "--version=1.2.3", "--destination", tmp_path / "pulled")

    assert (tmp_path / "pulled" / chart.name).read_bytes() == chart.read_bytes()


def test_a_range_of_versions_is_resolved_by_the_tags(helm: Helm, repository: str) -> None:
    """Helm lists the tags to find the newest version of a range, one with build metadata (`+`, as `_`) included."""
    helm.login()
    where = f"oci://{helm.registry.host}/{repository}"
    for version in ("1.0.0", "1.1.0+build.5", "2.0.0"):
        helm("push", helm.package(version), where)

    newest = helm("show chart", f"{where}/berth")
    within = helm("template", "release", f"{where}/berth", "--version=^1.0")

    assert "version: 2.0.0" in newest
    assert "name: release-1.1.0+build.5" in within


def test_unknown_authority_is_refused(tls_registry: Registry, new_shell: Callable[..., Shell]) -> None:
    """Without the CA helm does not send the password."""
    login = ("registry", "login", "-u", "admin", "--password-stdin", tls_registry.host)

    said = new_shell().fails("helm", *login, stdin="any")

    assert "x509: certificate signed by unknown authority" in said
