"""What went wrong between us and an authority: its own problem documents and failed connections, in words.

A remedy names what to look at first. Everything leaves this package as CertificateFailed.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from moorage.errors import CertificateFailed

_PREFIX: Final = "urn:ietf:params:acme:error:"
_MOST_TEXT: Final = 600
"""Characters of an authority's own words that are passed on: some quote a whole web page."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (RFC 8555, 6.7; RFC 9457). *kind* is its type without ACME's prefix; *about* an identifier."""

    kind: str
    detail: str
    status: int = 0
    about: str = ""
    parts: tuple[Problem, ...] = ()
    retry_after: float | None = None


class Refused(Exception):
    """The authority answered with a problem; stays inside this package."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.kind, problem.detail)


def parse_problem(document: object, status: int = 0, retry_after: float | None = None) -> Problem:
    """A problem from decoded JSON, of whatever shape."""
    if not isinstance(document, dict):
        return Problem("", "", status, retry_after=retry_after)
    parts = document.get("subproblems")
    identifier = document.get("identifier")
    return Problem(
        kind=_text(document.get("type")).removeprefix(_PREFIX).removeprefix("about:blank"),
        detail=_text(document.get("detail")) or _text(document.get("title")),
        status=status or (document["status"] if isinstance(document.get("status"), int) else 0),
        about=_text(identifier.get("value")) if isinstance(identifier, dict) else "",
        parts=tuple(parse_problem(part) for part in parts if isinstance(part, dict)) if isinstance(parts, list) else (),
        retry_after=retry_after,
    )


