"""What begins late: nothing of an answer that has begun goes out on knowledge older than the bound, not its first part
either; and an event stream is watched from its head, by what the client asks for or what the app says it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from jit_middleware.asgi import JITMiddleware
from jit_middleware.errors import SessionEnded
from jit_middleware.wsgi import JITMiddleware as WSGIMiddleware
from tests.conftest import FakeClock
from tests.edges.asgi_tools import BODY, REQUEST, START, nothing_received, run, scope
from tests.edges.fakes import SESSION, FakeGate
from tests.edges.test_wsgi_contract import environ, serving

PART = {"type": "http.response.body", "body": b"data: secret\n\n", "more_body": True}
PAGE = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
ACCEPTS = [None, b"*/*", PAGE, b"application/json", b"text/event-stream", b"application/json, text/event-stream"]
FIRST = {
    "a part": PART,
    "the whole": BODY,
    "the last part": {**BODY, "more_body": False},
    "a file": {"type": "http.response.pathsend", "path": "/srv/file"},
    "trailers": {"type": "http.response.trailers", "headers": []},
}


def asked(accept: bytes | None, method: str = "GET") -> dict[str, Any]:
    given = scope(method)
    if accept is not None:
        given["headers"].append((b"accept", accept))
    return given


def head(content_type: bytes) -> dict[str, Any]:
    headers = [(b"cache-control", b"no-cache"), (b"content-type", content_type)]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def revoke(gate: FakeGate) -> None:
    gate.served.discard(SESSION.id)
    gate.store.append("session", SESSION.id)


def served(gate: FakeGate, app: Any, given: dict[str, Any]) -> list[Any]:
    """What got out."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return REQUEST

    run(JITMiddleware.with_gate(app, gate)(given, receive, send))  # type: ignore[arg-type]
    assert len(gate.watch) == 0
    return sent


# --- ASGI: what is sent first ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cached", "decided"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("first", FIRST)
def test_what_comes_long_after_the_head_stays_here_when_the_session_has_ended(
    first: str, accept: bytes | None, method: str, way: Any, fake_clock: FakeClock
) -> None:
    gate, sent, caught = FakeGate(way, bound=1.0, clock=fake_clock), [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        revoke(gate)
        fake_clock.advance(3.7)
        for _ in range(2):
            try:
                await send(FIRST[first])
            except OSError as error:
                caught.append(type(error))

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(SessionEnded):
        run(JITMiddleware.with_gate(app, gate)(asked(accept, method), nothing_received, send))  # type: ignore[arg-type]
    assert sent == [START]
    assert caught == [SessionEnded] * 2
    assert len(gate.watch) == 0


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("first", FIRST)
def test_what_comes_long_after_the_head_goes_out_while_the_session_lives(
    first: str, accept: bytes | None, fake_clock: FakeClock
) -> None:
    gate = FakeGate(bound=1.0, clock=fake_clock)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        fake_clock.advance(60)
        await send(FIRST[first])
        await send(BODY)

    assert served(gate, app, asked(accept)) == [START, FIRST[first], BODY]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("first", FIRST)
def test_an_answer_that_had_not_begun_is_finished(
    first: str, accept: bytes | None, method: str, fake_clock: FakeClock
) -> None:
    """A write must not be cut in the middle."""
    gate = FakeGate(bound=1.0, clock=fake_clock)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        revoke(gate)
        fake_clock.advance(30)
        await send(START)
        await send(FIRST[first])
        await send({**BODY, "more_body": False})

    assert [message["type"] for message in served(gate, app, asked(accept, method))][0::2] == [
        START["type"],
        BODY["type"],
    ]


@pytest.mark.parametrize("accept", [PAGE, b"*/*", b"text/event-stream"])
def test_a_part_that_the_app_made_while_it_held_up_the_loop_stays_here(accept: bytes, fake_clock: FakeClock) -> None:
    """The watcher had no turn."""
    gate, sent = FakeGate(bound=1.0, clock=fake_clock), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(PART)
        revoke(gate)
        fake_clock.advance(3.7)
        await send(PART)

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(SessionEnded):
        run(JITMiddleware.with_gate(app, gate)(asked(accept), nothing_received, send))  # type: ignore[arg-type]
    assert sent == [START, PART]


def test_a_busy_stream_asks_once_in_each_bound(fake_clock: FakeClock) -> None:
    gate = FakeGate(bound=1.0, clock=fake_clock)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for _ in range(1000):
            fake_clock.advance(0.01)
            await send(PART)
        await send(BODY)

    assert len(served(gate, app, asked(None))) == 1002
    assert 9 <= gate.store.reads <= 12
    assert gate.looked_up == [SESSION.id], "once, since this worker had not read the feed when it began"


def test_a_bound_of_zero_asks_ten_times_a_second_at_most(fake_clock: FakeClock) -> None:
    gate = FakeGate(bound=0.0, clock=fake_clock)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for _ in range(100):
            fake_clock.advance(0.01)
            await send(PART)
        await send(BODY)

    served(gate, app, asked(None))
    assert 8 <= gate.store.reads <= 11


# --- ASGI: event streams from their head ----------------------------------------------------------------------------


async def ends_from_its_head(
    gate: FakeGate, given: dict[str, Any], begin: dict[str, Any], *, hears: bool = False
) -> None:
    sent: list[Any] = []
    heard: list[str] = []
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    begun = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(begin)
        heard.append((await receive())["type"] if hears else "nothing")
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)
        begun.set()

    middleware: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
    task = asyncio.create_task(middleware(given, inbox.get, send))
    await begun.wait()
    assert len(gate.watch) == 1
    revoke(gate)
    gate.feed.hurry()
    with pytest.raises(SessionEnded):
        await task
    assert sent == [begin]
    assert heard == ["http.disconnect" if hears else "nothing"]
    assert len(gate.watch) == 0


