"""What a worker knows of revocations: how often it asks, when it must ask at once, and what it tells of an outage."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from jit_middleware import asgi, wsgi
from jit_middleware.audit import AuditTrail
from jit_middleware.bridge import ThreadLocks, step
from jit_middleware.errors import Conflict, StoreUnavailable
from jit_middleware.model import AuditEvent, FeedEntry, FeedPage
from jit_middleware.sessions import CachedSession, RevocationFeed, SessionCache
from jit_middleware.settings import Settings
from jit_middleware.testing.login import login_as, login_as_async
from tests.conftest import FakeClock
from tests.fakes import CountedTokens
from tests.worlds import Outgoing, call_asgi, call_wsgi, environ_of, scope_of

USERS, SECONDS, EACH = 60, 5, 4


def settings(url: str) -> Settings:
    return Settings.load(
        {
            "JIT_PUBLIC_URL": "http://localhost:8000",
            "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
            "JIT_OIDC_ISSUER": "https://login.example.org",
            "JIT_OIDC_CLIENT_ID": "app",
            "JIT_OIDC_CLIENT_SECRET": "secret",
            "JIT_DATABASE_URL": url,
        }
    )


def request(cookie: str) -> Outgoing:
    return Outgoing("GET", "http://localhost:8000/page", (("Cookie", cookie),))


def statements_of(middleware: Any) -> list[str]:
    """Every statement from now on."""
    ledger = middleware.gate.house.ledger
    engine = getattr(ledger, "_ledger", ledger).database.engine
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    return seen


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


# --- how often it asks ----------------------------------------------------------------------------------------------


def test_one_small_read_for_each_second_and_worker_whatever_the_number_of_users(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    middleware = wsgi.JITMiddleware(wsgi_app, settings(f"sqlite:///{tmp_path}/jit.db"), clock=fake_clock)
    cookies = [login_as(middleware, f"s{number}", preferred_username=f"u{number}") for number in range(USERS)]

    def everybody() -> None:
        for cookie in cookies:
            assert call_wsgi(middleware, environ_of(request(cookie))).status == "200 OK"

    everybody()
    seen = statements_of(middleware)
    for _ in range(SECONDS * EACH):
        fake_clock.advance(1 / EACH)
        everybody()
    assert len(seen) == SECONDS, seen
    assert all("jit_feed" in statement for statement in seen)
    step(middleware.gate.close())


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite"])
def test_the_same_for_tasks_that_ask_all_at_once(driver: str, tmp_path: Path, fake_clock: FakeClock) -> None:
    async def story() -> None:
        middleware = asgi.JITMiddleware(asgi_app, settings(f"{driver}:///{tmp_path}/jit.db"), clock=fake_clock)
        cookies = [
            await login_as_async(middleware, f"s{number}", preferred_username=f"u{number}") for number in range(USERS)
        ]

        async def everybody() -> None:
            answers = await asyncio.gather(*(call_asgi(middleware, scope_of(request(cookie))) for cookie in cookies))
            assert {sent[0]["status"] for sent in answers} == {200}

        await everybody()
        seen = statements_of(middleware)
        for _ in range(SECONDS * EACH):
            fake_clock.advance(1 / EACH)
            await everybody()
        assert len(seen) == SECONDS, seen
        await middleware.gate.close()

    asyncio.run(story())


def test_made_up_cookies_and_header_names_fill_no_memory(tmp_path: Path, fake_clock: FakeClock) -> None:
    middleware = wsgi.JITMiddleware(wsgi_app, settings(f"sqlite:///{tmp_path}/jit.db"), clock=fake_clock)
    step(middleware.gate.start())
    sessions = middleware.gate.house.sessions
    seen = statements_of(middleware)
    for number in range(2_000):
        call_wsgi(middleware, environ_of(request(f"jit=made-up-{number}.0.x; a={number}")))
    assert len(sessions._cache) == 0
    assert not sessions._cache.by_header
    assert not [statement for statement in seen if "jit_sessions" in statement]
    step(middleware.gate.close())
    edge = asgi.JITMiddleware(asgi_app, settings(f"sqlite:///{tmp_path}/jit.db"), clock=fake_clock)
    for number in range(3_000):
        names = [b"host"] * (number % 100) + [f"x-{number}".encode(), b"accept"]
        edge._shape(names, [(name, f"text/x-{number}".encode()) for name in names])
    assert len(edge._shapes) <= 1_024
    assert len(edge._hot[2]) <= 101
    assert len(edge._watchers._manners) <= 256


def test_no_lock_is_held_while_the_app_works(tmp_path: Path, fake_clock: FakeClock) -> None:
    working, go_on = threading.Event(), threading.Event()

    def slow_app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["QUERY_STRING"] == "slow":
            working.set()
            assert go_on.wait(20)
        return wsgi_app(environ, start_response)

    middleware = wsgi.JITMiddleware(slow_app, settings(f"sqlite:///{tmp_path}/jit.db"), clock=fake_clock)
    cookies = [login_as(middleware, name, preferred_username=name) for name in ("alice", "bob")]
    slow = environ_of(request(cookies[0])) | {"QUERY_STRING": "slow"}
    thread = threading.Thread(target=call_wsgi, args=(middleware, slow))
    thread.start()
    assert working.wait(20)
    fake_clock.advance(2)  # the feed is due, and bob's session has never been looked up
    assert call_wsgi(middleware, environ_of(request(cookies[1]))).status == "200 OK"
    assert call_wsgi(middleware, environ_of(request(cookies[0]))).status == "200 OK"
    assert login_as(middleware, "carol", preferred_username="carol")
    assert thread.is_alive()
    go_on.set()
    thread.join(20)
    step(middleware.gate.close())


def test_an_entry_that_makes_room_for_another_of_its_session_admits_nobody() -> None:
    """Two threads that load one session: what the slower one puts aside must not be found by its header any more."""
    cache = SessionCache()
    admission: Any = None
    first, second = (CachedSession(admission, "s", "u", 1e9) for _ in range(2))
    cache.put("cookie", first)
    cache.put_header("header", first, first.pass_with(""))
    cache._by_cookie.pop("cookie")  # the other thread's drop, a moment before this one's
    cache.put("cookie", first)
    cache.put("cookie", second)
    assert first.deadline < 0
    assert cache.by_header.get("header") is None
    cache.drop_all_of(sessions={"s"}, users=set())
    assert second.deadline < 0


# --- haste ----------------------------------------------------------------------------------------------------------


class Ledger:
    """Feed and audit of a ledger, in memory."""

    def __init__(self) -> None:
        self.entries: list[FeedEntry] = []
        self.events: list[AuditEvent] = []
        self.reads = 0
        self.failure: StoreUnavailable | None = None
        self.write_failure: Exception | None = None
        self.meanwhile: Callable[[], object] = int

    async def read_feed(self, after: int | None, limit: int = 1000) -> FeedPage:
        self.reads += 1
        self.meanwhile()
        if self.failure is not None:
            raise self.failure
        new = () if after is None else tuple(self.entries[after:][:limit])
        return FeedPage(len(self.entries), new)

    async def transaction(self, work: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        if self.write_failure is not None:
            raise self.write_failure
        await work(self)

    async def append_audit(self, event: AuditEvent) -> None:
        self.events.append(event)


def feed_over(ledger: Ledger, clock: FakeClock, **options: Any) -> RevocationFeed:
    given: dict[str, Any] = {"max_staleness": 1.0, "grace": 30.0, **options}
    return RevocationFeed(
        ledger,  # type: ignore[arg-type]
        SessionCache(),
        clock=clock,
        locks=ThreadLocks(),
        audit=AuditTrail(clock=clock, tokens=CountedTokens()),
        background=lambda work: step(work()),
        **given,
    )


def test_haste_makes_the_very_next_request_ask(fake_clock: FakeClock) -> None:
    ledger = Ledger()
    feed = feed_over(ledger, fake_clock)
    step(feed.ensure_fresh())
    step(feed.ensure_fresh())
    assert ledger.reads == 1
    feed.hurry()
    fake_clock.advance(0.001)
    step(feed.ensure_fresh())
    step(feed.ensure_fresh())
    assert ledger.reads == 2


def test_haste_during_a_read_is_not_lost(fake_clock: FakeClock) -> None:
    """What is pushed while a read is under way may be missing from its answer."""
    ledger = Ledger()
    feed = feed_over(ledger, fake_clock)
    ledger.meanwhile = feed.hurry
    step(feed.ensure_fresh())
    ledger.meanwhile = int
    fake_clock.advance(0.001)
    step(feed.ensure_fresh())
    assert ledger.reads == 2
    step(feed.ensure_fresh())
    assert ledger.reads == 2


def test_haste_from_many_threads_breaks_nothing(fake_clock: FakeClock) -> None:
    ledger = Ledger()
    feed = feed_over(ledger, fake_clock, max_staleness=3600.0)
    stop = threading.Event()

    def push() -> None:
        while not stop.is_set():
            feed.hurry()

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        fake_clock.advance(0.001)
        step(feed.ensure_fresh())
    stop.set()
    for thread in threads:
        thread.join(20)
    feed.hurry()
    fake_clock.advance(0.001)
    reads = ledger.reads
    step(feed.ensure_fresh())
    assert ledger.reads == reads + 1


# --- outages --------------------------------------------------------------------------------------------------------


def outage(feed: RevocationFeed, ledger: Ledger, clock: FakeClock, seconds: float) -> None:
    """The feed fails once, and is well again after so many seconds."""
    ledger.failure = StoreUnavailable("connection_lost")
    clock.advance(1)
    try:
        step(feed.ensure_fresh())
    except StoreUnavailable:
        assert feed.knowledge == "refused"
    clock.advance(seconds)
    ledger.failure = None
    step(feed.ensure_fresh())


def test_an_outage_leaves_one_event_with_its_length(fake_clock: FakeClock) -> None:
    ledger = Ledger()
    feed = feed_over(ledger, fake_clock)
    step(feed.ensure_fresh())
    outage(feed, ledger, fake_clock, 12.0)
    for _ in range(3):
        fake_clock.advance(1)
        step(feed.ensure_fresh())
    (told,) = ledger.events
    assert (told.type, told.outcome, told.reason) == ("feed.interrupted", "failure", "connection_lost")
    assert told.data == {"seconds": 12, "refused": False}
    outage(feed, ledger, fake_clock, 3.0)
    assert [each.data["seconds"] for each in ledger.events] == [12, 3]


def test_the_event_says_whether_anybody_was_refused(fake_clock: FakeClock) -> None:
    ledger = Ledger()
    feed = feed_over(ledger, fake_clock, grace=0.0)
    step(feed.ensure_fresh())
    outage(feed, ledger, fake_clock, 5.0)
    assert ledger.events[0].data["refused"] is True


def over_an_unwritable_ledger(clock: FakeClock) -> tuple[Ledger, RevocationFeed]:
    ledger = Ledger()
    feed = feed_over(ledger, clock)
    step(feed.ensure_fresh())
    ledger.write_failure = StoreUnavailable("read_only")
    return ledger, feed


def test_an_event_that_cannot_be_written_yet_is_written_later_and_once(
    fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, feed = over_an_unwritable_ledger(fake_clock)
    with caplog.at_level(logging.WARNING):
        outage(feed, ledger, fake_clock, 2.0)
    assert "not recorded yet: read_only" in caplog.text
    for _ in range(30):
        fake_clock.advance(1)
        step(feed.ensure_fresh())
    assert caplog.text.count("not recorded yet") == 1, "one try a minute"
    ledger.write_failure = None
    fake_clock.advance(60)
    step(feed.ensure_fresh())
    step(feed.ensure_fresh())
    assert [each.data["seconds"] for each in ledger.events] == [2]


def test_of_too_many_events_that_cannot_be_written_the_oldest_goes_first(
    fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that comes and goes and takes no writes fills no memory; the log has had a line for each."""
    ledger, feed = over_an_unwritable_ledger(fake_clock)
    with caplog.at_level(logging.WARNING):
        for number in range(1_003):
            outage(feed, ledger, fake_clock, 1.0 + number % 7)
    assert caplog.text.count("readable again after") == 1_003
    ledger.write_failure = None
    fake_clock.advance(60)
    step(feed.ensure_fresh())
    assert [each.data["seconds"] for each in ledger.events] == [1 + number % 7 for number in range(3, 1_003)]


