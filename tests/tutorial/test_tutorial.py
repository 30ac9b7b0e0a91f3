"""docs/tutorial.md, typed from its first line to its last on two machines, and what they show compared with the page.

How the page says where a block is typed and what may differ is told in document.py, what the machines are in
machines.py. Two things are not as on a reader's machines: the repository is there already, since they have no way to
the internet (tests/setup clones it and sets it up on a bare Debian); and Moorage asks Pebble in the place of Let's
Encrypt, by variables of its environment.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.programs import Shell, need
from tests.servers import ROOT
from tests.tutorial.browser import POLICIES, Chromium, Visit, trusting
from tests.tutorial.document import CTRL_C, Step, matches, read
from tests.tutorial.machines import NAME, Machine, World, world
from tests.tutorial.terminal import Terminal

PAGE = ROOT / "docs" / "tutorial.md"
FINGERPRINT = re.compile(r"^ +((?:[0-9A-F]{2}:){31}[0-9A-F]{2})$", re.MULTILINE)
USER = re.compile(r"(?:--username|-u|--user|user add) (\w+)")
PASSWORDS = {"ann": "correct-horse", "bob": "his password"}


class Reader:
    """Somebody who does what the page says."""

    def __init__(self, around: World, folder: Path) -> None:
        self._world = around
        self._folder = folder
        self._places = {False: str(around.server.home), True: str(around.laptop.home)}
        self._passwords = dict(PASSWORDS)
        self._fingerprints: list[str] = []
        self._server: Terminal | None = None
        self.visits: list[Visit] = []

    def do(self, step: Step) -> None:
        """One block; AssertionError with its line where the page is not right."""
        where = f"{PAGE.name}:{step.line}"
        if step.kind == CTRL_C:
            assert self._server is not None, f"{where}: no server runs"
            code = self._server.interrupt()
            assert code == 0, f"{where}: the server ended with {code}\n{self._server.text[-3000:]}"
        elif step.kind == "yaml":
            self._type(replace(step, code=f"cat >{step.words[0]} <<'END'\n{step.code}END\n"), where)
        elif step.kind == "url":
            self._browse(step, where)
        elif "server" in step.words:
            self._serve(step, where)
        elif "both" in step.words:
            for machine in ((), ("laptop",)):
                self._type(replace(step, words=machine), where)
        else:
            self._type(step, where)

    def close(self) -> None:
        """Ends the server, if one runs."""
        if self._server is not None:
            self._server.__exit__(None, None, None)
            self._server = None

    def _machine(self, step: Step) -> Machine:
        return self._world.laptop if step.laptop else self._world.server

    def _terminal(self, step: Step, lines: str) -> Terminal:
        machine = self._machine(step)
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(machine.home),
            **machine.shell.environment,
            **self._world.environment,
        }
        named = USER.findall(step.code)

        def answer(prompt: str) -> str:
            if "fingerprint" in prompt:
                return ", ".join(self._fingerprints)
            return self._passwords[named[0]]

        return Terminal(machine.prefix, lines, self._places[step.laptop], environment, answer)

    def _type(self, step: Step, where: str) -> None:
        # The repository is there.
        lines = re.sub(r"^git clone .*\n", "", step.code, flags=re.MULTILINE)
        place = self._folder / "place"
        with self._terminal(step, f"set -e\n{lines}pwd >{place}") as terminal:
            code = terminal.finish()
            seen = terminal.text

        assert (code != 0) == step.fails, f"{where}: {step.code}ended with {code}:\n{seen}"
        if step.shown is not None:
            assert matches(step.shown, seen), f"{where}: {step.code}shows:\n{seen}"
        if not step.fails:
            self._places[step.laptop] = place.read_text().removesuffix("\n")
        if re.search(r"^docker run -d", step.code, re.MULTILINE):
            # Whoever types is slower than a container starts.
            self._await("curl --silent --insecure https://127.0.0.1/ || curl --silent http://127.0.0.1:5000/")
        if added := re.search(r"echo '\S+ (\S+)' .*/etc/hosts$", step.code, re.MULTILINE):
            # An engine looks at its hosts file every five seconds.
            self._await(f"! docker pull {added[1]}/nothing 2>&1 | grep -q lookup", laptop=step.laptop)

    def _serve(self, step: Step, where: str) -> None:
        self.close()
        shown = f"{step.shown}...\n"
        self._server = self._terminal(step, step.code)
        try:
            self._server.await_text(lambda seen: matches(shown, seen))
        except AssertionError as error:
            raise AssertionError(f"{where}: {step.code}{error}") from None
        text = self._server.text
        self._fingerprints = FINGERPRINT.findall(text)
        if made := re.search(r"password  (\S+)", text):
            self._passwords["admin"] = made[1]
        if "--domain" in step.code:
            # Each process has the certificate within a second, and whoever types is slower than that.
            again = f"curl --silent https://{NAME}/ &&"
            self._await(f"{again * 20} true")

    def _browse(self, step: Step, where: str) -> None:
        with Chromium(self._machine(step).prefix, self._folder / "profile") as browser:
            visit = browser.visit(step.code.strip(), "admin", self._passwords["admin"])
        self.visits.append(visit)
        assert step.shown is not None, where
        assert matches(step.shown, visit.text), f"{where}: {visit}"

    def _await(self, command: str, *, laptop: bool = False) -> None:
        shell = (self._world.laptop if laptop else self._world.server).shell
        last = "docker ps -a; docker logs registry; exit 1"
        tries = f"for try in $(seq 400); do if {{ {command}; }} >/dev/null; then exit; fi; sleep 0.1; done"
        shell("bash", "-c", f"{tries}; {last}")


@pytest.fixture
def reader() -> Iterator[Reader]:
    """Both machines, and somebody who sits before them."""
    for program in ("chromium", "certbot", "nginx", "nslookup", "curl", "make"):
        need(program)
    with tempfile.TemporaryDirectory(prefix="moorage-", dir="/tmp", ignore_cleanup_errors=True) as name:
        with world(Path(name)) as around:
            laptop = Shell(around.laptop.home, {}, around.laptop.prefix)
            laptop("mkdir", "-p", str(POLICIES))
            laptop("tee", str(POLICIES / "authorities.json"), stdin=trusting(around.root))
            made = Reader(around, Path(name))
            try:
                yield made
            finally:
                made.close()


@pytest.mark.slow
def test_the_tutorial_works_as_it_is_written(reader: Reader) -> None:
    """Every block, in order, shows what the page says; the browser asks for a password, and shows JSON as text."""
    steps = read(PAGE)

    for step in steps:
        reader.do(step)

    assert sum(step.kind == "sh" for step in steps) > 20
    (visit,) = reader.visits
    assert [(asked["scheme"], asked["realm"]) for asked in visit.asks] == [("basic", "Moorage")]
    assert visit.media_type == "application/json"


def test_the_tutorial_does_what_people_do_by_hand() -> None:
    """The steps of instructions on the net are all on the page."""
    typed = "".join(step.code for step in read(PAGE) if step.kind != CTRL_C)

    for word in ("nslookup", "/etc/hosts", "certbot", "htpasswd", "docker login", "/v2/_catalog", "curl -k -u"):
        assert word in typed
