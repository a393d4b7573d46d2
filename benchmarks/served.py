"""What the servers of the server benchmark serve: ``wsgi`` and ``asgi``, made when they are asked for.

Each is three applications in one process; the end of the query says which is meant: bare, guarded by ours, and with the
least that knows who is there, a cookie looked up in a dict. So nothing differs between them but what is in front: not
the process, its memory or the event loop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from benchmarks.loops import ASGIApp, WSGIApp, bare_asgi, bare_wsgi
from benchmarks.subject import settings

BARE, GUARDED, LEAST = "page=3&a", "page=3&b", "page=3&c"

_FORGED = ("X-Remote-User", "X-Remote-Email", "X-Remote-Name", "X-Remote-Groups")
_KEYS = tuple(f"HTTP_{name.upper().replace('-', '_')}" for name in _FORGED)
_NAMES = frozenset(name.lower().encode() for name in _FORGED)


class _Least:
    """Who a cookie belongs to: known, not expired, not revoked. Nobody ever comes or goes."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str, str]] = {}
        self._revoked: set[str] = set()

    def user(self, cookies: str) -> str:
        value = cookies[cookies.rfind("jit=") :].partition(";")[0]
        entry = self._known.get(value)
        if entry is None:
            entry = self._known[value] = (time.time() + 86_400, value[:16], "alice")
        until, session, user = entry
        if time.time() > until or session in self._revoked:
            raise PermissionError
        return user

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        user = self.user(environ.get("HTTP_COOKIE", ""))
        for key in _KEYS:
            environ.pop(key, None)
        environ["REMOTE_USER"] = user
        return bare_wsgi(environ, start_response)

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [header for header in scope["headers"] if header[0] not in _NAMES]
        user = self.user(next(value for name, value in headers if name == b"cookie").decode("latin-1"))
        await bare_asgi({**scope, "user": user, "headers": headers}, receive, send)


def __getattr__(name: str) -> object:
    if name not in ("wsgi", "asgi"):
        raise AttributeError(name)
    made = globals()[name] = (_wsgi if name == "wsgi" else _asgi)(os.environ["JIT_BENCH_DATABASE"])
    return made


def _wsgi(database: str) -> WSGIApp:
    from jit_middleware.wsgi import JITMiddleware

    guarded = JITMiddleware(bare_wsgi, settings(f"sqlite:///{database}"))

    apps: dict[str, WSGIApp] = {BARE: bare_wsgi, GUARDED: guarded, LEAST: _Least().wsgi}

    def either(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return apps[environ["QUERY_STRING"]](environ, start_response)

    return either


def _asgi(database: str) -> ASGIApp:
    from jit_middleware.asgi import JITMiddleware

    guarded = JITMiddleware(bare_asgi, settings(f"sqlite+aiosqlite:///{database}"))

    apps: dict[bytes, ASGIApp] = {
        BARE.encode(): bare_asgi,
        GUARDED.encode(): guarded,
        LEAST.encode(): _Least().asgi,
    }

    async def either(scope: Any, receive: Any, send: Any) -> None:
        app = guarded if scope["type"] == "lifespan" else apps[scope["query_string"]]
        await app(scope, receive, send)

    return either