def test_an_event_whose_answer_was_lost_is_not_written_twice(fake_clock: FakeClock) -> None:
    ledger = Ledger()
    feed = feed_over(ledger, fake_clock)
    step(feed.ensure_fresh())
    ledger.write_failure = Conflict("audit_once")
    outage(feed, ledger, fake_clock, 2.0)
    ledger.write_failure = None
    fake_clock.advance(120)
    step(feed.ensure_fresh())
    assert ledger.events == []


def test_knowledge_goes_from_fresh_through_grace_to_refused(fake_clock: FakeClock) -> None:
    ledger = Ledger()
    feed = feed_over(ledger, fake_clock)
    step(feed.ensure_fresh())
    assert feed.knowledge == "fresh"
    ledger.failure = StoreUnavailable("unreachable")
    fake_clock.advance(29.5)
    step(feed.ensure_fresh())
    assert feed.knowledge == "within_grace"
    fake_clock.advance(0.5)
    assert feed.knowledge == "refused"
    with pytest.raises(StoreUnavailable):
        step(feed.ensure_fresh())


def test_unchecked_serving_is_for_workers_that_have_read_the_feed_once(fake_clock: FakeClock) -> None:
    ledger = Ledger()
    ledger.failure = StoreUnavailable("unreachable")
    feed = feed_over(ledger, fake_clock, serve_unchecked=True)
    with pytest.raises(StoreUnavailable):
        step(feed.ensure_fresh())
    assert feed.knowledge == "refused"
    ledger.failure = None
    step(feed.ensure_fresh())
    ledger.failure = StoreUnavailable("unreachable")
    for _ in range(5):
        fake_clock.advance(86_400)
        step(feed.ensure_fresh())
        reads = ledger.reads
        fake_clock.advance(0.5)
        step(feed.ensure_fresh())
        assert ledger.reads == reads, "a dead database is not asked by every request"
    assert feed.knowledge == "unchecked"
