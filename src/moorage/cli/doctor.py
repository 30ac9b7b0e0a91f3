"""`moorage doctor`."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from moorage.cli.doctor_server import refuse_with_client, server_options, split, steps_of_server
from moorage.cli.password import password_from_stdin
from moorage.cli.settings_options import settings_source
from moorage.cli.tables import echo_json
from moorage.doctor.client.names import Names, SystemNames, parse_name_server
from moorage.doctor.client.path import client_steps
from moorage.doctor.client.target import Login, Options, Target, parse_target
from moorage.doctor.engines.steps import engine_steps
from moorage.doctor.finding import Finding, Verdict, as_json
from moorage.doctor.report import Style, summary
from moorage.doctor.walk import Step, tally, walk
from moorage.errors import NameInvalid, Unwell, UserError, Warned
from moorage.oci.name import RepositoryName, parse_name

_SLOW_SECONDS: Final = 75.0
"""Longer than the 60 s that nginx, Traefik and load balancers wait by default."""

_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(
    params=server_options(),
    epilog="Example: moorage doctor --client https://registry.example.com --user ann --password-stdin",
)
@settings_source
@click.option("--client", "url", metavar="URL", help="Examine the registry at this URL as its clients see it.")
@click.option("--user", metavar="NAME", help="Log in as this user; without it nothing is pushed, unless anybody may.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input; a newline ends it.")
@click.option(
    "--repository",
    default="doctor/scratch",
    show_default=True,
    help="Where a tiny image is pushed and deleted again.",
)
@click.option("--ca-file", type=_FILE, help="Trust the authorities in this PEM file, too.")
@click.option("--cert", type=_FILE, help="Show this client certificate, a PEM file.")
@click.option("--key", type=_FILE, help="The key of --cert, a PEM file.")
@click.option("--resolver", "resolvers", multiple=True, metavar="ADDRESS", help="Ask this name server, too.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="How many seconds an answer may take.",
)
@click.option(
    "--thorough", is_flag=True, help="Also try an upload of 75 seconds and one of 101 MiB, which some proxies cut."
)
@click.option("--json", "json", is_flag=True, help="Print JSON, for programs.")
def doctor(*, url: str | None, json: bool, file: Path | None, config: Path | None, classic: bool, **given: Any) -> None:
    """Walk the whole path to a registry, and say of each step how it is, what that means and how to mend it.

    Where the server runs, give the options and variables of its `moorage serve`, FILE included; all of them are
    understood. With --client it works from any machine that clients run on. The exit code is 0 only when all is well.
    """
    settings, given = split(given)
    if url is not None:
        refuse_with_client(file, config, classic=classic, settings=settings)
        target = parse_target(url)
        steps = client_steps(_client_options(target, SystemNames(), **given))
        examine([*steps, *engine_steps(target, timeout=given["timeout"])], json=json)
        return

    def client(target: Target, names: Names, ca_file: Path | None) -> Sequence[Step]:
        return client_steps(_client_options(target, names, **{**given, "ca_file": given["ca_file"] or ca_file}))

    servers = tuple(map(parse_name_server, given["resolvers"]))
    steps = steps_of_server(
        file, config, classic=classic, settings=settings, client=client, resolvers=servers, timeout=given["timeout"]
    )
    examine(steps, json=json)


def _client_options(
    target: Target,
    names: Names,
    *,
    user: str | None,
    password_stdin: bool,
    cert: Path | None,
    key: Path | None,
    resolvers: tuple[str, ...],
    thorough: bool,
    **given: Any,
) -> Options:
    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key are given together")
    return Options(
        target=target,
        names=names,
        login=_login(target, user, password_stdin=password_stdin),
        repository=_repository(given["repository"]),
        resolvers=tuple(map(parse_name_server, resolvers)),
        ca_file=given["ca_file"],
        client_certificate=(cert, key) if cert and key else None,
        timeout=given["timeout"],
        slow_seconds=_SLOW_SECONDS if thorough else 0.0,
    )


def examine(steps: Sequence[Step], *, json: bool) -> None:
    """Take the steps and print what they find, each finding as it comes; with *json* all of them at the end.

    Raises Unwell where something is wrong, and Warned where there are only warnings.
    """
    try:
        findings = asyncio.run(_take(steps, json=json))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    count = tally(findings)
    if json:
        echo_json(
            {
                "well": not count[Verdict.WRONG] and not count[Verdict.WARNING],
                "counts": {verdict.value: number for verdict, number in count.items()},
                "findings": [as_json(finding) for finding in findings],
            }
        )
    if count[Verdict.WRONG]:
        raise Unwell(summary(findings))
    if count[Verdict.WARNING]:
        raise Warned(summary(findings))
    if not json:
        click.echo(summary(findings))


async def _take(steps: Sequence[Step], *, json: bool) -> list[Finding]:
    task = asyncio.current_task()
    assert task is not None, "asyncio.run made one"
    # Steps wait in threads, and a system may give the signal to one of them: this wakes the loop all the same.
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    style = Style(tuple(step.name for step in steps), sys.stdout.isatty(), shutil.get_terminal_size((100, 24)).columns)
    findings = []
    last = Finding(Verdict.OK, "")
    async for finding in walk(steps):
        findings.append(finding)
        # One reason for many steps is said once.
        if not json and (finding.verdict, finding.what) != (Verdict.SKIPPED, last.what):
            click.echo("\n".join(style.lines(finding)))
        last = finding
    return findings


def _login(target: Target, user: str | None, *, password_stdin: bool) -> Login | None:
    if user is None:
        if password_stdin:
            raise click.UsageError("--password-stdin needs --user")
        return None
    if password_stdin:
        return Login(user, password_from_stdin())
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for the password: use --password-stdin")
    return Login(user, click.prompt(f"Password of {user} at {target.authority}", hide_input=True, err=True))


def _repository(text: str) -> RepositoryName:
    try:
        return parse_name(text)
    except NameInvalid as error:
        raise UserError(str(error)) from None
