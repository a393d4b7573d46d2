"""``session``: who am I. ``health``: the process lives. ``ready``: it can serve."""

from __future__ import annotations

import json

from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.refusal import challenge_headers
from jit_middleware.endpoints.step_up import lacking
from jit_middleware.http.form import parameters_once
from jit_middleware.http.messages import Request, Response
from jit_middleware.pages import security_headers
from jit_middleware.sessions import CachedSession


async def session(house: House, request: Request, _name: str) -> Response:
    """The signed-in user and the end of the session, for the app's own scripts; 401 JSON when there is none.

    With ``?path=/admin`` it says as ``step_up`` what that path of the app asks for beyond this session, if anything.
    """
    live = await house.sessions.find(request.cookie)
    if live is None:
        return house.pages.json_error(
            code="login_required",
            message="Nobody is signed in.",
            reference=house.reference(),
            status=401,
            login_url=house.own_url("login"),
            headers=challenge_headers(house),
        )
    user, current = live.admission.user, live.admission.session
    return _json(
        200,
        {
            "user": {
                "id": user.id,
                "username": user.username,
                "email": user.email,
                "display_name": user.display_name,
                "roles": list(user.roles),
                "tenant": user.tenant,
            },
            "connection": current.connection,
            "authenticated_at": current.authenticated_at.isoformat(),
            "expires_at": current.expires_at.isoformat(),
            "acr": current.acr,
            **_step_up(house, live, parameters_once(request.query).get("path")),
        },
    )


def _step_up(house: House, live: CachedSession, path: str | None) -> dict[str, object]:
    if path is None:
        return {}
    demand = lacking(house, live, path)
    wanted = None if demand is None else {"acr_values": list(demand.acr), "max_age": demand.max_age}
    return {"step_up": wanted}


async def health(_house: House, _request: Request, _name: str) -> Response:
    return _json(200, {"status": "ok"})


async def ready(house: House, _request: Request, _name: str) -> Response:
    """Whether this worker can serve, and on what knowledge of revocations. The providers are not asked: live sessions
    work without them.

    200 when the ledger answers; also when it does not and known sessions are served all the same (``degraded``). 503
    when requests of signed-in people are refused. It is the feed that is read, by at most one request at a time.
    """
    knowledge = await house.sessions.knowledge()
    if knowledge == "fresh":
        return _json(200, {"status": "ready", "revocation": knowledge})
    code, status = (503, "unavailable") if knowledge == "refused" else (200, "degraded")
    return _json(code, {"status": status, "failing": ["database"], "revocation": knowledge})


def _json(status: int, body: object) -> Response:
    headers = [("Content-Type", "application/json"), *security_headers()]
    return Response(status, headers, json.dumps(body).encode())
