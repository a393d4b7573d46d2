"""Open ASGI connections: each ends soon after its session, whatever its app is waiting for, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import StreamingResponse

from jit_middleware.asgi import JITMiddleware
from jit_middleware.errors import AdapterError, Conflict, SessionEnded, StoreUnavailable
from jit_middleware.model import FeedPage
from tests.asgi_lint import lint
from tests.conftest import FakeClock
from tests.edges.asgi_tools import BODY, REQUEST, START, nothing_received, run, scope, websocket
from tests.edges.fakes import SESSION, FakeGate

pytestmark = pytest.mark.slow

PART = {"type": "http.response.body", "body": b"part", "more_body": True}
ACCEPT = {"type": "websocket.accept"}
GONE = {"type": "websocket.disconnect", "code": 1008, "reason": ""}


class Client:
    """The server's side of one connection: an inbox that stays open, and what was sent."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for message in messages:
            self.inbox.put_nowait(message)
        self.sent: list[dict[str, Any]] = []
        self.news = asyncio.Event()

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        self.news.set()

    async def has_got(self, count: int) -> None:
        while len(self.sent) < count:
            self.news.clear()
            await self.news.wait()

    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]


def events_scope() -> dict[str, Any]:
    given = scope()
    given["headers"].append((b"accept", b"text/event-stream"))
    return given


def begin(gate: FakeGate, app: Any, given: Any, client: Client) -> asyncio.Task[None]:
    middleware = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
    return asyncio.create_task(middleware(given, client.inbox.get, client.send))  # type: ignore[arg-type]


def revoke(gate: FakeGate, session: str = SESSION.id) -> None:
    """As another process would; here the worker is told to hurry, so that no test waits for the bound."""
    gate.served.discard(session)
    gate.store.append("session", session)
    gate.feed.hurry()


async def nothing_left(gate: FakeGate) -> None:
    """No registered connection, no task and, after one more turn, no timer."""
    assert len(gate.watch) == 0
    gate.feed.hurry()
    for _ in range(3):
        await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert [str(task.get_coro()) for task in others if "run.<locals>.main" not in str(task.get_coro())] == []
    assert not gate.feed._hearers, "the watcher waits on"


def sure(story: Callable[[], Awaitable[None]]) -> None:
    run(story())


# --- websockets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cached", "decided"])
def test_a_websocket_of_a_revoked_session_hears_of_a_disconnect_and_the_client_of_1008(way: Any) -> None:
    async def story() -> None:
        gate, client, heard = FakeGate(way), Client({"type": "websocket.connect"}), []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            while (message := await receive())["type"] != "websocket.disconnect":
                await send({"type": "websocket.send", "text": message["text"]})
            heard.append(message)

        task = begin(gate, lint(app), websocket(), client)
        client.inbox.put_nowait({"type": "websocket.receive", "text": "hello"})
        await client.has_got(2)
        assert len(gate.watch) == 1
        revoke(gate)
        await task
        assert heard == [GONE]
        assert client.sent[2:] == [{"type": "websocket.close", "code": 1008, "reason": ""}]
        await nothing_left(gate)

    sure(story)


@pytest.mark.parametrize("connection", [SESSION.connection, "other"])
def test_a_websocket_ends_with_all_sessions_of_its_connection_and_not_with_those_of_another(connection: str) -> None:
    async def story() -> None:
        gate, client = FakeGate(), Client({"type": "websocket.connect"})

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            while (await receive())["type"] != "websocket.disconnect":
                pass

        task = begin(gate, lint(app), websocket(), client)
        await client.has_got(1)
        await gate.feed.ensure_fresh()
        gate.served.clear()
        gate.store.append("connection", connection)
        if connection == SESSION.connection:
            gate.feed.hurry()
            await task
            assert client.sent[1:] == [{"type": "websocket.close", "code": 1008, "reason": ""}]
        else:
            (mine,) = gate.feed.live._open
            mine.unsure = False
            gate.feed.hurry()
            await gate.feed.ensure_fresh()
            assert await gate.watch.ended([mine]) == []
            assert not mine.named
            client.inbox.put_nowait({"type": "websocket.disconnect", "code": 1001})
            await task
        await nothing_left(gate)

    sure(story)


