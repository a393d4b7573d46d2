"""Sessions that a revocation has overtaken are ended when they are found, and refused whether that works or not."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from jit_middleware.audit import AuditTrail
from jit_middleware.bridge import step
from jit_middleware.errors import StoreUnavailable
from jit_middleware.model import Account, AuditEvent, SessionRecord, SessionView, Status
from jit_middleware.sessions import Overtaken
from jit_middleware.system import SystemTokens
from tests.conftest import FakeClock

NOW = FakeClock().now()
RECORD = SessionRecord("s1", "u1", "default", "oidc", "https://idp", "alice", 100, NOW + 9, 100, 100, begun_at=90)
VIEW = SessionView(RECORD, Account("u1", "default", Status.ACTIVE), marked_at=95)


class Book:
    """A ledger and its transaction: what was ended, and what was said of it."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.asked = 0
        self.ended: list[str] = []
        self.events: list[AuditEvent] = []

    async def transaction(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        self.asked += 1
        if self.fails:
            raise StoreUnavailable("read_only")
        return await work(self)

    async def end_sessions(self, at: int, *, session_id: str) -> list[SessionRecord]:
        self.ended.append(session_id)
        return [replace(RECORD, ended_at=at)]

    async def append_audit(self, event: AuditEvent) -> None:
        self.events.append(event)


def end(book: Any, view: SessionView) -> None:
    clock = FakeClock()
    step(Overtaken(book, audit=AuditTrail(clock=clock, tokens=SystemTokens()), clock=clock).end(view))


def test_it_is_ended_with_an_event_that_tells_why() -> None:
    book = Book()
    end(book, VIEW)
    assert book.ended == ["s1"]
    assert [(event.type, event.reason, event.session) for event in book.events] == [
        ("session.ended", "revoked_meanwhile", "s1")
    ]


@pytest.mark.parametrize(
    "view",
    [
        replace(VIEW, marked_at=None),
        replace(VIEW, marked_at=89),
        replace(VIEW, session=replace(RECORD, ended_at=96)),
        replace(VIEW, session=replace(RECORD, expires_at=NOW)),
        replace(VIEW, session=replace(RECORD, begun_at=None)),
    ],
    ids=["no-mark", "begun-later", "ended-already", "expired", "of-an-older-version"],
)
def test_no_other_session_is_touched(view: SessionView) -> None:
    book = Book(fails=True)
    end(book, view)
    assert book.asked == 0, "a write transaction at each request of whoever still has the cookie"


def test_a_ledger_that_cannot_be_written_is_no_failure_of_the_request(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "jit_middleware.sessions"):
        end(Book(fails=True), VIEW)
    assert "not ended yet" in caplog.text
