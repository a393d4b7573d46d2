"""What the servers of the server benchmark serve: ``wsgi`` and ``asgi``, made when they are asked for.

Each is two applications in one process, bare and guarded; the end of the query says which is meant. So nothing differs
between them but the middleware: not the process, its memory or the event loop.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from benchmarks.loops import ASGIApp, WSGIApp, bare_asgi, bare_wsgi
from benchmarks.subject import settings

BARE, GUARDED = "page=3&a", "page=3&b"


def __getattr__(name: str) -> object:
    if name not in ("wsgi", "asgi"):
        raise AttributeError(name)
    made = globals()[name] = (_wsgi if name == "wsgi" else _asgi)(os.environ["JIT_BENCH_DATABASE"])
    return made


def _wsgi(database: str) -> WSGIApp:
    from jit_middleware.wsgi import JITMiddleware

    guarded = JITMiddleware(bare_wsgi, settings(f"sqlite:///{database}"))

    apps: dict[str, WSGIApp] = {BARE: bare_wsgi, GUARDED: guarded}

    def either(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return apps[environ["QUERY_STRING"]](environ, start_response)

    return either


def _asgi(database: str) -> ASGIApp:
    from jit_middleware.asgi import JITMiddleware

    guarded = JITMiddleware(bare_asgi, settings(f"sqlite+aiosqlite:///{database}"))

    apps: dict[bytes, ASGIApp] = {BARE.encode(): bare_asgi, GUARDED.encode(): guarded}

    async def either(scope: Any, receive: Any, send: Any) -> None:
        app = guarded if scope["type"] == "lifespan" else apps[scope["query_string"]]
        await app(scope, receive, send)

    return either
