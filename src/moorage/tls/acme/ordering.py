"""One order from beginning to end, gone on with where a process before left it. All waiting is done here, by the clock.

Whatever is needed to go on is on the disk before the step that would need it: the account's key before the account,
the certificate's key before the order, the order's URL before its challenges, and a note of each answer before it is
put. So a process may die anywhere, and the next one neither loses a key nor asks for what it already has.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from moorage.clock import Clock
from moorage.errors import CertificateFailed
from moorage.tls.acme.authority import Authority, State
from moorage.tls.acme.certificates import (
    certificate_id,
    checked_chain,
    fingerprint,
    is_fresh,
    make_request,
    new_key,
)
from moorage.tls.acme.challenges import AT_THE_DOOR, Answers, Authorization, choose, other_door, possible
from moorage.tls.acme.options import AcmeOptions
from moorage.tls.acme.orders import Order, OrderFiles, finished
from moorage.tls.acme.problems import Problem, Refused, explain
from moorage.tls.issuer import Issued
from moorage.tls.store import CertificateStore

log = logging.getLogger(__name__)

_FIRST_POLL: Final = 1.0
_POLL_GROWTH: Final = 1.5
_FAILED_POLLS: Final = 3
_PASSING: Final = frozenset({"rateLimited", "serverInternal", "unreachable", ""})
"""Refusals that say nothing about the order itself."""

Result = TypeVar("Result")


class _Polled(Protocol):
    @property
    def retry_after(self) -> float | None: ...


Seen = TypeVar("Seen", bound=_Polled)


class Run(Protocol):
    """Runs a blocking call in the issuer's thread."""

    async def __call__(self, call: Callable[..., Result], *arguments: object) -> Result: ...


