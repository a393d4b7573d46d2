"""A feed that fails slowly: one request finds out, and nobody else waits. And a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from jit_middleware import wsgi
from jit_middleware.bridge import TaskLocks, step
from jit_middleware.errors import StoreUnavailable
from jit_middleware.http.messages import Admission
from jit_middleware.model import FeedPage, User
from jit_middleware.outside import open_ledger
from jit_middleware.sessions import CachedSession, RevocationFeed, SessionCache
from jit_middleware.sessions.live import LiveConnection
from jit_middleware.testing.login import login_as
from tests.conftest import FakeClock
from tests.unit.sessions.test_knowledge import request, settings, wsgi_app
from tests.worlds import call_wsgi, environ_of

READ = 10.0  # as long as a database behind a black hole takes to fail


class Slow:
    """A ledger of which only the feed is asked; while it is down it takes ``READ`` seconds to say so."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.down = False
        self.reads = 0
        self.hold: asyncio.Event | None = None
        self.stuck = False

    async def read_feed(self, after: int | None, limit: int = 1000) -> FeedPage:
        self.reads += 1
        if self.stuck:
            await Suspended()
        if self.hold is not None:
            await self.hold.wait()
        if self.down:
            for _ in range(30):
                await asyncio.sleep(0)  # long enough for everybody to come and wait
            self._clock.advance(READ)
            raise StoreUnavailable("unreachable", "no answer")
        return FeedPage(0, ())


class Suspended:
    """Never goes on by itself."""

    def __await__(self) -> Generator[None]:
        yield


