"""Many threads at one worker's sessions at once: looked up, admitted, revoked, watched and hurried, on real clocks.

``python -m tests.servers.hammer`` says what was served too late (nothing, one hopes) and whether this interpreter has a
global lock. It needs no server and no database, so that it runs on a free-threaded build as it is.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from jit_middleware.bridge import ThreadLocks, step
from jit_middleware.http.messages import Admission
from jit_middleware.keyring import Keyring
from jit_middleware.model import Account, FeedEntry, FeedPage, SessionRecord, SessionView, Status, User
from jit_middleware.sessions import RevocationFeed, SessionCache, SessionCookie, Sessions
from jit_middleware.settings import SessionSettings
from jit_middleware.system import SystemClock, SystemTokens

BOUND = 0.02
SECONDS = 4.0
CLOCK = SystemClock()


class Ledger:
    """Sessions and feed in memory; a commit is one step under a lock, as a database makes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[FeedEntry] = []
        self._sessions: dict[str, SessionRecord] = {}
        self._ended: set[str] = set()
        self.reads = 0

    def begin(self, session_id: str) -> None:
        now = CLOCK.now()
        self._sessions[session_id] = SessionRecord(
            session_id, f"u-{session_id}", "default", "oidc", "i", "s", now, now + 3600, now, now
        )

    def end(self, session_id: str) -> float:
        """End it; the moment after which a reader must know."""
        with self._lock:
            self._ended.add(session_id)
            self._entries.append(FeedEntry(len(self._entries) + 1, "session", session_id))
        return time.monotonic()

    async def read_feed(self, after: int | None, limit: int = 1000) -> FeedPage:
        self.reads += 1
        with self._lock:
            new: Sequence[FeedEntry] = () if after is None else self._entries[after : after + limit]
            return FeedPage(new[-1].position if new else len(self._entries), tuple(new))

    async def find_session(self, session_id: str) -> SessionView | None:
        with self._lock:
            if session_id in self._ended:
                return None
            record = self._sessions[session_id]
        time.sleep(0)
        return SessionView(
            record, Account(record.user_id, "default", Status.ACTIVE, user=User(record.user_id, record.user_id))
        )

    async def live_among(self, session_ids: Sequence[str]) -> Sequence[str]:
        with self._lock:
            return [each for each in session_ids if each not in self._ended]

    async def touch_session(self, session_id: str, at: int) -> None:
        pass


class Arena:
    """One worker's sessions, and what went wrong."""

    def __init__(self) -> None:
        self.ledger: Any = Ledger()
        self.cache = SessionCache(limit=64)
        self.feed = RevocationFeed(
            self.ledger, self.cache, max_staleness=BOUND, grace=0.0, clock=CLOCK, locks=ThreadLocks()
        )
        keyring = Keyring((b"k" * 32,))
        self.cookie = SessionCookie(keyring.signature("session"), secure=False)
        self.sessions = Sessions(
            SessionSettings(),
            cookie=self.cookie,
            own_cookies=("jit-",),
            cache=self.cache,
            feed=self.feed,
            ledger=self.ledger,
            users=None,
            users_keep_roles=False,
            connections=frozenset({"oidc"}),
            inject=lambda user, session: Admission(user, session, {}, {}),
            hints=keyring.envelope("logout-hint", SystemTokens()),
            clock=CLOCK,
            tokens=SystemTokens(),
        )
        self.admit = self.sessions.admitter("/_jit")
        self.live: dict[str, str] = {}
        self.ended: dict[str, float] = {}
        self.wrong: list[str] = []
        self.counts = {"admitted": 0, "found": 0, "watched": 0, "broken off": 0}
        self.stop = time.monotonic() + SECONDS

    def open(self) -> None:
        session_id = secrets.token_hex(8)
        self.ledger.begin(session_id)
        header = self.cookie.issue(session_id, CLOCK.now() + 3600, CLOCK.now())[1]
        self.live[session_id] = header.partition(";")[0]

    def check(self, session_id: str, asked: float, how: str) -> None:
        over = self.ended.get(session_id)
        if over is not None and asked > over + BOUND:
            self.wrong.append(f"{how} {asked - over:.4f} s after its end")

    # --- what the threads do ------------------------------------------------------------------------------------

    def serve(self, number: int) -> None:
        turn = 0
        while time.monotonic() < self.stop:
            turn += 1
            for session_id, cookie in list(self.live.items()):
                asked = time.monotonic()
                if self.admit("/", f"a={turn % 3}; {cookie}") is not None:
                    self.counts["admitted"] += 1
                    self.check(session_id, asked, "admitted")
                elif step(self.sessions.find(cookie)) is not None:
                    self.counts["found"] += 1
                    self.check(session_id, asked, "found")

    def watch(self, number: int) -> None:
        while time.monotonic() < self.stop:
            session_id, cookie = list(self.live.items())[number % len(self.live)]
            basis = step(self.sessions.find(cookie))
            if basis is None:
                continue
            connection = self.sessions.watch.open(basis)
            self.counts["watched"] += 1
            for _ in range(20):
                asked = time.monotonic()
                if step(self.sessions.watch.ended((connection,))):
                    self.counts["broken off"] += 1
                    break
                self.check(session_id, asked, "open")
                time.sleep(BOUND / 10)
            self.sessions.watch.close(connection)

    def revoke(self, number: int) -> None:
        while time.monotonic() < self.stop:
            self.open()
            time.sleep(BOUND / 4)
            session_id = next(iter(self.live))
            self.ended[session_id] = self.ledger.end(session_id)
            if len(self.ended) % 7 == 0:
                self.feed.hurry()
            if len(self.live) > 48:
                for old in list(self.live)[:16]:
                    self.ended.setdefault(old, self.ledger.end(old))
                    self.live.pop(old, None)
            else:
                self.live[session_id] = self.live.pop(session_id)


def main() -> int:
    """Run for a few seconds; 0 when nothing was wrong."""
    sys.setswitchinterval(1e-5)
    arena = Arena()
    for _ in range(40):
        arena.open()
    failures: list[str] = []

    def guarded(work: Any, number: int) -> None:
        try:
            work(number)
        except Exception as error:  # noqa: BLE001 - shown, whatever it is
            failures.append(f"{work.__name__}: {type(error).__name__}: {error}")

    works = [arena.serve] * 4 + [arena.watch] * 3 + [arena.revoke]
    threads = [threading.Thread(target=guarded, args=(work, number)) for number, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    told = {
        **arena.counts,
        "revoked": len(arena.ended),
        "reads": arena.ledger.reads,
        "cached": len(arena.cache),
        "open": len(arena.sessions.watch),
        "wrong": arena.wrong[:10],
        "failures": failures,
        "python": sys.version.split()[0],
        "gil": gil,
    }
    print(json.dumps(told))
    return 1 if arena.wrong or failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
