"""One conversation with an authority: its resources by name, and nothing of waiting. Everything here blocks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

from josepy.b64 import b64encode
from josepy.jwk import JWKEC

from moorage.errors import CertificateFailed
from moorage.tls.acme.account import Account, AccountFiles, Accounts
from moorage.tls.acme.challenges import Authorization, Challenge, parse_authorization
from moorage.tls.acme.directory import Directory, check_clock, check_offer, parse_directory
from moorage.tls.acme.network import Answer, Network
from moorage.tls.acme.options import AcmeOptions
from moorage.tls.acme.problems import Problem, Refused, explain, no_acme, parse_problem
from moorage.tls.names import is_address
from moorage.tls.store import CertificateStore

log = logging.getLogger(__name__)

_ORDERS_LOOKED_AT: Final = 200
_NO_USE_WITHOUT_REPLACES: Final = frozenset(
    {
        "accountDoesNotExist",
        "caa",
        "dns",
        "invalidProfile",
        "rateLimited",
        "rejectedIdentifier",
        "unsupportedIdentifier",
        "userActionRequired",
    }
)
"""What an authority says about an order whatever it replaces."""


@dataclass(frozen=True, slots=True)
class State:
    """An order as the authority shows it (RFC 8555, 7.1.3)."""

    url: str
    status: str
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str | None
    problem: Problem | None
    names: frozenset[str]
    expires: int | None = None
    retry_after: float | None = None


class Authority:
    """Methods raise CertificateFailed, and Refused where the caller may know better what a refusal means."""

    def __init__(self, options: AcmeOptions, store: CertificateStore, now: Callable[[], int]) -> None:
        self._options, self._now = options, now
        self.host = urlsplit(options.directory).netloc
        self._files = AccountFiles(store, options.directory)
        self._network = Network(options, now())
        self._key: JWKEC | None = None
        self._directory: Directory | None = None
        self._account: Account | None = None

    def close(self) -> None:
        """Close its connections."""
        self._network.session.close()

    @property
    def directory(self) -> Directory:
        assert self._directory is not None, "connect() first"
        return self._directory

    @property
    def key(self) -> JWKEC:
        """The account's."""
        assert self._key is not None, "sign_in() first"
        return self._key

    @property
    def account(self) -> Account:
        assert self._account is not None, "sign_in() first"
        return self._account

    def connect(self) -> None:
        """Fetch the directory."""
        try:
            answer = self._network.fetch(self._options.directory)
        except Refused as refused:
            problem = refused.problem
            if problem.status >= 500 or problem.kind == "rateLimited":
                raise CertificateFailed(
                    f"{self.host} has trouble of its own: {problem.detail}",
                    kind=problem.kind,
                    remedy="it is tried again later",
                    retry_after=problem.retry_after,
                ) from refused
            raise no_acme(self._options.directory, f"HTTP {problem.status}") from refused
        self._directory = parse_directory(self._options.directory, answer.json())
        self._network.nonce_url = self._directory.new_nonce
        check_clock(answer.date, self._now(), self._options, self.host)

    def sign_in(self, name: str) -> None:
        """Have an account, for a certificate for *name*."""
        check_offer(self.directory, self._options, name, self.host)
        self._key = self._network.key = self._files.key()
        accounts = Accounts(self._options, self._files, self._network, self.directory)
        try:
            self._account = accounts.open()
        except Refused as refused:
            raise self._no_account(refused.problem, name) from refused

    def sign_in_again(self, name: str) -> None:
        """Have a new account with the same key, in the place of one that the authority forgot."""
        accounts = Accounts(self._options, self._files, self._network, self.directory)
        try:
            self._account = accounts.renew(self.account)
        except Refused as refused:
            raise self._no_account(refused.problem, name) from refused

    def _no_account(self, problem: Problem, name: str) -> CertificateFailed:
        if problem.kind not in ("unauthorized", "malformed", ""):
            return explain(problem, name, self.host)
        if self._options.eab_key_id is not None and self._account is None:
            remedy = "are acme.eab_key_id and acme.eab_hmac_key right, and not used up? Else the account is closed:"
        else:
            remedy = "a closed account stays closed:"
        return CertificateFailed(
            f"{self.host} refuses our account: {problem.detail or problem.kind}",
            kind=problem.kind or "unauthorized",
            remedy=f"{remedy} move {self._files.folder} away, and a new one is made",
            retry_after=problem.retry_after,
            again=False,
        )

    def new_order(self, name: str, replaces: str | None) -> State:
        """Ask for a certificate for *name*, in the place of the one called *replaces* (RFC 9773, 5)."""
        payload: dict[str, Any] = {"identifiers": [_identifier(name)]}
        if self._options.profile is not None:
            payload["profile"] = self._options.profile
        more = {"replaces": replaces} if replaces and self.directory.renewal_info else {}
        try:
            try:
                answer = self._network.send(self.directory.new_order, payload | more)
            except Refused as refused:
                # alreadyReplaced, or of another account or authority: it is only a hint.
                if not more or refused.problem.kind in _NO_USE_WITHOUT_REPLACES:
                    raise
                answer = self._network.send(self.directory.new_order, payload)
        except Refused as refused:
            if refused.problem.kind == "unauthorized":
                raise self._no_account(refused.problem, name) from refused
            raise
        if not answer.location:
            raise no_acme(answer.url, "an order that has no URL")
        return _state(answer.location, answer)

    def order(self, url: str) -> State:
        """The order as it is now."""
        return _state(url, self._network.send(url, None))

    def lost_order(self, name: str) -> State | None:
        """An order for *name* that can still be finalized, from the account's list (RFC 8555, 7.1.2.1).

        None too where the authority keeps no list; such ones give the same order again when it is asked for.
        """
        try:
            for url in islice(self._listed(), _ORDERS_LOOKED_AT):
                state = self.order(url)
                if state.status in ("pending", "ready") and state.names == {name}:
                    return state
        except (Refused, CertificateFailed) as error:
            # Few authorities keep the list that they announce. A new order costs less than never asking for one.
            log.debug("%s does not list its orders: %s", self.host, error)
        return None

    def _listed(self) -> Iterator[str]:
        page = self.account.orders
        while page is not None:
            answer = self._network.send(page, None)
            orders = answer.json().get("orders")
            yield from [url for url in orders if isinstance(url, str)] if isinstance(orders, list) else []
            page = answer.link("next")

    def authorization(self, url: str) -> Authorization:
        """One of an order's authorizations as it is now."""
        answer = self._network.send(url, None)
        return parse_authorization(url, answer.json(), answer.retry_after)

    def begin_validation(self, challenge: Challenge) -> None:
        """Tell the authority that *challenge* is answered (RFC 8555, 7.5.1)."""
        self._network.send(challenge.url, {})

    def finalize(self, state: State, request: bytes) -> State:
        """Ask for the certificate with *request*, a CSR in DER."""
        return _state(state.url, self._network.send(state.finalize, {"csr": b64encode(request).decode("ascii")}))

    def certificate(self, url: str) -> bytes:
        """The chain that was issued, whatever it is."""
        return self._network.send(url, None, accept="application/pem-certificate-chain").body

    def renewal_info(self, identifier: str) -> Answer | None:
        """When to renew a certificate (RFC 9773, 4.1); None: this authority does not say."""
        if self.directory.renewal_info is None:
            return None
        return self._network.fetch(f"{self.directory.renewal_info.rstrip('/')}/{identifier}")


def _identifier(name: str) -> dict[str, str]:
    return {"type": "ip" if is_address(name) else "dns", "value": name}


def _state(url: str, answer: Answer) -> State:
    document = answer.json()
    status, finalize, urls = document.get("status"), document.get("finalize"), document.get("authorizations")
    if not isinstance(status, str) or not isinstance(finalize, str) or not isinstance(urls, list):
        raise no_acme(answer.url, "JSON that is no order")
    certificate, identifiers = document.get("certificate"), document.get("identifiers")
    return State(
        url=url,
        status=status,
        authorizations=tuple(one for one in urls if isinstance(one, str)),
        finalize=finalize,
        certificate=certificate if isinstance(certificate, str) else None,
        problem=parse_problem(document["error"]) if isinstance(document.get("error"), dict) else None,
        names=frozenset(str(one.get("value")) for one in identifiers or () if isinstance(one, dict)),
        expires=_seconds(document.get("expires")),
        retry_after=answer.retry_after,
    )


def _seconds(text: object) -> int | None:
    try:
        return int(datetime.fromisoformat(str(text)).timestamp())
    except ValueError:
        return None