def test_a_websocket_whose_app_waits_for_something_else_is_closed_all_the_same() -> None:
    async def story() -> None:
        gate, client, diary = FakeGate(), Client({"type": "websocket.connect"}), []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            try:
                await asyncio.Event().wait()
            finally:
                diary.append("tidied up")

        task = begin(gate, app, websocket(), client)
        await client.has_got(1)
        revoke(gate)
        await task
        assert task.cancelling() == 0
        assert diary == ["tidied up"]
        assert client.sent[1:] == [{"type": "websocket.close", "code": 1008, "reason": ""}]
        await nothing_left(gate)

    sure(story)


def test_an_app_that_listens_by_a_child_hears_of_the_end_and_is_not_cancelled() -> None:
    async def story() -> None:
        gate, client, diary = FakeGate(), Client({"type": "websocket.connect"}), []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            listening = asyncio.create_task(receive())
            try:
                await asyncio.wait({listening})
            except asyncio.CancelledError:
                diary.append("cancelled")
                raise
            diary.append(listening.result())

        task = begin(gate, app, websocket(), client)
        await client.has_got(1)
        revoke(gate)
        await task
        assert diary == [GONE]
        assert client.types() == ["websocket.accept", "websocket.close"]
        await nothing_left(gate)

    sure(story)


def test_what_an_app_sends_to_an_ended_websocket_stays_here() -> None:
    async def story() -> None:
        gate, client, caught = FakeGate(), Client({"type": "websocket.connect"}), []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            assert await receive() == GONE
            for _ in range(2):
                try:
                    await send({"type": "websocket.send", "text": "secret"})
                except OSError as error:
                    caught.append(type(error))
            assert await receive() == GONE

        task = begin(gate, app, websocket(), client)
        await client.has_got(1)
        revoke(gate)
        await task
        assert caught == [SessionEnded] * 2
        assert client.types() == ["websocket.accept", "websocket.close"]

    sure(story)


def test_a_websocket_that_is_not_accepted_yet_is_refused() -> None:
    async def story() -> None:
        gate, client = FakeGate(), Client({"type": "websocket.connect"})

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.Event().wait()

        task = begin(gate, lint(app), websocket(), client)
        await asyncio.sleep(0)
        revoke(gate)
        await task
        assert client.types() == ["websocket.close"]
        assert client.inbox.empty(), "the handshake was read before it was answered"

    sure(story)


def test_a_websocket_that_ends_by_itself_is_not_closed_again() -> None:
    async def story() -> None:
        gate, client = FakeGate(), Client({"type": "websocket.connect"})

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            await send({"type": "websocket.close", "code": 4000})
            assert (await receive())["type"] == "websocket.disconnect"

        task = begin(gate, app, websocket(), client)
        await client.has_got(2)
        revoke(gate)
        await task
        assert client.types() == ["websocket.accept", "websocket.close"]
        assert client.sent[1]["code"] == 4000

    sure(story)


def test_an_exception_of_the_app_comes_out_of_an_ended_websocket_as_it_is() -> None:
    async def story() -> None:
        gate, client = FakeGate(), Client({"type": "websocket.connect"})

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            await receive()
            raise ZeroDivisionError("the app's own")

        task = begin(gate, app, websocket(), client)
        await client.has_got(1)
        revoke(gate)
        with pytest.raises(ZeroDivisionError):
            await task
        assert client.types() == ["websocket.accept", "websocket.close"]

    sure(story)


def conversation(gate: FakeGate, app: Any, sent: list[Any]) -> None:
    """A websocket whose app runs to its end, with what got out."""
    inbox = [{"type": "websocket.connect"}]

    async def receive() -> Any:
        return inbox.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    async def accepting(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await app(receive, send)

    run(JITMiddleware.with_gate(accepting, gate)(websocket(), receive, send))  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["cached", "decided"])
def test_what_an_app_sends_by_a_websocket_after_it_held_up_the_loop_stays_here(way: Any, fake_clock: FakeClock) -> None:
    """The watcher had no turn."""
    gate, sent, caught = FakeGate(way, bound=1.0, clock=fake_clock), [], []

    async def app(receive: Any, send: Any) -> None:
        gate.served.discard(SESSION.id)
        gate.store.append("session", SESSION.id)
        fake_clock.advance(3.7)
        for _ in range(2):
            try:
                await send({"type": "websocket.send", "text": "secret"})
            except OSError as error:
                caught.append(type(error))
        assert await receive() == GONE

    conversation(gate, app, sent)
    assert caught == [SessionEnded] * 2
    assert sent == [ACCEPT, {"type": "websocket.close", "code": 1008, "reason": ""}]
    assert len(gate.watch) == 0


