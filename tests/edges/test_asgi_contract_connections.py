"""The ASGI specification for what is no HTTP request: websockets, the lifespan, and scope types we do not know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from asgi_lifespan import LifespanManager

from jit_middleware.asgi import JITMiddleware
from tests.asgi_lint import lint
from tests.edges.asgi_tools import Wrap, nothing_received, nothing_sent, run, told, websocket
from tests.edges.fakes import WAYS, FakeGate


@pytest.fixture(params=WAYS)
def wrap(request: pytest.FixtureRequest) -> Wrap:
    return lambda app: JITMiddleware.with_gate(app, FakeGate(request.param))


# --- websockets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "messages",
    [
        [
            {"type": "websocket.accept", "subprotocol": "v2", "headers": [(b"x-a", b"1")]},
            {"type": "websocket.send", "bytes": b"1", "text": None},
            {"type": "websocket.close", "code": 4000, "reason": "enough"},
        ],
        [{"type": "websocket.close", "code": 3003, "reason": "the app says no"}],
        [
            {"type": "websocket.http.response.start", "status": 418, "headers": []},
            {"type": "websocket.http.response.body", "body": b"a", "more_body": True},
            {"type": "websocket.http.response.body", "body": b"b"},
        ],
    ],
    ids=["accepted", "closed", "denied"],
)
def test_a_websocket_is_the_apps(wrap: Wrap, messages: list[dict[str, Any]]) -> None:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["subprotocols"] == ["chat", "v2"]
        assert (await receive())["type"] == "websocket.connect"
        for message in messages:
            await send(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    given = websocket(extensions={"websocket.http.response": {}})
    run(lint(wrap(lint(app)))(given, receive, send))
    assert [id(message) for message in sent] == [id(message) for message in messages]


def test_websocket_messages_arrive_as_they_came(wrap: Wrap) -> None:
    incoming = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "a", "bytes": None},
        {"type": "websocket.receive", "bytes": memoryview(b"b")},
        {"type": "websocket.disconnect", "code": 1006, "reason": "gone"},
    ]
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.extend([await receive() for _ in incoming])

    queue: Iterator[Any] = iter(incoming)

    async def receive() -> Any:
        return next(queue)

    run(wrap(app)(websocket(), receive, nothing_sent))
    assert [id(message) for message in got] == [id(message) for message in incoming]


# --- lifespan and other scopes ------------------------------------------------------------------------------------


def lifespan_scope() -> dict[str, Any]:
    return {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}


def test_lifespan_goes_both_ways_with_the_same_scope_and_state(wrap: Wrap) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        for event in ("startup", "shutdown"):
            assert await receive() == {"type": f"lifespan.{event}"}
            seen.append(event)
            scope["state"]["pool"] = seen
            await send({"type": f"lifespan.{event}.complete"})

    async def story() -> None:
        async with LifespanManager(wrap(app)) as manager:
            assert seen[1:] == ["startup"]
            assert manager._state["pool"] is seen
        assert seen[1:] == ["startup", "shutdown"]

    run(story())
    given = lifespan_scope()
    assert told(wrap, given)[0] is given


@pytest.mark.parametrize("event", ["startup", "shutdown"])
def test_a_failed_lifespan_of_the_app_is_passed_on(wrap: Wrap, event: str) -> None:
    failed = {"type": f"lifespan.{event}.failed", "message": "the app's own"}
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if event == "shutdown":
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send(failed)

    events: Iterator[Any] = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(events)

    async def send(message: Any) -> None:
        sent.append(message)

    run(lint(wrap(lint(app)))(lifespan_scope(), receive, send))
    assert sent[-1] is failed


def test_an_app_without_lifespan_stays_without(wrap: Wrap) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "only http"

    with pytest.raises(AssertionError, match="only http"):
        run(wrap(app)(lifespan_scope(), nothing_received, nothing_sent))


def test_an_unknown_scope_type_goes_to_the_app_untouched(wrap: Wrap) -> None:
    given = {"type": "vendor.telegram", "asgi": {"version": "3.0"}, "headers": object()}
    seen, receive, send = told(wrap, given)
    assert seen is given
    assert (receive, send) == (nothing_received, nothing_sent)
