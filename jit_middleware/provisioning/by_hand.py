"""Roles given and taken by hand: grants of the source ``manual``, which no login touches.

A person whose rights rise to a privileged role signs in anew: their sessions end, so that an id that somebody may have
seen before never carries such a role if it did not (OWASP ASVS 5.0 §7.2.4). Any other role comes to the sessions there
are: every worker learns of a change by the feed.
"""

from __future__ import annotations

from typing import Final

from jit_middleware.audit import session_ended
from jit_middleware.model import Account, AuditEvent, Grant, Status
from jit_middleware.ports import Transaction
from jit_middleware.settings import ProvisioningSettings

MANUAL: Final = "manual"
_GONE: Final = frozenset({Status.DELETED, Status.ERASED})


async def grant_role(
    tx: Transaction,
    account: Account,
    role: str,
    *,
    settings: ProvisioningSettings,
    actor: str,
    at: int,
    event_id: str,
) -> Account | None:
    """The account with this role; ``None`` when it is gone, and may hold no roles. A repeat changes nothing.

    The caller has looked the name up in the catalogue.
    """
    account = await tx.find_account(account.user_id) or account
    if account.status in _GONE:
        return None
    grant = Grant(role, MANUAL)
    if grant in account.grants:
        return account
    rises = settings.needs_new_login({role} - {held.role for held in account.grants})
    await tx.change_grants(account.user_id, add=[grant], remove=())
    ended = await tx.end_sessions(at, user_id=account.user_id) if rises else ()
    for number, session in enumerate(ended):
        cause = "role_granted"
        await tx.append_audit(session_ended(session, id=f"{event_id}-{number}", at=at, cause=cause, by=actor))
    await tx.append_audit(
        _event("role.granted", account, role, actor=actor, at=at, event_id=event_id, sessions_ended=len(ended))
    )
    return await tx.find_account(account.user_id)


async def revoke_role(
    tx: Transaction, account: Account, role: str, *, actor: str, at: int, event_id: str
) -> Account | None:
    """The account without this role by hand; ``None`` when nobody has given it by hand.

    A role that is held for another reason as well stays: the returned account's grants say so.
    """
    account = await tx.find_account(account.user_id) or account
    grant = Grant(role, MANUAL)
    if grant not in account.grants:
        return None
    await tx.change_grants(account.user_id, add=(), remove=[grant])
    await tx.append_audit(
        _event("role.revoked", account, role, actor=actor, at=at, event_id=event_id, sessions_ended=0)
    )
    return await tx.find_account(account.user_id)


def _event(
    kind: str, account: Account, role: str, *, actor: str, at: int, event_id: str, sessions_ended: int
) -> AuditEvent:
    return AuditEvent(
        id=event_id,
        type=kind,
        at=at,
        tenant=account.tenant,
        user_id=account.user_id,
        data={"actor": actor, "role": role, "source": MANUAL, "sessions_ended": sessions_ended},
    )
