"""Tries of a password, on every database with every driver: none goes uncounted, and who has none left holds up nobody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import pytest

from jit_middleware.endpoints.attempts import ATTEMPTS, SPAN, SPANS, may_try
from jit_middleware.ports import Ledger, Transaction
from tests.contract.conftest import Rig

pytestmark = pytest.mark.real

T = TypeVar("T")
AT = 1_800_000_000  # a span begins


def trying(rig: Rig, user_id: str = "u1", *, at: int = AT) -> Callable[[], Awaitable[bool]]:
    return lambda: may_try(rig.ledger, "default", user_id, at=at)


class Held:
    """The ledger, which notes who holds the tenant."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.times = 0

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async def noted(tx: Any) -> T:
            hold = tx.hold_tenant

            async def hold_tenant(tenant: str) -> None:
                self.times += 1
                await hold(tenant)

            tx.hold_tenant = hold_tenant
            return await work(tx)

        return await self._rig.ledger.transaction(noted)


def test_of_tries_that_come_at_once_none_goes_uncounted(rig: Rig) -> None:
    """At hosts whose clocks are a second apart, when one of them begins to count anew."""
    allowed = rig.together([trying(rig, at=AT + SPAN - number % 2) for number in range(8)])
    assert [answer for answer in allowed if isinstance(answer, BaseException)] == []
    assert allowed.count(True) <= ATTEMPTS
    rest = [rig.run(trying(rig, at=AT + SPAN)()) for _ in range(ATTEMPTS)]
    assert allowed.count(True) + rest.count(True) == ATTEMPTS, "and none that was refused does"


def test_whoever_has_no_try_left_does_not_wait_for_the_tenant(rig: Rig) -> None:
    held = Held(rig)
    ask: Callable[[], Awaitable[bool]] = lambda: may_try(cast("Ledger", held), "default", "u1", at=AT)  # noqa: E731
    assert [rig.run(ask()) for _ in range(ATTEMPTS)] == [True] * ATTEMPTS
    assert held.times == ATTEMPTS
    assert [rig.run(ask()) for _ in range(3)] == [False] * 3
    assert held.times == ATTEMPTS
    assert rig.run(trying(rig, "u2")()), "another account has its own"
    assert rig.run(trying(rig, at=AT + SPANS * SPAN)())
