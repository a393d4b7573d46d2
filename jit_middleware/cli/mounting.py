"""Serving below a mount path: ``run`` is the server, so it tells the application where it hangs.

The path may come with the mount path in it, or a proxy may have cut it off; the application and the middleware around
it are told the same either way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from jit_middleware.http.paths import below_mount

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from jit_middleware.asgi import ASGIApplication
    from jit_middleware.bridge import Receive, Scope, Send


def wsgi_below(mount: str, app: WSGIApplication) -> WSGIApplication:
    """The application with ``SCRIPT_NAME`` set and taken off ``PATH_INFO`` (PEP 3333)."""

    def mounted(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = below_mount(environ.get("PATH_INFO", ""), mount)
        return app({**environ, "SCRIPT_NAME": mount, "PATH_INFO": path}, start_response)

    return mounted if mount else app


def asgi_below(mount: str, app: ASGIApplication) -> ASGIApplication:
    """The application with ``root_path`` set, which ``path`` includes (ASGI, "HTTP Connection Scope")."""

    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            path: str = scope["path"]
            if below_mount(path, mount) == path:  # a proxy has cut it off
                raw: bytes = scope.get("raw_path") or quote(path).encode()
                scope = {**scope, "path": mount + path, "raw_path": mount.encode() + raw}
            scope = {**scope, "root_path": mount}
        await app(scope, receive, send)

    return mounted if mount else app
