"""The lifecycle of an account: every way in or out of access is one step of one table, made by one function.

Theory of operation. An account is in exactly one :class:`~jit_middleware.model.Status`; only ``ACTIVE`` is served. A
:class:`Trigger` is what somebody did or what time has done: a person signs in, an administrator approves, holds or
lets go, a provider says that somebody has left, a clock runs out. :data:`TRANSITIONS` says where a trigger leads from a
status. A pair that is not in the table does not happen: :func:`move` answers ``None`` and nothing is written. ::

    INVITED --FIRST_LOGIN--> ACTIVE <--APPROVE-- PENDING
                             |    ^
                        IDLE v    | LOGIN
                             DORMANT

    INVITED, PENDING, ACTIVE, DORMANT --SUSPEND--> SUSPENDED --RESUME--> where it was held
    all of these ------------------DEPROVISION--> DEPROVISIONED --REINSTATE--> ACTIVE, or the hold, or the queue
    all of these -----------------------DELETE--> DELETED --ERASE--> ERASED

A login revives only ``DORMANT``, and makes an invited account active; it never opens what somebody has shut. A hold is
lifted by ``RESUME`` and by nothing else: an account that was deprovisioned while it was held comes back held. What
nobody has approved is not approved by having been shut and opened. Both is remembered in ``held_from``, so the target
in the table is where the step leads when there is nothing to remember; :func:`destination` knows the rest.

What follows from a step is written with it, in one transaction or not at all: sessions end when access ends, a seat is
freed or taken, the feed tells every worker, the audit trail tells who did it.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from jit_middleware.audit import session_ended
from jit_middleware.errors import AccountClosed, AccountPending, AccountSuspended, Conflict, NotProvisioned, SeatsFull
from jit_middleware.model import JSON, SEATED, Account, AuditEvent, Grant, SessionRecord, Status
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.seats import has_free_seat
from jit_middleware.settings import ProvisioningSettings


class Trigger(enum.StrEnum):
    """What makes an account move."""

    FIRST_LOGIN = "first_login"
    LOGIN = "login"
    APPROVE = "approve"
    SUSPEND = "suspend"
    RESUME = "resume"
    IDLE = "idle"
    DEPROVISION = "deprovision"
    REINSTATE = "reinstate"
    DELETE = "delete"
    ERASE = "erase"


_OPEN: Final = (Status.INVITED, Status.PENDING, Status.ACTIVE, Status.DORMANT)
_THERE: Final = (*_OPEN, Status.SUSPENDED)

TRANSITIONS: Final[Mapping[tuple[Status, Trigger], Status]] = MappingProxyType(
    {
        (Status.INVITED, Trigger.FIRST_LOGIN): Status.ACTIVE,
        (Status.DORMANT, Trigger.LOGIN): Status.ACTIVE,
        (Status.PENDING, Trigger.APPROVE): Status.ACTIVE,
        (Status.ACTIVE, Trigger.IDLE): Status.DORMANT,
        **{(status, Trigger.SUSPEND): Status.SUSPENDED for status in _OPEN},
        (Status.SUSPENDED, Trigger.RESUME): Status.ACTIVE,
        **{(status, Trigger.DEPROVISION): Status.DEPROVISIONED for status in _THERE},
        (Status.DEPROVISIONED, Trigger.REINSTATE): Status.ACTIVE,
        **{(status, Trigger.DELETE): Status.DELETED for status in (*_THERE, Status.DEPROVISIONED)},
        (Status.DELETED, Trigger.ERASE): Status.ERASED,
    }
)

#: Where a step may lead instead, for an account that remembers something.
WAYS_BACK: Final[Mapping[tuple[Status, Trigger], frozenset[Status]]] = MappingProxyType(
    {
        (Status.SUSPENDED, Trigger.RESUME): frozenset(_OPEN),
        (Status.DEPROVISIONED, Trigger.REINSTATE): frozenset({Status.ACTIVE, Status.PENDING, Status.SUSPENDED}),
    }
)

#: What a login makes of an account that is not active: everything else that is not active stays shut.
BY_LOGIN: Final[Mapping[Status, Trigger]] = MappingProxyType(
    {status: trigger for status, trigger in TRANSITIONS if trigger in {Trigger.FIRST_LOGIN, Trigger.LOGIN}}
)
REVIVED_BY_LOGIN: Final = frozenset(BY_LOGIN)


def destination(account: Account, trigger: Trigger) -> tuple[Status, Status | None] | None:
    """Where the trigger leads this account, and what it remembers there (``held_from``); ``None``: nowhere.

    A suspended account remembers the status it was held in. A deprovisioned one remembers what stands between it and
    ``ACTIVE``: nothing; ``PENDING``, since nobody had approved it; the status it was held in; or ``SUSPENDED`` for a
    hold on an account that nobody had approved.
    """
    to = TRANSITIONS.get((account.status, trigger))
    if to is None:
        return None
    held = account.held_from
    match trigger:
        case Trigger.SUSPEND:
            return to, account.status
        case Trigger.RESUME:
            return held or to, None
        case Trigger.DEPROVISION if account.status is Status.SUSPENDED:
            return to, Status.SUSPENDED if held is Status.PENDING else held or Status.ACTIVE
        case Trigger.DEPROVISION:
            return to, Status.PENDING if account.status is Status.PENDING else None
        case Trigger.REINSTATE if held is None or held is Status.PENDING:
            return held or to, None
        case Trigger.REINSTATE:
            return Status.SUSPENDED, Status.PENDING if held is Status.SUSPENDED else held
        case _:
            return to, None


async def move(
    tx: Transaction,
    account: Account,
    trigger: Trigger,
    *,
    settings: ProvisioningSettings,
    actor: str,
    at: int,
    event_id: str,
    reference: str | None = None,
    cause: str | None = None,
) -> Account | None:
    """The account as it is after the trigger; ``None`` when the table has no such step, and then nothing is written.

    ``actor`` names who or what did it (``cli:ann``, ``login``, ``signal:<connection>``), ``cause`` a finer reason,
    ``reference`` ties it to a request. Raises ``SeatsFull`` when the step would need a seat and none is free, and
    ``Conflict`` when somebody else moves the account meanwhile. With a user store outside the ledger, the caller tells
    that store after the commit.
    """
    account = await tx.find_account(account.user_id) or account
    found = destination(account, trigger)
    if found is None:
        return None
    to, held_from = found
    seat = await _seat_after(tx, account, to, held_from, trigger=trigger, settings=settings, at=at)
    data: dict[str, JSON] = {"actor": actor, "from": account.status.value, "trigger": trigger.value}
    if cause is not None:
        data["cause"] = cause
    if trigger is Trigger.REINSTATE:
        data["roles_dropped"] = _names(await _drop_privileges(tx, account, settings.privileged))
    if trigger is Trigger.DELETE:
        data["identities_tombstoned"] = await _bury(tx, account, at)
    await tx.set_lifecycle(account.user_id, to, seat=seat, held_from=held_from)
    if trigger is Trigger.ERASE:
        await tx.erase_account(account.user_id)
    if to is not Status.ACTIVE:
        ended = await tx.end_sessions(at, user_id=account.user_id)
        await _tell_ended(tx, ended, event_id=event_id, at=at, cause=f"user_{to.value}", by=actor, reference=reference)
        data["sessions_ended"] = len(ended)
    await tx.append_audit(
        AuditEvent(
            id=event_id,
            type=f"user.{to.value}",
            at=at,
            tenant=account.tenant,
            user_id=account.user_id,
            reference=reference,
            data=data,
        )
    )
    return await tx.find_account(account.user_id)


def refusal(status: Status) -> NotProvisioned:
    """What somebody is told who has proved to be the holder of an account in this status, reason ``account_<status>``.

    Only for an identity that is linked to the account. Whoever merely names an account (by an address, or a username)
    is told nothing of its state.
    """
    reason, detail = f"account_{status.value}", "the account is not active"
    match status:
        case Status.PENDING:
            return AccountPending(reason, detail)
        case Status.SUSPENDED:
            return AccountSuspended(reason, detail)
        case Status.DEPROVISIONED | Status.DELETED | Status.ERASED:
            return AccountClosed(reason, detail)
        case _:
            return NotProvisioned(reason, detail)


async def _seat_after(
    tx: Transaction,
    account: Account,
    to: Status,
    held_from: Status | None,
    *,
    trigger: Trigger,
    settings: ProvisioningSettings,
    at: int,
) -> bool:
    if _behind(to, held_from) not in SEATED:
        return False
    if _behind(account.status, account.held_from) in SEATED:
        return account.seat  # it keeps what it has: somebody with the minimal role only has none
    if await has_free_seat(tx, settings, account.tenant, at=at):
        return True
    if await tx.has_moved(account):
        # Whoever was quicker has given this very account the seat that was left: judged again, it needs none.
        raise Conflict("status")
    if trigger is Trigger.LOGIN and settings.seats_when_full == "minimal_role":
        return False
    raise SeatsFull("seats_full", f"all {settings.seat_limit} seats are taken")


def _behind(status: Status, held_from: Status | None) -> Status:
    """A held account has the seat, or none, of the status it goes back to."""
    return held_from or Status.ACTIVE if status is Status.SUSPENDED else status


async def _bury(tx: Transaction, account: Account, at: int) -> int:
    """Keep the account's identities from getting another one, and anybody from being tied to this one."""
    prelinks = await tx.list_prelinks(user_id=account.user_id)
    if prelinks:
        await tx.drop_prelinks([each.key for each in prelinks])
    links = await tx.list_links(account.user_id)
    for link in links:
        await tx.add_tombstone(link.connection, link.issuer, link.subject, at)
    return len(links)


async def _drop_privileges(tx: Transaction, account: Account, privileged: Container[str]) -> Sequence[Grant]:
    """Whoever comes back is given privileges again by somebody, not by their having had them."""
    dropped = [grant for grant in account.grants if grant.role in privileged]
    await tx.change_grants(account.user_id, add=(), remove=dropped)
    users = tx.users
    user = None if users is None else await users.get(account.user_id)
    if users is not None and user is not None:  # a role may stand there without a grant
        await users.set_roles(user.id, tuple(role for role in user.roles if role not in privileged))
    return dropped


async def _tell_ended(
    tx: Transaction,
    ended: Sequence[SessionRecord],
    *,
    event_id: str,
    at: int,
    cause: str,
    by: str,
    reference: str | None,
) -> None:
    for number, session in enumerate(ended):
        event = session_ended(session, id=f"{event_id}-{number}", at=at, cause=cause, by=by, reference=reference)
        await tx.append_audit(event)


def _names(grants: Sequence[Grant]) -> list[JSON]:
    return [{"role": grant.role, "source": grant.source} for grant in grants]
