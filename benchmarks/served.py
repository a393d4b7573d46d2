"""What the servers of the server benchmark serve: ``both_wsgi`` and ``both_asgi``, made when they are asked for.

Each is two applications in one process, bare and guarded; the end of the query says which is meant. So nothing differs
between the two but the middleware: not the process, its memory or the event loop.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from benchmarks.loops import ASGIApp, WSGIApp, bare_asgi, bare_wsgi
from benchmarks.subject import settings

BARE, GUARDED = "page=3&a", "page=3&b"


def __getattr__(name: str) -> object:
    if name not in ("both_wsgi", "both_asgi"):
        raise AttributeError(name)
    made = globals()[name] = (_wsgi if name == "both_wsgi" else _asgi)(os.environ["JIT_BENCH_DATABASE"])
    return made


def _wsgi(database: str) -> WSGIApp:
    from jit_middleware.wsgi import JITMiddleware

    guarded = JITMiddleware(bare_wsgi, settings(f"sqlite:///{database}"))

    def both(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        app: WSGIApp = guarded if environ["QUERY_STRING"] == GUARDED else bare_wsgi
        return app(environ, start_response)

    return both


def _asgi(database: str) -> ASGIApp:
    from jit_middleware.asgi import JITMiddleware

    guarded = JITMiddleware(bare_asgi, settings(f"sqlite+aiosqlite:///{database}"))
    asked = GUARDED.encode()

    async def both(scope: Any, receive: Any, send: Any) -> None:
        app: ASGIApp = guarded if scope["type"] == "lifespan" or scope["query_string"] == asked else bare_asgi
        await app(scope, receive, send)

    return both
