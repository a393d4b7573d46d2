"""The hot path: what an authenticated request costs over the bare application, in process."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import hot_peers, loops, peers
from benchmarks.measure import Contestant, Cost, Times, interleaved, unit
from benchmarks.subject import PERSON, Ledger, open_ledger, populate, session_name, spread
from benchmarks.table import Part, Row
from benchmarks.traffic import OTHER_COOKIES, with_changing_others, with_others
from jit_middleware.bridge import step
from jit_middleware.sessions import SessionCache
from jit_middleware.testing.login import login_as
from jit_middleware.wsgi import JITMiddleware

_CALLS = 2_000
_FIRST_SEEN = 300


def run(*, quick: bool) -> list[Part]:
    """Ours and its peers, then how ours grows with the ledger, then its memory."""
    peers.make_available()
    with TemporaryDirectory(prefix="jit-bench-") as made, asyncio.Runner() as runner:
        directory = Path(made)
        return [
            _beside_peers(directory, runner, rounds=7 if quick else 21),
            _growth(directory, runner, users=100_000 if quick else 1_000_000, rounds=7 if quick else 11),
            _memory(directory, sessions=4_000 if quick else 20_000),
        ]


# --- ours and its peers ---------------------------------------------------------------------------------------------


def _beside_peers(directory: Path, runner: asyncio.Runner, *, rounds: int) -> Part:
    ledger = open_ledger(directory / "one.db")
    cookie = ledger.cookie(ledger.session_id)
    _expect_alice(ledger, cookie)
    middleware = ledger.middleware
    twin = ledger.asgi_twin()
    contestants = {
        "H": unit(),
        "bare": loops.wsgi(loops.bare_wsgi, [with_others(cookie)], calls=_CALLS),
        "wsgi": loops.wsgi(middleware, [with_others(cookie)], calls=_CALLS),
        "wsgi changing": loops.wsgi(middleware, with_changing_others(cookie, _CALLS)),
        "bare asgi": loops.asgi(runner, loops.bare_asgi, [with_others(cookie)], calls=_CALLS),
        "asgi": loops.asgi(runner, twin, [with_others(cookie)], calls=_CALLS),
        "asgi changing": loops.asgi(runner, twin, with_changing_others(cookie, _CALLS)),
        "bare asgi parsed": loops.asgi_parsed(runner, loops.bare_asgi, with_others(cookie), calls=_CALLS),
        "asgi parsed": loops.asgi_parsed(runner, twin, with_others(cookie), calls=_CALLS),
        "wsgi step-up": _under_a_rule(directory),
    }
    others = list(hot_peers.wsgi_peers(directory))
    for peer in others:
        contestants[f"{peer.name}, bare"] = loops.wsgi(peer.bare, [peer.cookie], calls=peer.calls)
        contestants[peer.name] = loops.wsgi(peer.guarded, [peer.cookie], calls=peer.calls)
    asgi_others = list(hot_peers.asgi_peers())
    for other in asgi_others:
        contestants[other.name] = loops.asgi(runner, other.guarded, [other.cookie], calls=_CALLS)
    times = interleaved(contestants, rounds=rounds)
    runner.run(twin.gate.close())
    ours, ours_asgi, parsed = ("wsgi", "bare"), ("asgi", "bare asgi"), ("asgi parsed", "bare asgi parsed")
    rows = [
        Row("H: one HMAC-SHA-256 over 300 bytes", times.of("H") / 1e3, "µs"),
        _in_h(times, "WSGI, verified cookie cached", ours, 1.0),
        _in_h(times, "WSGI, a path under a step-up rule", ("wsgi step-up", "bare"), 1.0),
        _in_h(times, "WSGI, other cookies change each time", ("wsgi changing", "bare"), None),
        _in_h(times, "ASGI, verified cookie cached", ours_asgi, 1.6),
        _in_h(times, "ASGI, headers parsed anew each time", parsed, None),
        _in_h(times, "ASGI, other cookies change each time", ("asgi changing", "bare asgi"), None),
    ]
    rows += [_dearer(times, (peer.name, "bare asgi"), ours_asgi, "x our ASGI", peer.at_least) for peer in asgi_others]
    rows += [_dearer(times, (peer.name, f"{peer.name}, bare"), ours, "x our WSGI", peer.at_least) for peer in others]
    return Part("Hot path: one authenticated request, CPU over bare", rows)


def _under_a_rule(directory: Path) -> Contestant:
    """The path that everybody is asked for, under a rule about class and age that the session meets."""
    rule = json.dumps([{"paths": ["/projects/*"], "acr": ["phr"], "max_age": "12h"}])
    middleware = open_ledger(directory / "step-up.db", JIT_STEP_UP=rule).middleware
    now = middleware.gate.house.clock.now()
    cookie = login_as(
        middleware, "stepped-up", **{**PERSON, "preferred_username": "zoe", "acr": "phr", "auth_time": now}
    )
    return loops.wsgi(middleware, [with_others(cookie)], calls=_CALLS)


def _expect_alice(ledger: Ledger, cookie: str) -> None:
    """A benchmark of requests that arrive as nobody would measure nothing."""
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen.update(environ)
        return loops.bare_wsgi(environ, start_response)

    loops.wsgi(JITMiddleware.with_gate(app, ledger.gate), [with_others(cookie)]).run()
    wanted = {"REMOTE_USER": "alice", "HTTP_X_REMOTE_GROUPS": "operator,reader", "HTTP_COOKIE": OTHER_COOKIES}
    if {name: seen.get(name) for name in wanted} != wanted:
        raise RuntimeError("the middleware does not show the app who is there")


# --- growth ---------------------------------------------------------------------------------------------------------


def _growth(directory: Path, runner: asyncio.Runner, *, users: int, rounds: int) -> Part:
    """The same requests on a ledger of a thousand users and sessions with one past revocation, and on a large one."""
    few, many = open_ledger(directory / "few.db"), open_ledger(directory / "many.db")
    populate(few, 1_000, 1)
    populate(many, users, users)
    contestants: dict[str, Contestant] = {"H": unit()}
    for name, ledger, size in (("few", few, 1_000), ("many", many, users)):
        contestants |= _on(name, ledger, size)
    times = interleaved(contestants, rounds=rounds)
    statements = _statements(many, users)
    count = f"{users:,}".replace(",", " ")
    rows = [
        _in_h(times, "a cookie first seen, its read answered from memory", ("few own", "few bare"), 12),
        _in_h(times, f"the same, {count} users and sessions", ("many own", "many bare"), 12),
        Row("reads for a cookie first seen", statements, "statements", at_most=1),
        _in_h(times, "a cookie first seen, its read by SQLite included", ("many first seen", "many bare"), None),
        _flat(times, "warm", "WSGI cached, many over few", 1.1),
        _flat(times, "first seen", "a cookie first seen, many over few", 1.2),
        _flat(times, "feed", "the read of the feed once a second, many over few", 1.2),
    ]
    title = f"1 000 users and sessions, 1 past revocation, against {count} users, sessions and past revocations"
    return Part(f"Growth: {title}", rows)


def _on(name: str, ledger: Ledger, users: int) -> dict[str, Contestant]:
    sessions = ledger.gate.house.sessions
    cookies = ledger.cookies(users, _FIRST_SEEN)
    warm = cookies[0]
    store = ledger.gate.house.ledger
    position = step(store.read_feed(None)).position

    def read_feed() -> None:
        for _ in range(100):
            step(store.read_feed(position))

    def forget() -> None:
        for cookie in cookies:
            sessions.forget(cookie)
            own.gate.house.sessions.forget(cookie)

    own = ledger.remembering([session_name(number) for number in spread(users, _FIRST_SEEN)])
    full = [with_others(cookie) for cookie in cookies]
    return {
        f"{name} bare": loops.wsgi(loops.bare_wsgi, full, calls=0),
        f"{name} first seen": loops.wsgi(ledger.middleware, full, before=forget),
        f"{name} own": loops.wsgi(own, full, before=forget),
        f"{name} warm": loops.wsgi(ledger.middleware, [with_others(warm)], calls=_CALLS),
        f"{name} feed": Contestant(read_feed, 100),
    }


def _flat(times: Times, what: str, text: str, at_most: float) -> Row:
    few, many = f"few {what}", f"many {what}"
    return Row(text, times.of(many) / 1e3, "µs", times.ratio((many,), (few,)), "x few", at_most)


def _statements(ledger: Ledger, users: int) -> float:
    """SQL statements for each first-seen cookie, without the feed's own reads (one a second, however many requests)."""
    cookies = ledger.cookies(users, _FIRST_SEEN)
    for cookie in cookies:
        ledger.gate.house.sessions.forget(cookie)
    with ledger.traced() as seen:
        loops.wsgi(ledger.middleware, [with_others(cookie) for cookie in cookies]).run()
    return sum("jit_feed" not in statement for statement in seen) / _FIRST_SEEN


