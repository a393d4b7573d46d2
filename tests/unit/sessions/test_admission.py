from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jit_middleware.bridge import step
from jit_middleware.gate import Gate
from jit_middleware.http.messages import Admission
from jit_middleware.model import SessionView, Status, User
from jit_middleware.sessions import CachedSession, SessionCache
from jit_middleware.testing.login import login_as
from jit_middleware.wsgi import JITMiddleware
from tests.conftest import FakeClock
from tests.unit.sessions.conftest import settings_at


def known(gate: Gate, cookie: str) -> None:
    """Let this process verify the cookie."""
    assert step(gate.house.sessions.find(cookie)) is not None


def test_a_known_cookie_is_admitted_without_a_look_at_the_ledger(middleware: JITMiddleware) -> None:
    gate = middleware.gate
    cookie = login_as(middleware, "s1", preferred_username="alice")
    assert gate.admit("/", cookie) is None
    known(gate, cookie)
    for header, rest in ((cookie, ""), (f"a=1; {cookie}", "a=1"), (f"a=2; {cookie}; b=3", "a=2; b=3"), (cookie, "")):
        for _ in range(2):
            passed = gate.admit("/page", header)
            assert passed is not None
            assert passed.cookie == rest
            assert passed.admission is not None
            assert passed.admission.user.username == "alice"


def test_our_own_paths_are_never_admitted(middleware: JITMiddleware) -> None:
    cookie = login_as(middleware, "s1", preferred_username="alice")
    known(middleware.gate, cookie)
    assert middleware.gate.admit("/_jit/logout", cookie) is None


def test_nothing_is_admitted_on_knowledge_older_than_the_bound(
    middleware: JITMiddleware, fake_clock: FakeClock
) -> None:
    cookie = login_as(middleware, "s1", preferred_username="alice")
    known(middleware.gate, cookie)
    fake_clock.advance(0.999)
    assert middleware.gate.admit("/", cookie) is not None
    fake_clock.advance(0.001)
    assert middleware.gate.admit("/", cookie) is None


def test_a_cookie_with_another_signature_is_not_looked_up(middleware: JITMiddleware) -> None:
    cookie = login_as(middleware, "s1", preferred_username="alice")
    gate = middleware.gate
    for end in range(len(cookie) - 12, len(cookie) - 1):
        changed = cookie[:end] + ("A" if cookie[end] != "A" else "B") + cookie[end + 1 :]
        assert step(gate.house.sessions.find(changed)) is None


def test_the_real_cookie_is_found_beside_planted_ones(middleware: JITMiddleware) -> None:
    cookie = login_as(middleware, "s1", preferred_username="alice")
    name = cookie.partition("=")[0]
    assert step(middleware.gate.house.sessions.find(f"{name}=planted; {cookie}; {name}=other")) is not None


def entry(session: str) -> CachedSession:
    admission = Admission(User("u", "u"), None, {}, {})  # type: ignore[arg-type]
    return CachedSession(admission, session, "u", deadline=1e9)


@pytest.mark.parametrize(
    "drop",
    [
        lambda cache: cache.drop_all_of(sessions={"s"}, users=set()),
        lambda cache: cache.drop_all_of(sessions=set(), users={"u"}),
        SessionCache.clear,
    ],
    ids=["session", "user", "all"],
)
def test_a_dropped_entry_admits_nobody_even_where_it_is_still_held(drop: object) -> None:
    cache, held = SessionCache(), entry("s")
    cache.put("cookie", held)
    passed = held.pass_with("")
    cache.put_header("header", held, passed)
    drop(cache)  # type: ignore[operator]
    assert held.deadline < 0
    assert cache.get("cookie") is None
    assert cache.by_header.get("header") is None
    cache.put_header("header", held, passed)  # a thread that looked it up before the drop
    found = cache.by_header.get("header")
    assert found is None or found[0].deadline < 0


def test_one_session_is_kept_under_one_header_only() -> None:
    cache, held = SessionCache(limit=64), entry("s")
    cache.put("cookie", held)
    for number in range(1_000):
        cache.put_header(f"a={number}; jit=x", held, held.pass_with(f"a={number}"))
    assert sum(cache.by_header.get(f"a={number}; jit=x") is not None for number in range(1_000)) == 1
    cache.put_header("x" * 2_000, held, held.pass_with(""))
    assert cache.by_header.get("x" * 2_000) is None


def test_fewer_headers_are_remembered_than_sessions_and_a_session_is_found_without_one() -> None:
    cache, many = SessionCache(), 5_000
    for number in range(many):
        held = entry(f"s{number}")
        cache.put(f"cookie{number}", held)
        cache.put_header(f"a={number}; jit=x", held, held.pass_with(""))
    assert sum(cache.by_header.get(f"a={number}; jit=x") is not None for number in range(many)) <= 4_096
    assert all(cache.get(f"cookie{number}") is not None for number in range(many))


def test_a_revocation_between_look_up_and_keeping_is_not_lost(middleware: JITMiddleware, fake_clock: FakeClock) -> None:
    """A revocation is read by another thread while a session is being loaded: what was loaded must not stay."""
    gate = middleware.gate
    sessions = gate.house.sessions
    cookie = login_as(middleware, "s1", preferred_username="alice")
    ledger = gate.house.ledger
    original = ledger.find_session
    loaded, revoked = threading.Event(), threading.Event()

    async def slow(session_id: str) -> object:
        view = await original(session_id)
        loaded.set()
        assert revoked.wait(5)
        return view

    sessions._ledger = type("Slow", (), {"find_session": staticmethod(slow), "touch_session": ledger.touch_session})()
    thread = threading.Thread(target=lambda: step(sessions.find(cookie)))
    thread.start()
    assert loaded.wait(5)

    async def end(tx: object) -> None:
        session_id = sessions.cookie.read(cookie.partition("=")[2], fake_clock.now())
        await tx.end_sessions(fake_clock.now(), session_id=session_id)  # type: ignore[attr-defined]

    step(ledger.transaction(end))
    fake_clock.advance(1)
    step(sessions._feed.ensure_fresh())
    revoked.set()
    thread.join(5)
    assert gate.admit("/", cookie) is None
    sessions._ledger = ledger
    assert step(sessions.find(cookie)) is None


