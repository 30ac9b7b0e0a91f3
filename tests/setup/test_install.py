"""`moorage install` on a machine that systemd has booted, from its first word to its last."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.docs.markdown import ROOT
from tests.setup.bare import BareDebian
from tests.setup.booted import BootedDebian

pytestmark = pytest.mark.slow

MOORAGE = "/opt/moorage/.venv/bin/moorage"
SECONDS = 90
PASSWORD = "$(cat /var/lib/moorage/moorage/initial-password)"
CURL = f"curl --silent --show-error --insecure --max-time {SECONDS} --user admin:{PASSWORD}"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootedDebian]:
    """One for all tests here, in their order, with the program in /opt/moorage; removed afterwards: it is 500 MB."""
    folder = tmp_path_factory.mktemp("machine") / "root"
    debian = BareDebian(folder)
    debian.clone(ROOT, "/opt/moorage")
    done = debian.run("make", "-C", "/opt/moorage", "setup")
    assert done.returncode == 0, done.stderr
    with BootedDebian(debian) as booted:
        yield booted
    shutil.rmtree(folder)


def shown(machine: BootedDebian, what: str) -> str:
    """A property of the service, in systemd's words."""
    return machine.shell(f"systemctl show --value --property {what} moorage")


def await_(condition: Callable[[], bool]) -> None:
    """Return once it holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def push(machine: BootedDebian, name: str) -> None:
    """A small image, by the protocol."""
    machine.shell(f"""
        base=https://127.0.0.1/v2/{name}
        printf '{{}}' >/tmp/config
        digest=sha256:$(sha256sum </tmp/config | cut -d ' ' -f 1)
        place=$({CURL} --output /dev/null --dump-header - -X POST $base/blobs/uploads/ |
            tr -d '\\r' | sed -n 's/^[Ll]ocation: //p')
        {CURL} --fail -X PUT --data-binary @/tmp/config -H 'Content-Type: application/octet-stream' \
            "https://127.0.0.1$place$(case $place in *\\?*) echo '&' ;; *) echo '?' ;; esac)digest=$digest"
        type=application/vnd.oci.image.manifest.v1+json
        config=application/vnd.oci.image.config.v1+json
        printf '{{"schemaVersion":2,"mediaType":"%s","layers":[],' $type >/tmp/manifest
        printf '"config":{{"mediaType":"%s","digest":"%s","size":2}}}}' $config $digest >>/tmp/manifest
        {CURL} --fail -X PUT --data-binary @/tmp/manifest -H "Content-Type: $type" $base/manifests/1
    """)


def pulls(machine: BootedDebian, name: str) -> bool:
    """Whether that image is there, with its blob."""
    text = machine.shell(f"{CURL} --fail https://127.0.0.1/v2/{name}/manifests/1")
    digest = json.loads(text)["config"]["digest"]
    return machine.shell(f"{CURL} --fail https://127.0.0.1/v2/{name}/blobs/{digest}") == "{}"


def test_print_shows_everything_and_changes_nothing(machine: BootedDebian) -> None:
    """As a user without rights, too."""
    done = machine.run("runuser", "-u", "ann", "--", MOORAGE, "install", "--domain", "registry.example.com", "--print")

    assert done.returncode == 0, done.stderr
    assert "useradd --system" in done.stdout
    assert "domains: [registry.example.com]" in done.stdout
    assert f"ExecStart={MOORAGE} serve --config /etc/moorage/moorage.yml --run-as moorage" in done.stdout
    assert machine.run("ls", "/etc/moorage").returncode != 0
    assert machine.run("id", "moorage").returncode != 0


def test_without_root_it_says_the_line_to_type(machine: BootedDebian) -> None:
    """And changes nothing."""
    done = machine.run("runuser", "-u", "ann", "--", MOORAGE, "install")

    assert done.returncode == 6
    assert f"so nothing was changed; run this: sudo {MOORAGE} install" in done.stderr
    assert machine.run("ls", "/etc/moorage").returncode != 0


def test_it_serves_when_the_command_returns(machine: BootedDebian) -> None:
    """With a user of its own for whatever meets the network, and a password that is shown to root alone."""
    done = machine.run(MOORAGE, "install")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert shown(machine, "ActiveState") == "active"
    assert shown(machine, "StatusText").startswith("serving on [::]:443")
    assert machine.shell(f"{CURL} --output /dev/null --write-out '%{{http_code}}' https://127.0.0.1/v2/") == "200"
    users = machine.shell("ps -o user= --ppid $(systemctl show -P MainPID moorage) | sort | uniq -c")
    assert sorted(line.split()[1] for line in users.splitlines()) == ["moorage", "root"]
    assert machine.shell("stat -c %a:%U:%G /etc/moorage/moorage.yml") == "640:root:moorage"
    push(machine, "first")
    assert pulls(machine, "first")


def test_a_second_time_it_has_nothing_to_do(machine: BootedDebian) -> None:
    """It says so of each thing, and the service is not disturbed; what differs is changed, and that alone."""
    process = shown(machine, "MainPID")

    second = machine.run("moorage", "install")
    same = shown(machine, "MainPID")
    machine.shell("sed -i s/RestartSec=.*/RestartSec=9/ /etc/systemd/system/moorage.service")
    third = machine.run("moorage", "install")

    assert second.returncode == third.returncode == 0, second.stderr + third.stderr
    assert "it runs already, with just this" in second.stdout
    assert {line.rpartition(": ")[2] for line in second.stdout.partition("it runs")[0].splitlines()} == {
        "nothing to do"
    }
    assert same == process
    assert [line for line in third.stdout.splitlines() if line.endswith((": changed", ": run"))] == [
        "/etc/systemd/system/moorage.service: changed",
        "systemctl daemon-reload: run",
    ]
    assert shown(machine, "MainPID") != process
    assert "RestartSec=9" not in machine.shell("cat /etc/systemd/system/moorage.service")


def test_settings_that_are_there_are_not_touched(machine: BootedDebian) -> None:
    """It says what they say otherwise."""
    before = machine.shell("cat /etc/moorage/moorage.yml")

    done = machine.run("moorage", "install", "--domain", "registry.example.com")

    assert done.returncode == 0, done.stderr
    assert "stays as it is, and says otherwise than --domain registry.example.com" in done.stderr
    assert machine.shell("cat /etc/moorage/moorage.yml") == before


def test_no_connection_is_refused_over_a_restart_and_a_death(machine: BootedDebian) -> None:
    """systemd keeps the sockets open; who connects meanwhile waits, and what was pushed is there afterwards."""
    ask = """
        ok=0 bad=0
        while [ ! -e /run/enough ]; do
            if curl -sk --max-time 60 -o /dev/null https://127.0.0.1/v2/; then ok=$((ok+1)); else bad=$((bad+1)); fi
        done
        echo $ok $bad
    """
    command = machine.inside("sh", "-c", ask)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        restarts = int(shown(machine, "NRestarts"))
        machine.shell("systemctl restart moorage")
        process = shown(machine, "MainPID")
        # Nobody has to end by signal 9 while a request is being answered: that connection is lost with him.
        refused = machine.shell("""
            kill -KILL $(systemctl show -P MainPID moorage)
            bad=0
            for time in 1 2 3; do curl -sk --max-time 60 -o /dev/null https://127.0.0.1/v2/ || bad=$((bad+1)); done
            echo $bad
        """)
        await_(lambda: shown(machine, "ActiveState") == "active")
        machine.shell("touch /run/enough")
        answered, failed = map(int, client.communicate(timeout=SECONDS)[0].split())

    assert int(shown(machine, "NRestarts")) == restarts + 1
    assert shown(machine, "MainPID") != process
    assert refused == "0"
    assert answered > 0
    assert failed <= 1
    assert pulls(machine, "first")


def test_a_reload_succeeds(machine: BootedDebian) -> None:
    """As hooks of certbot do it; the service goes on as the same process."""
    process = shown(machine, "MainPID")

    machine.shell("systemctl reload moorage")

    assert shown(machine, "ActiveState") == "active"
    assert shown(machine, "MainPID") == process


def test_a_mistake_in_the_settings_is_not_repeated(machine: BootedDebian) -> None:
    """systemd shows the sentence and does not try again; once it is mended, `install` starts it."""
    machine.shell("echo 'litsen: x' >>/etc/moorage/moorage.yml")
    restart = machine.run("systemctl", "restart", "moorage")
    state = [shown(machine, what) for what in ("ActiveState", "ExecMainStatus", "NRestarts")]
    text = shown(machine, "StatusText")
    installed = machine.run("moorage", "install")
    machine.shell("sed -i /litsen/d /etc/moorage/moorage.yml")
    mended = machine.run("moorage", "install")

    assert restart.returncode != 0
    assert state == ["failed", "78", "0"]
    assert "/etc/moorage/moorage.yml:5: litsen: is not known" in text
    assert installed.returncode == 3
    assert "moorage.yml:5: litsen: is not known" in installed.stderr
    assert mended.returncode == 0, mended.stderr
    assert pulls(machine, "first")


def test_a_service_that_cannot_start_shows_why(machine: BootedDebian) -> None:
    """Somebody else listens there: the end of the log is on the terminal, and what may pass is tried again."""
    machine.shell("systemctl stop moorage; systemd-run --unit occupied --quiet /usr/bin/python3 -m http.server 443")
    await_(lambda: machine.run("curl", "-s", "-o", "/dev/null", "http://127.0.0.1:443/").returncode == 0)

    done = machine.run("moorage", "install")
    machine.shell("systemctl stop occupied")

    assert done.returncode == 6
    assert "port 443 is in use" in done.stderr
    assert "the service does not start; the end of its log is above" in done.stderr
    await_(lambda: shown(machine, "ActiveState") == "active")


def test_a_hung_worker_ends_in_a_new_server(machine: BootedDebian) -> None:
    """The watchdog starts it again, here with less patience than the unit's minute."""
    machine.shell("""
        mkdir -p /run/systemd/system/moorage.service.d
        printf '[Service]\\nWatchdogSec=6\\n' >/run/systemd/system/moorage.service.d/patience.conf
        systemctl daemon-reload
        systemctl restart moorage
    """)
    process = shown(machine, "MainPID")

    machine.shell(f"kill -STOP $(pgrep -P {process} | head -n 1)")

    await_(lambda: shown(machine, "MainPID") not in {process, "0"} and shown(machine, "ActiveState") == "active")
    assert "Watchdog timeout" in machine.shell("journalctl --unit moorage --no-pager")
    assert pulls(machine, "first")


