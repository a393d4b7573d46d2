"""What the ASGI tests of the edges share: scopes, a loop with a deadline, and callables that must not be called."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from jit_middleware.asgi import JITMiddleware
from tests.edges.fakes import OURS
from tests.worlds import Outgoing, scope_of

Wrap = Callable[[Any], JITMiddleware]
START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}
BODY: dict[str, Any] = {"type": "http.response.body", "body": b"ok"}
REQUEST: dict[str, Any] = {"type": "http.request", "body": b"", "more_body": False}


def scope(method: str = "GET", url: str = "http://app.test/", **extra: Any) -> dict[str, Any]:
    """A request with a cookie of the app and one of ours."""
    return scope_of(Outgoing(method, url, (("Cookie", f"a=1; {OURS}"),)), **extra)


def websocket(**extra: Any) -> dict[str, Any]:
    made = scope(type="websocket", subprotocols=["chat", "v2"], **extra)
    del made["method"]
    made["scheme"] = "ws"
    return made


async def nothing_received() -> dict[str, Any]:
    raise AssertionError("receive called")


async def nothing_sent(message: Any) -> None:
    raise AssertionError(f"sent {message}")


async def ignored(message: Any) -> None: ...


async def unreachable_app(*_: Any) -> None:
    raise AssertionError("the app was called")


def run(awaitable: Awaitable[Any]) -> Any:
    """Run on a fresh loop, five seconds at most."""

    async def main() -> Any:
        return await asyncio.wait_for(awaitable, 5)

    return asyncio.run(main())


def told(wrap: Wrap, given: Any, receive: Any = nothing_received, send: Any = nothing_sent) -> Any:
    """What the app is called with."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    run(wrap(app)(given, receive, send))
    return seen[0]
