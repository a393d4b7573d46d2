"""Invitations: a link of ours by which whoever opens it ties their identity to one account, once.

The ledger keeps a digest of the random id (a prelink of the kind ``invitation``), so that an invitation can be listed,
revoked and used once; the link itself is signed, so that nobody makes one up and the ledger is not asked about junk.
"""

from __future__ import annotations

from typing import Final

from jit_middleware.keyring import Signature
from jit_middleware.model import AuditEvent, Prelink, Status, User
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.prelinks import invitation_key
from jit_middleware.records import dataclass

PURPOSE: Final = "invitation"
_LONGEST: Final = 1_024
_OPEN: Final = frozenset({Status.ACTIVE, Status.INVITED})


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a link says: its random id, the connection to sign in with, and until when (seconds since the epoch)."""

    id: str
    connection: str
    until: int


class Invitations:
    """Writes and reads the links; ``signature`` is the keyring's for :data:`PURPOSE`."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature

    def token(self, invitation: Invitation) -> str:
        """The invitation as the parameter of a URL."""
        return self._signature.sign(f"{invitation.id}.{invitation.until}.{invitation.connection}")

    def read(self, token: str, now: int) -> Invitation | None:
        """The invitation, or ``None`` when it was not written here or is too old."""
        text = self._signature.unsign(token) if len(token) <= _LONGEST else None
        if text is None:
            return None
        identifier, until, connection = text.split(".", 2)
        invitation = Invitation(identifier, connection, int(until))
        return invitation if now < invitation.until else None


async def find_invited(tx: Transaction, tenant: str, invitation: Invitation, now: int) -> Prelink | None:
    """The ledger's record, while the invitation is neither used nor revoked."""
    key = invitation_key(tenant, invitation.connection, invitation.id)
    for prelink in await tx.find_prelinks((key,)):
        if prelink.used_at is None and now < prelink.until:
            return prelink
    return None


async def invite(
    tx: Transaction, user: User, invitation: Invitation, *, tenant: str, actor: str, at: int, event_id: str
) -> str:
    """Write the invitation down, with its event; the reason why not, or nothing.

    ``user_unknown`` for another tenant's, ``account_<status>`` for one that is neither active nor invited,
    ``already_linked`` for one with an identity of this connection.
    """
    account = await tx.find_account(user.id)
    if user.tenant != tenant:
        return "user_unknown"
    for status in (user.status, *(() if account is None else (account.status,))):
        if status not in _OPEN:
            return f"account_{status.value}"
    if any(link.connection == invitation.connection for link in await tx.list_links(user.id)):
        return "already_linked"
    prelink = Prelink(
        key=invitation_key(tenant, invitation.connection, invitation.id),
        kind="invitation",
        connection=invitation.connection,
        user_id=user.id,
        batch="",
        created_at=at,
        until=invitation.until,
        tenant=tenant,
    )
    await tx.add_prelinks((prelink,))
    await tx.append_audit(
        AuditEvent(
            id=event_id,
            type="invitation.issued",
            at=at,
            tenant=tenant,
            user_id=user.id,
            connection=invitation.connection,
            data={"actor": actor, "until": invitation.until},
        )
    )
    return ""


async def revoke(tx: Transaction, user: User, connection: str, *, actor: str, at: int, event_id: str) -> int:
    """Take back the user's open invitations for this connection; how many there were."""
    waiting = [
        prelink.key
        for prelink in await tx.list_prelinks(user_id=user.id)
        if prelink.kind == "invitation" and prelink.connection == connection and prelink.used_at is None
    ]
    if waiting:
        await tx.drop_prelinks(waiting)
        await tx.append_audit(
            AuditEvent(
                id=event_id,
                type="invitation.revoked",
                at=at,
                tenant=user.tenant,
                user_id=user.id,
                connection=connection,
                data={"actor": actor, "invitations": len(waiting)},
            )
        )
    return len(waiting)