class Ordering:
    """The way to a certificate for *name*; *previous* is the chain that it replaces. For one use."""

    def __init__(
        self,
        options: AcmeOptions,
        store: CertificateStore,
        clock: Clock,
        run: Run,
        authority: Authority,
        *,
        name: str,
        previous: bytes | None,
    ) -> None:
        self._options, self._store, self._clock, self._run = options, store, clock, run
        self._authority, self._name, self._previous = authority, name, previous
        self._waits = options.waits
        self._files = OrderFiles(store, options.directory, name)
        self._kinds = possible(options, name)

    async def certificate(self) -> Issued:
        """Raises CertificateFailed, Refused and OSError."""
        await self._run(self._authority.connect)
        await self._run(self._authority.sign_in, self._name)
        self._answers = Answers(self._options, self._store, self._files, self._authority.key)
        resumed = await self._resume()
        if resumed is not None:
            issued = await self._drive(*resumed, resumed=True)
            if issued is not None:
                return issued
        issued = await self._drive(*await self._begin(), resumed=False)
        assert issued is not None, "only a resumed order may be too old"
        return issued

    async def _resume(self) -> tuple[State, Order, bytes] | None:
        loaded = self._files.load(self._options, self._authority.account.url)
        if loaded is None:
            return None
        order, key = loaded
        if order.finished is not None and self._is_used_up(order):
            return None
        if order.url is None:
            # Its URL never arrived.
            state = await self._run(self._authority.lost_order, self._name)
        else:
            state = await self._known(order, order.url)
        if state is None:
            self._files.discard()
            return None
        if order.url is None:
            order = replace(order, url=state.url)
            self._files.save(order)
        log.info("going on with the order for %s at %s, which is %s", self._name, self._authority.host, state.status)
        return state, order, key

    def _is_used_up(self, order: Order) -> bool:
        """Whether whoever got its certificate has put it where it belongs, or will not."""
        assert order.finished is not None
        if self._options.rehearsal or self._clock.now() - order.finished > self._waits.reuse * 1e6:
            return True
        known = [self._previous or b""]
        if self._store.has(self._name):
            known.append(self._store.pair(self._name).chain.read_bytes())
        return order.leaf in [fingerprint(chain) for chain in known]

    async def _known(self, order: Order, url: str) -> State | None:
        try:
            state = await self._run(self._authority.order, url)
        except Refused as refused:
            if refused.problem.kind in _PASSING or refused.problem.status >= 500:
                raise
            # Gone; if the account is too, the next request says so.
            return None
        now = self._clock.now()
        expired = state.expires is not None and state.expires * 1_000_000 <= now
        stuck = now - order.made > self._waits.order * 1e6
        if state.status == "valid" or (state.status in ("pending", "ready", "processing") and not (expired or stuck)):
            return state
        return None

    async def _begin(self) -> tuple[State, Order, bytes]:
        key = await self._run(new_key, self._options.key_type)
        order = Order(
            self._name,
            self._authority.account.url,
            self._options.key_type,
            self._options.profile,
            made=self._clock.now(),
        )
        self._files.begin(order, key)
        replaces = certificate_id(self._previous) if self._previous else None
        try:
            try:
                state = await self._run(self._authority.new_order, self._name, replaces)
            except Refused as refused:
                if refused.problem.kind != "accountDoesNotExist":
                    raise
                log.info("%s does not know our account any more: a new one is made", self._authority.host)
                await self._run(self._authority.sign_in_again, self._name)
                order = replace(order, account=self._authority.account.url)
                state = await self._run(self._authority.new_order, self._name, replaces)
        except Refused:
            self._files.discard()
            raise
        order = replace(order, url=state.url)
        self._files.save(order)
        return state, order, key

    async def _drive(self, state: State, order: Order, key: bytes, *, resumed: bool) -> Issued | None:
        """From any state to the certificate; None: what an old order got is too old by now."""
        if state.status == "pending":
            await self._validate(state)
            state = await self._poll(
                lambda: self._run(self._authority.order, state.url), lambda seen: seen.status == "pending", "order"
            )
        # What a process before this one left; `_validate` has taken its own away.
        await self._answers.take_away()
        if state.status == "ready":
            state = await self._finalize(state, key)
        if state.status == "processing":
            await self._clock.sleep(min(state.retry_after or 0.0, self._waits.longest_poll))
            state = await self._poll(
                lambda: self._run(self._authority.order, state.url), lambda seen: seen.status == "processing", "order"
            )
        if state.status != "valid" or state.certificate is None:
            self._files.discard()
            problem = state.problem or Problem("serverInternal", f"the order is {state.status}")
            raise explain(problem, self._name, self._authority.host)
        return await self._collect(state.certificate, order, key, resumed=resumed)

    async def _validate(self, state: State) -> None:
        for url in state.authorizations:
            authorization = await self._run(self._authority.authorization, url)
            if authorization.status == "pending":
                authorization = await self._answer(authorization)
            if authorization.status != "valid":
                self._files.discard()
                problem, kind = authorization.problem()
                raise self._not_validated(problem, kind)

    async def _answer(self, authorization: Authorization) -> Authorization:
        """*authorization* after the authority's verdict."""
        host = self._authority.host
        challenge = choose(authorization, self._kinds, self._files.door(), self._name, host)
        try:
            await self._answers.put(challenge, self._name.removeprefix("*."))
            try:
                if challenge.status == "pending":
                    await self._run(self._authority.begin_validation, challenge)
            except Refused as refused:
                # One that a process before this one began may be decided by now.
                if refused.problem.kind != "malformed":
                    raise
                authorization = await self._run(self._authority.authorization, authorization.url)
                if authorization.status == "pending" and not any(
                    one.status == "processing" for one in authorization.challenges
                ):
                    raise
            return await self._poll(
                lambda: self._run(self._authority.authorization, authorization.url),
                lambda seen: seen.status == "pending",
                "validation",
            )
        finally:
            await self._answers.take_away()

    def _not_validated(self, problem: Problem, kind: str) -> CertificateFailed:
        if self._options.challenge == "auto" and kind in self._kinds and problem.kind in AT_THE_DOOR:
            other = other_door(self._kinds, kind)
            if other is not None:
                self._files.choose_door(other)
        return explain(problem, self._name, self._authority.host, kind)

    async def _finalize(self, state: State, key: bytes) -> State:
        request = await self._run(make_request, self._name, key)
        try:
            return await self._run(self._authority.finalize, state, request)
        except Refused as refused:
            if refused.problem.kind == "orderNotReady":
                return await self._poll(
                    lambda: self._run(self._authority.order, state.url), lambda seen: seen.status == "ready", "order"
                )
            if refused.problem.kind not in _PASSING:
                self._files.discard()
            raise

    async def _collect(self, url: str, order: Order, key: bytes, *, resumed: bool) -> Issued | None:
        body = await self._run(self._authority.certificate, url)
        try:
            chain = checked_chain(body, key, self._name, self._authority.host)
        except CertificateFailed:
            self._files.discard()
            raise
        if resumed and not is_fresh(chain, self._clock.now()):
            self._files.discard()
            return None
        self._files.save(finished(order, self._clock.now(), fingerprint(chain)))
        return Issued(chain, key)

    async def _poll(self, ask: Callable[[], Awaitable[Seen]], undecided: Callable[[Seen], bool], what: str) -> Seen:
        """What *ask* sees once it is decided; asked as often as the authority wants."""
        limit = self._waits.validation if what == "validation" else self._waits.finalization
        deadline = self._clock.now() + limit * 1e6
        pause, failed = _FIRST_POLL, 0
        while True:
            wanted: float | None = None
            try:
                seen = await ask()
                if not undecided(seen):
                    return seen
                wanted, failed = seen.retry_after, 0
            except (Refused, CertificateFailed) as error:
                failed += 1
                if failed > _FAILED_POLLS or not _is_passing(error):
                    raise
            wait = min(max(wanted or 0.0, pause), self._waits.longest_poll)
            pause *= _POLL_GROWTH
            if self._clock.now() + wait * 1e6 > deadline:
                raise CertificateFailed(
                    f"{self._authority.host} has not decided about the {what} for {self._name} in {limit:.0f} seconds",
                    kind="serverInternal",
                    remedy="the order is kept, and gone on with at the next attempt",
                )
            await self._clock.sleep(wait)


def _is_passing(error: Refused | CertificateFailed) -> bool:
    return (error.problem.kind if isinstance(error, Refused) else error.kind) in _PASSING
