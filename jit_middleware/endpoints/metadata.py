"""``metadata/<connection>``: our own metadata, for the provider's operator to import."""

from __future__ import annotations

from jit_middleware.endpoints.house import House
from jit_middleware.errors import NothingHere
from jit_middleware.http.messages import Request, Response
from jit_middleware.pages import security_headers


async def metadata(house: House, _request: Request, name: str) -> Response:
    """The document, which holds nothing secret."""
    federated = house.federated.get(name)
    if federated is None:
        raise NothingHere("connection_unknown")
    document = await federated.metadata()
    return Response(200, [("Content-Type", document.content_type), *security_headers()], document.body)
