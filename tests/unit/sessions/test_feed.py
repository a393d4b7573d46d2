from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from jit_middleware.bridge import TaskLocks, ThreadLocks, step
from jit_middleware.errors import StoreUnavailable
from jit_middleware.http.messages import Admission
from jit_middleware.model import FeedEntry, FeedPage, Session, User
from jit_middleware.ports import Locks
from jit_middleware.sessions import CachedSession, RevocationFeed, SessionCache
from jit_middleware.sessions.live import LiveConnections
from tests.conftest import FakeClock


class FeedOnly:
    """A ledger of which only the feed is asked."""

    def __init__(self) -> None:
        self.entries: list[FeedEntry] = []
        self.reads = 0
        self.down = False
        self.complete = True
        self.slow = 0.0

    def revoke(self, kind: str, key: str) -> None:
        self.entries.append(FeedEntry(len(self.entries) + 1, kind, key))

    async def read_feed(self, after: int | None, limit: int = 1000) -> FeedPage:
        self.reads += 1
        if self.down:
            raise StoreUnavailable("down")
        if self.slow:
            time.sleep(self.slow)
        new = tuple(entry for entry in self.entries if after is not None and entry.position > after)[:limit]
        position = new[-1].position if new else len(self.entries)
        return FeedPage(position, new, self.complete)


def entry(session: str = "s1", user: str = "u1", connection: str = "oidc") -> CachedSession:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    admission = Admission(User(user, user), Session(session, user, connection, when, when), {}, {})
    return CachedSession(admission, session, user, deadline=1e9)


def feed_over(
    ledger: FeedOnly, clock: FakeClock, *, locks: Locks | None = None, **options: float
) -> tuple[RevocationFeed, SessionCache]:
    cache = SessionCache()
    settings = {"max_staleness": 1.0, "grace": 30.0, **options}
    feed = RevocationFeed(ledger, cache, clock=clock, locks=locks or ThreadLocks(), **settings)  # type: ignore[arg-type]
    return feed, cache


def ask(feed: RevocationFeed) -> None:
    step(feed.ensure_fresh())


def test_within_the_bound_nothing_is_read(fake_clock: FakeClock) -> None:
    ledger = FeedOnly()
    feed, _ = feed_over(ledger, fake_clock)
    ask(feed)
    reads = ledger.reads
    fake_clock.advance(0.99)
    ask(feed)
    assert ledger.reads == reads


@pytest.mark.parametrize(
    ("kind", "key", "left"),
    [
        ("session", "s1", {"b", "c", "d"}),
        ("user", "u1", {"c", "d"}),
        ("connection", "oidc", {"c"}),
        ("connection", "OIDC", {"a", "b", "c", "d"}),
        ("all", "", set()),
        ("of another version", "s1", set()),
    ],
)
def test_the_first_question_after_the_bound_drops_what_the_feed_names(
    fake_clock: FakeClock, kind: str, key: str, left: set[str]
) -> None:
    ledger = FeedOnly()
    feed, cache = feed_over(ledger, fake_clock)
    ask(feed)
    cache.put("a", entry("s1", "u1"))
    cache.put("b", entry("s2", "u1"))
    cache.put("c", entry("s3", "u2", "saml"))
    cache.put("d", entry("s4", "u3"))
    ledger.revoke(kind, key)
    fake_clock.advance(1.0)
    ask(feed)
    assert {cookie for cookie in "abcd" if cache.get(cookie) is not None} == left


def test_a_bound_of_zero_asks_each_time(fake_clock: FakeClock) -> None:
    ledger = FeedOnly()
    feed, _ = feed_over(ledger, fake_clock, max_staleness=0.0)
    ask(feed)
    before = ledger.reads
    fake_clock.advance(0.001)
    ask(feed)
    ask_again = ledger.reads
    assert ask_again > before


