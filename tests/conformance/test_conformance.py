"""The field's own suite, distribution-spec/conformance, at the spec's main branch with every API and data set on."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from tests.metadata.postgres_server import PostgresServer
from tests.programs import Shell
from tests.servers import Moorage

# About 1,034 are run, or 986 without the sparse set; fewer than this means that the suite has switched something off.
FEWEST_CHECKS = 980
CONFORMING = "passed"
ERROR_CHARACTERS = 1500
FAULTS_SHOWN = 10

TOGGLES = (
    "OCI_DATA_SPARSE",
    "OCI_API_BLOBS_UPLOAD_CANCEL",
    "OCI_API_BLOBS_DIGEST_HEADER",
    "OCI_API_MANIFESTS_DIGEST_HEADER",
    "OCI_API_MANIFESTS_TAG_PARAM",
)
# Registries may refuse manifests that lack content (distribution-spec, "Pushing Manifests"), and this one does unless
# it is told otherwise.
SPARSE = {"MOORAGE_VALIDATION_SPARSE": "true"}
PASSWORDS = {"alice": "c0rrect-horse"}


@pytest.mark.parametrize("users", [{}, PASSWORDS], ids=["anonymous", "with-a-password"])
def test_every_check_of_the_conformance_suite_passes(users: Mapping[str, str], tmp_path: Path) -> None:
    """Where sparse manifests are accepted, none fails, none errs, none is skipped, and none is switched off."""
    with Moorage(tmp_path / "server", users=users, environment=SPARSE) as server:
        results = run_suite(server, tmp_path)

    check(results)
    assert switched_off(results) == []


def test_a_registry_with_its_defaults_conforms(tmp_path: Path) -> None:
    """Everything passes but the one set of data that registries may refuse, and that is switched off."""
    with Moorage(tmp_path / "server", users=PASSWORDS) as server:
        results = run_suite(server, tmp_path, OCI_DATA_SPARSE="false")

    check(results)
    assert switched_off(results) == ["data.sparse"]


def test_a_registry_on_postgresql_conforms(tmp_path: Path) -> None:
    """The other database engine makes no difference that a client could see."""
    postgres = PostgresServer()
    try:
        url = postgres.url(postgres.create())
        with Moorage(tmp_path / "server", "--database", url, users=PASSWORDS, environment=SPARSE) as server:
            results = run_suite(server, tmp_path)
            assert server.stop() == 0
    finally:
        postgres.remove()

    check(results)
    assert switched_off(results) == []


def run_suite(server: Moorage, folder: Path, **toggles: str) -> Path:
    """Runs every check against *server*; the folder with `junit.xml` and `results.yaml`."""
    results = folder / "results"
    environment = {
        "OCI_REGISTRY": server.host,
        "OCI_TLS": "disabled",
        "OCI_REPO1": "conformance/one",
        "OCI_REPO2": "conformance/two",
        "OCI_USERNAME": server.user,
        "OCI_PASSWORD": server.password,
        "OCI_VERSION": "dev",
        "OCI_RESULTS_DIR": str(results),
        **dict.fromkeys(TOGGLES, "true"),
        **toggles,
    }
    try:
        Shell(folder / "home", environment)("conformance")
    except AssertionError:
        # It exits with 1 when a check fails, which the results tell better; without them its output is all there is.
        if not (results / "junit.xml").exists():
            raise
    return results


def check(results: Path) -> None:
    """AssertionError unless everything that is switched on was tried and passed."""
    root = ET.parse(results / "junit.xml").getroot()
    counts = {name: int(root.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    found = [describe(case) for case in root.iter("testcase") if case.get("status") not in {CONFORMING, "disabled"}]
    names = "\n".join(fault.partition("\n")[0] for fault in found)
    details = "\n\n".join(found[:FAULTS_SHOWN])
    assert not found, f"{counts}\n{names}\n\n{details}"
    assert counts["failures"] == counts["errors"] == counts["skipped"] == 0
    assert counts["tests"] >= FEWEST_CHECKS


def describe(case: ET.Element) -> str:
    """A check that did not pass: its name, what the suite says, and the requests it made."""
    said, traffic = (case.findtext(tag, "").strip() for tag in ("system-out", "system-err"))
    return f"{case.get('status')}: {case.get('name')}\n{said}\n{traffic[-ERROR_CHARACTERS:]}"


def switched_off(results: Path) -> list[str]:
    """Names of the suite's toggles that are not true, with dots."""
    settings = yaml.safe_load((results / "results.yaml").read_text())["config"]
    return [*_not_true(settings["apis"], "apis."), *_not_true(settings["data"], "data.")]


def _not_true(settings: Mapping[str, object], prefix: str) -> Iterator[str]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _not_true(value, f"{prefix}{key}.")
        elif value is not True:
            yield f"{prefix}{key}"