@pytest.mark.parametrize("way", ["cached", "decided"])
@pytest.mark.parametrize(
    "accept",
    [
        b"text/event-stream",
        b"application/json, text/event-stream",
        b"application/json,text/event-stream",
        b"text/event-stream, */*",
        b"Text/Event-Stream",
        b"text/html, text/event-stream;q=0.5",
        b"text/event-stream" + b", */*" * 1000,
    ],
    ids=lambda accept: accept[:50].decode(),
)
def test_an_event_stream_is_watched_from_its_head_by_what_the_client_asks_for(accept: bytes, way: Any) -> None:
    run(ends_from_its_head(FakeGate(way), asked(accept), START, hears=True))


@pytest.mark.parametrize(
    "content_type", [b"text/event-stream", b"text/event-stream; charset=utf-8", b"Text/Event-Stream;charset=UTF-8"]
)
@pytest.mark.parametrize("accept", [None, b"*/*", b"application/json"])
@pytest.mark.parametrize("way", ["cached", "decided"])
def test_an_event_stream_is_watched_from_its_head_by_what_the_app_says(
    content_type: bytes, accept: bytes | None, way: Any
) -> None:
    run(ends_from_its_head(FakeGate(way), asked(accept), head(content_type)))


def test_an_event_stream_that_was_posted_for_is_watched_from_its_head() -> None:
    run(
        ends_from_its_head(
            FakeGate(), asked(PAGE.replace(b"text/html", b"text/plain"), "POST"), head(b"text/event-stream")
        )
    )


def counting(gate: FakeGate) -> tuple[Any, list[int]]:
    """An app, and how many connections were watched after each of its heads."""
    open_meanwhile: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        open_meanwhile.append(len(gate.watch))
        await send(BODY)

    return app, open_meanwhile


def test_clients_that_share_header_names_are_told_apart_by_accept() -> None:
    gate = FakeGate()
    app, open_meanwhile = counting(gate)

    async def story() -> None:
        middleware: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]

        async def send(message: Any) -> None: ...

        for accept in (PAGE, b"text/event-stream", PAGE, b"*/*", b"text/event-stream"):
            await middleware(asked(accept), nothing_received, send)

    run(story())
    assert open_meanwhile == [0, 1, 0, 0, 1]


def test_headers_that_can_be_read_only_once_are_left_to_the_server() -> None:
    once = {"type": "http.response.start", "status": 200, "headers": iter([(b"content-type", b"text/event-stream")])}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(once)
        await send(BODY)

    sent = served(FakeGate(), app, asked(b"*/*"))
    assert list(sent[0]["headers"]) == [(b"content-type", b"text/event-stream")]


@pytest.mark.parametrize("kind", [list, tuple])
def test_headers_that_can_be_read_twice_are_looked_at(kind: Any) -> None:
    begin = head(b"text/event-stream")
    run(ends_from_its_head(FakeGate(), asked(b"*/*"), {**begin, "headers": kind(begin["headers"])}))


