"""``callback/<connection>``: the provider's answer. Verify, provision, start the session, go to the target.

A callback that this browser did not begin, or began too long ago, signs nobody in: it goes home when there is a live
session, begins anew once, and then stops on a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.login import begin
from jit_middleware.endpoints.opening import open_session
from jit_middleware.endpoints.refusal import refuse
from jit_middleware.errors import AdapterError, Conflict, LoginError, NotProvisioned, RequestError, StaleLogin
from jit_middleware.http.cookies import values
from jit_middleware.http.form import parameters
from jit_middleware.http.messages import Request, Response
from jit_middleware.model import SessionRecord, Status
from jit_middleware.pages import redirect
from jit_middleware.ports import Transaction
from jit_middleware.provisioning import Arrival
from jit_middleware.sso.state import LIFETIME, restarts_of
from jit_middleware.sso.strategy import LoginState, Strategy

_LARGEST_FORM = 65_536


async def callback(house: House, request: Request, name: str) -> Response:
    """The answer to a login of connection ``name``, by GET with a query or by POST with a form (OAuth form_post)."""
    strategy = house.strategies.get(name)
    if strategy is None:
        raise RequestError("connection_unknown", status=404)
    answer = await _answer(request, strategy)
    state = answer.get("state", "")
    found = house.states.find(request.cookie, strategy.name, state) if state else None
    if found is None or not house.states.claim(state):
        return await _heal(house, request, strategy, answer, found)
    reference = house.reference()
    retry = house.login_path(found.target, strategy.name)
    forget = house.states.forget(state, strategy)
    try:
        signed_in = await _sign_in(house, request, strategy, answer, found, reference)
    except LoginError as error:
        await _record_refusal(house, strategy, error, reference)
        if isinstance(error, NotProvisioned):
            # The provider would only send the same person back.
            retry = house.login_path(found.target, strategy.name, someone_else=True)
        return _with_cookies(refuse(house, request, error, reference=reference, retry=retry), forget)
    except AdapterError as error:
        return _with_cookies(refuse(house, request, error, reference=reference, retry=retry), forget)
    await house.housekeeping.sweep_if_due()
    return redirect(found.target, status=303, cookies=[*signed_in, forget])


async def _answer(request: Request, strategy: Strategy) -> Mapping[str, str]:
    """The parameters, each exactly once (RFC 6749 §3.1: a repeated one is an error)."""
    if request.method == "GET" and strategy.answer == "query":
        text = request.query
    elif request.method == "POST" and strategy.answer == "form_post":
        if not (request.header("content-type") or "").lower().startswith("application/x-www-form-urlencoded"):
            raise RequestError("form_expected", status=415)
        text = (await request.read_body(_LARGEST_FORM)).decode("utf-8", "replace")
    else:
        allowed = "GET" if strategy.answer == "query" else "POST"
        raise RequestError("method_not_allowed", status=405, headers=[("Allow", allowed)])
    try:
        pairs = parameters(text)
    except ValueError as error:
        raise RequestError("parameters_malformed") from error
    answer = dict(pairs)
    if len(answer) != len(pairs):
        raise RequestError("parameter_repeated", "a parameter of the answer is there twice")
    if "state" not in answer:
        raise RequestError("state_missing", "the answer carries no state")
    return answer


@dataclass(frozen=True, slots=True)
class _Refused:
    """The user was recorded, and not let in."""

    reason: str


async def _sign_in(
    house: House, request: Request, strategy: Strategy, answer: Mapping[str, str], login: LoginState, reference: str
) -> list[tuple[str, str]]:
    """The cookies of the new session. Raises ``LoginError`` or ``AdapterError``; then nothing was written."""
    identity = await strategy.callback_phase(answer, login)
    now = house.clock.now()
    replaced = [
        session_id
        for value in values(request.cookie, house.sessions.cookie.name)[:4]
        if (session_id := house.sessions.cookie.read(value, now)) is not None
    ]

    async def finish(tx: Transaction, arrival: Arrival) -> SessionRecord | _Refused:
        # One use of the state, held by the ledger for all workers; the same transaction makes the session.
        await tx.claim_once("login_state", login.state, login.created_at + 2 * LIFETIME)
        if arrival.user.status is not Status.ACTIVE:
            return _Refused(f"account_{arrival.user.status.value}")  # made, but may not enter yet
        for session_id in replaced:
            for ended in await tx.end_sessions(now, session_id=session_id):
                await tx.append_audit(house.audit.session_ended(ended, cause="replaced", reference=reference))
        return await open_session(house, tx, identity, arrival, reference=reference)

    try:
        session = await house.provisioner.provision(identity, finish, reference=reference)
    except Conflict as conflict:
        if conflict.reason == "once_key":
            raise StaleLogin("state_replayed", "this answer was used before") from conflict
        raise
    if isinstance(session, _Refused):
        raise NotProvisioned(session.reason)
    house.sessions.forget(request.cookie)
    return [
        house.sessions.cookie.issue(session.id, session.expires_at, now),
        house.hops.next(request.cookie),
        *(spec.clear() for spec in house.app_cookies),
    ]


async def _heal(
    house: House, request: Request, strategy: Strategy, answer: Mapping[str, str], found: LoginState | None
) -> Response:
    target = house.home if found is None else found.target
    if await house.sessions.find(request.cookie) is not None:
        return redirect(target, status=303)
    restarts = restarts_of(answer["state"])
    if restarts == 0:
        return await begin(house, request, strategy, target, restarts=1)
    error = StaleLogin("state_unknown", "no login in flight of this browser has this state")
    reference = house.reference()
    await _record_refusal(house, strategy, error, reference)
    retry = house.login_path(target, strategy.name)
    return refuse(house, request, error, reference=reference, retry=retry)


async def _record_refusal(house: House, strategy: Strategy, error: LoginError, reference: str) -> None:
    event = house.audit.login_refused(
        connection=strategy.name, tenant=strategy.tenant, code=error.code, reason=error.reason, reference=reference
    )
    await house.ledger.transaction(lambda tx: tx.append_audit(event))


def _with_cookies(response: Response, *cookies: tuple[str, str]) -> Response:
    return Response(response.status, [*response.headers, *cookies], response.body)