class NoLocks:
    def __call__(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()


def feed_over(ledger: Any, clock: FakeClock, locks: Any = None, **options: Any) -> RevocationFeed:
    given: dict[str, Any] = {"max_staleness": 1.0, "grace": 30.0, "cache": SessionCache(), **options}
    return RevocationFeed(ledger, clock=clock, locks=locks or TaskLocks(), **given)


async def ask(feed: RevocationFeed, times: int = 10) -> list[BaseException | None]:
    """So many requests at once: ``None`` for each that is served."""
    return await asyncio.gather(*(feed.ensure_fresh() for _ in range(times)), return_exceptions=True)


# --- nobody waits in a line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [True, False], ids=["after the grace", "at a cold start"])
def test_who_waited_for_a_read_that_failed_is_refused_with_it(fake_clock: FakeClock, warm: bool) -> None:
    async def story() -> None:
        ledger = Slow(fake_clock)
        feed = feed_over(ledger, fake_clock)
        if warm:
            await feed.ensure_fresh()
        fake_clock.advance(60)
        ledger.down, ledger.reads = True, 0
        refused = await ask(feed)
        assert [type(error) for error in refused] == [StoreUnavailable] * 10
        assert {str(error) for error in refused} == {"unreachable: no answer"}
        assert len({id(error) for error in refused}) == 10, "an exception of one's own, without another's traceback"
        assert ledger.reads == 1
        assert feed.knowledge == "refused"

    asyncio.run(story())


def test_who_waited_within_the_grace_goes_on_with_what_is_known(fake_clock: FakeClock) -> None:
    async def story() -> None:
        ledger = Slow(fake_clock)
        feed = feed_over(ledger, fake_clock)
        await feed.ensure_fresh()
        fake_clock.advance(1)
        ledger.down = True
        assert await ask(feed) == [None] * 10
        assert ledger.reads == 2
        assert feed.fresh_until > fake_clock.monotonic(), "the hot path goes on too"

    asyncio.run(story())


def test_a_slow_failure_is_remembered_for_a_second(fake_clock: FakeClock) -> None:
    async def story() -> None:
        ledger = Slow(fake_clock)
        feed = feed_over(ledger, fake_clock, grace=0.0)
        await feed.ensure_fresh()
        fake_clock.advance(1)
        ledger.down = True
        await ask(feed, 1)
        fake_clock.advance(0.9)
        assert [type(error) for error in await ask(feed)] == [StoreUnavailable] * 10
        assert ledger.reads == 2
        ledger.down = False
        fake_clock.advance(0.2)
        assert await ask(feed) == [None] * 10
        assert ledger.reads == 3

    asyncio.run(story())


@pytest.mark.parametrize(("grace", "served"), [(30.0, True), (0.0, False)], ids=["within the grace", "without one"])
def test_nobody_waits_for_the_request_that_tries_again(fake_clock: FakeClock, grace: float, served: bool) -> None:
    async def story() -> None:
        ledger = Slow(fake_clock)
        feed = feed_over(ledger, fake_clock, grace=grace)
        await feed.ensure_fresh()
        fake_clock.advance(1)
        ledger.down = True
        await ask(feed, 1)
        fake_clock.advance(1.1)
        ledger.hold = asyncio.Event()
        trying = asyncio.create_task(feed.ensure_fresh())
        await asyncio.sleep(0)
        assert ledger.reads == 3
        others = await asyncio.wait_for(ask(feed), 10)
        assert [other is None for other in others] == [served] * 10
        assert await asyncio.wait_for(feed.look(), 10) == ("within_grace" if served else "refused")
        assert not trying.done()
        assert ledger.reads == 3
        ledger.down = False
        ledger.hold.set()
        await trying
        assert await ask(feed) == [None] * 10
        assert feed.knowledge == "fresh"

    asyncio.run(story())


def test_a_read_that_outlasts_the_grace_refuses(fake_clock: FakeClock) -> None:
    async def story() -> None:
        ledger = Slow(fake_clock)
        feed = feed_over(ledger, fake_clock, grace=READ / 2)
        await feed.ensure_fresh()
        fake_clock.advance(1)
        ledger.down = True
        assert [type(error) for error in await ask(feed)] == [StoreUnavailable] * 10

    asyncio.run(story())


def test_a_try_that_never_ends_is_not_waited_for_for_ever(fake_clock: FakeClock) -> None:
    """As in the child of a process that forked while one of its threads was reading."""
    ledger = Slow(fake_clock)
    feed = feed_over(ledger, fake_clock, NoLocks(), grace=0.0)
    asyncio.run(feed.ensure_fresh())
    fake_clock.advance(1)
    ledger.down = True
    asyncio.run(ask(feed, 1))
    fake_clock.advance(1.1)
    ledger.down, ledger.stuck = False, True
    lost = feed.ensure_fresh()
    lost.send(None)
    with pytest.raises(StoreUnavailable):
        step(feed.ensure_fresh())
    fake_clock.advance(31)
    ledger.stuck = False
    step(feed.ensure_fresh())
    lost.close()


def test_an_old_failure_says_nothing_about_a_read_that_is_under_way(fake_clock: FakeClock) -> None:
    """Nobody asked all night. In the morning who comes second waits for the first, and is not told of last evening."""

    async def story() -> None:
        ledger = Slow(fake_clock)
        feed = feed_over(ledger, fake_clock)
        await feed.ensure_fresh()
        fake_clock.advance(1)
        ledger.down = True
        assert await ask(feed, 1) == [None]
        fake_clock.advance(8 * 3600)
        ledger.down, ledger.hold = False, asyncio.Event()
        first = asyncio.create_task(feed.ensure_fresh())
        await asyncio.sleep(0)
        second = asyncio.create_task(feed.ensure_fresh())
        await asyncio.sleep(0)
        assert not second.done()
        ledger.hold.set()
        assert await asyncio.gather(first, second) == [None, None]
        assert feed.knowledge == "fresh"

    asyncio.run(story())


def test_a_failure_before_a_suspension_says_nothing_either(fake_clock: FakeClock) -> None:
    async def story() -> None:
        ledger = Slow(fake_clock)
        feed = feed_over(ledger, fake_clock)
        await feed.ensure_fresh()
        fake_clock.advance(1)
        ledger.down = True
        assert await ask(feed, 1) == [None]
        fake_clock.seconds += 8 * 3600
        fake_clock.advance(1.1)
        ledger.down, ledger.hold = False, asyncio.Event()
        first = asyncio.create_task(feed.ensure_fresh())
        await asyncio.sleep(0)
        second = asyncio.create_task(feed.ensure_fresh())
        await asyncio.sleep(0)
        ledger.hold.set()
        assert await asyncio.gather(first, second) == [None, None]

    asyncio.run(story())


def test_ready_makes_no_read_of_its_own(tmp_path: Path, fake_clock: FakeClock) -> None:
    given = settings(f"sqlite:///{tmp_path}/jit.db")
    ledger: Any = open_ledger(given, clock=fake_clock)
    read, reads, down = ledger.read_feed, [0], [False]

    async def read_feed(after: int | None, limit: int = 1000) -> FeedPage:
        reads[0] += 1
        if down[0]:
            fake_clock.advance(READ)
            raise StoreUnavailable("unreachable")
        page: FeedPage = await read(after, limit)
        return page

    ledger.read_feed = read_feed
    middleware = wsgi.JITMiddleware(wsgi_app, given, ledger=ledger, clock=fake_clock)
    asked = environ_of(request("")) | {"PATH_INFO": "/_jit/ready"}
    ask: Callable[[], str] = lambda: call_wsgi(middleware, dict(asked)).status  # noqa: E731
    assert ask().startswith("200")
    fake_clock.advance(60)
    down[0], reads[0] = True, 0
    assert [ask()[:3] for _ in range(5)] == ["503"] * 5
    assert reads == [1]
    step(middleware.gate.close())


@pytest.mark.parametrize("bound", [0.0, 1.0, 60.0])
def test_ready_knows_no_later_than_a_second(fake_clock: FakeClock, bound: float) -> None:
    async def story() -> None:
        ledger = Slow(fake_clock)
        feed = feed_over(ledger, fake_clock, max_staleness=bound, grace=30.0)
        assert await feed.look() == "fresh"
        ledger.down = True
        fake_clock.advance(1)
        assert await feed.look() == "within_grace"

    asyncio.run(story())


# --- a clock that jumps ---------------------------------------------------------------------------------------------


def entry() -> CachedSession:
    admission = Admission(User("u1", "u1"), None, {}, {})  # type: ignore[arg-type]
    return CachedSession(admission, "s1", "u1", deadline=1e9)


def test_after_a_suspension_everything_is_looked_up_again(fake_clock: FakeClock) -> None:
    cache = SessionCache()
    feed = feed_over(Slow(fake_clock), fake_clock, cache=cache)
    asyncio.run(feed.ensure_fresh())
    known, connection, heard = entry(), LiveConnection("s1", "u1", 2e9, 1e9), list[str]()
    cache.put("a", known)
    feed.live.add(connection)
    feed.tell_of_hurry(lambda: heard.append("at once"))
    fake_clock.seconds += 8 * 3600  # the monotonic clock stood still
    fake_clock.advance(1)
    asyncio.run(feed.ensure_fresh())
    assert cache.get("a") is None
    assert known.deadline < 0, "also for who found it by its header"
    assert connection.named
    assert heard == ["at once"]
    cache.put("a", entry())
    fake_clock.advance(1)
    asyncio.run(feed.ensure_fresh())
    assert cache.get("a") is not None, "once"


@pytest.mark.parametrize("step_of_the_clock", [1.0, 2.0, -3600.0])
def test_a_clock_that_is_put_right_a_little_or_back_costs_nothing(
    fake_clock: FakeClock, step_of_the_clock: float
) -> None:
    cache = SessionCache()
    feed = feed_over(Slow(fake_clock), fake_clock, cache=cache)
    asyncio.run(feed.ensure_fresh())
    cache.put("a", entry())
    fake_clock.seconds += step_of_the_clock
    fake_clock.advance(1)
    asyncio.run(feed.ensure_fresh())
    assert cache.get("a") is not None


def test_the_grace_does_not_last_through_a_suspension(fake_clock: FakeClock) -> None:
    ledger = Slow(fake_clock)
    feed = feed_over(ledger, fake_clock)
    asyncio.run(feed.ensure_fresh())
    fake_clock.seconds += 8 * 3600
    fake_clock.advance(1)
    ledger.down = True
    with pytest.raises(StoreUnavailable):
        asyncio.run(feed.ensure_fresh())


def test_a_session_that_ended_while_the_machine_slept_is_not_served(tmp_path: Path, fake_clock: FakeClock) -> None:
    middleware = wsgi.JITMiddleware(wsgi_app, settings(f"sqlite:///{tmp_path}/jit.db"), clock=fake_clock)
    cookie = login_as(middleware, "s1", preferred_username="alice")
    ask = lambda: call_wsgi(middleware, environ_of(request(cookie))).status  # noqa: E731
    assert ask().startswith("200")
    fake_clock.seconds += 2 * 3600  # the idle limit is one hour
    fake_clock.advance(1)
    assert ask().startswith("401")
    step(middleware.gate.close())