def printable(text: str) -> str:
    """*text* without what a terminal would obey."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


def in_the_clear(failed: CertificateFailed) -> CertificateFailed:
    """*failed* with printable words only, whatever it quotes."""
    message, remedy = printable(failed.message), printable(failed.remedy)
    if (message, remedy) == (failed.message, failed.remedy):
        return failed
    return CertificateFailed(
        message, kind=printable(failed.kind), remedy=remedy, retry_after=failed.retry_after, again=failed.again
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    text = printable(" ".join(value.split()))
    return text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "..."


_AT_THE_DOOR: Final = {
    "http-01": "port 80 of {name} must lead to this server from the whole internet: look at firewalls, port forwarding,"
    " and that no A or AAAA record of the name leads elsewhere",
    "tls-alpn-01": "port 443 of {name} must lead to this server from the whole internet, with nothing in between that"
    " ends TLS: look at firewalls, port forwarding, and that no A or AAAA record of the name leads elsewhere",
    "dns-01": "the name servers of {name} must answer the whole internet",
}
_SOMEBODY_ELSE: Final = {
    "http-01": "something else answers http://{name}/.well-known/acme-challenge/: look at where the A and AAAA records"
    " of {name} lead, and at proxies and other web servers on port 80",
    "tls-alpn-01": "something else answers on port 443 of {name}: look at where its A and AAAA records lead, and at"
    " proxies that end TLS",
    "dns-01": "the TXT record _acme-challenge.{name} is not what it has to be: look at what a name server of the zone"
    " answers, and at records left by another program",
}

_REMEDIES: Final = {
    "accountDoesNotExist": "the account is made anew at the next attempt",
    "badCSR": "try the other acme.key_type; if it fails too, the authority's own documentation may say why",
    "badPublicKey": "try the other acme.key_type",
    "caa": "a CAA record of {name}, or of a domain above it, forbids this authority to issue: add one that allows it,"
    " or remove them (dig CAA {name})",
    "dns": "{name} must exist in the public DNS and its name servers must answer: look at its A and AAAA records, and"
    " at DNSSEC (dig A {name}; dig AAAA {name})",
    "externalAccountRequired": "get a key identifier and a MAC key from the authority, and set acme.eab_key_id and"
    " acme.eab_hmac_key",
    "invalidContact": "correct acme.email",
    "invalidProfile": "correct acme.profile, or leave it out",
    "rateLimited": "wait; meanwhile the authority's staging directory has limits of its own (moorage cert obtain"
    " --dry-run)",
    "rejectedIdentifier": "this authority does not issue for {name}: is it spelled right, and a public name?",
    "serverInternal": "this is the authority's own trouble: it is tried again later",
    "unsupportedContact": "correct acme.email",
    "unsupportedIdentifier": "this authority does not issue for {name}: some issue for addresses only under a profile"
    " of their own, and some for names alone",
    "userActionRequired": "the authority wants something from the account's owner: follow what it says",
}
"""By kind, where no challenge has failed. {name} is the name asked for."""
_USELESS: Final = frozenset(
    {
        "badCSR",
        "badPublicKey",
        "externalAccountRequired",
        "invalidContact",
        "invalidProfile",
        "rejectedIdentifier",
        "unsupportedContact",
        "unsupportedIdentifier",
    }
)
"""Kinds after which only a changed setting helps."""


def explain(problem: Problem, name: str, host: str, challenge: str = "") -> CertificateFailed:
    """*problem* in words, about the certificate for *name* from the authority *host*.

    *name* is "" where it was asked when to renew one. *challenge* is the kind of challenge that failed, "" for none.
    """
    problem = _inner(problem)
    kind = problem.kind or "serverInternal"
    if challenge in _AT_THE_DOOR and kind == "connection":
        remedy = _AT_THE_DOOR[challenge]
    elif challenge in _SOMEBODY_ELSE and kind in ("unauthorized", "incorrectResponse", "tls"):
        remedy = _SOMEBODY_ELSE[challenge]
    else:
        remedy = _REMEDIES.get(kind, "")
    said = f": {problem.detail}" if problem.detail else ""
    subject = f"gives no certificate for {name}" if name else "does not say when to renew"
    return CertificateFailed(
        f"{host} {subject} ({_title(kind, challenge)}){said}",
        kind=kind,
        remedy=remedy.format(name=name.removeprefix("*.")),
        retry_after=problem.retry_after,
        again=kind not in _USELESS,
    )


def _title(kind: str, challenge: str) -> str:
    return f"{challenge} failed, {kind}" if challenge else kind


def _inner(problem: Problem) -> Problem:
    # "compound", and a document that only wraps others, say nothing themselves (RFC 8555, 6.7.1).
    if not problem.parts:
        return problem
    details = "; ".join(dict.fromkeys(_words(part) for part in problem.parts))
    if problem.kind in ("", "compound", "malformed"):
        first = problem.parts[0]
        return replace(problem, kind=first.kind or problem.kind, detail=details, parts=())
    return replace(problem, detail=f"{problem.detail} ({details})" if problem.detail else details, parts=())


def _words(problem: Problem) -> str:
    return f"{problem.about}: {problem.detail}" if problem.about and problem.detail else problem.detail or problem.kind


def no_acme(url: str, what: str) -> CertificateFailed:
    """Something answered that does not speak ACME; *what* says what it did instead."""
    return CertificateFailed(
        f"{url} is no ACME server: it answers with {what}",
        kind="not-acme",
        remedy="acme.directory must be the URL of the directory itself, as the authority's documentation names it; a"
        " proxy or a login page in between answers like this too",
    )


# X509_V_ERR_* of OpenSSL, x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_NO_TRUST: Final = frozenset({18, 19, 20, 21})
_OTHER_NAME: Final = frozenset({62, 64})


def unreachable(url: str, error: BaseException, now: int) -> CertificateFailed:
    """No answer from *url*; *error* is what the HTTP library raised, *now* is in microseconds."""
    host = urlsplit(url).netloc or url
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(host, cause, now)
    reason, remedy = _reason(error)
    return CertificateFailed(f"{host} cannot be reached: {reason}", kind="unreachable", remedy=remedy)


def _untrusted(host: str, error: ssl.SSLCertVerificationError, now: int) -> CertificateFailed:
    if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
        clock = datetime.fromtimestamp(now // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        state = "not valid yet" if error.verify_code == _NOT_YET_VALID else "no longer valid"
        return CertificateFailed(
            f"the certificate of {host} is {state} by the clock of this machine, {clock}",
            kind="clock",
            remedy="if that time is wrong, set the clock (timedatectl); if it is right, the authority has to renew its"
            " own certificate",
        )
    if error.verify_code in _OTHER_NAME:
        remedy = "acme.directory must have the name that the authority's own certificate is for"
    elif error.verify_code in _NO_TRUST:
        remedy = "a private authority's own root goes into acme.ca_file, as PEM; so does that of a proxy that opens TLS"
    else:
        remedy = "look at the certificate that it shows (openssl s_client)"
    return CertificateFailed(
        f"the certificate of {host} is not trusted: {error.verify_message}", kind="unreachable", remedy=remedy
    )


def _reason(error: BaseException) -> tuple[str, str]:
    network = "look at the network, at firewalls for outgoing connections, and at HTTPS_PROXY"
    names = {type(cause).__name__ for cause in _causes(error)}
    if names & {"gaierror", "NameResolutionError"}:
        return "its name does not resolve", "look at how acme.directory is spelled, and at this machine's DNS"
    if names & {"ConnectTimeout", "ConnectTimeoutError", "ReadTimeout", "ReadTimeoutError", "TimeoutError"}:
        return "it does not answer in time", network
    if "ConnectionRefusedError" in names:
        return "the connection is refused", f"is it running, and is the port in acme.directory right? Else {network}"
    if "ProxyError" in names:
        return "the proxy does not let us through", "look at HTTPS_PROXY and NO_PROXY"
    if names & {"SSLError", "SSLEOFError"}:
        return f"TLS fails: {_last(error)}", "is there TLS at that port, and is acme.directory https?"
    return _last(error), network


def _last(error: BaseException) -> str:
    words = _text(str(list(_causes(error))[-1]))
    return words or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """*error* and everything it stands for: what it wraps, as urllib3 does, and what it was raised from."""
    seen: list[BaseException] = []
    rest: list[BaseException | None] = [error]
    while rest:
        cause = rest.pop(0)
        if cause is None or any(cause is one for one in seen):
            continue
        seen.append(cause)
        rest += [argument for argument in cause.args if isinstance(argument, BaseException)]
        reason = getattr(cause, "reason", None)
        rest += [reason if isinstance(reason, BaseException) else None, cause.__cause__, cause.__context__]
    yield from seen