def test_a_busy_websocket_asks_once_in_each_bound(fake_clock: FakeClock) -> None:
    gate, sent = FakeGate(bound=1.0, clock=fake_clock), []

    async def app(receive: Any, send: Any) -> None:
        for _ in range(1000):
            fake_clock.advance(0.01)
            await send({"type": "websocket.send", "text": "news"})
        await send({"type": "websocket.close", "code": 1000})

    conversation(gate, app, sent)
    assert len(sent) == 1002
    assert sent[-1]["code"] == 1000
    assert 9 <= gate.store.reads <= 12
    assert gate.looked_up == [SESSION.id], "once, since this worker had not read the feed when it began"


def test_messages_that_wait_for_an_answer_keep_their_order(fake_clock: FakeClock) -> None:
    gate, sent = FakeGate(bound=1.0, clock=fake_clock), []
    looks: list[str] = []

    async def is_served(session_id: str) -> bool:
        looks.append(session_id)
        await asyncio.sleep(0.01 if len(looks) == 1 else 0)
        return True

    gate.watch._is_served = is_served

    async def app(receive: Any, send: Any) -> None:
        gate.store.append("user", "7")
        fake_clock.advance(1.5)
        said = [asyncio.create_task(send({"type": "websocket.send", "text": str(number)})) for number in range(5)]
        while not looks:
            await asyncio.sleep(0)
        said.append(asyncio.create_task(send({"type": "websocket.send", "text": "5"})))
        while len(sent) < 2:
            await asyncio.sleep(0)
        await send({"type": "websocket.send", "text": "6"})
        await asyncio.gather(*said)

    conversation(gate, app, sent)
    assert [message["text"] for message in sent[1:]] == list("0123456")
    assert looks == [SESSION.id], "one asks for all"


@pytest.mark.parametrize("kind", ["receives", "sends", "never returns"])
def test_a_slow_client_takes_none_of_the_apps_time_to_tidy_up(kind: str) -> None:
    """The closing handshake may take a server seconds, and the app is to hear of a disconnect all the same."""

    async def story() -> None:
        gate, client, heard = FakeGate(), Client({"type": "websocket.connect"}), []
        is_read = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            try:
                if kind == "sends":
                    while not heard:
                        try:
                            await send({"type": "websocket.send", "text": "news"})
                        except SessionEnded:
                            heard.append("SessionEnded")
                        await asyncio.sleep(0)
                heard.append((await receive())["type"])
                if kind == "never returns":
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard.append("cancelled")
                raise
            finally:
                is_read.set()

        async def send(message: Any) -> None:
            if message["type"] == "websocket.close":
                await is_read.wait()
                await asyncio.sleep(0.01)
            await client.send(message)

        middleware: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
        task = asyncio.create_task(middleware(websocket(), client.inbox.get, send))
        await client.has_got(1)
        revoke(gate)
        await task
        first = ["SessionEnded"] if kind == "sends" else []
        last = ["cancelled"] if kind == "never returns" else []
        assert heard == [*first, "websocket.disconnect", *last]
        assert client.sent[-1] == {"type": "websocket.close", "code": 1008, "reason": ""}, "and it has gone out"
        await nothing_left(gate)

    sure(story)


def test_a_server_that_cancels_an_ended_websocket_leaves_no_goodbye_behind() -> None:
    async def story() -> None:
        gate, client = FakeGate(), Client({"type": "websocket.connect"})
        saying = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            await receive()
            await saying.wait()
            task.cancel()
            await asyncio.sleep(0)

        async def send(message: Any) -> None:
            if message["type"] == "websocket.close":
                saying.set()
                await asyncio.Event().wait()
            await client.send(message)

        middleware: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
        task = asyncio.create_task(middleware(websocket(), client.inbox.get, send))
        await client.has_got(1)
        revoke(gate)
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        await nothing_left(gate)

    sure(story)


# --- responses in parts ---------------------------------------------------------------------------------------------