def test_an_accept_header_that_is_too_long_is_read_and_not_kept() -> None:
    gate = FakeGate()
    app, open_meanwhile = counting(gate)

    async def story() -> None:
        async def send(message: Any) -> None: ...

        for more in range(20):
            for accept in (b"text/event-stream", b"*/*"):
                given = asked(accept + b", */*" * 50_000)
                given["headers"] += [(b"x-%d" % number, b"") for number in range(more)]
                await middleware(given, nothing_received, send)

    middleware: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
    run(story())
    assert open_meanwhile == [1, 0] * 20
    _, _, lately, *_ = middleware._hot
    assert len(lately) == 20, "the names are kept all the same"
    assert sum(len(accept) for *_, (accept, _, _) in lately.values()) == 0
    assert sum(map(len, middleware._watchers._manners)) <= 1024 * 256


# --- ASGI: what comes after the app has returned --------------------------------------------------------------------


def orphaned(gate: FakeGate, late: list[Any], given: dict[str, Any], *, before: Any, error: Exception | None) -> Any:
    """What a task that the app has left behind gets out, and what becomes of it."""
    sent: list[Any] = []
    orphans: list[asyncio.Task[None]] = []

    async def story() -> None:
        returned = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def orphan() -> None:
                await returned.wait()
                for message in late:
                    await send(message)

            orphans.append(asyncio.create_task(orphan()))
            if late[0]["type"] != START["type"]:
                await send(START)
            if error is not None:
                raise error

        async def send(message: Any) -> None:
            sent.append(message)

        middleware: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
        await asyncio.gather(middleware(given, nothing_received, send), return_exceptions=True)
        assert len(gate.watch) == 0
        before()
        returned.set()
        await asyncio.wait(orphans)
        assert len(gate.watch) == 0, "nobody is left who would take it out"

    run(story())
    return sent, orphans[0].exception()


@pytest.mark.parametrize("error", [None, ZeroDivisionError()])
@pytest.mark.parametrize("accept", [PAGE, b"*/*", b"text/event-stream"])
@pytest.mark.parametrize("late", [[PART, PART, BODY], [BODY], [START, PART, BODY], [head(b"text/event-stream"), PART]])
@pytest.mark.parametrize("ends", [True, False])
def test_what_a_task_sends_after_the_app_has_returned_goes_out_unwatched_while_the_knowledge_is_fresh(
    ends: bool, late: list[Any], accept: bytes, error: Exception | None, fake_clock: FakeClock
) -> None:
    gate = FakeGate(bound=1.0, clock=fake_clock)

    async def fresh() -> None:
        await gate.feed.ensure_fresh()

    run(fresh())

    def before() -> None:
        if ends:
            revoke(gate)
            fake_clock.advance(1.0)

    sent, outcome = orphaned(gate, late, asked(accept), before=before, error=error)
    by_the_app = [] if late[0]["type"] == START["type"] else [START]
    assert sent == (by_the_app if ends else by_the_app + late)
    assert isinstance(outcome, SessionEnded) == ends


# --- WSGI -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["cached", "decided"])
def gate(request: pytest.FixtureRequest, fake_clock: FakeClock) -> FakeGate:
    return FakeGate(request.param, bound=1.0, clock=fake_clock)


def wsgi(gate: FakeGate, app: Any, method: str = "GET") -> Any:
    return WSGIMiddleware.with_gate(app, gate)(environ(method), lambda *_: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_first_part_that_took_long_stays_here_when_the_session_has_ended(
    method: str, gate: FakeGate, fake_clock: FakeClock
) -> None:
    def slow() -> Iterator[bytes]:
        revoke(gate)
        fake_clock.advance(3.7)
        yield b"data: secret\n\n"

    body = wsgi(gate, serving(slow()), method)
    with pytest.raises(SessionEnded):
        next(iter(body))
    body.close()
    assert len(gate.watch) == 0


def test_a_first_part_that_took_long_goes_out_while_the_session_lives(gate: FakeGate, fake_clock: FakeClock) -> None:
    def slow() -> Iterator[bytes]:
        fake_clock.advance(3.7)
        yield b"news"

    assert list(wsgi(gate, serving(slow()))) == [b"news"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_answer_that_was_there_when_the_app_returned_is_finished(
    method: str, gate: FakeGate, fake_clock: FakeClock
) -> None:
    """As Werkzeug hands its answers over: an iterator of one part."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        revoke(gate)
        fake_clock.advance(30)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b"done"])

    assert list(wsgi(gate, app, method)) == [b"done"]
