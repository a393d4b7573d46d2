"""A gate whose decisions a test sets, so that the edges are proved apart from the flow behind them."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Literal

from jit_middleware.errors import StoreUnavailable
from jit_middleware.http.headers import Scrubber
from jit_middleware.http.messages import Admission, Decision, PassThrough, Request, Respond, Response
from jit_middleware.model import FeedEntry, FeedPage, Session, User
from jit_middleware.ports import Clock
from jit_middleware.sessions import CachedSession, RevocationFeed, SessionCache, Watch
from jit_middleware.system import SystemClock

ALICE = User(id="7", username="zoë", email="zoe@example.com", roles=("editor",))
SESSION = Session(
    id="s-1",
    user_id="7",
    connection="oidc",
    authenticated_at=datetime(2026, 1, 1, tzinfo=UTC),
    expires_at=datetime(2100, 1, 1, tzinfo=UTC),
)
OURS = "__Host-jit-session=secret"

Way = Literal["cached", "decided", "anonymous"]
WAYS: tuple[Way, ...] = ("cached", "decided", "anonymous")


class ScopeUser:
    """A stand-in for what the app finds in ``scope["user"]``."""

    is_authenticated = True


class NoLocks:
    """For readers that never meet."""

    def __call__(self) -> nullcontext[None]:
        return nullcontext()


class FeedOfATest:
    """A ledger of which only the feed is asked; a test appends to it, or takes it away."""

    def __init__(self) -> None:
        self.entries: list[FeedEntry] = []
        self.reads = 0
        self.is_down = False

    def append(self, kind: str, key: str) -> None:
        self.entries.append(FeedEntry(len(self.entries) + 1, kind, key))

    async def read_feed(self, after: int | None, limit: int = 1000) -> FeedPage:
        self.reads += 1
        if self.is_down:
            raise StoreUnavailable("unreachable")
        new = () if after is None else tuple(self.entries[after:][:limit])
        return FeedPage(new[-1].position if new else len(self.entries), new)


class FakeGate:
    """Lets every request pass in one way (cached: by ``admit``; decided: by ``decide``; anonymous), or answers it."""

    def __init__(
        self,
        way: Way = "cached",
        *,
        answer: Response | None = None,
        deciding: Callable[[Request], Awaitable[Decision]] | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        bound: float = 0.2,
        look_again: float = math.inf,
        clock: Clock | None = None,
    ) -> None:
        self.scrubber = Scrubber()
        self.way = way
        self.answer = answer
        self.deciding = deciding
        self.admission = Admission(
            ALICE,
            SESSION,
            {"REMOTE_USER": ALICE.username, "AUTH_TYPE": "jit", "jit.user": ALICE, "jit.session": SESSION},
            {"jit.user": ALICE, "jit.session": SESSION, "user": ScopeUser(), "auth": object()},
            headers,
        )
        self.admitted: list[tuple[str, str]] = []
        self.requests: list[Request] = []
        self.looked_up: list[str] = []
        self.log: list[str] = []
        self.standing = CachedSession(self.admission, SESSION.id, ALICE.id, math.inf)
        cache = SessionCache()
        cache.put("cookie", self.standing)
        self.store = FeedOfATest()
        self.served = {SESSION.id}
        self.feed = RevocationFeed(
            self.store,  # type: ignore[arg-type]
            cache,
            max_staleness=bound,
            grace=0.0,
            clock=clock or SystemClock(),
            locks=NoLocks(),
        )
        self.watch = Watch(self.feed, clock=clock or SystemClock(), is_served=self.is_served, look_again=look_again)
        self.start_failure: Exception | None = None
        self.failing: Exception | None = None

    def admit(self, path: str, header: str | bytes) -> PassThrough | None:
        cookie = header if isinstance(header, str) else header.decode("latin-1")
        self.admitted.append((path, cookie))
        if self.way == "cached" and self.answer is None and self.deciding is None:
            return PassThrough(self.admission, _without_ours(cookie), self.standing)
        return None

    async def is_served(self, session_id: str) -> bool:
        self.looked_up.append(session_id)
        if self.failing is not None:
            raise self.failing
        return session_id in self.served

    async def decide(self, request: Request) -> Decision:
        self.requests.append(request)
        if self.deciding is not None:
            return await self.deciding(request)
        if self.answer is not None:
            return Respond(self.answer)
        if self.way == "anonymous":
            return PassThrough(None, _without_ours(request.cookie))
        return PassThrough(self.admission, _without_ours(request.cookie), self.standing)

    async def start(self) -> None:
        self.log.append("start")
        if self.start_failure is not None:
            raise self.start_failure

    async def close(self) -> None:
        self.log.append("close")


def _without_ours(cookie: str) -> str:
    return "; ".join(part for part in cookie.split("; ") if part and part != OURS)
