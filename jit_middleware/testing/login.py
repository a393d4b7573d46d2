"""A genuine session for the tests of a wrapped application, without a provider and without a second flow.

The identity is made up, everything after it is real: mapping, gates, roles, the session row, the audit trail.
"""

from __future__ import annotations

from jit_middleware.asgi import JITMiddleware as ASGIMiddleware
from jit_middleware.bridge import step
from jit_middleware.endpoints.opening import open_session
from jit_middleware.gate import Gate
from jit_middleware.model import JSON, SessionRecord, VerifiedIdentity
from jit_middleware.ports import Transaction
from jit_middleware.provisioning import Arrival
from jit_middleware.settings import OIDCConnection, SAMLConnection
from jit_middleware.wsgi import JITMiddleware as WSGIMiddleware


def login_as(middleware: WSGIMiddleware, subject: str, **claims: JSON) -> str:
    """Sign ``subject`` in at a WSGI application and return the ``Cookie`` header of the session.

    ``claims`` are what the provider would have said: ``preferred_username``, ``email``, ``email_verified``, ``groups``,
    and for paths that ask for more (``JIT_STEP_UP``) ``acr`` and ``auth_time``;
    with a SAML connection its attributes, and ``subject`` is the NameID.
    The connection is the first one configured. Raises ``NotProvisioned`` like a real login.

    ::

        cookie = login_as(application, "s-1", preferred_username="alice", groups=["staff"])
        client.get("/", headers={"Cookie": cookie})
    """
    return step(_login(middleware.gate, subject, claims))


async def login_as_async(middleware: ASGIMiddleware, subject: str, **claims: JSON) -> str:
    """The same for an ASGI application."""
    return await _login(middleware.gate, subject, claims)


async def _login(gate: Gate, subject: str, claims: dict[str, JSON]) -> str:
    house = gate.house
    await gate.start()
    connection = house.settings.connections[0]
    email, acr, auth_time = claims.get("email"), claims.get("acr"), claims.get("auth_time")
    identity = VerifiedIdentity(
        connection=connection.name,
        issuer=_issuer(connection),
        subject=subject,
        claims=_told(connection, subject, claims),
        tenant=connection.tenant,
        email=email if isinstance(email, str) else None,
        email_verified=claims.get("email_verified") is True,
        auth_time=auth_time if isinstance(auth_time, int) else None,
        acr=acr if isinstance(acr, str) else None,
        begun_at=house.clock.now() + 1,  # after whatever the test has ended before
    )
    reference = house.reference()

    async def finish(tx: Transaction, arrival: Arrival) -> SessionRecord:
        return await open_session(house, tx, identity, arrival, reference=reference)

    session = await house.provisioner.provision(identity, finish, reference=reference)
    _, header = house.sessions.cookie.issue(session.id, session.expires_at, house.clock.now())
    return header.partition(";")[0]


def _issuer(connection: OIDCConnection | SAMLConnection) -> str:
    """The provider's name; a SAML provider's may be known from its metadata only, which nobody is asked for here."""
    return connection.issuer if isinstance(connection, OIDCConnection) else connection.idp_entity_id or connection.name


def _told(connection: OIDCConnection | SAMLConnection, subject: str, claims: dict[str, JSON]) -> dict[str, JSON]:
    """The claims as a verifier of this connection's protocol shapes them."""
    if isinstance(connection, OIDCConnection):
        return {"sub": subject, **claims}
    attributes: dict[str, JSON] = {
        name: [value] if isinstance(value, str) else value for name, value in claims.items() if value is not None
    }
    return {**claims, "attributes": attributes, "name_id": subject, "subject": subject}
