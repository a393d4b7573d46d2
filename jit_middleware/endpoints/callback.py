"""``callback/<connection>``: the provider's answer. Verify, provision, start the session, go to the target.

A callback that this browser did not begin, or began too long ago, signs nobody in: it goes home when there is a live
session, begins anew once, and then stops on a page. So does a login that a sign-out has overtaken: what the provider
said is not true any more, and it is asked again, once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace

from jit_middleware.endpoints.forms import form_once, once
from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.link import ask_to_confirm
from jit_middleware.endpoints.login import begin
from jit_middleware.endpoints.opening import open_session
from jit_middleware.endpoints.refusal import log_refusal, refuse, refuse_login, write_refusal
from jit_middleware.endpoints.step_up import as_unmet, check_step_up
from jit_middleware.errors import (
    AccountPending,
    AdapterError,
    Conflict,
    CreationLimited,
    LinkRequired,
    LoginError,
    LoginOvertaken,
    NothingHere,
    NotProvisioned,
    RequestError,
    StaleLogin,
    StepUpRefused,
)
from jit_middleware.http.messages import Request, Response
from jit_middleware.model import LinkProof, OnceKey, SessionRecord, Status, StepUp, VerifiedIdentity
from jit_middleware.pages import Ways, redirect
from jit_middleware.ports import Transaction
from jit_middleware.provisioning import Arrival
from jit_middleware.provisioning.lifecycle import refusal
from jit_middleware.records import dataclass, record
from jit_middleware.sso.state import LIFETIME, restarts_of
from jit_middleware.sso.strategy import LoginState, Strategy

log = logging.getLogger("jit_middleware")

_LARGEST_FORM = 65_536
_LONGEST_PAUSE = 2  # seconds


async def callback(house: House, request: Request, name: str) -> Response:
    """The answer to a login of connection ``name``, by GET with a query or by POST with a form (OAuth form_post)."""
    strategy = house.strategies.get(name)
    if strategy is None or name in house.federated:
        raise NothingHere("connection_unknown")
    answer = await _answer(request, strategy)
    if strategy.state_parameter not in answer:
        raise RequestError("state_missing", "the answer carries no state")
    return await conclude(house, request, strategy, answer)


async def conclude(house: House, request: Request, strategy: Strategy, answer: Mapping[str, str]) -> Response:
    """Finish the login in flight that this answer belongs to."""
    state = answer.get(strategy.state_parameter, "")
    found = house.states.find(request.cookie, strategy.name, state) if state else None
    if found is None or not house.states.claim(state):
        return await _heal(house, request, strategy, state, found)
    attempt = Attempt(
        target=found.target,
        forget=(house.states.forget(state, strategy),),
        # One use of the state, held by the ledger for all workers; the same transaction makes the session.
        once=OnceKey("login_state", found.state, found.created_at + 2 * LIFETIME),
        state=found.state,
        hops=found.hops,
        replaces=found.replaces,
        proof=found.proof,
        step_up=found.step_up,
        someone_else=found.someone_else,
    )
    return await enter(house, request, strategy, strategy.callback_phase(answer, found), attempt)


@record(frozen=True, slots=True)
class Attempt:
    """A try to sign in: where it lands, the cookies that are done with afterwards, what it may be used for once, which
    login in flight it is, the logins that the browser is known to have just completed, the sessions it had, what the
    person has in hand for an account that is to be linked, what the login has to show, and whether the provider was to
    let another person sign in."""

    target: str
    forget: tuple[tuple[str, str], ...]
    once: OnceKey | None = None
    state: str | None = None
    hops: int = 0
    replaces: tuple[str, ...] = ()
    proof: LinkProof | None = None
    step_up: StepUp | None = None
    someone_else: bool = False

    @property
    def restarts(self) -> int:
        """How often this login was begun anew; one that began at the provider was not."""
        return 0 if self.state is None else restarts_of(self.state)


async def enter(
    house: House, request: Request, strategy: Strategy, identified: Awaitable[VerifiedIdentity], attempt: Attempt
) -> Response:
    """Sign in whom ``identified`` answers with, or say that it did not work."""
    reference = house.reference()
    identity = None
    try:
        identity = await identified
        check_step_up(house, identity, attempt.step_up)
        signed_in = await _sign_in(house, request, identity, attempt, reference)
    except (LoginError, AdapterError) as failure:
        if isinstance(failure, LoginError) and identity is not None:
            await _use_up(house, identity.once, reference)
        answer = await _not_signed_in(house, request, strategy, attempt, failure, identity, reference=reference)
        return Response(answer.status, [*answer.headers, *attempt.forget], answer.body)
    await house.housekeeping.sweep_if_due()
    return redirect(attempt.target, status=303, cookies=[*signed_in, *attempt.forget])


async def _not_signed_in(
    house: House,
    request: Request,
    strategy: Strategy,
    attempt: Attempt,
    failure: LoginError | AdapterError,
    identity: VerifiedIdentity | None,
    *,
    reference: str,
) -> Response:
    """To the provider once more, where that may help; to the page that asks for a password; or the refusal."""
    error = as_unmet(failure, attempt.step_up) or failure
    if isinstance(error, StepUpRefused) and error is failure and not _insists(attempt):
        # Not only asking: a provider may take acr_values and max_age for wishes.
        return await _again(house, request, strategy, attempt, restarts=attempt.restarts, insist=True)
    if isinstance(error, LoginOvertaken) and attempt.restarts == 0:
        log_refusal(house, request, error, reference=reference)
        await write_refusal(house, strategy, error, reference=reference, identity=identity)
        await _let_pass(house, error.marked_at)
        # Asked, and not insisted at once: a provider that authenticates somebody anew may end their session and say so.
        return await _again(house, request, strategy, attempt, restarts=1)
    if isinstance(error, LinkRequired) and identity is not None and error.has_password:
        return await ask_to_confirm(
            house, request, strategy, error, identity=identity, target=attempt.target, reference=reference
        )
    ways = _ways_on(house, strategy, attempt, error)
    return await refuse_login(house, request, strategy, error, reference=reference, ways=ways, identity=identity)


def _ways_on(house: House, strategy: Strategy, attempt: Attempt, error: LoginError | AdapterError) -> Ways:
    """The same again; or as somebody else, where the provider would only send back one who gets no account."""
    is_unwanted = isinstance(error, NotProvisioned) and not isinstance(error, CreationLimited)
    is_worth_it = not is_unwanted or isinstance(error, AccountPending)
    return Ways(
        retry=house.login_path(attempt.target, strategy.name) if is_worth_it else None,
        someone_else=house.login_path(attempt.target, strategy.name, someone_else=True) if is_unwanted else None,
        leads_back=attempt.target != house.home,
    )


async def _again(
    house: House, request: Request, strategy: Strategy, attempt: Attempt, *, restarts: int, insist: bool = False
) -> Response:
    """The same login, begun anew; ``insist`` on what it has to show."""
    step_up = None if attempt.step_up is None else replace(attempt.step_up, insist=insist)
    return await begin(
        house,
        request,
        strategy,
        attempt.target,
        restarts=restarts,
        someone_else=attempt.someone_else,
        proof=attempt.proof,
        step_up=step_up,
        replaces=attempt.replaces,
        hops=attempt.hops,
    )


async def _let_pass(house: House, marked_at: int) -> None:
    """Wait until the second of the sign-out is over: what begins within it counts as overtaken, and a provider that
    asks the person nothing answers within it. Not for long: a mark from far ahead is of a clock that is wrong."""
    ahead = marked_at - house.clock.now()
    if 0 <= ahead < _LONGEST_PAUSE:
        await house.pause(ahead + 1)


async def _use_up(house: House, keys: Sequence[OnceKey], reference: str) -> None:
    """Take the one use of a message that verified and signs nobody in: the person may be let in some minutes later, and
    whoever has the message by then must not be them (SAML Profiles §4.1.4.5)."""
    if not keys:
        return

    async def take(tx: Transaction) -> None:
        for each in keys:
            await tx.claim_once(each.purpose, each.key, each.until)

    try:
        await house.ledger.transaction(take)
    except AdapterError as failure:
        if failure.reason != "once_key":  # it was used before, and that is why it is refused
            log.error("the refused message of reference=%s may be used again: %s", reference, failure.reason)


def _insists(attempt: Attempt) -> bool:
    return attempt.step_up is None or attempt.step_up.insist


async def _answer(request: Request, strategy: Strategy) -> Mapping[str, str]:
    if request.method == "GET" and strategy.answer == "query":
        return once(request.query)
    if request.method == "POST" and strategy.answer == "form_post":
        return await form_once(request, _LARGEST_FORM)
    allowed = "GET" if strategy.answer == "query" else "POST"
    raise RequestError("method_not_allowed", status=405, headers=[("Allow", allowed)])


@dataclass(frozen=True, slots=True)
class _Refused:
    """The user was recorded, and not let in."""

    status: Status


async def _sign_in(
    house: House, request: Request, identity: VerifiedIdentity, attempt: Attempt, reference: str
) -> list[tuple[str, str]]:
    """The cookies of the new session. Raises ``LoginError`` or ``AdapterError``; then nothing was written."""
    now = house.clock.now()
    one_use = (*(() if attempt.once is None else (attempt.once,)), *identity.once)
    replaced = dict.fromkeys((*house.sessions.ids_in(request.cookie), *attempt.replaces))

    async def finish(tx: Transaction, arrival: Arrival) -> SessionRecord | _Refused:
        for each in one_use:
            await tx.claim_once(each.purpose, each.key, each.until)
        if arrival.user.status is not Status.ACTIVE:
            return _Refused(arrival.user.status)  # made, but may not enter yet
        for session_id in replaced:
            for ended in await tx.end_sessions(now, session_id=session_id):
                await tx.append_audit(house.audit.session_ended(ended, cause="replaced", reference=reference))
        return await open_session(house, tx, identity, arrival, reference=reference)

    try:
        session = await house.provisioner.provision(identity, finish, reference=reference, proof=attempt.proof)
    except Conflict as conflict:
        if conflict.reason == "once_key":
            raise StaleLogin(
                "assertion_replayed" if attempt.once is None else "state_replayed", "this answer was used before"
            ) from conflict
        raise
    if isinstance(session, _Refused):
        raise refusal(session.status)
    house.sessions.forget(request.cookie)
    return [
        house.sessions.cookie.issue(session.id, session.expires_at, now),
        house.hops.next(request.cookie, at_least=attempt.hops),
        *house.states.tell_others(session.id, request.cookie, house.strategies, finished=attempt.state),
        *(spec.clear() for spec in house.app_cookies),
    ]


async def _heal(house: House, request: Request, strategy: Strategy, state: str, found: LoginState | None) -> Response:
    target = house.home if found is None else found.target
    if await house.sessions.find(request.cookie) is not None:
        return redirect(target, status=303)
    if strategy.answer == "form_post" and house.states.was_claimed(state):
        return redirect(target, status=303)  # most likely reloaded: a cross-site POST does not show the session
    if restarts_of(state) == 0:
        return await begin(house, request, strategy, target, restarts=1)
    # No event in the audit trail: anybody can call this without having begun anything.
    error = StaleLogin("state_unknown", "no login in flight of this browser has this state")
    reference = house.reference()
    ways = Ways(retry=house.login_path(target, strategy.name), leads_back=found is not None)
    return refuse(house, request, error, reference=reference, ways=ways)
