"""WSGI responses in parts: nothing is handed over on knowledge older than the bound."""

from __future__ import annotations

import gc
import io
import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from jit_middleware.asking import Parts
from jit_middleware.bridge import step
from jit_middleware.errors import SessionEnded
from jit_middleware.wsgi import JITMiddleware
from tests.conftest import FakeClock
from tests.edges.fakes import SESSION, FakeGate
from tests.edges.test_wsgi_contract import TEXT, Body, environ, serving
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


class Upstream:
    """What an application got from another server and hands on: it can be read, and goes on for as long as that."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)

    def read(self, size: int = -1) -> bytes:
        raise AssertionError("the server iterates what it does not know for a file")

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)


class OnlyRead:
    """All that PEP 3333 asks of what an application gives to ``wsgi.file_wrapper``."""

    def read(self, size: int = -1) -> bytes:
        return b""


def as_uwsgi(opened: Any, size: int = 0) -> Any:
    """uWSGI's wrapper is a function, and gives back what it was given: that very object is then sent as a file."""
    return opened


def as_others(opened: Any, size: int = 8192) -> FileWrapper:
    """A function that makes something of its own."""
    return FileWrapper(opened, size)


WRAPPERS: dict[str, Any] = {
    "a class (gunicorn, waitress, wsgiref)": FileWrapper,
    "a function (uWSGI)": as_uwsgi,
    "another": as_others,
}
NO_FILE: dict[str, dict[str, Any]] = {name: {"wsgi.file_wrapper": wrapper} for name, wrapper in WRAPPERS.items()} | {
    "none (granian, gevent)": {}
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_files_are_the_servers_own(gate: FakeGate, wrapper: str) -> None:
    """The server looks at type or identity of what comes back: it has to be the very object that its wrapper gave."""
    given: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        given.extend(environ["wsgi.file_wrapper"](opened, 4096) for opened in (io.BytesIO(b"another"), OnlyRead()))
        return given[-1]

    own = environ(**{"wsgi.file_wrapper": WRAPPERS[wrapper]})
    assert JITMiddleware.with_gate(app, gate)(own, lambda *_: None) is given[1]
    assert own["wsgi.file_wrapper"] is WRAPPERS[wrapper]


@pytest.mark.parametrize("server", NO_FILE)
@pytest.mark.parametrize("make", [Upstream, lambda *parts: io.BytesIO(b"\n".join(parts))], ids=["upstream", "opened"])
def test_what_can_be_read_but_is_not_the_servers_file_ends_with_its_session(
    gate: FakeGate, fake_clock: FakeClock, make: Any, server: str
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        environ["wsgi.file_wrapper"] = Upstream  # what an app puts there is not the server's
        return make(b"a", b"b", b"c")

    parts = iter(JITMiddleware.with_gate(app, gate)(environ(**NO_FILE[server]), lambda *_: None))
    assert [next(parts).strip(), next(parts).strip()] == [b"a", b"b"]
    gate.store.append("session", SESSION.id)
    fake_clock.advance(1.0)
    with pytest.raises(SessionEnded):
        next(parts)


def test_what_the_servers_function_gave_and_was_not_returned_makes_nothing_else_a_file(gate: FakeGate) -> None:
    body = Upstream(b"a")

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        environ["wsgi.file_wrapper"](io.BytesIO(b"file"))
        return body

    served = JITMiddleware.with_gate(app, gate)(environ(**{"wsgi.file_wrapper": as_uwsgi}), lambda *_: None)
    assert served is not body
    assert list(served) == [b"a"]


@pytest.mark.parametrize("first", NO_FILE)
def test_a_function_that_comes_later_gives_files_too(gate: FakeGate, first: str) -> None:
    """A layer outside may take the wrapper away for some requests, or bring another. What can only be read is no body
    to iterate."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        wrapper = environ.get("wsgi.file_wrapper")
        return iter([b"x"]) if wrapper is None else wrapper(OnlyRead())

    middleware: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
    before = middleware(environ(**NO_FILE[first]), lambda *_: None)
    assert isinstance(before, FileWrapper | OnlyRead if NO_FILE[first] else Parts)
    assert isinstance(middleware(environ(**{"wsgi.file_wrapper": as_uwsgi}), lambda *_: None), OnlyRead)


def test_a_body_that_its_server_or_an_outer_layer_never_closes_is_let_go(gate: FakeGate, fake_clock: FakeClock) -> None:
    """An outer middleware that is a generator, and loops over what it has wrapped, drops the body as it is."""

    def slow(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        for _ in range(3):
            yield b"x"
            fake_clock.advance(2)

    inner: Any = JITMiddleware.with_gate(slow, gate)  # type: ignore[arg-type]

    def outer(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        for part in inner(environ, start_response):  # noqa: UP028 - as such layers do
            yield part

    gc.disable()  # nothing has to wait for it
    try:
        assert b"".join(outer(environ(), lambda *_: None)) == b"xxx"
        assert len(gate.watch) == 0, "read to its end"
        begun = outer(environ(), lambda *_: None)
        assert [next(begun), next(begun)] == [b"x", b"x"]
        assert len(gate.watch) == 1
        del begun
        assert len(gate.watch) == 0, "dropped on the way"
        kept = inner(environ(), lambda *_: None)
        assert b"".join(kept) == b"xxx"
        assert len(gate.watch) == 0, "at its end, though somebody keeps it"
    finally:
        gc.enable()


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
