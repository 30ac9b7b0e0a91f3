"""The folders `certs.d/HOST[:PORT]`: the right name, the right endings, and the authority that signed.

As Docker and podman read them: `*.crt` are authorities, `*.cert` with `*.key` of the same name are client certificates,
everything else is passed over. The folder's name is the registry's as it stands before an image's name.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from moorage.doctor.client.http import Line
from moorage.doctor.client.target import PORTS, Target
from moorage.doctor.engines.places import Places
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong
from moorage.errors import ConfigurationError
from moorage.tls.pem import read_chain, read_file, read_pair

_TRUSTED_ALL_THE_SAME: Final = frozenset({9, 10, 62, 64})
"""X509_V_ERR_* of OpenSSL for a wrong time or name, found once the authority was: another step tells of them."""
_MISTAKEN: Final = (".pem", ".cer", ".ca", ".cert")


async def look_at_certs_folders(target: Target, places: Places, timeout: float) -> AsyncIterator[Finding]:
    """Every engine's folder for *target*, and one beside it that was meant to be."""
    for engine, home in places.certs_folders():
        folder = home / target.authority
        if _is_folder(folder):
            for finding in _judge_files(folder, engine):
                yield finding
            if target.tls:
                yield await _judge_authority(folder, engine, target, timeout)
            continue
        for near in _near(home, target):
            mistaken = await _judge_near(near, folder, engine, target, timeout)
            if mistaken is not None:
                yield mistaken


def _is_folder(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError:
        return False


def _near(home: Path, target: Target) -> Iterator[Path]:
    """Folders for the same host under another port, or with one too many, or written as a URL would be."""
    try:
        names = sorted(os.listdir(home))
    except OSError:
        return
    for name in names:
        text = name.lower().rstrip(".")
        host, _, port = text.rpartition(":")
        if (host if port.isdigit() else text) == target.bracketed and name != target.authority:
            yield home / name


def _judge_files(folder: Path, engine: str) -> Iterator[Finding]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield skipped(f"{folder} cannot be read by this user: {error.strerror}")
        return
    for name in names:
        path, stem = folder / name, os.path.splitext(name)[0]
        if name.endswith(".cert"):
            yield from _judge_client(path, folder / f"{stem}.key", engine)
        elif name.endswith(".key") and f"{stem}.cert" not in names:
            yield wrong(
                f"{path}: there is a key, and no {stem}.cert beside it",
                f"{engine} refuses every request: `missing client certificate {stem}.cert for key {name}`. Client"
                " certificates end in .cert, authorities in .crt.",
                *(
                    [f"sudo mv {shlex.quote(str(folder / f'{stem}.crt'))} {shlex.quote(str(folder / f'{stem}.cert'))}"]
                    if f"{stem}.crt" in names
                    else []
                ),
                path=str(path),
            )
        elif name.endswith(".crt"):
            try:
                read_chain(read_file(path), str(path))
            except ConfigurationError as error:
                yield wrong(str(error), f"{engine} passes over it: no authority is trusted by this file.")
        elif name.endswith(_MISTAKEN) and not any(one.endswith(".crt") for one in names):
            yield warning(
                f"{path}: {engine} reads only *.crt as an authority",
                "The file is passed over: `x509: certificate signed by unknown authority`.",
                f"sudo mv {shlex.quote(str(path))} {shlex.quote(str(folder / 'ca.crt'))}",
                path=str(path),
            )


def _judge_client(certificate: Path, key: Path, engine: str) -> Iterator[Finding]:
    if not os.path.lexists(key):
        yield wrong(
            f"{certificate}: there is no {key.name} beside it",
            f"{engine} refuses every request: `missing key {key.name} for client certificate {certificate.name}`. An"
            " authority's file has to end in .crt.",
            f"sudo mv {shlex.quote(str(certificate))} {shlex.quote(str(certificate.with_suffix('.crt')))}"
            "    # if it is the authority's",
            path=str(certificate),
        )
        return
    try:
        chain, private = read_file(certificate), read_file(key)
    except ConfigurationError as error:
        if "cannot be read" in error.message:
            yield skipped(str(error), "sudo moorage doctor looks at it.")
        else:
            yield wrong(str(error), f"{engine} cannot show the client certificate.")
        return
    try:
        read_pair(chain, private, chain_source=str(certificate), key_source=str(key))
    except ConfigurationError as error:
        yield wrong(str(error), f"{engine} cannot show the client certificate: every request fails.")
    else:
        yield ok(f"{certificate}: {engine} shows this client certificate")


async def _judge_authority(folder: Path, engine: str, target: Target, timeout: float) -> Finding:
    authorities = _authorities(folder)
    if await asyncio.to_thread(trusted, target, authorities, timeout) is None:
        return skipped(f"{folder}: {target.authority} does not answer, so its certificate cannot be tried")
    if await asyncio.to_thread(trusted, target, [], timeout):
        return ok(f"{folder} is there, and this machine trusts {target.authority} without it")
    if not authorities:
        return wrong(
            f"{folder} has no authority (*.crt), and this machine does not trust the certificate of {target.authority}",
            f"{engine} says `x509: certificate signed by unknown authority`.",
            f"moorage trust --client {engine} {target.authority}",
            path=str(folder),
        )
    if await asyncio.to_thread(trusted, target, authorities, timeout):
        return ok(f"{folder}: {engine} trusts {target.authority} by it")
    return wrong(
        f"{folder}: none of its authorities signed the certificate of {target.authority}",
        f"{engine} says `x509: certificate signed by unknown authority`. The registry has a new authority, or another"
        " server answers.",
        f"moorage trust --client {engine} {target.authority}",
        path=str(folder),
    )


async def _judge_near(near: Path, right: Path, engine: str, target: Target, timeout: float) -> Finding | None:
    """A folder of almost the right name is a mistake only where it holds what the right one lacks."""
    if not target.tls or not (authorities := _authorities(near)):
        return None
    if await asyncio.to_thread(trusted, target, [], timeout) is not False:
        return None
    if not await asyncio.to_thread(trusted, target, authorities, timeout):
        return None
    why = "without the port" if target.port == PORTS["https"] else "with the port"
    return wrong(
        f"{near} has the authority that signed, and {engine} does not look there for {target.authority}",
        f"The folder has to be named as images are, {why}: {engine} says `x509: certificate signed by unknown"
        " authority`.",
        f"sudo mv {shlex.quote(str(near))} {shlex.quote(str(right))}",
        path=str(near),
    )


def _authorities(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(".crt") and path.is_file())
    except OSError:
        return []


def trusted(target: Target, authorities: list[Path], timeout: float) -> bool | None:
    """Whether a client with the system's authorities and *authorities* trusts *target*; None: it does not answer."""
    context = ssl.create_default_context()
    for path in authorities:
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError):
            continue
    line = Line(target.host, target.authority, target.host, target.port, context, timeout)
    try:
        line.open().close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_code in _TRUSTED_ALL_THE_SAME
    except ssl.SSLError:
        return True  # it asks for a client's certificate, and comes to that after its own was taken
    except OSError:
        return None
    return True
