"""The memory for used keys: bounded, and never longer than the ledger's."""

from __future__ import annotations

from jit_middleware_redis.used_keys import UsedKeys


def test_a_key_is_held_up_to_its_time_and_no_longer() -> None:
    known = UsedKeys()
    known.add("k", 100)
    assert known.holds("k", 99)
    assert known.holds("k", 100)
    assert not known.holds("k", 101)
    assert not known.holds("other", 0)


def test_the_oldest_make_room() -> None:
    known = UsedKeys(limit=32)
    for number in range(1_000):
        known.add(str(number), 100)
        assert len(known) <= 32
    assert known.holds("999", 1)
    assert known.holds("980", 1)
    assert not known.holds("0", 1)


def test_a_key_that_comes_again_is_held_as_said_last() -> None:
    known = UsedKeys()
    known.add("k", 100)
    known.add("k", 200)
    assert known.holds("k", 150)
    assert len(known) == 1
