"""How often a password may be tried for an account: counted in the ledger, for all workers and all browsers together.

Each attempt takes a key of its own, named by the account, by the span of time it falls into, and by its number there.
Those of the span and of the three before it are counted together, so that no quarter of an hour sees more than are
allowed, wherever it begins. Whoever may try counts again while holding the tenant until the attempt is written down: of
attempts that come at once, none goes uncounted. Whoever may not is told so without that, since an attempt that was
counted stays counted: tries without end at one account hold up nobody who signs in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jit_middleware.errors import Conflict
from jit_middleware.ports import Ledger, Transaction

#: So many passwords for one account in any quarter of an hour.
ATTEMPTS: Final = 5
#: Seconds of a span, and how many of them any quarter of an hour lies in.
SPAN: Final = 300
SPANS: Final = 4
_PURPOSE: Final = "link_attempt"


async def may_try(ledger: Ledger, tenant: str, user_id: str, *, at: int) -> bool:
    """Whether a password may be tried for this account now, in seconds; if so, the attempt is written down."""

    async def attempt(tx: Transaction) -> bool:
        span = at // SPAN
        if sum((await _counted(tx, user_id, span)).values()) >= ATTEMPTS:
            return False
        await tx.hold_tenant(tenant)
        counted = await _counted(tx, user_id, span)
        if sum(counted.values()) >= ATTEMPTS:
            return False
        await tx.claim_once(_PURPOSE, _key(user_id, span, counted[span]), (span + SPANS) * SPAN)
        return True

    try:
        return await ledger.transaction(attempt)
    except Conflict as conflict:
        if conflict.reason == "once_key":
            return False
        raise


async def _counted(tx: Transaction, user_id: str, span: int) -> Mapping[int, int]:
    """How many attempts there were in each of the spans that count: the next one too, where the clock of another host
    may be already."""
    return {each: await _tried(tx, user_id, each) for each in range(span - SPANS + 1, span + 2)}


async def _tried(tx: Transaction, user_id: str, span: int) -> int:
    """How many attempts there were in this span; they are numbered without gaps."""
    for number in range(ATTEMPTS):
        if not await tx.is_taken(_PURPOSE, _key(user_id, span, number)):
            return number
    return ATTEMPTS


def _key(user_id: str, span: int, number: int) -> str:
    return f"{user_id}:{span}:{number}"
