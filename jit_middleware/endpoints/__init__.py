"""What our own prefix can be asked, one file for each thing; this is the table.

An endpoint is ``async (house, request, name) -> Response``; ``name`` is what follows the endpoint's own
name in the path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from jit_middleware.endpoints.acs import acs
from jit_middleware.endpoints.backchannel import backchannel
from jit_middleware.endpoints.callback import callback
from jit_middleware.endpoints.frontchannel import frontchannel
from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.link import link
from jit_middleware.endpoints.login import login
from jit_middleware.endpoints.logout import logout, signed_out
from jit_middleware.endpoints.metadata import metadata
from jit_middleware.endpoints.onward import submit_form
from jit_middleware.endpoints.revoke import revoke
from jit_middleware.endpoints.signals import signals
from jit_middleware.endpoints.sls import sls
from jit_middleware.endpoints.status import health, ready, session
from jit_middleware.errors import NothingHere, RequestError
from jit_middleware.http.messages import Request, Response

Endpoint: TypeAlias = Callable[[House, Request, str], Awaitable[Response]]

#: name → (methods, whether something may follow the name, the endpoint)
TABLE: Final[dict[str, tuple[tuple[str, ...], bool, Endpoint]]] = {
    "login": (("GET", "HEAD"), True, login),
    "callback": (("GET", "POST"), True, callback),
    "link": (("GET", "HEAD", "POST"), True, link),
    "acs": (("POST",), True, acs),
    "metadata": (("GET", "HEAD"), True, metadata),
    "sls": (("GET", "POST"), True, sls),
    "submit-form": (("GET", "HEAD"), False, submit_form),
    "logout": (("GET", "POST"), False, logout),
    "signed-out": (("GET", "HEAD"), False, signed_out),
    "backchannel": (("POST",), True, backchannel),
    "frontchannel": (("GET",), True, frontchannel),
    "revoke": (("POST",), True, revoke),
    "signals": (("POST",), True, signals),
    "session": (("GET", "HEAD"), False, session),
    "health": (("GET", "HEAD"), False, health),
    "ready": (("GET", "HEAD"), False, ready),
}


async def answer(house: House, request: Request, path: str) -> Response:
    """The answer of our endpoint at ``path`` (what follows the prefix). Raises ``RequestError`` (404, 405) and whatever
    the endpoint raises."""
    first, _, name = path.partition("/")
    methods, takes_name, endpoint = TABLE.get(first, ((), False, None))
    if endpoint is None or "/" in name or (name and not takes_name):
        raise NothingHere("endpoint_unknown")
    if request.kind != "http" or request.method not in methods:
        raise RequestError("method_not_allowed", status=405, headers=[("Allow", ", ".join(methods))])
    return await endpoint(house, request, name)


__all__ = ["TABLE", "House", "answer"]
