"""A gate whose decisions a test sets, so that the edges are proved apart from the flow behind them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Literal

from jit_middleware.http.headers import Scrubber
from jit_middleware.http.messages import Admission, Decision, PassThrough, Request, Respond, Response
from jit_middleware.model import Session, User

ALICE = User(id="7", username="zoë", email="zoe@example.com", roles=("editor",))
SESSION = Session(
    id="s-1",
    user_id="7",
    connection="oidc",
    authenticated_at=datetime(2026, 1, 1, tzinfo=UTC),
    expires_at=datetime(2026, 1, 2, tzinfo=UTC),
)
OURS = "__Host-jit-session=secret"

Way = Literal["cached", "decided", "anonymous"]
WAYS: tuple[Way, ...] = ("cached", "decided", "anonymous")


class ScopeUser:
    """A stand-in for what the app finds in ``scope["user"]``."""

    is_authenticated = True


class FakeGate:
    """Lets every request pass in one way (cached: by ``admit``; decided: by ``decide``; anonymous), or answers it."""

    def __init__(
        self,
        way: Way = "cached",
        *,
        answer: Response | None = None,
        deciding: Callable[[Request], Awaitable[Decision]] | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
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
        self.log: list[str] = []
        self.start_failure: Exception | None = None

    def admit(self, path: str, cookie: str) -> PassThrough | None:
        self.admitted.append((path, cookie))
        if self.way == "cached" and self.answer is None and self.deciding is None:
            return PassThrough(self.admission, _without_ours(cookie))
        return None

    async def decide(self, request: Request) -> Decision:
        self.requests.append(request)
        if self.deciding is not None:
            return await self.deciding(request)
        if self.answer is not None:
            return Respond(self.answer)
        return PassThrough(None if self.way == "anonymous" else self.admission, _without_ours(request.cookie))

    async def start(self) -> None:
        self.log.append("start")
        if self.start_failure is not None:
            raise self.start_failure

    async def close(self) -> None:
        self.log.append("close")


def _without_ours(cookie: str) -> str:
    return "; ".join(part for part in cookie.split("; ") if part and part != OURS)
