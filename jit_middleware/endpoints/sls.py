"""``sls/<connection>``: Single Logout. The provider ends sessions of ours, or answers a logout that began here.

Nothing happens before the message has verified. What it names is ended in one transaction with the use of its id, so
that a message seen twice does nothing the second time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import assert_never
from urllib.parse import quote

from jit_middleware.endpoints.forms import form_once
from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.logout import farewell, forget_session
from jit_middleware.endpoints.onward import send_onward
from jit_middleware.endpoints.revocation import revoke
from jit_middleware.endpoints.selectors import NamedSessions, ProviderSessions, Selector, Signal
from jit_middleware.errors import (
    LogoutNotVerified,
    LogoutUnconfirmed,
    NothingHere,
    ProviderUnavailable,
    VerificationError,
)
from jit_middleware.http.cookies import values
from jit_middleware.http.messages import Request, Response
from jit_middleware.model import SessionRecord
from jit_middleware.pages import redirect
from jit_middleware.sso.signals import Receipt
from jit_middleware.sso.strategy import Federated, LogoutAnswered, LogoutMessage, LogoutRequested

log = logging.getLogger("jit_middleware")

_LARGEST_FORM = 262_144


async def sls(house: House, request: Request, name: str) -> Response:
    """A logout message of connection ``name``, by redirect or by POST. Raises ``LogoutNotVerified``, or
    ``LogoutUnconfirmed`` when the provider could not end everything."""
    federated = house.federated.get(name)
    if federated is None:
        raise NothingHere("connection_unknown")
    if not federated.logs_out:
        raise NothingHere("logout_off", "without a key of ours no logout message can be signed")
    try:
        said = await federated.logout_message(await _message(request))
    except VerificationError as error:
        raise LogoutNotVerified(error.reason, error.detail) from error
    match said:
        case LogoutRequested():
            return await _requested(house, request, federated, name, said)
        case LogoutAnswered(state, complete):
            if not complete:
                raise LogoutUnconfirmed("logout_incomplete")
            if request.method == "GET":
                if state is not None and state not in values(request.cookie, house.logout_state.name):
                    raise LogoutUnconfirmed("logout_state_mismatch")
                return await farewell(house, request, state)
            # A cross-site POST brings no cookie of ours along; the request that follows it does.
            answered = "" if state is None else f"?state={quote(state, safe='')}"
            return redirect(house.own("signed-out") + answered, status=303)
        case _:
            assert_never(said)


async def _message(request: Request) -> LogoutMessage:
    if request.method == "GET":
        return LogoutMessage(query=request.query)
    form: Mapping[str, str] = await form_once(request, _LARGEST_FORM)
    return LogoutMessage(form=form)


async def _requested(
    house: House, request: Request, federated: Federated, name: str, said: LogoutRequested
) -> Response:
    ended = await _end(house, name, said)
    try:
        onward = await federated.logout_answer(said)
    except (ProviderUnavailable, VerificationError) as error:
        log.warning("the logout that %s asked for is done, and cannot be answered: %s", name, error)
        onward = None
    cookies = forget_session(house) if _is_this_browsers(house, request, ended) else []
    house.sessions.forget(request.cookie)
    if onward is None:
        return redirect(house.own("signed-out"), status=303, cookies=cookies)
    return send_onward(house, onward, status=303, cookies=cookies)


async def _end(house: House, name: str, said: LogoutRequested) -> Sequence[SessionRecord]:
    receipt = Receipt(sha256(said.message_id.encode("utf-8", "replace")).hexdigest()[:32], said.once)
    signal = Signal(name, "single_logout", receipt)
    done = await revoke(house, _meant(said), connection=name, cause="slo", signal=signal)
    if done.repeated:
        raise LogoutNotVerified("logout_replayed", "this message was used before")
    return done.ended


def _meant(said: LogoutRequested) -> Selector:
    """A request without a SessionIndex means every session of its NameID (SAML Core §3.7.1)."""
    if said.idp_sessions:
        return ProviderSessions(said.idp_sessions)
    return NamedSessions(said.idp_session_prefix)


def _is_this_browsers(house: House, request: Request, ended: Sequence[SessionRecord]) -> bool:
    """Whether the browser that brings the message holds one of these sessions.

    A cross-site POST shows no cookie of ours: whose browser it is is not known then, and its cookie is left alone. The
    session behind the cookie has ended anyway, if it was one of these.
    """
    shown = values(request.cookie, house.sessions.cookie.name)
    now = house.clock.now()
    ids = {house.sessions.cookie.read(value, now) for value in shown}
    return any(session.id in ids for session in ended)
