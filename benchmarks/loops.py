"""Loops that call an application as its server would: a fresh environ or scope each time, the answer read to its end.

One request goes before those that are measured: whoever reads something once a second (ours its feed, which has a line
of its own) would else pay for a second of requests with those of some milliseconds.

The bare applications are here as well: everything is measured over them.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.measure import Contestant
from benchmarks.traffic import environ, made_anew, scope

WSGIApp = Callable[[dict[str, Any], Any], Iterable[bytes]]
ASGIApp = Callable[[Any, Any, Any], Any]


def bare_wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The application that everything is measured over. Its headers are new ones each time: middleware adds to them."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


async def bare_asgi(scope: Any, receive: Any, send: Any) -> None:
    """The same for ASGI."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})


def wsgi(
    app: WSGIApp, cookies: Sequence[str], *, calls: int = 0, before: Callable[[], None] | None = None
) -> Contestant:
    """One request for each Cookie header, or ``calls`` requests with the only one. Any other answer than 200 raises."""
    environs = _repeated([environ(cookie) for cookie in cookies], calls)
    seen: list[str] = []

    def start_response(status: str, headers: object, exc_info: object = None) -> None:
        seen[:] = (status,)

    def ask(environs: Sequence[dict[str, Any]]) -> None:
        for given in environs:
            answer = app(given.copy(), start_response)
            for _ in answer:
                pass
            close = getattr(answer, "close", None)
            if close is not None:
                close()
        _expect(seen[0][:3] == "200", app, seen[0])

    return _contestant(ask, environs, before)


def asgi(
    runner: asyncio.Runner,
    app: ASGIApp,
    cookies: Sequence[str],
    *,
    calls: int = 0,
    before: Callable[[], None] | None = None,
) -> Contestant:
    """The same for an ASGI application, on the event loop of ``runner``."""
    return _asgi(runner, app, _repeated([scope(cookie) for cookie in cookies], calls), before)


def asgi_parsed(runner: asyncio.Runner, app: ASGIApp, cookie: str, *, calls: int) -> Contestant:
    """The same with headers that were made for each request, as servers make them: nothing about them is remembered."""
    pattern: dict[str, Any] = scope(cookie)
    scopes = [pattern.copy() for _ in range(calls)]

    def parse() -> None:
        for given in scopes:
            given["headers"] = made_anew(pattern["headers"])
        gc.collect()  # or somebody else would pay for so many new objects

    return _asgi(runner, app, scopes, parse)


def _asgi(
    runner: asyncio.Runner, app: ASGIApp, scopes: Sequence[dict[str, Any]], before: Callable[[], None] | None
) -> Contestant:
    seen: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            seen[:] = (message["status"],)

    async def all_of(scopes: Sequence[dict[str, Any]]) -> None:
        for given in scopes:
            await app(given.copy(), receive, send)

    def ask(scopes: Sequence[dict[str, Any]]) -> None:
        runner.run(all_of(scopes))
        _expect(seen[0] == 200, app, str(seen[0]))

    return _contestant(ask, scopes, before)


def _contestant(
    ask: Callable[[Sequence[dict[str, Any]]], None],
    requests: Sequence[dict[str, Any]],
    before: Callable[[], None] | None,
) -> Contestant:
    def prepare() -> None:
        ask(requests[:1])
        if before is not None:
            before()

    return Contestant(lambda: ask(requests), len(requests), prepare)


def _repeated(requests: list[dict[str, Any]], calls: int) -> list[dict[str, Any]]:
    return requests * calls if len(requests) == 1 and calls else requests


def _expect(fine: bool, app: object, status: str) -> None:
    if not fine:
        raise RuntimeError(f"{app!r} answered {status} where 200 was expected: nothing was measured")
