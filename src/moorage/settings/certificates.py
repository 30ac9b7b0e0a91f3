"""The settings of certificates: given ones, those of an ACME server, and the private authority's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from moorage.settings.fields import FilePath, ListenAddress, Positive, Section, Text, matching, option, secret
from moorage.tls.names import parse_certificate_name

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

_DIRECTORY = re.compile(r"https?://[^\s/?#@]{1,255}(?:/[^\s?#]{0,1000})?")
_MAIL = re.compile(r"[^\s@<>\"',;:]{1,64}@[^\s@<>\"',;:]{1,255}")

CertificateName = Annotated[str, AfterValidator(parse_certificate_name)]
DirectoryUrl = Annotated[
    str, matching(_DIRECTORY, "an ACME directory is the URL that the authority names, https://host/path")
]
Mail = Annotated[str, matching(_MAIL, "a mail address is written name@example.com")]


class Dns(Section):
    """How the answer to a dns-01 challenge gets into the DNS."""

    method: Literal["hook", "rfc2136", "provider"] | None = Field(
        default=None,
        description="`hook` runs `acme.dns.auth_hook`; `rfc2136` sends an update to the zone's name server; `provider`"
        " uses a DNS provider's API and needs `pip install 'moorage[dns]'`.",
        json_schema_extra=option(),
    )
    auth_hook: FilePath | None = Field(
        default=None,
        description="A program that puts the TXT record there, with certbot's variables `CERTBOT_DOMAIN`,"
        " `CERTBOT_VALIDATION`, `CERTBOT_TOKEN` and `CERTBOT_REMAINING_CHALLENGES`.",
    )
    cleanup_hook: FilePath | None = Field(
        default=None,
        description="A program that removes the record, with the same variables and `CERTBOT_AUTH_OUTPUT`.",
    )
    server: Text | None = Field(
        default=None, description="`rfc2136`: the name server that takes updates, `host` or `host:port`."
    )
    key_name: Text | None = Field(default=None, description="`rfc2136`: the name of the TSIG key.")
    key_secret: Text | None = Field(
        default=None,
        description="`rfc2136`: the TSIG key, in base64.",
        repr=False,
        json_schema_extra=secret(),
    )
    key_algorithm: Literal["hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha1"] = Field(
        default="hmac-sha256", description="`rfc2136`: the algorithm of the TSIG key."
    )
    provider: Text | None = Field(
        default=None, description="`provider`: its name in dns-lexicon, as in `cloudflare`, `route53`, `aliyun`."
    )
    provider_options: Mapping[Text, str] = Field(
        default={},
        description="`provider`: its options by their names in dns-lexicon, as in `auth_token`. They can also be given"
        " in the environment, as `LEXICON_CLOUDFLARE_AUTH_TOKEN`.",
        repr=False,
        json_schema_extra=secret(),
    )
    wait: Positive = Field(
        default=120.0, description="How long to wait until every name server of the zone shows the record."
    )
    resolvers: tuple[Text, ...] = Field(
        default=(),
        description="Name servers, `address` or `address:port`, that are asked for the zone and its name servers. None:"
        " the machine's own.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs = {"hook": ("auth_hook",), "rfc2136": ("server",), "provider": ("provider",), None: ()}[self.method]
        for name in needs:
            if getattr(self, name) is None:
                raise ValueError(f"acme.dns.method is {self.method}, and acme.dns.{name} is not set")
        if (self.key_name is None) != (self.key_secret is None):
            raise ValueError("acme.dns.key_name and acme.dns.key_secret are given together")
        return self


class Acme(Section):
    """Where certificates for `tls.domains` come from, by ACME (RFC 8555)."""

    directory: DirectoryUrl = Field(
        default=LETS_ENCRYPT,
        description="The authority's directory. Asking it for a certificate accepts its subscriber agreement.",
        json_schema_extra=option(),
    )
    staging_directory: DirectoryUrl | None = Field(
        default=None,
        description="Where to try after a failure, and for `--dry-run`, so that no limit of `acme.directory` is"
        " used up. Not set: Let's Encrypt's own staging for Let's Encrypt, none for another authority.",
    )
    ca_file: FilePath | None = Field(
        default=None,
        description="The PEM file with the authority that signed the ACME server's own certificate, for a private one.",
        json_schema_extra=option(),
    )
    email: Mail | None = Field(
        default=None, description="Where the authority may write to.", json_schema_extra=option()
    )
    eab_key_id: Text | None = Field(
        default=None,
        description="The key identifier of an external account binding, where the authority asks for one.",
        json_schema_extra=option(),
    )
    eab_hmac_key: Text | None = Field(
        default=None,
        description="The MAC key of an external account binding, in base64url.",
        repr=False,
        json_schema_extra=option() | secret(),
    )
    profile: Text | None = Field(
        default=None,
        description="The profile of the certificate, where the authority has several: `shortlived` at Let's Encrypt"
        " is for six days, and the only one for IP addresses.",
        json_schema_extra=option(),
    )
    key_type: Literal["ecdsa", "rsa"] = Field(
        default="ecdsa",
        description="The certificate's key: `ecdsa` (P-256), or `rsa` (2048 bits) for very old clients.",
        json_schema_extra=option(),
    )
    challenge: Literal["auto", "http-01", "tls-alpn-01", "dns-01"] = Field(
        default="auto",
        description="How the authority is shown that the domain is ours: `http-01` on port 80, `tls-alpn-01` on port"
        " 443, `dns-01` by a TXT record, which needs `acme.dns` and no open port. `auto`: dns-01 where `acme.dns` is"
        " set, else http-01, and tls-alpn-01 where port 80 is not ours.",
        json_schema_extra=option(),
    )
    dns: Dns = Dns()

    @model_validator(mode="after")
    def _binding(self) -> Self:
        if (self.eab_key_id is None) != (self.eab_hmac_key is None):
            raise ValueError("acme.eab_key_id and acme.eab_hmac_key are given together")
        if self.challenge == "dns-01" and self.dns.method is None:
            raise ValueError("acme.challenge is dns-01, and acme.dns.method is not set")
        return self

    @property
    def staging(self) -> str | None:
        """Where to try first after a failure."""
        if self.staging_directory is None and self.directory == LETS_ENCRYPT:
            return LETS_ENCRYPT_STAGING
        return self.staging_directory


def _may_be_folder(path: Path) -> bool:
    """Whether *path* is one, or cannot be seen by this user, as certbot's folders cannot."""
    try:
        return path.is_dir()
    except OSError:
        return True


