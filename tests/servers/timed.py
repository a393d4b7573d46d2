"""The application behind the proofs: every answer says which worker gave it and when the request had arrived there.

``X-Arrived`` is read before the middleware sees the request, so it is never later than the judgement on the request;
``served`` is read by the application. Both are CLOCK_MONOTONIC, which all processes of a machine share on Linux.
Served as ``tests.servers.timed:wsgi`` or ``:asgi``.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from jit_middleware import wrapped


def __getattr__(name: str) -> Any:
    if name not in {"wsgi", "asgi"}:
        raise AttributeError(name)
    made = _timed_wsgi(wrapped.wsgi) if name == "wsgi" else _timed_asgi(wrapped.asgi)
    globals()[name] = made
    return made


def _seen(user: Any, session: Any) -> bytes:
    told = {
        "served": time.monotonic(),
        "user": user and user.id,
        "roles": list(user.roles) if user else [],
        "session": session and session.id,
    }
    return json.dumps(told).encode()


def wsgi_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Who is there, as ``JIT_APP``."""
    body = _seen(environ.get("jit.user"), environ.get("jit.session"))
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """The same."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})
        return
    body = _seen(scope.get("jit.user"), scope.get("jit.session"))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _timed_wsgi(inner: Any) -> Any:
    def timed(environ: dict[str, Any], start_response: Any) -> Any:
        said = [("X-Arrived", repr(time.monotonic())), ("X-Worker", str(os.getpid()))]

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, *said], exc_info)

        return inner(environ, start)

    return timed


def _timed_asgi(inner: Any) -> Any:
    async def timed(scope: Any, receive: Any, send: Any) -> None:
        said = [(b"x-arrived", repr(time.monotonic()).encode()), (b"x-worker", str(os.getpid()).encode())]

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *said]}
            await send(message)

        await inner(scope, receive, sending)

    return timed
