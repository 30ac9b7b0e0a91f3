"""The field's own suite, distribution-spec/conformance, at the spec's main branch with every API and data set on."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.programs import Shell
from tests.servers import Moorage

# About 1,034 are run; fewer than this means that the suite has switched something off.
FEWEST_CHECKS = 1000
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


@pytest.mark.parametrize("users", [{}, {"alice": "c0rrect-horse"}], ids=["anonymous", "with-a-password"])
def test_every_check_of_the_conformance_suite_passes(users: Mapping[str, str], tmp_path: Path) -> None:
    """None fails, none errs, none is skipped, and none is switched off."""
    with Moorage(tmp_path / "server", users=users) as server:
        results = run_suite(server, tmp_path)

    root = ET.parse(results / "junit.xml").getroot()
    counts = {name: int(root.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    settings = yaml.safe_load((results / "results.yaml").read_text())["config"]
    faults = [describe(case) for case in root.iter("testcase") if case.get("status") != CONFORMING]
    names = "\n".join(fault.partition("\n")[0] for fault in faults)
    details = "\n\n".join(faults[:FAULTS_SHOWN])
    assert not faults, f"{counts}\n{names}\n\n{details}"
    assert counts["failures"] == counts["errors"] == counts["skipped"] == 0
    assert switched_off(settings["apis"]) + switched_off(settings["data"]) == []
    assert counts["tests"] >= FEWEST_CHECKS


def run_suite(server: Moorage, folder: Path) -> Path:
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
    }
    try:
        Shell(folder / "home", environment)("conformance")
    except AssertionError:
        # It exits with 1 when a check fails, which the results tell better; without them its output is all there is.
        if not (results / "junit.xml").exists():
            raise
    return results


def describe(case: ET.Element) -> str:
    """A check that did not pass: its name, what the suite says, and the requests it made."""
    said, traffic = (case.findtext(tag, "").strip() for tag in ("system-out", "system-err"))
    return f"{case.get('status')}: {case.get('name')}\n{said}\n{traffic[-ERROR_CHARACTERS:]}"


def switched_off(settings: Mapping[str, object], prefix: str = "") -> list[str]:
    """Names of the toggles that are not true, nested ones with dots."""
    names = []
    for key, value in settings.items():
        if isinstance(value, dict):
            names += switched_off(value, f"{prefix}{key}.")
        elif value is not True:
            names.append(f"{prefix}{key}")
    return names