class Tls(Section):
    """TLS on every TCP address that `listen` names."""

    certificate: FilePath | None = Field(
        default=None,
        description="The PEM file with the server's certificate and its chain. With `tls.key` it switches HTTPS on;"
        " both are loaded again within a second of a change. A folder is certbot's, as `/etc/letsencrypt/live/NAME`:"
        " its `fullchain.pem` and `privkey.pem` are used, without `tls.key`.",
        json_schema_extra=option(),
    )
    key: FilePath | None = Field(
        default=None, description="The PEM file with the certificate's private key.", json_schema_extra=option()
    )
    domains: tuple[CertificateName, ...] = Field(
        default=(),
        description="Public names of this server. A certificate for each is got from `acme.directory`, and renewed.",
        json_schema_extra=option("--domain"),
    )
    names: tuple[CertificateName, ...] = Field(
        default=(),
        description="Names and addresses by which clients reach this server, for the certificate of the private"
        " authority, beside those in `listen` and `http.external_url`.",
        json_schema_extra=option("--tls-name"),
    )
    plain_listen: tuple[ListenAddress, ...] = Field(
        default=(":80",),
        description="With `tls.domains` or the private authority: where plain HTTP is answered beside TLS, with the"
        " ACME server's challenges, `/ca.crt`, `/trust`, and a redirect to https for everything else. If this is not"
        " set and port 80 cannot be had, the log says so and the server starts without it.",
        json_schema_extra=option(),
    )
    client_cas: tuple[FilePath, ...] = Field(
        default=(),
        description="PEM files with the authorities whose client certificates are accepted; none: not asked for.",
    )
    own_clients: bool = Field(
        default=False,
        description="Accepts the client certificates that `moorage cert issue-client` made, as `tls.client_cas` does"
        " those of other authorities.",
        json_schema_extra=option(),
    )
    client_auth: Literal["require-and-verify", "verify-if-given"] = Field(
        default="require-and-verify",
        description="Once `tls.client_cas` or `tls.own_clients` is set: whether every client has to show a certificate,"
        " or only the certificates that are shown have to be good.",
    )
    client_principal: Literal["none", "cn", "dns", "email", "uri"] = Field(
        default="none",
        description="Which name in a good client certificate is the user's, who then needs no password: the common"
        " name, or the first name of a kind among the alternative names. `none`: the password decides.",
    )
    minimum: Literal["tls1.2", "tls1.3"] = Field(
        default="tls1.2", description="The oldest version of TLS that is spoken."
    )
    ciphers: tuple[Text, ...] = Field(
        default=(),
        description="The cipher suites of TLS 1.2 by their OpenSSL names, as in `ECDHE-RSA-AES128-GCM-SHA256`; none: a"
        " modern choice with forward secrecy. TLS 1.3 has its own, which are always on.",
    )

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if self.certificate is None and self.key is not None:
            raise ValueError("a certificate needs its key: tls.certificate is not set")
        if self.certificate is not None and self.key is None and not _may_be_folder(self.certificate):
            raise ValueError("a certificate needs its key: tls.key is not set")
        if self.certificate is not None and self.domains:
            raise ValueError("tls.domains gets certificates, and tls.certificate is one: give one of the two")
        if self.client_principal != "none" and not self.asks_clients:
            raise ValueError(
                f"tls.client_principal is {self.client_principal}, and no client is asked for a certificate: set"
                " tls.own_clients or tls.client_cas"
            )
        return self

    @property
    def asks_clients(self) -> bool:
        """Whether clients are asked for certificates."""
        return bool(self.client_cas) or self.own_clients
