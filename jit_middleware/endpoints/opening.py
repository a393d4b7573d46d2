"""The last step of a login, in the transaction that made or updated the user: session row and audit events."""

from __future__ import annotations

from jit_middleware.endpoints.house import House
from jit_middleware.model import SessionRecord, VerifiedIdentity
from jit_middleware.ports import Transaction
from jit_middleware.provisioning import Arrival


async def open_session(
    house: House, tx: Transaction, identity: VerifiedIdentity, arrival: Arrival, *, reference: str
) -> SessionRecord:
    """A new session for the person who has arrived, with ``login.succeeded`` and, once, ``user.first_login``."""
    session = house.sessions.open(identity, arrival.user.id, marks=arrival.marks)
    await tx.add_session(session)
    if arrival.first_login:
        event = house.audit.first_login(identity, arrival.user.id, session=session.id, reference=reference)
        await tx.append_audit(event)
    await tx.append_audit(house.audit.login_succeeded(identity, session, reference=reference))
    return session
