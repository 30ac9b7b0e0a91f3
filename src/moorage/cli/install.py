"""`moorage install`: the registry as a service of this machine, under systemd."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from moorage.cli.health import look
from moorage.cli.install_plan import CONFIG, LINK, UNIT, UNIT_NAME, Plan, plan_for
from moorage.cli.install_steps import Step, run, succeeds
from moorage.cli.install_unit import MARK
from moorage.errors import UserError

_BOOTED: Final = Path("/run/systemd/system")
"""There where systemd is process 1 (sd_booted(3))."""
_ANSWER_SECONDS: Final = 60.0
_LOG_LINES: Final = 15

_EPILOG = """\b
Examples:
  sudo moorage install --domain registry.example.com
  sudo moorage install --listen :5000
  moorage install --domain registry.example.com --print
  sudo moorage install --uninstall
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--domain", help="The public name of the registry: it listens on port 443 with a certificate of Let's Encrypt."
)
@click.option(
    "--listen",
    multiple=True,
    help="Where to listen instead: host:port, :port for every address; off this machine with the private authority's"
    " certificate. Neither given: :443.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/moorage"),
    show_default=True,
    help="The folder with everything that the registry keeps.",
)
@click.option("--user", default="moorage", show_default=True, help="As whom it runs; made if there is no such user.")
@click.option("--print", "printing", is_flag=True, help="Show every file and command, and change nothing.")
@click.option("--uninstall", is_flag=True, help="Take away what was made, but for the data and the settings.")
def install(
    *, domain: str | None, listen: tuple[str, ...], data: Path, user: str, printing: bool, uninstall: bool
) -> None:
    """Set the registry up as a service of this machine.

    It makes a user, the folder for the data, /etc/moorage/moorage.yml and a systemd unit, starts the service and waits
    until it answers. Given again, it changes what differs. Settings that are there already are never touched.
    """
    if uninstall:
        _require_rights(printing=printing)
        _uninstall(_program(), user, printing=printing)
        return
    if domain is not None and listen:
        raise UserError("--domain listens on port 443: give it without --listen, or write both into " + str(CONFIG))
    plan = plan_for(_program(), domain=domain, listen=listen, data=data, user=user)
    for warning in plan.warnings:
        click.echo(f"warning: {warning}", err=True)
    if printing:
        _print(plan.steps)
        return
    _require_rights(printing=False)
    changed = _do(plan.steps)
    _start(changed)
    look(plan.settings, _ANSWER_SECONDS)
    click.echo("\n".join(_how_to_go_on(plan)))


def _require_rights(*, printing: bool) -> None:
    if printing:
        return
    if not _BOOTED.is_dir():
        raise UserError(
            "this machine does not run systemd, so nothing was changed: start `moorage serve` by other means;"
            " --print shows what the service would be"
        )
    if os.geteuid() != 0:
        words = [str(Path(sys.argv[0]).absolute()), *sys.argv[1:]]
        raise UserError(f"only root can set up a service, so nothing was changed; run this: sudo {shlex.join(words)}")


def _program() -> Path:
    """The command itself, where it really lies."""
    program = Path(sys.argv[0]).resolve()
    if not os.access(program, os.X_OK):
        raise UserError(f"{program} is not a program that a service can start: call the command `moorage` itself")
    return program


def _print(steps: Sequence[Step]) -> None:
    for step in steps:
        state = step.state()
        click.echo(f"# {step.name}: " + (f"would be {state}" if state else "nothing to do"))
        if state:
            click.echo(step.show())
        click.echo()


def _do(steps: Sequence[Step]) -> set[str]:
    """Do what is needed; the names of the steps that were."""
    done = set()
    for step in steps:
        state = step.state()
        if state:
            step.do()
            done.add(step.name)
        click.echo(f"{step.name}: {state or 'nothing to do'}")
    return done


def _start(changed: set[str]) -> None:
    """Have it run, with what is written now."""
    active = succeeds("systemctl", "--quiet", "is-active", UNIT_NAME)
    if active and not changed & {str(UNIT), str(CONFIG)}:
        click.echo("it runs already, with just this")
        return
    click.echo("starting it again" if active else "starting it")
    try:
        # Returns once it serves, or cannot.
        run(["systemctl", "restart", UNIT_NAME])
    except UserError:
        _show_log()
        raise UserError(
            f"the service does not start; the end of its log is above. Mend that, then: systemctl restart {UNIT_NAME}"
        ) from None


def _show_log() -> None:
    shape = ["--no-pager", "--output", "cat", "--lines", str(_LOG_LINES)]
    subprocess.run(["journalctl", "--unit", UNIT_NAME, *shape], check=False, stdout=sys.stderr)


def _how_to_go_on(plan: Plan) -> list[str]:
    settings, lines = plan.settings, ["", f"Moorage serves as {UNIT_NAME}.service, also after the next boot."]
    manage = f"sudo -u {plan.user} {plan.command}"
    first = settings.data / "moorage" / "initial-password"
    if settings.auth.kind == "users" and first.exists():
        lines += [
            "The administrator is admin, and the first password is shown by",
            f"    sudo cat {first}",
            "Set one of your own, which also removes that file:",
            f"    {manage} user passwd admin --config {CONFIG}",
        ]
    if settings.certificates_from == "private":
        lines += ["Clients have to be told once to trust it; what they are asked to compare is shown by"]
        lines += [f"    {manage} cert authorities --config {CONFIG}"]
    elif settings.certificates_from == "acme":
        lines += ["How it stands with the certificate is shown by"]
        lines += [f"    {manage} cert list --config {CONFIG}"]
    return [*lines, "Its log:", f"    journalctl --unit {UNIT_NAME} --output cat --follow"]


def _uninstall(program: Path, user: str, *, printing: bool) -> None:
    say = "would be removed" if printing else "removed"
    if UNIT.exists():
        if not UNIT.read_text("utf-8", "replace").startswith(MARK):
            raise UserError(f"{UNIT} was not written by this command, so it stays, and nothing was changed")
        if not printing:
            run(["systemctl", "disable", "--now", UNIT_NAME])
            UNIT.unlink()
            run(["systemctl", "daemon-reload"])
        click.echo(f"{UNIT}: {say}")
    else:
        click.echo(f"{UNIT}: is not there")
    if LINK.is_symlink() and LINK.resolve() == program:
        if not printing:
            LINK.unlink()
        click.echo(f"{LINK}: {say}")
    click.echo(f"{CONFIG}, the data folder and the user {user}, to whom it belongs, stay. When nobody needs them:")
    click.echo(f"    rm -r {CONFIG.parent} DATA_FOLDER; userdel {user}")
