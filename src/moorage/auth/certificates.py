"""Who a client is by the certificate that its connection has shown, and the TLS library has verified."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from moorage.auth.principal import ANONYMOUS, Principal
from moorage.errors import Denied

Kind = Literal["none", "cn", "dns", "email", "uri"]

MOST_NAME_BYTES: Final = 255
"""As of users everywhere here (arbitrary)."""

_ALTERNATIVES: Final[Mapping[Kind, str]] = {"dns": "DNS", "email": "email", "uri": "URI"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class ClientCertificates:
    """Maps verified certificates to principals.

    *kind* is the name in a certificate that is the user's; "none": certificates are nobody's. *revoked* tells by the
    common name of the authority and the serial number whether a certificate is worth nothing any more.
    """

    def __init__(self, kind: Kind, revoked: Callable[[str, int], bool]) -> None:
        self._kind = kind
        self._revoked = revoked

    def principal(self, certificate: Mapping[str, Any]) -> Principal:
        """Whose *certificate* it is, in the form of `ssl.SSLSocket.getpeercert`; ANONYMOUS where it names nobody.

        Raises Denied for one that is revoked, whatever else the request has to show.
        """
        if self._revoked(common_name(certificate, "issuer") or "", serial_number(certificate)):
            raise Denied("this client certificate is revoked: ask the registry's administrator for a new one")
        name = name_in(certificate, self._kind)
        return ANONYMOUS if name is None else Principal("certificate", name)


def name_in(certificate: Mapping[str, Any], kind: Kind) -> str | None:
    """The name of *kind* in a certificate, or None if it has none that a user can have.

    A subject with several common names has none: which of them counts, authorities disagree about. Of alternative names
    the first of the kind counts. A wildcard names nobody.
    """
    if kind == "none":
        return None
    if kind == "cn":
        name = common_name(certificate, "subject")
    else:
        wanted = _ALTERNATIVES[kind]
        name = next((value for found, value in certificate.get("subjectAltName", ()) if found == wanted), None)
    if name is None or (kind == "dns" and "*" in name):
        return None
    usable = name and name == name.strip() and not _CONTROL.search(name) and "\ufffd" not in name
    return name if usable and len(name.encode("utf-8", "surrogatepass")) <= MOST_NAME_BYTES else None


def common_name(certificate: Mapping[str, Any], whose: Literal["subject", "issuer"]) -> str | None:
    """The only common name of the subject or the issuer, or None."""
    found = [value for part in certificate.get(whose, ()) for key, value in part if key == "commonName"]
    return found[0] if len(found) == 1 else None


def serial_number(certificate: Mapping[str, Any]) -> int:
    """The serial number."""
    return int(certificate.get("serialNumber") or "0", 16)
