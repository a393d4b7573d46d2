"""What the endpoints have in common that a provider itself calls, without a browser: bare answers, bearer tokens.

Nothing of the caller counts but its token: no cookie is read, none is set, and where it comes from does not matter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from jit_middleware.endpoints.house import House
from jit_middleware.errors import NothingHere
from jit_middleware.http.messages import Request, Response
from jit_middleware.pages import security_headers
from jit_middleware.settings.signals import SignalsSettings
from jit_middleware.sso.signals import Receiver

#: Bytes of a body: the largest token, and what stands around it.
LARGEST_BODY: Final = 20_480
_BEARER: Final = "bearer "


def receiver_of(house: House, name: str) -> Receiver:
    """What takes the pushed messages of connection ``name``. Raises ``NothingHere``."""
    receiver = house.receivers.get(name)
    if receiver is None:
        raise NothingHere("connection_unknown")
    return receiver


def signals_of(house: House, name: str) -> SignalsSettings:
    """What the operator has decided about the pushed messages of connection ``name``."""
    return next(each.signals for each in house.settings.connections if each.name == name)


def bearer_of(request: Request) -> str | None:
    """The one bearer token of the request (RFC 6750 §2.1); ``None`` without one, or with several."""
    given = [value for name, value in request.headers if name == "authorization"]
    if len(given) != 1 or not given[0].lower().startswith(_BEARER):
        return None
    return given[0][len(_BEARER) :].strip() or None


def bare(status: int) -> Response:
    """Only a status, and that it must not be kept."""
    kind = [] if status == 204 else [("Content-Type", "text/plain; charset=utf-8")]
    return Response(status, [*kind, *security_headers()])


def answer_json(status: int, document: Mapping[str, str], headers: Sequence[tuple[str, str]] = ()) -> Response:
    """A small JSON document that must not be kept."""
    head = [("Content-Type", "application/json"), *security_headers(), *headers]
    return Response(status, head, json.dumps(document).encode("ascii"))
