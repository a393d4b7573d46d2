"""``login``: choose a connection, or go straight on when there is one."""

from __future__ import annotations

from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.onward import send_onward
from jit_middleware.endpoints.refusal import log_refusal, refuse_login
from jit_middleware.endpoints.step_up import lacking
from jit_middleware.errors import LoginError, NothingHere
from jit_middleware.http.form import parameters_once
from jit_middleware.http.messages import Request, Response
from jit_middleware.model import LinkProof, StepUp
from jit_middleware.pages import redirect
from jit_middleware.sessions import CachedSession
from jit_middleware.sso.strategy import Strategy


class LoginLoop(LoginError):
    """This browser has signed in again and again within seconds: what it was given to keep does not come back."""

    code = "login_loop"
    status = 400
    public = "Your browser does not keep you signed in."


async def login(house: House, request: Request, name: str) -> Response:
    """``login?next=/path`` and ``login/<connection>?next=/path``; somebody signed in already goes to the target.

    With ``for=/path`` they first bring what that path of the app asks for beyond their session.
    """
    asked = parameters_once(request.query)
    target = house.target(asked.get("next"))
    live = await house.sessions.find(request.cookie)
    if live is not None:
        demand = lacking(house, live, asked["for"]) if "for" in asked else None
        return redirect(target, status=303) if demand is None else await step_up(house, request, live, target, demand)
    if not name:
        return await challenge(house, request, target)
    strategy = house.strategies.get(name)
    if strategy is None:
        raise NothingHere("connection_unknown")
    return await begin(house, request, strategy, target, someone_else=asked.get("someone") == "else")


async def challenge(house: House, request: Request, target: str) -> Response:
    """Send the browser to sign in and come back to ``target``."""
    if len(house.strategies) == 1:
        (strategy,) = house.strategies.values()
        return await begin(house, request, strategy, target)
    choices = [(strategy.label, house.own(f"login/{strategy.name}")) for strategy in house.strategies.values()]
    return house.pages.chooser(choices, next=target)


async def step_up(house: House, request: Request, live: CachedSession, target: str, demand: StepUp) -> Response:
    """Send somebody who is signed in to their own provider again, for what ``target`` demands beyond that."""
    strategy = house.strategies[live.admission.session.connection]
    return await begin(house, request, strategy, target, step_up=demand)


async def begin(
    house: House,
    request: Request,
    strategy: Strategy,
    target: str,
    *,
    restarts: int = 0,
    someone_else: bool = False,
    proof: LinkProof | None = None,
    step_up: StepUp | None = None,
    replaces: tuple[str, ...] = (),
    hops: int = 0,
) -> Response:
    """Start a login: its secrets go into a cookie of its own, the browser goes to the provider.

    ``proof`` is what the person has in hand for an account that is to be linked, ``step_up`` what the login has to
    show. ``replaces`` are sessions that end with it, besides those of the browser's cookies; ``hops`` is how many
    logins the browser had just completed, where it may not have said so.
    """
    if house.hops.exhausted(request.cookie):
        reference = house.reference()
        log_refusal(
            house, request, LoginLoop("session_not_kept", "cookies blocked, http, or a clock"), reference=reference
        )
        return house.pages.loop(reference=reference, retry_url=house.login_path(target, strategy.name))
    state = house.states.begin(
        strategy.name,
        target,
        restarts=restarts,
        someone_else=someone_else,
        hops=max(hops, house.hops.count(request.cookie)),
        replaces=tuple(dict.fromkeys((*house.sessions.ids_in(request.cookie), *replaces))),
        proof=proof,
        step_up=step_up,
    )
    try:
        onward = await strategy.request_phase(state)
    except LoginError as error:
        return await refuse_login(house, request, strategy, error, reference=house.reference())
    # 303: what was posted here is for us alone (RFC 9700 §4.12).
    posted = request.method == "POST"
    cookies = house.states.keep(state, strategy, request.cookie)
    return send_onward(house, onward, status=303 if posted else 302, cookies=cookies)
