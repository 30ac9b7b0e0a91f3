"""The doctor on a client's machine, the registry on another, and a network between them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.hosts import Cable, Host
from tests.programs import need
from tests.servers import COMMAND, Moorage

LOGIN = ("ann", "correct horse")
NAME = "registry.test"


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    """Two machines that see only each other."""
    with Cable() as cable:
        yield cable


@pytest.fixture(scope="module")
def moorage(cable: Cable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moorage]:
    """A registry with an authority of its own on the far machine, at the port of https."""
    words = ("--tls-name", NAME, "--tls-plain-listen", f"{cable.far.address}:80")
    folder = tmp_path_factory.mktemp("moorage")
    far = {"address": cable.far.address, "prefix": cable.far.prefix}
    with Moorage(folder, *words, users=dict([LOGIN]), port=443, secure=True, **far) as server:  # type: ignore[arg-type]
        yield server


class Client:
    """A machine with a hosts file of its own."""

    def __init__(self, host: Host, folder: Path, hosts: str) -> None:
        self.folder = folder
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}\n")
        (folder / "resolv.conf").write_text("")
        mounts = "; ".join(f"mount --bind {folder}/{name} /etc/{name}" for name in ("hosts", "resolv.conf"))
        script = f'{mounts}; exec env PATH={folder} HOME={folder} "$@"'
        self.prefix = [*host.prefix, need("unshare"), "-m", need("sh"), "-ec", script, "sh"]

    def doctor(self, *words: str) -> tuple[int, list[dict[str, Any]]]:
        """Its exit code and what it finds."""
        command = [*self.prefix, str(COMMAND), "doctor", "--json", *words]
        done = subprocess.run(command, input=LOGIN[1], capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)["findings"]

    def moorage(self, *words: str) -> str:
        """What another command of ours prints."""
        command = [*self.prefix, str(COMMAND), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def wrong(findings: list[dict[str, Any]]) -> list[str]:
    """What is not well."""
    return [one["what"] for one in findings if one["verdict"] in {"wrong", "warning"}]


def test_what_the_doctor_says_to_type_mends_it(cable: Cable, moorage: Moorage, tmp_path: Path) -> None:
    """The authority is unknown; after `moorage trust`, which the doctor names, everything is well by that trust."""
    client = Client(cable.near, tmp_path, f"{cable.far.address} {NAME}")
    root = tmp_path / "root"
    (root / "etc" / "docker").mkdir(parents=True)
    arguments = ("--client", f"https://{NAME}", "--user", LOGIN[0], "--password-stdin")

    code, before = client.doctor(*arguments)
    listed = subprocess.run(
        [str(COMMAND), "cert", "authorities", "--data", str(moorage.data)], capture_output=True, text=True, check=True
    ).stdout
    fingerprint = re.search(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", listed)
    assert fingerprint is not None, listed
    client.moorage("trust", "--client", "docker", "--root", str(root), "--fingerprint", fingerprint[0], NAME)
    [given] = (root / "etc" / "docker" / "certs.d" / NAME).glob("*.crt")
    after_code, after = client.doctor(*arguments, "--ca-file", str(given))

    [what] = wrong(before)
    assert code == 9
    assert "nobody here trusts the authority that signed it" in what
    remedies = [line for one in before for line in one["remedy"]]
    assert f"sudo moorage trust {NAME}" in remedies
    assert wrong(after) == []
    assert after_code == 0


def test_an_address_that_nobody_has_is_named(cable: Cable, tmp_path: Path) -> None:
    """On the same network, or on one that no route leads to."""
    client = Client(cable.near, tmp_path, f"10.91.0.77 absent.test\n10.99.0.1 {NAME}")

    _, absent = client.doctor("--client", "https://absent.test", "--timeout", "8")
    _, elsewhere = client.doctor("--client", f"https://{NAME}", "--timeout", "8")

    assert len(wrong(absent)) == len(wrong(elsewhere)) == 1
    assert "10.91.0.77" in wrong(absent)[0]
    assert "there is no way to 10.99.0.1 (private) from here" in wrong(elsewhere)[0]


def test_a_port_that_is_closed_on_the_other_machine_is_named(cable: Cable, moorage: Moorage, tmp_path: Path) -> None:
    """With the port that is open there."""
    client = Client(cable.near, tmp_path, f"{cable.far.address} {NAME}")

    _, found = client.doctor("--client", f"https://{NAME}:5000")

    [refused] = [one for one in found if one["verdict"] == "wrong"]
    assert "refuses connections at port 5000" in refused["what"]
    assert refused["facts"]["open_ports"] == [443, 80]
    assert "Port 443 is open there" in refused["meaning"]