def test_with_a_bound_of_zero_a_read_serves_those_who_asked_before_it_began_and_nobody_else(
    fake_clock: FakeClock,
) -> None:
    """Who comes while somebody reads may ask about a change that this answer lacks: they all share the next one."""
    ledger = FeedOnly()
    under_way, go_on = asyncio.Event(), asyncio.Event()
    read_feed = ledger.read_feed

    async def read_slowly(after: int | None, limit: int = 1000) -> FeedPage:
        page = await read_feed(after, limit)
        under_way.set()
        await go_on.wait()
        return page

    async def story() -> None:
        feed, cache = feed_over(ledger, fake_clock, max_staleness=0.0, locks=TaskLocks())
        await feed.ensure_fresh()
        cache.put("a", entry("s1"))
        fake_clock.advance(0.001)
        before, ledger.read_feed = ledger.reads, read_slowly  # type: ignore[method-assign]
        first = asyncio.create_task(feed.ensure_fresh())
        await under_way.wait()
        ledger.revoke("session", "s1")
        fake_clock.advance(0.001)
        others = [asyncio.create_task(feed.ensure_fresh()) for _ in range(20)]
        await asyncio.sleep(0)
        fake_clock.advance(0.001)
        go_on.set()
        await asyncio.gather(first, *others)
        assert cache.get("a") is None
        assert ledger.reads - before == 2

    asyncio.run(story())


def test_the_bound_counts_from_before_the_read_began_however_long_the_database_takes(fake_clock: FakeClock) -> None:
    """What is committed after the database has looked is missing from an answer that is still on its way."""
    ledger = FeedOnly()
    feed, cache = feed_over(ledger, fake_clock)
    cache.put("a", entry("s1"))
    read_feed = ledger.read_feed

    async def read_slowly(after: int | None, limit: int = 1000) -> FeedPage:
        page = await read_feed(after, limit)
        ledger.revoke("session", "s1")
        fake_clock.advance(0.75)
        return page

    ledger.read_feed = read_slowly  # type: ignore[method-assign]
    ask(feed)
    ledger.read_feed = read_feed  # type: ignore[method-assign]
    assert cache.get("a") is not None
    fake_clock.advance(0.25)
    ask(feed)
    assert cache.get("a") is None


def test_more_changes_than_a_page_are_all_read(fake_clock: FakeClock) -> None:
    ledger = FeedOnly()
    feed, cache = feed_over(ledger, fake_clock)
    ask(feed)
    for number in range(2_500):
        cache.put(f"c{number}", entry(f"s{number}", f"u{number}"))
        ledger.revoke("session", f"s{number}")
    fake_clock.advance(1)
    ask(feed)
    assert len(cache) == 0


def test_a_reader_that_missed_pruned_entries_forgets_everything(fake_clock: FakeClock) -> None:
    ledger = FeedOnly()
    feed, cache = feed_over(ledger, fake_clock)
    ask(feed)
    cache.put("a", entry())
    ledger.complete = False
    fake_clock.advance(1)
    ask(feed)
    assert len(cache) == 0


def test_an_unreadable_feed_is_forgiven_for_the_grace_period_and_no_longer(fake_clock: FakeClock) -> None:
    ledger = FeedOnly()
    feed, _ = feed_over(ledger, fake_clock, grace=30.0)
    ask(feed)
    ledger.down = True
    fake_clock.advance(29)
    ask(feed)
    fake_clock.advance(2)
    with pytest.raises(StoreUnavailable):
        ask(feed)
    ledger.down = False
    ask(feed)


def test_a_feed_that_was_never_read_is_not_forgiven(fake_clock: FakeClock) -> None:
    ledger = FeedOnly()
    ledger.down = True
    feed, _ = feed_over(ledger, fake_clock)
    with pytest.raises(StoreUnavailable):
        ask(feed)