def test_the_unit_is_tight(machine: BootedDebian) -> None:
    """systemd finds nothing wrong in it, and its own measure of exposure is low."""
    assert machine.run("systemd-analyze", "verify", "/etc/systemd/system/moorage.service").stderr == ""
    said = machine.shell("systemd-analyze security --no-pager moorage | tail -n 1")
    assert float(said.partition(": ")[2].split()[0]) < 3.5


def test_uninstall_keeps_the_data_and_the_settings(machine: BootedDebian) -> None:
    """And says so; what was made beside them is gone, and a new `install` finds everything."""
    shown_only = machine.run(MOORAGE, "install", "--uninstall", "--print")
    running = shown(machine, "ActiveState")
    done = machine.run(MOORAGE, "install", "--uninstall")
    gone = [
        machine.run("ls", path).returncode for path in ("/usr/local/bin/moorage", "/etc/systemd/system/moorage.service")
    ]
    state = shown(machine, "LoadState")
    again = machine.run(MOORAGE, "install")

    assert (shown_only.returncode, running) == (0, "active")
    assert done.returncode == 0, done.stderr
    assert "stay" in done.stdout
    assert gone == [2, 2]
    assert state == "not-found"
    assert again.returncode == 0, again.stderr
    assert "/etc/moorage/moorage.yml: nothing to do" in again.stdout
    assert pulls(machine, "first")
