"""An authority's directory: where its resources are, and what it offers (RFC 8555, 7.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from moorage.errors import CertificateFailed
from moorage.tls.acme.options import AcmeOptions
from moorage.tls.acme.problems import no_acme


@dataclass(frozen=True, slots=True)
class Directory:
    """*profiles* None: the authority has none to choose from. *renewal_info* None: it does not say when to renew."""

    url: str
    new_nonce: str
    new_account: str
    new_order: str
    renewal_info: str | None
    terms: str | None
    external_account_required: bool
    profiles: tuple[str, ...] | None


def parse_directory(url: str, document: Mapping[str, Any]) -> Directory:
    """The directory at *url* from decoded JSON. Raises CertificateFailed where it is something else."""
    places = {key: value for key, value in document.items() if isinstance(value, str)}
    missing = [key for key in ("newNonce", "newAccount", "newOrder") if key not in places]
    if "new-reg" in places and missing:
        raise no_acme(url, "a directory of ACME version 1, which no authority speaks any more")
    if missing:
        raise no_acme(url, f"JSON that is no ACME directory (it has no {missing[0]})")
    for key in ("newNonce", "newAccount", "newOrder", "renewalInfo"):
        if key in places:
            _check_url(url, key, places[key])
    meta = document.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    profiles = meta.get("profiles")
    return Directory(
        url=url,
        new_nonce=places["newNonce"],
        new_account=places["newAccount"],
        new_order=places["newOrder"],
        renewal_info=places.get("renewalInfo"),
        terms=meta["termsOfService"] if isinstance(meta.get("termsOfService"), str) else None,
        external_account_required=meta.get("externalAccountRequired") is True,
        profiles=tuple(str(name) for name in profiles) if isinstance(profiles, dict) and profiles else None,
    )


def _check_url(directory: str, key: str, url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise no_acme(directory, f"a directory whose {key} is no URL") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise no_acme(directory, f"a directory whose {key} is no URL")
    if parts.scheme == "http" and directory.startswith("https:"):
        raise no_acme(directory, f"a directory over https whose {key} is plain http")


def check_offer(directory: Directory, options: AcmeOptions, name: str, host: str) -> None:
    """Refuse what the authority would refuse, before it counts. Raises CertificateFailed."""
    if directory.external_account_required and options.eab_key_id is None:
        raise CertificateFailed(
            f"{host} gives no certificate for {name}: its accounts need an external account binding",
            kind="externalAccountRequired",
            remedy="get a key identifier and a MAC key from the authority, and set acme.eab_key_id and"
            " acme.eab_hmac_key",
            again=False,
        )
    if options.profile is not None and options.profile not in (directory.profiles or ()):
        offered = f"it offers {', '.join(directory.profiles)}" if directory.profiles else "it has no profiles"
        raise CertificateFailed(
            f"{host} gives no certificate for {name}: it has no profile {options.profile}",
            kind="invalidProfile",
            remedy=f"{offered}: correct acme.profile, or leave it out",
            again=False,
        )


def check_clock(theirs: int | None, now: int, options: AcmeOptions, host: str) -> None:
    """Refuse to go on where one of the two clocks is far off; *theirs* is in seconds, *now* in microseconds.

    A certificate would come out not valid yet, or expired, and be asked for again and again. Raises CertificateFailed.
    """
    ours = now // 1_000_000
    if theirs is None or abs(theirs - ours) <= options.waits.clock_difference:
        return
    raise CertificateFailed(
        f"the clock of this machine says {_day(ours)}, and that of {host} {_day(theirs)}",
        kind="clock",
        remedy="set this machine's clock (timedatectl)",
    )


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
