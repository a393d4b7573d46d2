"""``session``: who am I. ``health``: the process lives. ``ready``: it can serve."""

from __future__ import annotations

import json

from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.refusal import challenge_headers
from jit_middleware.errors import StoreUnavailable
from jit_middleware.http.messages import Request, Response
from jit_middleware.pages import security_headers


async def session(house: House, request: Request, _name: str) -> Response:
    """The signed-in user and the end of the session, for the app's own scripts; 401 JSON when there is none."""
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
        },
    )


async def health(_house: House, _request: Request, _name: str) -> Response:
    return _json(200, {"status": "ok"})


async def ready(house: House, _request: Request, _name: str) -> Response:
    """200 when the ledger answers; 503 when not. The providers are not asked: live sessions work without them."""
    try:
        await house.ledger.read_feed(None)
    except StoreUnavailable:
        return _json(503, {"status": "unavailable", "failing": ["database"]})
    return _json(200, {"status": "ready"})


def _json(status: int, body: object) -> Response:
    headers = [("Content-Type", "application/json"), *security_headers()]
    return Response(status, headers, json.dumps(body).encode())
