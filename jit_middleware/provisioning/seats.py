"""Seats: how many accounts of a tenant may be in use, counted so that no two logins take the last one.

Who counts in order to write holds the tenant first (``Transaction.hold_tenant``), so the count stays true until the
commit. Without a limit nothing is held and nothing is counted. A user who is being made in an outside store counts from
the moment the ledger knows the intent; an intent that a crash left behind stops counting after an hour.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from jit_middleware.errors import SeatsFull
from jit_middleware.model import Account, IdentityLink
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.steps import Steps
from jit_middleware.settings import ProvisioningSettings

Seat: TypeAlias = Literal["seat", "pending", "minimal"]

INTENT_LIFETIME: Final = 3_600


async def has_free_seat(
    tx: Transaction, settings: ProvisioningSettings, tenant: str, *, at: int, besides: IdentityLink | None = None
) -> bool:
    """Whether one more account may be seated; stays true until this transaction ends.

    ``besides`` is the open intent of the very login that asks, which is counted already. ``at`` is now, in seconds.
    """
    if settings.seat_limit is None:
        return True
    await tx.hold_tenant(tenant)
    taken = await tx.count_seats(tenant, since=at - INTENT_LIFETIME, besides=besides)
    return taken < settings.seat_limit


async def take_seat(
    tx: Transaction,
    settings: ProvisioningSettings,
    tenant: str,
    steps: Steps,
    *,
    at: int,
    besides: IdentityLink | None = None,
) -> Seat:
    """What a new user gets: a ``seat``; or, where all are taken and the policy says so, a place among those who wait
    (``pending``) or the minimal role without a seat (``minimal``). Raises ``SeatsFull``.

    The caller writes the account in this same transaction.
    """
    if settings.seat_limit is None:
        return "seat"
    if await has_free_seat(tx, settings, tenant, at=at, besides=besides):
        steps.note("seat", "taken")
        return "seat"
    match settings.seats_when_full:
        case "pending":
            steps.note("seat", "full", "pending")
            return "pending"
        case "minimal_role":
            steps.note("seat", "full", "minimal_role")
            return "minimal"
        case "deny":
            steps.note("seat", "full", "refused")
            raise SeatsFull("seats_full", f"all {settings.seat_limit} seats are taken")


async def seat_at_login(
    tx: Transaction, settings: ProvisioningSettings, account: Account, steps: Steps, *, at: int
) -> bool:
    """Whether this active account has a seat, which it is given if it had none and one is free now.

    ``False`` means the minimal role and nothing else. Raises ``SeatsFull`` where the policy knows no such people (any
    more). Costs nothing for an account that has a seat.
    """
    if account.seat:
        return True
    if await has_free_seat(tx, settings, account.tenant, at=at):
        steps.note("seat", "taken")
        await tx.set_seat(account.user_id, True)
        return True
    if settings.seats_when_full != "minimal_role":
        steps.note("seat", "full", "refused")
        raise SeatsFull("seats_full", f"all {settings.seat_limit} seats are taken")
    steps.note("seat", "full", "minimal_role")
    return False
