"""What the steps of one walk have learned so far; a later step builds on what an earlier one found."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from moorage.doctor.client.http import Answer, Line
from moorage.doctor.client.names import Address
from moorage.doctor.client.target import Options, Target
from moorage.errors import UserError


@dataclass(slots=True)
class Journey:
    """One walk to one registry.

    - *addresses*: what the system's resolver says; *reachable*: those of them whose port takes connections.
    - *chains*: for each reachable address the certificates that it sent, in DER, the server's own first.
    - *old*: only versions of TLS are spoken that nobody should send a password over.
    - *first*: the answer to `GET /v2/` without credentials.
    - *skew*: seconds by which this machine's clock is ahead of the server's; None where the server does not say.
    - *trusted*: with what the server's certificate was found good; without it no password is sent.
    - *authorization*: the header with which requests were let in, empty where nobody has to log in.
    """

    options: Options
    addresses: list[Address] = field(default_factory=list)
    reachable: list[Address] = field(default_factory=list)
    chains: dict[Address, tuple[bytes, ...]] = field(default_factory=dict)
    old: bool = False
    first: Answer | None = None
    skew: float | None = None
    trusted: ssl.SSLContext | None = None
    authorization: str = ""

    @property
    def target(self) -> Target:
        """The registry in question."""
        return self.options.target

    def line(
        self,
        address: Address | None = None,
        context: ssl.SSLContext | None = None,
        timeout: float | None = None,
    ) -> Line:
        """A way to the server: at the first address that can be reached, trusted where that was possible."""
        options = self.options
        if self.target.tls and context is None:
            context = self.trusted or unverified(options)
        return Line(
            self.target.host,
            self.target.authority,
            address or self.reachable[0],
            self.target.port,
            context,
            timeout or options.timeout,
        )


def unverified(options: Options) -> ssl.SSLContext:
    """A context that takes whatever it is shown, however old or weak: to look at it, never to send a secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    _show_certificate(context, options)
    return context


def verifying(options: Options, *, system: bool = True) -> ssl.SSLContext:
    """A context that takes what the system's authorities signed, or nobody's where not *system*.

    As in Go, an intermediate certificate or a server's own may be the one that is trusted. Old versions and weak keys
    are let through: they are found by themselves, and should not hide what else there is.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if system:
        context.load_default_certs()
    _show_certificate(context, options)
    return context


def require_files(options: Options) -> None:
    """Raises UserError for files of authorities, certificates or keys that cannot be used."""
    if options.ca_file is not None:
        try:
            verifying(options, system=False).load_verify_locations(options.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise UserError(f"{options.ca_file}: {_why(error)}: it has to hold certificates in PEM") from None
    if options.client_certificate is not None:
        certificate, key = options.client_certificate
        try:
            unverified(options)
        except OSError as error:
            raise UserError(
                f"{certificate} and {key}: {_why(error)}: they have to be a certificate and its own key, in PEM and"
                " without a password"
            ) from None


def _why(error: OSError) -> str:
    return (error.reason or "not to be used") if isinstance(error, ssl.SSLError) else error.strerror or str(error)


def _show_certificate(context: ssl.SSLContext, options: Options) -> None:
    if options.client_certificate is not None:
        certificate, key = options.client_certificate
        context.load_cert_chain(certificate, key, password=_no_password)


def _no_password() -> str:
    # Without it OpenSSL would ask on the terminal.
    return ""
