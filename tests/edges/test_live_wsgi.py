"""WSGI responses in parts: nothing is handed over on knowledge older than the bound."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from jit_middleware.bridge import step
from jit_middleware.errors import SessionEnded
from jit_middleware.wsgi import JITMiddleware
from tests.conftest import FakeClock
from tests.edges.fakes import SESSION, FakeGate
from tests.edges.test_wsgi_contract import Body, environ, serving
from tests.worlds import call_wsgi


@pytest.fixture(params=["cached", "decided"])
def gate(request: pytest.FixtureRequest, fake_clock: FakeClock) -> FakeGate:
    return FakeGate(request.param, bound=1.0, clock=fake_clock)


def serve(gate: FakeGate, body: Any) -> Any:
    return JITMiddleware.with_gate(serving(body), gate)(environ(), lambda *_: None)  # type: ignore[arg-type]


def test_a_revoked_session_ends_a_body_before_its_next_part(gate: FakeGate, fake_clock: FakeClock) -> None:
    body = Body(b"a", b"b", b"c")
    served = serve(gate, body)
    parts = iter(served)
    assert [next(parts), next(parts)] == [b"a", b"b"]
    gate.store.append("session", SESSION.id)
    fake_clock.advance(1.0)
    with pytest.raises(SessionEnded) as ended:
        next(parts)
    assert isinstance(ended.value, ConnectionResetError), "gunicorn and waitress say little about it"
    served.close()
    assert body.diary == ["next"] * 3 + ["close"]
    assert len(gate.watch) == 0


def test_the_part_that_the_app_was_making_meanwhile_stays_here(gate: FakeGate, fake_clock: FakeClock) -> None:
    def slow() -> Iterator[bytes]:
        yield b"a"
        gate.served.clear()
        gate.store.append("session", SESSION.id)
        fake_clock.advance(30)
        yield b"made after the session had ended"

    parts = iter(serve(gate, slow()))
    assert next(parts) == b"a"
    with pytest.raises(SessionEnded):
        next(parts)


def test_within_the_bound_nothing_is_asked_and_nothing_registered(gate: FakeGate, fake_clock: FakeClock) -> None:
    gate.feed.fresh_until = fake_clock.monotonic() + 1.0
    parts = iter(serve(gate, Body(*[b"x"] * 1000)))
    for _ in range(999):
        fake_clock.advance(0.001)
        next(parts)
    assert gate.store.reads == 0
    assert len(gate.watch) == 0


def test_a_long_body_costs_one_read_for_each_bound(gate: FakeGate, fake_clock: FakeClock) -> None:
    parts = iter(serve(gate, Body(*[b"x"] * 1000)))
    for _ in range(1000):
        next(parts)
        fake_clock.advance(0.01)
    assert 9 <= gate.store.reads <= 11
    assert gate.looked_up == [SESSION.id], "once, since this worker had not read the feed when it began"


def test_a_dropped_entry_is_looked_up(gate: FakeGate, fake_clock: FakeClock) -> None:
    """The feed may have named the session between the request and its second part; or the cache was full."""
    step(gate.feed.ensure_fresh())
    parts = iter(serve(gate, Body(b"a", b"b", b"c", b"d")))
    assert [next(parts), next(parts)] == [b"a", b"b"]
    gate.standing.deadline = -1.0
    assert next(parts) == b"c"
    assert gate.looked_up == [SESSION.id]
    gate.served.clear()
    gate.store.append("user", "7")
    fake_clock.advance(1.0)
    with pytest.raises(SessionEnded):
        next(parts)


def test_a_body_ends_with_all_sessions_of_its_connection(gate: FakeGate, fake_clock: FakeClock) -> None:
    parts = iter(serve(gate, Body(b"a", b"b", b"c")))
    assert [next(parts), next(parts)] == [b"a", b"b"]
    gate.served.clear()
    gate.looked_up.clear()
    gate.store.append("connection", SESSION.connection)
    fake_clock.advance(1.0)
    with pytest.raises(SessionEnded):
        next(parts)
    assert gate.looked_up == [SESSION.id], "it may have begun since"


NO_END = {
    "roles": ("user", "7"),
    "another session": ("session", "s-2"),
    "its connection, before": ("connection", "oidc"),
    "another connection": ("connection", "other"),
}


@pytest.mark.parametrize("change", NO_END)
def test_what_ends_no_session_ends_no_body(gate: FakeGate, fake_clock: FakeClock, change: str) -> None:
    parts = iter(serve(gate, Body(b"a", b"b", b"c")))
    assert [next(parts), next(parts)] == [b"a", b"b"]
    gate.store.append(*NO_END[change])
    fake_clock.advance(1.0)
    assert next(parts) == b"c"


def test_the_absolute_limit_ends_a_body(gate: FakeGate, fake_clock: FakeClock) -> None:
    parts = iter(serve(gate, Body(b"a", b"b", b"c")))
    assert [next(parts), next(parts)] == [b"a", b"b"]
    fake_clock.advance(SESSION.expires_at.timestamp() - fake_clock.now())
    with pytest.raises(SessionEnded):
        next(parts)


def test_a_feed_that_nobody_can_read_ends_a_body(gate: FakeGate, fake_clock: FakeClock) -> None:
    parts = iter(serve(gate, Body(b"a", b"b", b"c")))
    assert [next(parts), next(parts)] == [b"a", b"b"]
    gate.store.is_down = True
    fake_clock.advance(1.0)
    with pytest.raises(SessionEnded):
        next(parts)


def test_a_bound_of_zero_asks_before_each_part(fake_clock: FakeClock) -> None:
    gate = FakeGate(bound=0.0, clock=fake_clock)
    parts = iter(serve(gate, Body(b"a", b"b", b"c")))
    assert next(parts) == b"a"
    for part in (b"b", b"c"):
        reads = gate.store.reads
        fake_clock.advance(0.001)
        assert next(parts) == part
        assert gate.store.reads == reads + 1


def test_another_threads_reading_marks_the_body(gate: FakeGate, fake_clock: FakeClock) -> None:
    served = serve(gate, Body(b"a", b"b", b"c", b"d"))
    parts = iter(served)
    assert [next(parts), next(parts)] == [b"a", b"b"]
    gate.store.append("session", SESSION.id)
    fake_clock.advance(1.0)
    thread = threading.Thread(target=lambda: step(gate.feed.ensure_fresh()))
    thread.start()
    thread.join(5)
    reads = gate.store.reads
    with pytest.raises(SessionEnded):
        next(parts)
    assert gate.store.reads == reads
    served.close()


def test_files_are_the_servers_own(gate: FakeGate) -> None:
    wrapped = FileWrapper(io.BytesIO(b"file"))
    given = environ(**{"wsgi.file_wrapper": FileWrapper})
    assert JITMiddleware.with_gate(serving(wrapped), gate)(given, lambda *_: None) is wrapped  # type: ignore[arg-type]
    opened = io.BytesIO(b"file")
    assert serve(gate, opened) is opened


def test_a_body_that_is_never_read_is_closed(gate: FakeGate) -> None:
    body = Body(b"a")
    serve(gate, body).close()
    assert body.diary == ["close"]


def test_a_body_without_close_needs_none(gate: FakeGate) -> None:
    served = serve(gate, iter([b"a", b"b"]))
    assert list(served) == [b"a", b"b"]
    served.close()


def test_the_validator_sees_nothing_odd(gate: FakeGate, fake_clock: FakeClock) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        for part in (b"a", b"b"):
            fake_clock.advance(2)
            yield part

    middleware: Any = JITMiddleware.with_gate(validator(app), gate)  # type: ignore[arg-type]
    result = call_wsgi(validator(middleware), environ())
    assert (result.body, result.errors) == (b"ab", "")