def test_threads_share_one_reading(fake_clock: FakeClock) -> None:
    ledger = FeedOnly()
    feed, _ = feed_over(ledger, fake_clock)
    ask(feed)
    fake_clock.advance(1)
    before, ledger.slow = ledger.reads, 0.05
    threads = [threading.Thread(target=ask, args=(feed,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.reads - before == 1


def test_tasks_share_one_reading(fake_clock: FakeClock) -> None:
    ledger = FeedOnly()
    feed = RevocationFeed(
        ledger,  # type: ignore[arg-type]
        SessionCache(),
        max_staleness=1.0,
        grace=30.0,
        clock=fake_clock,
        locks=TaskLocks(),
    )

    async def together() -> Sequence[None]:
        return await asyncio.gather(*(feed.ensure_fresh() for _ in range(20)))

    asyncio.run(together())
    assert ledger.reads == 1


def test_what_is_read_shows_first_in_the_position_then_in_the_cache_then_in_what_is_open(
    fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any other order a thread that keeps a session or opens a connection in between would miss its end."""
    ledger = FeedOnly()
    feed, cache = feed_over(ledger, fake_clock)
    ask(feed)
    seen: list[tuple[str, int | None]] = []
    monkeypatch.setattr(cache, "drop_all_of", lambda **_: seen.append(("cache", feed.position)))
    monkeypatch.setattr(cache, "clear", lambda: seen.append(("all of the cache", feed.position)))
    monkeypatch.setattr(LiveConnections, "name", lambda _, **__: seen.append(("open", feed.position)))
    monkeypatch.setattr(LiveConnections, "name_all", lambda _: seen.append(("all that is open", feed.position)))
    ledger.revoke("session", "s1")
    fake_clock.advance(1)
    ask(feed)
    assert seen == [("cache", 1), ("open", 1)]
    ledger.revoke("all", "")
    fake_clock.advance(1)
    ask(feed)
    assert seen[2:] == [("all of the cache", 2), ("all that is open", 2)]


def test_a_full_cache_makes_room_by_dropping_its_oldest() -> None:
    cache = SessionCache(limit=32)
    for number in range(100):
        cache.put(str(number), entry())
    assert len(cache) <= 32
    assert cache.get("99") is not None
    assert cache.get("0") is None


# --- another history ------------------------------------------------------------------------------------------------


def fail_over(ledger: FeedOnly, clock: FakeClock, feed: RevocationFeed, *, noticed: bool) -> None:
    """To a replica that lacked the last two changes, and has taken three others since this worker read."""
    ledger.down = noticed
    clock.advance(1.0 if noticed else 60.0)
    if noticed:
        ask(feed)
        clock.advance(1.0)
    ledger.down = False
    del ledger.entries[-2:]
    for session in ("s1", "s2", "s3"):
        ledger.revoke("session", session)


@pytest.mark.parametrize("noticed", [True, False], ids=["during an outage", "while nobody asked"])
def test_changes_that_took_the_places_of_lost_ones_are_not_missed(fake_clock: FakeClock, noticed: bool) -> None:
    ledger = FeedOnly()
    feed, cache = feed_over(ledger, fake_clock)
    for number in range(2_000):
        ledger.revoke("session", f"old{number}")
    ask(feed)
    for number in range(5):
        cache.put(f"c{number}", entry(f"s{number}", f"u{number}"))
    fail_over(ledger, fake_clock, feed, noticed=noticed)
    ask(feed)
    assert [cache.get(f"c{number}") is None for number in range(5)] == [False, True, True, True, False]
    assert feed.position == 2_001
    reads = ledger.reads
    fake_clock.advance(1.0)
    ask(feed)
    assert ledger.reads == reads + 1, "once"


def test_going_over_the_last_places_again_forgets_nobody_else(fake_clock: FakeClock) -> None:
    """Even where the places before them are pruned."""

    class Pruned(FeedOnly):
        async def read_feed(self, after: int | None, limit: int = 1000) -> FeedPage:
            page = await super().read_feed(after, limit)
            return FeedPage(page.position, page.entries, after is None or after >= 90)

    ledger = Pruned()
    for number in range(100):
        ledger.revoke("session", f"old{number}")
    feed, cache = feed_over(ledger, fake_clock)
    ask(feed)
    cache.put("a", entry())
    fake_clock.advance(60)
    ask(feed)
    assert cache.get("a") is not None


def test_an_entry_that_was_dropped_while_its_header_was_remembered_does_not_stay(fake_clock: FakeClock) -> None:
    """Or whoever sends that header would take the long way as long as this worker lives."""
    cache, known = SessionCache(), entry()
    cache.put("cookie", known)
    cache.clear()  # by another thread, between finding the entry and remembering its header
    cache.put_header("header", known, known.pass_with(""))
    assert cache.by_header.get("header") is None
