"""How often a password may be tried for an account: counted in the ledger, for all workers and all browsers together.

Each attempt takes a key of its own, named by the account, by the span of time it falls into, and by its number there.
Those of the span and of the three before it are counted together, so that no quarter of an hour sees more than are
allowed, wherever it begins. Whoever counts holds the tenant until the attempt is written down: of attempts that come at
once, none goes uncounted.
"""

from __future__ import annotations

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
        await tx.hold_tenant(tenant)
        span = at // SPAN
        before = [await _tried(tx, user_id, each) for each in range(span - SPANS + 1, span)]
        here = await _tried(tx, user_id, span)
        if sum(before) + here >= ATTEMPTS:
            return False
        await tx.claim_once(_PURPOSE, _key(user_id, span, here), (span + SPANS) * SPAN)
        return True

    try:
        return await ledger.transaction(attempt)
    except Conflict as conflict:
        if conflict.reason == "once_key":
            return False
        raise


async def _tried(tx: Transaction, user_id: str, span: int) -> int:
    """How many attempts there were in this span; they are numbered without gaps."""
    for number in range(ATTEMPTS):
        if not await tx.is_taken(_PURPOSE, _key(user_id, span, number)):
            return number
    return ATTEMPTS


def _key(user_id: str, span: int, number: int) -> str:
    return f"{user_id}:{span}:{number}"
