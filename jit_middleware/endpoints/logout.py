"""``logout``: end the session here, then at the provider. ``signed-out``: the page that does not bounce back in."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from jit_middleware.endpoints.forms import is_form
from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.onward import send_onward
from jit_middleware.endpoints.revocation import revoke
from jit_middleware.endpoints.selectors import Everywhere, OneSession
from jit_middleware.errors import AdapterError, LoginError, LogoutUnconfirmed
from jit_middleware.http.cookies import values
from jit_middleware.http.form import parameters_once
from jit_middleware.http.messages import Request, Response
from jit_middleware.model import SessionRecord
from jit_middleware.pages import LOGOUT_EVERYWHERE_FIELD, LOGOUT_TOKEN_FIELD, redirect
from jit_middleware.sso.strategy import Onward

log = logging.getLogger("jit_middleware")

_LARGEST_FORM = 16_384
_SECOND_CLICK = 60  # seconds after the first


async def logout(house: House, request: Request, _name: str) -> Response:
    """POST ends the session; GET asks first, because any page can send a browser here (logout CSRF).

    A POST counts when it carries the token of the confirmation page or comes from our own origin. With the field
    ``everywhere`` it ends every session of the person, whatever device and connection they began at.

    A session that is over already takes the same way to the provider, where another may live on by which the next
    click would sign in again. It has no say about other devices.
    """
    live = await house.sessions.find(request.cookie)
    named = house.sessions.ids_in(request.cookie) if live is None else (live.session_id,)
    record = await _record(house, named)
    if live is not None:
        session_id = live.session_id
    elif record is not None:
        session_id = record.id
    else:
        # A form of another site arrives without our Lax cookie: it must not make the browser forget it either.
        dead = values(request.cookie, house.sessions.cookie.name)
        return redirect(house.own("signed-out"), status=303, cookies=forget_session(house) if dead else [])
    state = house.tokens(16)
    form = await _form(request)
    if request.method == "GET" or not _meant(house, request, session_id, form):
        onward = await _provider_logout(house, record, state)
        return house.pages.confirm_logout(
            action_url=house.own("logout"),
            token=house.logout_tokens.tag(session_id),
            form_targets=[onward] if isinstance(onward, str) else [],
            # Single Logout goes round by every other service of the federation.
            form_anywhere=onward is not None and bool(house.federated),
            is_over=live is None,
            stay_url=house.page_before(request),
        )
    if live is not None and form.get(LOGOUT_EVERYWHERE_FIELD):
        await revoke(house, Everywhere(live.user_id), cause="logout_everywhere")
    else:
        # One that was ended before is left as it is, and nothing is said of it. An idle one could live again.
        for each in named:
            await revoke(house, OneSession(each), cause="logout")
    house.sessions.forget(request.cookie)
    onward = await _provider_logout(house, record, state)
    if onward is None:
        return redirect(house.own("signed-out"), status=303, cookies=forget_session(house))
    return send_onward(house, onward, status=303, cookies=[*forget_session(house), house.logout_state.set(state)])


async def signed_out(house: House, request: Request, _name: str) -> Response:
    """The end of a logout, ours or the provider's. Raises ``LogoutUnconfirmed`` for an answer with a foreign state."""
    answered = parameters_once(request.query).get("state", "" if "state=" in request.query else None)
    return await farewell(house, request, answered)


async def farewell(house: House, request: Request, answered: str | None) -> Response:
    """The page at the end of a logout that the provider has answered with this state, or has not answered."""
    sent = values(request.cookie, house.logout_state.name)
    if sent and answered is not None and answered not in sent:
        raise LogoutUnconfirmed("logout_state_mismatch")
    done = [house.logout_state.clear()] if sent else []
    if await _goes_on(house, request):
        return redirect(house.own("logout"), status=303, cookies=done)
    page = house.pages.signed_out(login_url=house.own("login"))
    return Response(page.status, [*page.headers, *done], page.body)


async def _goes_on(house: House, request: Request) -> bool:
    """Whether this browser has a session that nobody has ended: any page can send it here, and ours must not say that
    it is over. The ledger is asked too, for this worker may not have heard of an end a moment ago."""
    live = await house.sessions.find(request.cookie)
    return live is not None and bool(await house.ledger.live_among([live.session_id]))


async def _record(house: House, session_ids: Sequence[str]) -> SessionRecord | None:
    """The first of these sessions that is recorded and has not ended; or the first that is recorded."""
    found = [view.session for name in session_ids if (view := await house.ledger.find_session(name)) is not None]
    return next((session for session in found if session.ended_at is None), found[0] if found else None)


async def _provider_logout(house: House, record: SessionRecord | None, state: str) -> Onward | None:
    """Where the provider's own session ends, or ``None``; a provider that is down must not keep anybody signed in
    here."""
    strategy = None if record is None else house.strategies.get(record.connection)
    if record is None or strategy is None:
        return None
    ended_at, now = record.ended_at, house.clock.now()
    # A copy of the cookie must be of no use once its session has ended; for a second click it has not, for a while.
    shows_hint = ended_at is None or now - ended_at < _SECOND_CLICK
    shown = replace(record, logout_hint=house.sessions.logout_hint(record) if shows_hint else None)
    try:
        return await strategy.logout_phase(shown, return_url=house.own_url("signed-out"), state=state)
    except (AdapterError, LoginError) as error:
        log.warning("the session at %s goes on, its logout cannot be asked for: %s", record.connection, error)
        return None


async def _form(request: Request) -> Mapping[str, str]:
    """The fields of the POST; none for anything that is no form."""
    if request.method != "POST" or not is_form(request):
        return {}
    return parameters_once((await request.read_body(_LARGEST_FORM)).decode("utf-8", "replace"))


def _meant(house: House, request: Request, session_id: str, form: Mapping[str, str]) -> bool:
    if request.header("sec-fetch-site") == "same-origin":
        return True
    if request.header("origin") == house.settings.public_url.origin:
        return True
    token = form.get(LOGOUT_TOKEN_FIELD)
    return token is not None and house.logout_tokens.tag_matches(session_id, token)


def forget_session(house: House) -> list[tuple[str, str]]:
    """The headers that make the browser forget the session, the app's own cookies included."""
    return [house.sessions.cookie.clear(), house.hops.clear(), *(spec.clear() for spec in house.app_cookies)]
