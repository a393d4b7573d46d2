"""``login``: choose a connection, or go straight on when there is one."""

from __future__ import annotations

import logging

from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.onward import send_onward
from jit_middleware.endpoints.refusal import refuse_login
from jit_middleware.errors import LoginError, RequestError
from jit_middleware.http.form import parameters_once
from jit_middleware.http.messages import Request, Response
from jit_middleware.pages import redirect
from jit_middleware.sso.strategy import Strategy

log = logging.getLogger("jit_middleware")


async def login(house: House, request: Request, name: str) -> Response:
    """``login?next=/path`` and ``login/<connection>?next=/path``; somebody signed in already goes to the target."""
    asked = parameters_once(request.query)
    target = house.target(asked.get("next"))
    if await house.sessions.find(request.cookie) is not None:
        return redirect(target, status=303)
    if not name:
        return await challenge(house, request, target)
    strategy = house.strategies.get(name)
    if strategy is None:
        raise RequestError("connection_unknown", status=404)
    return await begin(house, request, strategy, target, someone_else=asked.get("someone") == "else")


async def challenge(house: House, request: Request, target: str) -> Response:
    """Send the browser to sign in and come back to ``target``."""
    if len(house.strategies) == 1:
        (strategy,) = house.strategies.values()
        return await begin(house, request, strategy, target)
    choices = [(strategy.label, house.own(f"login/{strategy.name}")) for strategy in house.strategies.values()]
    return house.pages.chooser(choices, next=target)


async def begin(
    house: House, request: Request, strategy: Strategy, target: str, *, restarts: int = 0, someone_else: bool = False
) -> Response:
    """Start a login: its secrets go into a cookie of its own, the browser goes to the provider."""
    if house.hops.exhausted(request.cookie):
        reference = house.reference()
        log.warning("login_loop reference=%s client=%s", reference, house.client_of(request))
        return house.pages.loop(reference=reference, retry_url=house.login_path(target, strategy.name))
    state = house.states.begin(
        strategy.name,
        target,
        restarts=restarts,
        someone_else=someone_else,
        hops=house.hops.count(request.cookie),
        replaces=house.sessions.ids_in(request.cookie),
    )
    try:
        onward = await strategy.request_phase(state)
    except LoginError as error:
        return await refuse_login(house, request, strategy, error, reference=house.reference(), retry=None)
    return send_onward(house, onward, status=302, cookies=house.states.keep(state, strategy, request.cookie))