# --- memory ---------------------------------------------------------------------------------------------------------


def _memory(directory: Path, *, sessions: int) -> Part:
    """Memory per cached session, each of another user; and what remains cached when more come than fit."""
    ledger = open_ledger(directory / "memory.db")
    populate(ledger, sessions + 1, 1)
    cookies = ledger.cookies(sessions + 1, sessions + 1)
    loops.wsgi(ledger.middleware, [with_others(cookie) for cookie in cookies[:50]]).run()
    for cookie in cookies:
        ledger.gate.house.sessions.forget(cookie)
    served = loops.wsgi(ledger.middleware, [with_others(cookie) for cookie in cookies[:sessions]])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    served.run()
    spent = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    cache = SessionCache()
    for number in range(50_000):
        cache.put(str(number), None)  # type: ignore[arg-type]
    return Part(
        "Memory",
        [
            Row(f"per cached session, {sessions} of them", spent / sessions / 1000, "kB", at_most=1.5),
            Row("cached after 50 000 different sessions", len(cache), "sessions", at_most=20_000),
        ],
    )


def _in_h(times: Times, name: str, cost: Cost, at_most: float | None) -> Row:
    return Row(name, times.of(*cost) / 1e3, "µs", times.ratio(cost, ("H",)), "H", at_most)


def _dearer(times: Times, theirs: Cost, ours: Cost, of: str, at_least: float | None) -> Row:
    return Row(theirs[0], times.of(*theirs) / 1e3, "µs", times.ratio(theirs, ours), of, at_least=at_least)
