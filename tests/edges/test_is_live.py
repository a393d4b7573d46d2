"""``environ["jit.is_live"]``: what an application asks that sends past the server, by ``write()`` or on a raw socket."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from wsgiref.validate import validator

import pytest

from jit_middleware.bridge import step
from jit_middleware.http.messages import PassThrough
from jit_middleware.wsgi import JITMiddleware
from tests.conftest import FakeClock
from tests.edges.fakes import ALICE, SESSION, FakeGate
from tests.edges.test_wsgi_contract import TEXT, environ
from tests.examples.test_docs import blocks
from tests.worlds import call_wsgi


@pytest.fixture(params=["cached", "decided"])
def gate(request: pytest.FixtureRequest, fake_clock: FakeClock) -> Iterator[FakeGate]:
    gate = FakeGate(request.param, bound=1.0, clock=fake_clock)
    step(gate.feed.ensure_fresh())
    yield gate
    gc.collect()
    assert len(gate.watch) == 0, "nothing stays registered for what is gone"


def asked(gate: FakeGate, **extra: Any) -> Callable[[], bool]:
    """What the app finds in its environ."""
    seen: list[Callable[[], bool]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ["jit.is_live"])
        start_response("200 OK", TEXT)
        return []

    result = call_wsgi(validator(JITMiddleware.with_gate(validator(app), gate)), environ(**extra))  # type: ignore[arg-type]
    assert result.errors == ""
    return seen[0]


def revoke(gate: FakeGate) -> None:
    gate.served.discard(SESSION.id)
    gate.store.append("session", SESSION.id)


def test_a_session_lives_until_it_is_revoked_and_is_over_for_good(gate: FakeGate, fake_clock: FakeClock) -> None:
    is_live = asked(gate)
    for _ in range(5):
        assert is_live() is True
        fake_clock.advance(2)
    revoke(gate)
    assert is_live() is False
    fake_clock.advance(2)
    assert is_live() is False


def test_the_answer_is_no_older_than_the_bound(gate: FakeGate, fake_clock: FakeClock) -> None:
    is_live = asked(gate)
    revoke(gate)
    fake_clock.advance(1.0)
    assert not is_live()


def test_a_suspended_account_ends_it_and_other_people_do_not(gate: FakeGate, fake_clock: FakeClock) -> None:
    is_live = asked(gate)
    fake_clock.advance(2)
    assert is_live()
    for kind, key in (("session", "s-2"), ("user", "8"), ("user", ALICE.id)):
        gate.store.append(kind, key)
        fake_clock.advance(2)
        assert is_live()
    gate.served.clear()
    gate.store.append("user", ALICE.id)
    fake_clock.advance(2)
    assert not is_live()


def test_the_absolute_limit_ends_it(gate: FakeGate, fake_clock: FakeClock) -> None:
    is_live = asked(gate)
    fake_clock.advance(SESSION.expires_at.timestamp() - fake_clock.now() - 1)
    assert is_live()
    fake_clock.advance(1)
    assert not is_live()


def test_nobody_can_tell_is_no_and_may_become_yes_again(gate: FakeGate, fake_clock: FakeClock) -> None:
    is_live = asked(gate)
    fake_clock.advance(2)
    gate.store.is_down = True
    assert not is_live()
    gate.store.is_down = False
    fake_clock.advance(2)
    assert is_live()


def test_who_asks_all_the_time_costs_one_read_for_each_bound(gate: FakeGate, fake_clock: FakeClock) -> None:
    is_live = asked(gate)
    gate.standing.deadline = -1.0  # as after some seconds: the cache looks every session up again
    reads = gate.store.reads
    for _ in range(1000):
        assert is_live()
        fake_clock.advance(0.01)
    assert 9 <= gate.store.reads - reads <= 11
    assert gate.looked_up == [SESSION.id]


def test_within_the_bound_nothing_is_asked_and_nothing_registered(gate: FakeGate, fake_clock: FakeClock) -> None:
    is_live = asked(gate)
    reads = gate.store.reads
    for _ in range(9):
        fake_clock.advance(0.1)
        assert is_live()
    assert (gate.store.reads, len(gate.watch)) == (reads, 0)


def test_threads_of_one_session_each_get_the_whole_truth(gate: FakeGate, fake_clock: FakeClock) -> None:
    """One is looking the session up when another asks: that one must not take the doubt for settled."""
    is_live = asked(gate)
    fake_clock.advance(2)
    assert is_live()
    gate.store.append("user", ALICE.id)
    gate.served.clear()
    fake_clock.advance(2)
    looking, go_on = threading.Event(), threading.Event()
    look = gate.is_served

    async def slow(session_id: str) -> bool:
        if not looking.is_set():
            looking.set()
            assert go_on.wait(10)
        return await look(session_id)

    gate.watch._is_served = slow
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(is_live()))
    thread.start()
    assert looking.wait(10)
    assert not is_live()
    go_on.set()
    thread.join(10)
    assert answers == [False]


def test_nobody_in_particular_has_none_and_a_client_cannot_bring_one() -> None:
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", TEXT)
        return []

    forged = {"jit.is_live": lambda: True}
    JITMiddleware.with_gate(app, FakeGate("anonymous"))(environ(**forged), lambda *_: None)  # type: ignore[arg-type]
    JITMiddleware.with_gate(app, FakeGate())(environ(**forged), lambda *_: None)  # type: ignore[arg-type]
    assert "jit.is_live" not in seen[0]
    assert seen[1]["jit.is_live"] is not forged["jit.is_live"]


def test_an_app_that_writes_can_stop(gate: FakeGate, fake_clock: FakeClock) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", TEXT)
        while environ["jit.is_live"]():
            write(b"tick\n")
            fake_clock.advance(0.5)
            revoke(gate)
        return []

    body = call_wsgi(JITMiddleware.with_gate(app, gate), environ()).body  # type: ignore[arg-type]
    assert body in (b"tick\n", b"tick\ntick\n")


def test_the_example_of_the_documentation_sends_nothing_that_came_after_the_end(
    gate: FakeGate, fake_clock: FakeClock
) -> None:
    """It waits for its events: what it asked before it waited is old when one comes."""
    (example,) = (text for _, text in blocks("python") if 'environ["jit.is_live"]' in text)
    events = iter([b"first;", b"second;"])

    def next_event() -> bytes:
        event = next(events, None)
        if event is None:
            revoke(gate)
            event = b"after the end;"
        fake_clock.advance(30)
        return event

    documented: dict[str, Any] = {"next_event": next_event}
    exec(compile(example, "docs/injection.md", "exec"), documented)
    assert call_wsgi(JITMiddleware.with_gate(documented["application"], gate), environ()).body == b"first;second;"


def test_requests_of_a_session_share_it() -> None:
    gate = FakeGate(deciding=None)
    passed = PassThrough(gate.admission, "", gate.standing)
    gate.admit = lambda path, header: passed  # type: ignore[method-assign]
    assert asked(gate) is asked(gate)


def test_a_loop_on_a_raw_socket_ends_with_its_session(fake_clock: FakeClock) -> None:
    gate = FakeGate(bound=1.0, clock=fake_clock)
    ours, theirs = socket.socketpair()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        taken: socket.socket = environ["gunicorn.socket"]
        while environ["jit.is_live"]():
            taken.sendall(b"news;")
            assert taken.recv(1) == b"!"
        taken.shutdown(socket.SHUT_RDWR)
        return []

    given = environ(**{"gunicorn.socket": theirs})
    with closing(ours), closing(theirs):
        ours.settimeout(10)
        served: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
        thread = threading.Thread(target=lambda: served(given, lambda *_: None))
        thread.start()
        for _ in range(3):
            assert ours.recv(5) == b"news;"
            fake_clock.advance(2)
            ours.sendall(b"!")
        assert ours.recv(5) == b"news;"
        revoke(gate)
        fake_clock.advance(1)
        ours.sendall(b"!")
        assert ours.recv(5) == b""
        thread.join(10)
