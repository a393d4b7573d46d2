"""``frontchannel/<connection>``: the provider's sign-out page shows us in a frame (OIDC Front-Channel Logout 1.0).

In a frame of another site the browser leaves our cookie at home, and anybody may send a browser here. So nothing of
this browser decides: what ends is the session that the provider calls ``sid``. That name is a secret between the two of
us and the provider's other applications, and no other page can guess it. Without ``iss`` and ``sid`` nothing ends.
"""

from __future__ import annotations

import hmac
from typing import Final

from jit_middleware.endpoints.forms import once
from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.pushes import receiver_of
from jit_middleware.endpoints.revocation import revoke
from jit_middleware.endpoints.selectors import ProviderSessions
from jit_middleware.errors import LogoutNotVerified, NothingHere
from jit_middleware.http.messages import Request, Response
from jit_middleware.pages import security_headers

_PAGE: Final = b"<!doctype html><html lang=en><meta charset=utf-8><title>Signed out</title></html>"
_LONGEST_SID: Final = 255


async def frontchannel(house: House, request: Request, name: str) -> Response:
    """A sign-out at the provider of connection ``name``. Raises ``LogoutNotVerified``."""
    receiver = receiver_of(house, name)
    if receiver.issuer is None:
        raise NothingHere("connection_unknown")
    said = once(request.query)
    issuer, idp_session = said.get("iss"), said.get("sid")
    if not issuer or not idp_session:
        raise LogoutNotVerified("logout_session_missing", "iss and sid are both needed")
    if not hmac.compare_digest(issuer.encode("utf-8", "replace"), receiver.issuer.encode()):
        raise LogoutNotVerified("issuer_mismatch")
    # Anybody may ask: a name that nobody here goes by costs one read, and no place in the queue of the writers.
    if len(idp_session) <= _LONGEST_SID and await house.ledger.has_provider_session(name, idp_session):
        await revoke(house, ProviderSessions((idp_session,)), connection=name, cause="frontchannel_logout")
    try:
        headers = security_headers(framed_by=await receiver.framing_urls())
    except ValueError:
        # The metadata names a host that no policy can: then the issuer alone.
        headers = security_headers(framed_by=(receiver.issuer,))
    return Response(200, [("Content-Type", "text/html; charset=utf-8"), *headers], _PAGE)
