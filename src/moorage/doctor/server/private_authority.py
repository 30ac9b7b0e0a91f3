"""The private authority: in time, good for every address that clients may come by, and by which fingerprint known."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence

from moorage.certificates import names_of
from moorage.clock import Clock
from moorage.doctor.accounts import acting_as, open_to_others
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong
from moorage.doctor.server.certificate_files import Surroundings, day, listed, read_leaf
from moorage.errors import MoorageError
from moorage.settings.model import Settings
from moorage.tls.pem import CertificateFacts, read_chain
from moorage.tls.private_ca import PrivateAuthority
from moorage.tls.store import CertificateStore

_SOON = 365 * 86400 * 1_000_000
"""A new authority has to reach every client before the old one ends; arbitrary."""


def look_at_authority(
    settings: Settings, store: CertificateStore, clock: Clock, around: Surroundings
) -> Iterator[Finding]:
    """The authorities, and the server's certificates that they signed."""
    try:
        with acting_as(around.user):
            texts = PrivateAuthority(store, clock).certificates()
            files = sorted(store.folder.glob("certificates/*/live/chain.pem"))
        authorities = [read_chain(text, "ca.crt").leaf for text in texts]
    except PermissionError:
        yield skipped(
            f"{store.folder} can be seen by {around.user.name} and root alone",
            f"Give the command as that user: sudo -u {around.user.name} moorage doctor",
        )
        return
    except (OSError, MoorageError) as error:
        yield wrong(
            f"the private authority in {store.folder} cannot be used: {error}",
            "The server does not start. Put its files back from a backup: with a new authority every client has to"
            " trust the registry anew.",
            f"ls -lR {shlex.quote(str(store.folder / 'authority'))}",
            blocks=True,
        )
        return
    leaves = [leaf for path in files if (leaf := read_leaf(path, around.user)) is not None]
    if not authorities:
        yield ok(
            "there is no private authority yet; the server makes it when it starts first, and shows its fingerprint"
        )
        return
    for one in authorities:
        yield from _judge_authority(one, around.now)
    yield from _judge_keys(store)
    yield from _judge_leaves(settings, leaves, authorities, around)


def _judge_authority(one: CertificateFacts, now: int) -> Iterator[Finding]:
    said = f"private authority {one.fingerprint}"
    if trouble := one.out_of_time(now):
        yield wrong(
            f"{said} {trouble}",
            "Clients that trust only this one say `x509: certificate has expired or is not yet valid`.",
            "moorage trust --help    # how clients get the new one",
        )
    elif one.not_after - now < _SOON:
        yield warning(
            f"{said} ends on {day(one.not_after)}",
            "Its successor is made in time, beside it; every client has to trust that one too before this one ends.",
            "moorage trust --help    # how clients get the new one",
        )
    else:
        yield ok(f"{said}, until {day(one.not_after)}", fingerprint=one.fingerprint, not_after=one.not_after)


def _judge_keys(store: CertificateStore) -> Iterator[Finding]:
    for path in (*store.folder.glob("authority/*/ca.key"), *store.folder.glob("certificates/*/live/key.pem")):
        if open_to_others(path):
            yield warning(
                f"{path} can be read by every user of this machine",
                "Whoever has it can pose as this registry.",
                f"sudo chmod 600 {shlex.quote(os.path.realpath(path))}",
            )


def _judge_leaves(
    settings: Settings,
    leaves: Sequence[CertificateFacts],
    authorities: Sequence[CertificateFacts],
    around: Surroundings,
) -> Iterator[Finding]:
    ours = [leaf for leaf in leaves if leaf.issuer in {one.subject for one in authorities}]
    wanted = names_of(settings)
    if not ours:
        yield ok("there is no certificate of the private authority yet; the server makes it when it starts")
        return
    newest = max(ours, key=lambda leaf: leaf.not_after)
    if trouble := newest.out_of_time(around.now):
        yield wrong(
            f"the server's certificate from the private authority {trouble}",
            "A running server renews it by itself; start it, or look into its log for why it could not.",
            "journalctl -u moorage | grep -i certificate | tail",
        )
        return
    missing = [name for name in wanted.all if not any(leaf.covers(name) for leaf in ours)]
    given = [name for name in missing if name in wanted.given]
    if given:
        yield warning(
            f"the server's certificate is not for {listed(given)}, which the settings name",
            f"Clients that use it say `x509: certificate is valid for {listed(newest.names)}, not {given[0]}`. A start"
            " makes one that is.",
            "sudo systemctl restart moorage",
        )
    elif missing:
        # What was found on the machine comes and goes by itself.
        yield warning(
            f"the server's certificate is not for {listed(missing)}, by which this machine can be reached now",
            "Its address or name has changed since the authority was made, which may sign no other. Clients that use it"
            f" say `x509: certificate is valid for {listed(newest.names)}, not {missing[0]}`.",
            f"moorage serve {' '.join(f'--tls-name {name}' for name in missing)} ...",
            names=list(newest.names),
            missing=missing,
        )
    else:
        yield ok(f"the server's certificate is for {listed(newest.names)}, until {day(newest.not_after)}")
