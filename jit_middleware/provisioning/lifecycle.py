"""The lifecycle of an account as a table: what is not in it does not happen.

Every way in or out of access is one call of :func:`change_status`, which also ends the sessions where access ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from jit_middleware.audit import session_ended
from jit_middleware.model import AuditEvent, SessionRecord, Status
from jit_middleware.ports import Transaction

TRANSITIONS: Final[Mapping[Status, frozenset[Status]]] = MappingProxyType(
    {
        Status.INVITED: frozenset({Status.ACTIVE, Status.DEPROVISIONED, Status.DELETED}),
        Status.PENDING: frozenset({Status.ACTIVE, Status.SUSPENDED, Status.DEPROVISIONED, Status.DELETED}),
        Status.ACTIVE: frozenset({Status.DORMANT, Status.SUSPENDED, Status.DEPROVISIONED, Status.DELETED}),
        Status.DORMANT: frozenset({Status.ACTIVE, Status.SUSPENDED, Status.DEPROVISIONED, Status.DELETED}),
        Status.SUSPENDED: frozenset({Status.ACTIVE, Status.DEPROVISIONED, Status.DELETED}),
        Status.DEPROVISIONED: frozenset({Status.ACTIVE, Status.DELETED}),
        Status.DELETED: frozenset({Status.ERASED}),
        Status.ERASED: frozenset(),
    }
)

#: The states a login may turn into ``ACTIVE``: everything else that is not active stays shut.
REVIVED_BY_LOGIN: Final = frozenset({Status.INVITED, Status.DORMANT})


async def change_status(tx: Transaction, user_id: str, to: Status, *, actor: str, at: int, event_id: str) -> bool:
    """Move the account to ``to``; false when there is no such account or the table has no such step.

    Leaving ``ACTIVE`` ends the account's sessions in the same transaction. ``actor`` names who or what did it.
    """
    account = await tx.find_account(user_id)
    if account is None or to not in TRANSITIONS[account.status]:
        return False
    await tx.set_status(user_id, to)
    ended: Sequence[SessionRecord] = () if to is Status.ACTIVE else await tx.end_sessions(at, user_id=user_id)
    for number, session in enumerate(ended):
        await tx.append_audit(session_ended(session, id=f"{event_id}-{number}", at=at, cause=f"user_{to.value}"))
    await tx.append_audit(
        AuditEvent(
            id=event_id,
            type=f"user.{to.value}",
            at=at,
            tenant=account.tenant,
            user_id=user_id,
            data={"actor": actor, "from": account.status.value, "sessions_ended": len(ended)},
        )
    )
    return True
