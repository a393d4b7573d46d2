"""The ASGI edge over its life: when the gate starts and ends, and how the middleware stands inside a framework."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from jit_middleware.asgi import JITMiddleware
from jit_middleware.errors import ConfigurationError, Fault, StoreUnavailable
from tests.asgi_lint import lint
from tests.edges.asgi_tools import REQUEST, ignored, nothing_received, run, scope
from tests.edges.fakes import OURS, FakeGate
from tests.worlds import call_asgi


def living(gate: FakeGate, app: Any, *events: str) -> list[dict[str, Any]]:
    """Run the app's lifespan with these events; what the server is told."""
    sent: list[dict[str, Any]] = []
    queue = [{"type": f"lifespan.{event}"} for event in events]

    async def receive() -> dict[str, Any]:
        gate.log.append("receive")
        return queue.pop(0)

    async def send(message: Any) -> None:
        gate.log.append(message["type"])
        sent.append(message)

    given = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    run(lint(JITMiddleware.with_gate(app, gate))(given, receive, send))
    return sent


async def good_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})


def test_the_gate_starts_before_the_app_and_ends_after_it() -> None:
    gate = FakeGate()
    living(gate, good_app, "startup", "shutdown")
    assert gate.log == [
        "receive", "start", "lifespan.startup.complete", "receive", "close", "lifespan.shutdown.complete",
    ]  # fmt: skip


def test_a_wrong_configuration_stops_the_server_once() -> None:
    gate = FakeGate()
    gate.start_failure = ConfigurationError([Fault("JIT_DATABASE_URL", "the schema is old.", "migrate.")])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await receive()
        except ConfigurationError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise

    with pytest.raises(ConfigurationError):
        living(gate, app, "startup")
    assert gate.log == ["receive", "start", "close", "lifespan.startup.failed"]


def test_a_database_that_is_down_does_not_stop_the_server() -> None:
    gate = FakeGate()
    gate.start_failure = StoreUnavailable("database")
    assert living(gate, good_app, "startup", "shutdown")[0]["type"] == "lifespan.startup.complete"


def test_a_gate_that_fails_to_close_does_not_keep_the_server_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(FakeGate):
        async def close(self) -> None:
            raise OSError("secret-path")

    assert living(Stubborn(), good_app, "startup", "shutdown")[-1]["type"] == "lifespan.shutdown.complete"
    assert "OSError" in caplog.text
    assert "secret-path" not in caplog.text


def test_without_a_lifespan_the_first_requests_start_the_gate_once() -> None:
    class Slow(FakeGate):
        async def start(self) -> None:
            await asyncio.sleep(0.01)
            await super().start()

    gate = Slow("decided")

    async def story() -> None:
        middleware = JITMiddleware.with_gate(good_app, gate)
        await asyncio.gather(*(middleware(scope(), nothing_received, ignored) for _ in range(8)))

    run(story())
    assert gate.log == ["start"]
    assert len(gate.requests) == 8


def test_a_gate_that_was_closed_is_started_again() -> None:
    gate = FakeGate("decided")
    middleware = JITMiddleware.with_gate(good_app, gate)

    async def life() -> None:
        events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> dict[str, Any]:
            return next(events)

        await middleware({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, ignored)

    run(life())
    run(life())
    run(middleware(scope(), nothing_received, ignored))
    assert gate.log == ["start", "close", "start", "close", "start"]


# --- in Starlette -------------------------------------------------------------------------------------------------


async def who(request: StarletteRequest) -> PlainTextResponse:
    return PlainTextResponse(f"{request.user.is_authenticated} {request.cookies} {request.url.path}")


class Prepared(JITMiddleware):
    """The middleware as Starlette makes it (``cls(app, **options)``), with a gate of the test's."""

    def __init__(self, app: Any, *, gate: FakeGate) -> None:
        self._stand(app, gate)  # type: ignore[arg-type]


def test_it_works_by_add_middleware_and_inside_a_mount() -> None:
    inner = Starlette(routes=[Route("/who", who)])
    inner.add_middleware(Prepared, gate=(gate := FakeGate("decided")))
    outer = Starlette(routes=[Mount("/legacy", inner)])
    given = scope(url="http://app.test/legacy/who") | {"headers": [(b"cookie", f"a=1; {OURS}".encode())]}
    sent = run(call_asgi(lint(outer), given, REQUEST))
    assert sent[1]["body"] == b"True {'a': '1'} /legacy/who"
    assert gate.requests[0].path == "/who"


def test_it_works_in_the_middleware_list_with_a_lifespan() -> None:
    gate = FakeGate("anonymous")
    app = Starlette(routes=[Route("/who", who)], middleware=[Middleware(Prepared, gate=gate)])
    assert run(call_asgi(lint(app), scope(url="http://app.test/who"), REQUEST))[1]["body"] == b"False {'a': '1'} /who"


def test_attributes_of_the_app_shine_through() -> None:
    app = Starlette()
    middleware = JITMiddleware.with_gate(app, FakeGate())  # type: ignore[arg-type]
    assert middleware.state is app.state
    assert asyncio.iscoroutinefunction(middleware.__call__), "servers tell ASGI 3 by this"
    with pytest.raises(AttributeError):
        _ = middleware.nonsense