async def silent_after_a_part(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(PART)
    await asyncio.Event().wait()


@pytest.mark.parametrize("kind", ["cancelled", "swallows it", "in a child", "sends on"])
def test_a_response_of_a_revoked_session_breaks_off(kind: str) -> None:
    async def swallowing(scope: Any, receive: Any, send: Any) -> None:
        try:
            await silent_after_a_part(scope, receive, send)
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # and goes on as if nothing had happened

    async def by_a_child(scope: Any, receive: Any, send: Any) -> None:
        child = asyncio.create_task(silent_after_a_part(scope, receive, send))
        await asyncio.wait({child})
        child.result()

    async def chatty(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while True:
            await send(PART)
            await asyncio.sleep(0)

    apps: dict[str, Any] = {
        "cancelled": silent_after_a_part, "swallows it": swallowing, "in a child": by_a_child, "sends on": chatty,
    }  # fmt: skip

    async def story() -> None:
        gate, client = FakeGate(), Client()
        task = begin(gate, apps[kind], scope(), client)
        await client.has_got(2)
        revoke(gate)
        with pytest.raises(SessionEnded):
            await task
        assert client.sent[-1]["more_body"], "it does not look whole"
        sent = len(client.sent)
        await nothing_left(gate)
        assert len(client.sent) == sent

    sure(story)


def test_a_connection_that_has_ended_is_kept_no_longer_though_its_app_stays() -> None:
    async def story() -> None:
        gate, client, held = FakeGate(), Client(), []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            try:
                await silent_after_a_part(scope, receive, send)
            finally:
                held.append(len(gate.watch))

        task = begin(gate, app, scope(), client)
        await client.has_got(2)
        revoke(gate)
        with pytest.raises(SessionEnded):
            await task
        assert held == [0]

    sure(story)


@pytest.mark.parametrize("has_ended", [True, False])
def test_a_task_that_goes_on_with_a_stream_after_its_app_sends_no_more_than_a_request_would_get(
    has_ended: bool, fake_clock: FakeClock
) -> None:
    gate, sent = FakeGate(bound=1.0, clock=fake_clock), []

    async def story() -> None:
        returned, orphans, caught = asyncio.Event(), list[asyncio.Task[None]](), list[int]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def orphan() -> None:
                await send(PART)
                await returned.wait()
                for _ in range(3):
                    try:
                        await send(PART)
                    except SessionEnded:
                        caught.append(len(sent))
                    fake_clock.advance(0.5)

            await send(START)
            orphans.append(asyncio.create_task(orphan()))
            while len(sent) < 2:
                await asyncio.sleep(0)
            if has_ended:
                (connection,) = gate.feed.live._open
                connection.gone = True
                with pytest.raises(SessionEnded):
                    await send(PART)

        async def send(message: Any) -> None:
            sent.append(message)

        await gate.feed.ensure_fresh()
        middleware: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
        await asyncio.gather(middleware(scope(), nothing_received, send), return_exceptions=True)
        returned.set()
        await asyncio.gather(*orphans)
        assert caught == ([2] * 3 if has_ended else [4]), "the knowledge is a second old by then"
        assert len(gate.watch) == 0

    sure(story)


@pytest.mark.parametrize("way", ["cached", "decided"])
def test_a_stream_that_begins_late_is_ended_like_any_other(way: Any) -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</style.css>"]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/":
            await send(START)
            await send(BODY)
            return
        for _ in range(50):
            await send(hint)
        assert len(gate.watch) == 0
        await silent_after_a_part(scope, receive, send)

    gate = FakeGate(way)

    async def story() -> None:
        ordinary, client = Client(), Client()
        middleware: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
        for _ in range(20):
            await middleware(scope(), nothing_received, ordinary.send)
        late = middleware(scope(url="http://app.test/late"), client.inbox.get, client.send)
        task = asyncio.create_task(late)
        await client.has_got(52)
        assert len(gate.watch) == 1
        revoke(gate)
        with pytest.raises(SessionEnded):
            await task
        assert len(client.sent) == 52
        await middleware(scope(), nothing_received, ordinary.send)
        assert len(ordinary.sent) == 42, "an answer of its own is not held by the stream of another"
        await nothing_left(gate)

    sure(story)


@pytest.mark.parametrize("last", [BODY, {"type": "http.response.body"}, {**BODY, "more_body": False}])
def test_an_ended_response_is_never_completed(last: dict[str, Any]) -> None:
    async def story() -> None:
        gate, client, caught = FakeGate(), Client(), []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            try:
                await silent_after_a_part(scope, receive, send)
            finally:
                try:
                    await send(last)
                except OSError as error:
                    caught.append(type(error))

        task = begin(gate, app, scope(), client)
        await client.has_got(2)
        revoke(gate)
        with pytest.raises(SessionEnded):
            await task
        assert caught == [SessionEnded]
        assert len(client.sent) == 2

    sure(story)


def test_an_event_stream_is_watched_from_its_head_on_and_hears_of_a_disconnect() -> None:
    async def story() -> None:
        gate, client, heard = FakeGate(), Client(REQUEST), []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            while (message := await receive())["type"] != "http.disconnect":
                heard.append(message)
            heard.append(message)

        task = begin(gate, app, events_scope(), client)
        await client.has_got(1)
        assert len(gate.watch) == 1
        revoke(gate)
        with pytest.raises(SessionEnded):
            await task
        assert heard == [REQUEST, {"type": "http.disconnect"}]
        await nothing_left(gate)

    sure(story)


def test_a_streaming_response_of_starlette_below_its_own_middleware_breaks_off() -> None:
    async def story() -> None:
        gate, client, diary = FakeGate(), Client(REQUEST), []

        async def parts() -> Any:
            try:
                yield b"part"
                await asyncio.Event().wait()
            finally:
                diary.append("tidied up")

        async def passing(request: Any, call_next: Any) -> Any:
            return await call_next(request)

        task = begin(gate, BaseHTTPMiddleware(StreamingResponse(parts()), dispatch=passing), scope(), client)
        await client.has_got(2)
        revoke(gate)
        with pytest.raises(OSError, match="session behind this connection"):
            await task
        assert client.types() == ["http.response.start", "http.response.body"]
        assert client.sent[-1]["more_body"]
        await nothing_left(gate)
        assert diary == ["tidied up"]

    sure(story)


def test_a_response_that_was_complete_when_its_session_ended_is_left_alone() -> None:
    async def story() -> None:
        gate, client, diary = FakeGate(), Client(), []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await send(PART)
            await send(BODY)
            await asyncio.sleep(0.2)
            diary.append("background work done")

        task = begin(gate, app, scope(), client)
        await client.has_got(3)
        revoke(gate)
        await task
        assert diary == ["background work done"]

    sure(story)


def test_ordinary_answers_are_not_registered_and_read_no_feed() -> None:
    async def story() -> None:
        gate, open_meanwhile = FakeGate(), []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            open_meanwhile.append(len(gate.watch))
            await send(BODY if scope["path"] == "/" else {**BODY, "more_body": False})

        middleware: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
        client = Client()
        for path in ("/", "/final"):
            await middleware(scope(url=f"http://app.test{path}"), nothing_received, client.send)
        assert open_meanwhile == [0, 0]
        assert gate.store.reads == 0
        assert not gate.feed._hearers

    sure(story)


def test_a_task_that_serves_several_clients_is_left_to_those_that_stay() -> None:
    async def story() -> None:
        gate = FakeGate()
        mine, other = Client(), Client()
        sends: list[Any] = []
        go_on, both = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            sends.append(send)
            if len(sends) == 2:
                both.set()
            await asyncio.Event().wait()

        middleware: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
        tasks = [asyncio.create_task(middleware(scope(), nothing_received, client.send)) for client in (mine, other)]
        await both.wait()

        async def broadcast() -> list[bool]:
            for send in sends:
                await send(START)
                await send(PART)
            await go_on.wait()
            told: list[bool] = []
            for send in sends:
                try:
                    await send(PART)
                    told.append(True)
                except OSError:
                    told.append(False)
            return told

        broadcaster = asyncio.create_task(broadcast())
        await other.has_got(2)
        first, *_ = list(gate.feed.live._open)
        first.gone = True
        gate.feed.hurry()
        await asyncio.sleep(0.2)
        assert not broadcaster.done()
        go_on.set()
        assert await broadcaster == [False, True]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    sure(story)


def test_a_cancellation_of_the_servers_own_is_not_taken_for_ours() -> None:
    async def story() -> None:
        gate, client = FakeGate(), Client({"type": "websocket.connect"})

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            await receive()

        task = begin(gate, app, websocket(), client)
        await client.has_got(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stream = begin(gate, silent_after_a_part, scope(), client)
        await client.has_got(3)
        revoke(gate)
        stream.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stream
        await nothing_left(gate)

    sure(story)


# --- what ends a session, and what does not -------------------------------------------------------------------------


async def outcome(gate: FakeGate, change: Callable[[], object]) -> int | None:
    """The close code that a websocket gets after this change, ``None`` when it stays."""
    client = Client({"type": "websocket.connect"})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        while (await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": "still here"})

    task = begin(gate, app, websocket(), client)
    await client.has_got(1)
    change()
    reads = gate.store.reads
    gate.feed.hurry()
    while gate.store.reads == reads:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    client.inbox.put_nowait({"type": "websocket.receive", "text": "?"})
    await client.has_got(2)
    last = client.sent[-1]
    if last["type"] == "websocket.close":
        await task
        return int(last["code"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


def test_only_the_end_of_its_own_session_ends_a_connection() -> None:
    async def story() -> None:
        gate = FakeGate()
        assert await outcome(gate, lambda: gate.store.append("session", "s-2")) is None
        assert await outcome(gate, lambda: gate.store.append("user", "8")) is None
        assert gate.looked_up == [SESSION.id], "once: the first one began before this worker had read the feed"

    sure(story)


@pytest.mark.parametrize(("kind", "key"), [("user", "7"), ("connection", "oidc"), ("all", "")])
def test_a_change_is_looked_up_and_ends_a_connection_only_when_the_session_is_served_no_more(
    kind: str, key: str
) -> None:
    async def story() -> None:
        gate = FakeGate()
        assert await outcome(gate, lambda: gate.store.append(kind, key)) is None, "a change of roles, say"
        gate.looked_up.clear()
        assert await outcome(gate, lambda: (gate.served.clear(), gate.store.append(kind, key))) == 1008
        assert gate.looked_up == [SESSION.id]

    sure(story)


@pytest.mark.parametrize("failure", [StoreUnavailable("user_store"), Conflict("username")])
def test_a_look_at_one_session_that_fails_does_not_keep_another_connection_open(failure: AdapterError) -> None:
    async def story() -> None:
        gate = FakeGate()
        feed, watch = gate.feed, gate.watch
        await feed.ensure_fresh()
        ended, doubtful = watch.open(gate.standing), watch.open(gate.standing)
        ended.gone, doubtful.unsure = True, True
        gate.failing = failure
        assert await watch.ended((ended, doubtful)) == [(ended, "session_ended"), (doubtful, "unavailable")]

    sure(story)


def test_the_absolute_limit_ends_a_connection(fake_clock: FakeClock) -> None:
    async def story() -> None:
        gate = FakeGate(clock=fake_clock)
        left = SESSION.expires_at.timestamp() - fake_clock.now()
        assert await outcome(gate, lambda: fake_clock.advance(left - 1)) is None
        assert await outcome(gate, lambda: fake_clock.advance(1)) == 1008

    sure(story)


def test_a_feed_that_nobody_can_read_any_more_ends_a_connection_with_1011() -> None:
    async def story() -> None:
        gate = FakeGate()
        assert await outcome(gate, lambda: setattr(gate.store, "is_down", True)) == 1011

    sure(story)


def test_a_user_that_the_app_keeps_is_looked_up_again_from_time_to_time(fake_clock: FakeClock) -> None:
    async def story() -> None:
        gate = FakeGate(clock=fake_clock, look_again=60.0)
        assert await outcome(gate, lambda: fake_clock.advance(59)) is None
        gate.looked_up.clear()
        assert await outcome(gate, lambda: fake_clock.advance(60)) is None
        assert gate.looked_up == [SESSION.id]
        assert await outcome(gate, lambda: (gate.served.clear(), fake_clock.advance(60))) == 1008

    sure(story)


@pytest.mark.parametrize("bound", [0.0, 0.1])
def test_an_idle_process_notices_by_itself(bound: float) -> None:
    """No other request, no haste: the watcher reads the feed."""

    async def story() -> None:
        gate, client = FakeGate(bound=bound), Client()
        task = begin(gate, silent_after_a_part, scope(), client)
        await client.has_got(2)
        await asyncio.sleep(0.3)
        assert not task.done()
        gate.store.append("session", SESSION.id)
        with pytest.raises(SessionEnded):
            await task

    sure(story)


def test_many_connections_share_one_read_and_one_look_up() -> None:
    async def story() -> None:
        gate = FakeGate(bound=3600.0)
        clients = [Client({"type": "websocket.connect"}) for _ in range(200)]

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            await receive()

        middleware: Any = JITMiddleware.with_gate(app, gate)  # type: ignore[arg-type]
        tasks = [asyncio.create_task(middleware(websocket(), client.inbox.get, client.send)) for client in clients]
        await asyncio.gather(*(client.has_got(1) for client in clients))
        assert gate.store.reads == 0
        gate.served.clear()
        gate.store.append("user", "7")
        gate.feed.hurry()
        await asyncio.gather(*tasks)
        assert gate.store.reads == 1
        assert gate.looked_up == [SESSION.id]
        await nothing_left(gate)

    run(story())


def test_a_look_that_an_app_gives_up_is_made_again(fake_clock: FakeClock) -> None:
    """By ``wait_for`` around its send; the mark of the feed must not be lost with it."""

    async def story() -> None:
        gate, client = FakeGate(bound=1.0, clock=fake_clock), Client()
        is_slow = True

        async def is_served(session_id: str) -> bool:
            if is_slow:
                await asyncio.Event().wait()
            return session_id in gate.served

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal is_slow
            await send(START)
            await send(PART)
            gate.served.discard(SESSION.id)
            gate.store.append("user", "7")
            gate.watch._is_served = is_served
            fake_clock.advance(1.5)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(send(PART), 0.01)
            is_slow = False
            await send(PART)

        await gate.feed.ensure_fresh()
        task = begin(gate, app, scope(), client)
        with pytest.raises(SessionEnded):
            await task
        assert len(client.sent) == 2

    sure(story)


@pytest.mark.parametrize("haste", [False, True])
def test_a_look_that_somebody_cancels_is_not_the_last(haste: bool) -> None:
    async def story() -> None:
        gate, client = FakeGate(bound=0.1), Client()
        task = begin(gate, silent_after_a_part, scope(), client)
        await client.has_got(2)
        looking, forever = asyncio.Event(), asyncio.Event()
        read_feed = gate.store.read_feed

        async def slow(after: int | None, limit: int = 1000) -> FeedPage:
            looking.set()
            await forever.wait()
            return await read_feed(after, limit)

        gate.store.read_feed = slow  # type: ignore[method-assign]
        await looking.wait()
        (look,) = [each for each in asyncio.all_tasks() if "Watcher._ask" in str(each.get_coro())]
        if haste:
            gate.feed.hurry()
            await asyncio.sleep(0)
        look.cancel()
        gate.store.read_feed = read_feed  # type: ignore[method-assign]
        gate.served.clear()
        gate.store.append("session", SESSION.id)
        with pytest.raises(SessionEnded):
            await asyncio.wait_for(task, 10)
        await nothing_left(gate)

    sure(story)


def test_haste_from_another_thread_wakes_the_watcher() -> None:
    async def story() -> None:
        gate, client = FakeGate(bound=3600.0), Client()
        task = begin(gate, silent_after_a_part, scope(), client)
        await client.has_got(2)
        await asyncio.to_thread(revoke, gate)
        with pytest.raises(SessionEnded):
            await task

    sure(story)


def test_a_loop_that_is_gone_leaves_nothing_behind() -> None:
    """As test clients do it: a loop for each of several runs, without a lifespan, and connections open at its end."""
    gate = FakeGate(bound=3600.0)
    middleware: Any = JITMiddleware.with_gate(silent_after_a_part, gate)  # type: ignore[arg-type]

    async def story() -> None:
        client = Client()
        task = asyncio.create_task(middleware(scope(), nothing_received, client.send))
        await client.has_got(2)
        assert not task.done()

    for _ in range(3):
        asyncio.run(story())
    assert len(gate.watch) == 0
    gate.feed.hurry()
    assert not gate.feed._hearers
    assert len(middleware._watchers._by_loop) <= 1


def test_the_end_of_the_server_ends_the_watching() -> None:
    async def story() -> None:
        gate, client = FakeGate(bound=3600.0), Client()
        middleware: Any = JITMiddleware.with_gate(silent_after_a_part, gate)  # type: ignore[arg-type]
        task = asyncio.create_task(middleware(scope(), nothing_received, client.send))
        await client.has_got(2)
        await middleware._close()
        assert not gate.feed._hearers
        gate.feed.hurry()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(gate.watch) == 0

    sure(story)
