"""The verbs about prelinks, on every database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from jit_middleware.errors import Conflict
from jit_middleware.model import AuditEvent, IdentityLink, Prelink
from jit_middleware.ports import Transaction
from tests.contract.conftest import Rig

pytestmark = pytest.mark.real

AT = 1_800_000_000
ONE = Prelink("a" * 64, "subject", "oidc", "user-1", "spring", AT, AT + 100)
TWO = Prelink("b" * 64, "email", "oidc", "user-2", "spring", AT + 1, AT + 100, tenant="other")
THREE = Prelink("A" * 64, "invitation", "saml", "user-1", "", AT + 2, AT + 100)


async def add(tx: Transaction) -> None:
    await tx.add_prelinks([ONE, TWO, THREE])


def test_prelinks_are_found_by_their_exact_keys(rig: Rig) -> None:
    rig.run(rig.ledger.transaction(add))

    async def work(tx: Transaction) -> None:
        assert await tx.find_prelinks([TWO.key, ONE.key, "c" * 64]) == [TWO, ONE]
        assert await tx.find_prelinks([THREE.key]) == [THREE]
        assert await tx.find_prelinks(["\x00", "x" * 65]) == []
        assert await tx.find_prelinks([]) == []
        many = [f"{number:064}" for number in range(120)]
        assert await tx.find_prelinks([*many, ONE.key]) == [ONE]
        assert await tx.list_prelinks() == [ONE, TWO, THREE]
        assert await tx.list_prelinks(batch="spring") == [ONE, TWO]
        assert await tx.list_prelinks(batch="SPRING") == []
        assert await tx.list_prelinks(user_id="user-1") == [ONE, THREE]
        assert await tx.list_prelinks(limit=1) == [ONE]

    rig.run(rig.ledger.transaction(work))


def test_first_login_finds_a_prelink_made_before_or_in_its_own_transaction(rig: Rig) -> None:
    """Looking up the link tells whether there are prelinks at all; that must hide none."""

    async def look(tx: Transaction) -> Sequence[Prelink]:
        assert await tx.find_link("oidc", "https://op.example", "ann") is None
        return await tx.find_prelinks([ONE.key])

    async def look_and_make(tx: Transaction) -> Sequence[Prelink]:
        assert await look(tx) == []
        await add(tx)
        return await tx.find_prelinks([ONE.key])

    assert rig.run(rig.ledger.transaction(look)) == []
    assert rig.run(rig.ledger.transaction(look_and_make)) == [ONE]
    assert rig.run(rig.ledger.transaction(look)) == [ONE]


def test_prelink_that_is_there_is_not_made_again(rig: Rig) -> None:
    rig.run(rig.ledger.transaction(add))
    with pytest.raises(Conflict) as conflict:
        rig.run(rig.ledger.transaction(lambda tx: tx.add_prelinks([replace(ONE, user_id="user-3")])))
    assert conflict.value.reason == "prelink"
    assert rig.run(rig.ledger.transaction(lambda tx: tx.find_prelinks([ONE.key]))) == [ONE]


def test_prelink_is_used_once_and_in_time(rig: Rig) -> None:
    rig.run(rig.ledger.transaction(add))

    def use(key: str, at: int) -> bool:
        return rig.run(rig.ledger.transaction(lambda tx: tx.use_prelink(key, at)))

    assert not use(ONE.key, ONE.until)
    assert use(ONE.key, ONE.until - 1)
    assert not use(ONE.key, ONE.until - 1)
    assert not use("c" * 64, AT)
    assert rig.run(rig.ledger.transaction(lambda tx: tx.find_prelinks([ONE.key]))) == [
        replace(ONE, used_at=ONE.until - 1)
    ]


def test_prelink_that_nobody_used_in_time_is_pruned_and_a_used_one_is_kept(rig: Rig) -> None:
    rig.run(rig.ledger.transaction(add))
    rig.run(rig.ledger.transaction(lambda tx: tx.use_prelink(ONE.key, AT)))
    rig.run(rig.ledger.transaction(lambda tx: tx.add_prelinks([replace(TWO, key="d" * 64, until=AT + 500)])))
    assert rig.run(rig.ledger.prune(AT + 100)) == 0
    assert rig.run(rig.ledger.prune(AT + 101)) == 2
    left = rig.run(rig.ledger.transaction(lambda tx: tx.list_prelinks()))
    assert {prelink.key for prelink in left} == {ONE.key, "d" * 64}


def test_prelink_used_by_twenty_at_once_is_ones(rig: Rig) -> None:
    rig.run(rig.ledger.transaction(add))
    used = rig.together([lambda: rig.ledger.transaction(lambda tx: tx.use_prelink(ONE.key, AT))] * 20)
    assert sorted(map(bool, used)) == [False] * 19 + [True], used


def test_work_that_fails_uses_nothing_up(rig: Rig) -> None:
    rig.run(rig.ledger.transaction(add))

    async def fail(tx: Transaction) -> None:
        assert await tx.use_prelink(ONE.key, AT)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - ours, a line above
        rig.run(rig.ledger.transaction(fail))
    assert rig.run(rig.ledger.transaction(lambda tx: tx.find_prelinks([ONE.key]))) == [ONE]


def test_a_thousand_prelinks_are_one_unit_of_work(rig: Rig) -> None:
    many = [replace(ONE, key=f"{number:064x}", user_id=f"user-{number}") for number in range(1000)]

    async def work(tx: Transaction) -> int:
        await tx.add_prelinks(many)
        return await tx.drop_prelinks([prelink.key for prelink in many[:990]])

    assert rig.run(rig.ledger.transaction(work)) == 990
    assert len(rig.run(rig.ledger.transaction(lambda tx: tx.list_prelinks()))) == 10


def test_link_is_untied_by_its_exact_identity(rig: Rig) -> None:
    link = IdentityLink("oidc", "https://idp.example", "alice", "key", "user-1")

    async def work(tx: Transaction) -> tuple[bool, bool, bool]:
        await tx.add_link(link)
        other = await tx.drop_link(replace(link, subject="ALICE"))
        return other, await tx.drop_link(link), await tx.drop_link(link)

    assert rig.run(rig.ledger.transaction(work)) == (False, True, False)
    assert rig.run(rig.ledger.transaction(lambda tx: tx.list_links("user-1"))) == []


def test_event_that_happens_once_is_known_afterwards(rig: Rig) -> None:
    event = AuditEvent("e1", "user.first_login", AT, once="user.first_login:u")
    rig.run(rig.ledger.transaction(lambda tx: tx.append_audit(event)))
    assert rig.run(rig.ledger.transaction(lambda tx: tx.has_event("user.first_login:u")))
    assert not rig.run(rig.ledger.transaction(lambda tx: tx.has_event("user.first_login:U")))