def test_the_absolute_limit_ends_what_is_known_in_the_middle_of_its_time(tmp_path: Path, fake_clock: FakeClock) -> None:
    """A verified cookie is remembered for a tenth of the idle limit, and never beyond the end of its session."""
    settings = settings_at(tmp_path, JIT_SESSION_IDLE="100s", JIT_SESSION_ABSOLUTE="100s")
    middleware = JITMiddleware(lambda environ, start_response: [], settings, clock=fake_clock)
    cookie = login_as(middleware, "s1", preferred_username="alice")
    for seconds in (50, 45, 4):
        fake_clock.advance(seconds)
        known(middleware.gate, cookie)
        assert middleware.gate.admit("/", cookie) is not None
    fake_clock.advance(1)
    step(middleware.gate.house.sessions._feed.ensure_fresh())
    assert middleware.gate.admit("/", cookie) is None
    assert step(middleware.gate.house.sessions.find(cookie)) is None
    step(middleware.gate.close())


def test_activity_is_known_to_a_tenth_of_the_idle_limit_at_a_worker_that_came_late_too(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    settings = settings_at(tmp_path, JIT_SESSION_IDLE="100s")
    middleware = JITMiddleware(lambda environ, start_response: [], settings, clock=fake_clock)
    cookie = login_as(middleware, "s1", preferred_username="alice")
    for seconds in (9, 9, 95):
        fake_clock.advance(seconds)
        known(middleware.gate, cookie)
    fake_clock.advance(100)
    assert step(middleware.gate.house.sessions.find(cookie)) is None
    step(middleware.gate.close())


def test_a_slow_look_up_makes_no_session_longer(middleware: JITMiddleware, fake_clock: FakeClock) -> None:
    """What was read may have been so from before the read began, and its time runs from then on."""
    sessions, ledger = middleware.gate.house.sessions, middleware.gate.house.ledger
    cookie = login_as(middleware, "s1", preferred_username="alice")
    (session_id,) = sessions.ids_in(cookie)
    view = step(ledger.find_session(session_id))
    assert view is not None
    ending = replace(view, session=replace(view.session, expires_at=fake_clock.now() + 5))
    ends = fake_clock.monotonic() + 5

    async def find_session(_session_id: str) -> SessionView:
        fake_clock.advance(3)
        return ending

    sessions._ledger = type("Slow", (), {"find_session": staticmethod(find_session)})()
    entry = step(sessions.find(cookie))
    assert entry is not None
    assert entry.deadline == ends


def _ended(view: SessionView, now: int) -> SessionView:
    return replace(view, session=replace(view.session, ended_at=now))


def _over(view: SessionView, now: int) -> SessionView:
    return replace(view, session=replace(view.session, expires_at=now))


def _idle(view: SessionView, now: int) -> SessionView:
    return replace(view, session=replace(view.session, last_seen_at=now - 3_600))


def _of_a_connection_that_is_gone(view: SessionView, _now: int) -> SessionView:
    return replace(view, session=replace(view.session, connection="gone"))


def _suspended(view: SessionView, _now: int) -> SessionView:
    return replace(view, account=replace(view.account, status=Status.SUSPENDED))


@pytest.mark.parametrize("change", [_ended, _over, _idle, _of_a_connection_that_is_gone, _suspended])
def test_the_records_have_the_last_word_whatever_the_cookie_says(
    middleware: JITMiddleware, fake_clock: FakeClock, change: Callable[[SessionView, int], SessionView]
) -> None:
    """One of them does, however the row came to be so: by hand, or by an older version."""
    sessions, ledger = middleware.gate.house.sessions, middleware.gate.house.ledger
    cookie = login_as(middleware, "s1", preferred_username="alice")
    (session_id,) = sessions.ids_in(cookie)
    view = step(ledger.find_session(session_id))
    assert view is not None
    changed = change(view, fake_clock.now())

    async def find_session(_session_id: str) -> SessionView:
        return changed

    sessions._ledger = type(
        "Changed", (), {"find_session": staticmethod(find_session), "touch_session": ledger.touch_session}
    )()
    assert step(sessions.find(cookie)) is None
    assert middleware.gate.admit("/", cookie) is None
    assert step(sessions._is_served(session_id)) is (change is _idle), "the idle limit is for requests"


def test_a_session_seen_by_a_clock_that_was_ahead_is_idle_like_any_other(
    middleware: JITMiddleware, fake_clock: FakeClock
) -> None:
    sessions = middleware.gate.house.sessions
    fake_clock.advance(20 * 3600)
    cookie = login_as(middleware, "s1", preferred_username="alice")
    fake_clock.set_back(20 * 3600)  # put right before the first request
    entry = step(sessions.find(cookie))
    assert entry is not None
    assert entry.deadline <= fake_clock.monotonic() + 360, "a tenth of the idle limit"
    fake_clock.advance(2 * 3600)
    assert step(sessions.find(cookie)) is None
