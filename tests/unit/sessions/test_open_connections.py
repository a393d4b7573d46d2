"""Which of many open connections end when all sessions of a provider connection do."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Sequence

import pytest

from jit_middleware.bridge import step
from jit_middleware.errors import StoreUnavailable
from jit_middleware.model import FeedEntry
from jit_middleware.sessions import RevocationFeed, SessionCache, Watch
from jit_middleware.sessions.live import LiveConnection
from jit_middleware.testing.login import login_as
from jit_middleware.wsgi import JITMiddleware
from tests.conftest import FakeClock
from tests.unit.sessions.test_feed import FeedOnly, feed_over

FAR = 2e9


class House:
    """The open connections of one worker, and a ledger that is asked about their sessions."""

    def __init__(self, clock: FakeClock, count: int, *, at: str = "oidc") -> None:
        self.store = FeedOnly()
        self.feed: RevocationFeed
        self.cache: SessionCache
        self.feed, self.cache = feed_over(self.store, clock)
        self.ended: set[str] = set()
        self.refused: set[str] = set()
        self.looked_up: list[str] = []
        self.asked: list[int] = []
        self.is_down = False
        self.is_breaking: type[BaseException] | None = None
        self.takes = 0.0
        self.clock = clock
        self.watch = Watch(self.feed, clock=clock, is_served=self.is_served, live_among=self.live_among)
        step(self.feed.ensure_fresh())
        self.open = [LiveConnection(f"s{number}", f"u{number}", FAR, FAR, at) for number in range(count)]
        for connection in self.open:
            connection.unsure = False
            self.feed.live.add(connection)
        clock.advance(1.0)

    async def is_served(self, session_id: str) -> bool:
        self.looked_up.append(session_id)
        if self.is_breaking is not None:
            raise self.is_breaking
        self.clock.advance(self.takes)
        return session_id not in self.ended | self.refused

    async def live_among(self, session_ids: Sequence[str]) -> Sequence[str]:
        self.asked.append(len(session_ids))
        if self.is_down:
            raise StoreUnavailable("unreachable")
        return [each for each in session_ids if each not in self.ended]

    def revoke(self, kind: str, key: str) -> None:
        self.store.entries.append(FeedEntry(len(self.store.entries) + 1, kind, key))

    def over(self) -> set[str]:
        ended = step(self.watch.ended(self.open))
        assert {why for _, why in ended} <= {"session_ended"}
        assert len(ended) == len({connection for connection, _ in ended})
        return {connection.session_id for connection, _ in ended}


def ids(*numbers: int) -> set[str]:
    return {f"s{number}" for number in numbers}


def test_many_are_ended_by_one_question(fake_clock: FakeClock) -> None:
    """One by one, the last would end long after the bound."""
    house = House(fake_clock, 1_000)
    house.ended = ids(*range(1_000)) - ids(7, 8)
    house.refused = ids(8)
    house.revoke("connection", "oidc")
    assert house.over() == ids(*range(1_000)) - ids(7)
    assert house.asked == [1_000]
    assert house.looked_up == ["s7", "s8"], "their accounts may have been shut"
    fake_clock.advance(1.0)
    house.open = [each for each in house.open if each.session_id == "s7"]
    assert house.over() == set()
    assert house.looked_up == ["s7", "s8"], "once"


def test_those_that_share_a_session_end_together(fake_clock: FakeClock) -> None:
    house = House(fake_clock, 30)
    more = LiveConnection("s3", "u3", FAR, FAR, "oidc")
    more.unsure = False
    house.feed.live.add(more)
    house.open.append(more)
    house.ended = ids(3)
    house.revoke("connection", "oidc")
    assert [each.session_id for each, _ in step(house.watch.ended(house.open))] == ["s3", "s3"]
    assert house.asked == [30]


@pytest.mark.parametrize("key", ["other", "OIDC", ""])
def test_those_of_another_connection_are_not_even_looked_up(fake_clock: FakeClock, key: str) -> None:
    house = House(fake_clock, 50)
    house.ended = ids(*range(50))
    house.revoke("connection", key)
    assert house.over() == set()
    assert (house.asked, house.looked_up) == ([], [])


def test_a_few_are_looked_up_each(fake_clock: FakeClock) -> None:
    house = House(fake_clock, 3)
    house.ended = ids(0, 2)
    house.revoke("connection", "oidc")
    assert house.over() == ids(0, 2)
    assert (house.asked, house.looked_up) == ([], ["s0", "s1", "s2"])


def test_when_the_one_question_fails_each_is_looked_up(fake_clock: FakeClock) -> None:
    house = House(fake_clock, 40)
    house.ended, house.is_down = ids(*range(40)), True
    house.revoke("all", "")
    assert house.over() == ids(*range(40))
    assert (house.asked, len(house.looked_up)) == ([40], 40)


def test_while_the_ledger_is_known_to_be_away_nobody_waits_for_a_look(fake_clock: FakeClock) -> None:
    house = House(fake_clock, 3)
    house.store.down = True
    for connection in house.open[:2]:
        connection.unsure = True
    house.open[0].named = True
    house.ended = ids(0, 1)
    assert house.over() == ids(0)
    assert house.looked_up == ["s0"]
    house.store.down = False
    fake_clock.advance(5)
    assert house.over() == ids(0, 1), "then it is made up for"


# --- a look that does not come to its end -------------------------------------------------------------------------


class OfAStore(Exception):
    """No ``AdapterError``."""


@pytest.mark.parametrize("failure", [OfAStore, CancelledError])
def test_a_look_that_breaks_off_leaves_the_doubt(fake_clock: FakeClock, failure: type[BaseException]) -> None:
    house = House(fake_clock, 1)
    house.ended, house.is_breaking = ids(0), failure
    house.revoke("user", "u0")
    with pytest.raises(failure):
        house.over()
    house.is_breaking = None
    assert house.over() == ids(0), "though nobody names it again"


def test_a_look_that_began_earlier_does_not_answer_for_one_that_breaks_off_later(fake_clock: FakeClock) -> None:
    house = House(fake_clock, 1)
    house.revoke("user", "u0")

    async def is_served(session_id: str) -> bool:
        house.watch._is_served = house.is_served
        house.ended, house.is_breaking = ids(0), OfAStore
        (connection,) = house.open
        connection.named = True  # by the feed, while this look is under way
        with pytest.raises(OfAStore):
            await house.watch.ended(house.open)
        house.is_breaking = None
        return True

    house.watch._is_served = is_served
    assert house.over() == set()
    assert house.over() == ids(0)


# --- a turn that has no time for all ------------------------------------------------------------------------------


def turn(house: House) -> list[str]:
    ended: list[str] = []

    def end(connection: LiveConnection, why: str) -> None:
        house.open.remove(connection)
        ended.append(f"{connection.session_id} after {len(house.looked_up)}")

    step(house.watch.judge(tuple(house.open), end, early=True))
    return ended


def slow_house(clock: FakeClock, count: int) -> House:
    house = House(clock, count)
    house.watch._live_among = None
    house.takes = 0.01
    return house


def test_what_is_known_to_have_ended_waits_for_no_look_up(fake_clock: FakeClock) -> None:
    house = slow_house(fake_clock, 1_000)
    house.ended = ids(998)
    house.revoke("connection", "oidc")
    house.revoke("session", "s999")
    house.open[997].expires_at = 0.0
    assert turn(house) == ["s997 after 0", "s999 after 0"]


def test_what_one_question_ends_waits_for_no_look_up(fake_clock: FakeClock) -> None:
    house = slow_house(fake_clock, 1_000)
    house.watch._live_among = house.live_among
    house.ended = ids(998)
    house.revoke("connection", "oidc")
    assert turn(house) == ["s998 after 0"]
    assert house.looked_up


def test_a_turn_ends_when_the_feed_is_to_be_read_again_and_the_next_goes_on(fake_clock: FakeClock) -> None:
    """Else a session that is revoked meanwhile would wait for the looks at all others."""
    house = slow_house(fake_clock, 300)
    house.revoke("connection", "oidc")
    bound, lead = house.feed.max_staleness, house.watch._lead
    began, done = fake_clock.monotonic(), 0
    assert turn(house) == []
    assert fake_clock.monotonic() - began <= bound - lead + 0.011
    assert 20 < len(house.looked_up) < 300
    house.ended = ids(299)
    house.revoke("session", "s299")
    while len(house.looked_up) < 299:
        assert house.watch.pause(house.open) == 0.1, "nobody waits for the next read with doubts left"
        fake_clock.advance(0.1)
        done = len(house.looked_up)
        ended = turn(house)
        assert ended in ([], [f"s299 after {done}"])
        assert len(house.looked_up) > done
    assert house.looked_up == [f"s{number}" for number in range(299)], "each once"
    fake_clock.advance(1.0)
    assert turn(house) == []
    assert house.watch.pause(house.open) == bound - lead


@pytest.mark.parametrize(("kind", "key"), [("session", "s1"), ("user", "u1")])
def test_what_a_request_has_read_during_a_slow_look_up_does_not_wait_for_the_next_read(
    fake_clock: FakeClock, kind: str, key: str
) -> None:
    """It was committed up to a bound ago when it was read: a second one would be over before the next turn."""
    house = slow_house(fake_clock, 2)
    house.revoke("user", "u0")

    async def is_served(session_id: str) -> bool:
        if session_id == "s0":
            house.ended = ids(1)
            house.revoke(kind, key)
            fake_clock.advance(house.feed.max_staleness)
            await house.feed.ensure_fresh()
        return await house.is_served(session_id)

    house.watch._is_served = is_served
    assert turn(house) == []
    assert house.watch.pause(house.open) == 0.1
    fake_clock.advance(0.1)
    assert [each.partition(" ")[0] for each in turn(house)] == ["s1"]


def test_haste_cuts_a_turn_short(fake_clock: FakeClock) -> None:
    house = slow_house(fake_clock, 300)
    house.feed.max_staleness = 3600.0
    house.revoke("connection", "oidc")

    async def is_served(session_id: str) -> bool:
        if len(house.looked_up) == 3:
            house.revoke("session", "s299")
            house.feed.hurry()
        return await house.is_served(session_id)

    house.watch._is_served = is_served
    assert turn(house) == []
    assert len(house.looked_up) <= 12
    before = len(house.looked_up)
    assert turn(house) == [f"s299 after {before}"]


def test_who_is_asked_about_alone_gets_an_answer_however_long_it_takes(fake_clock: FakeClock) -> None:
    house = slow_house(fake_clock, 10)
    house.takes = 60.0
    house.ended = ids(9)
    house.revoke("connection", "oidc")
    assert house.over() == ids(9)


def test_what_the_feed_names_comes_before_what_is_looked_up_from_time_to_time_and_then_who_waits_longest(
    fake_clock: FakeClock,
) -> None:
    house = slow_house(fake_clock, 200)
    house.watch._look_again = 1.0
    for connection in house.open:
        connection.due = fake_clock.monotonic()
    house.revoke("user", "u150")
    turn(house)
    assert house.looked_up[0] == "s150"
    for _ in range(10):
        fake_clock.advance(0.1)
        turn(house)
    assert set(house.looked_up[:200]) == ids(*range(200)), "none again before each was"


# --- with the whole house around it ---------------------------------------------------------------------------------


def test_a_ledger_ends_the_open_connections_of_a_provider_by_few_statements(
    middleware: JITMiddleware, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, ledger = middleware.gate, middleware.gate.house.ledger
    opened: dict[str, LiveConnection] = {}
    for number in range(30):
        cookie = login_as(middleware, f"s{number}", preferred_username=f"person{number}")
        entry = step(gate.house.sessions.find(cookie))
        assert entry is not None
        opened[cookie] = gate.watch.open(entry)
    step(ledger.transaction(lambda tx: tx.end_sessions(fake_clock.now(), connection="oidc")))
    back = login_as(middleware, "s30", preferred_username="person30")
    entry = step(gate.house.sessions.find(back))
    assert entry is not None
    stays = gate.watch.open(entry)
    fake_clock.advance(1.0)
    looked_up, find = list[str](), ledger.find_session

    async def counted(session_id: str) -> object:
        looked_up.append(session_id)
        return await find(session_id)

    monkeypatch.setattr(ledger, "find_session", counted)
    ended = step(gate.watch.ended([*opened.values(), stays]))
    assert {connection for connection, _ in ended} == set(opened.values())
    assert {why for _, why in ended} == {"session_ended"}
    assert looked_up == [stays.session_id], "it began since"
    assert all(gate.admit("/", cookie) is None for cookie in opened), "nor is any of them admitted"
    assert all(step(gate.house.sessions.find(cookie)) is None for cookie in opened)
