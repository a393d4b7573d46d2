"""``run`` below a mount path: the application hears of it, whether a proxy has cut it off or not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jit_middleware.cli.mounting import asgi_below, wsgi_below


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/legacy/x", "/x"),
        ("/legacy", ""),
        ("/legacy/", "/"),
        ("/x", "/x"),
        ("/", "/"),
        ("/legacyx", "/legacyx"),
        ("/x/legacy/y", "/x/legacy/y"),
    ],
)
def test_an_application_is_told_its_mount_path(path: str, rest: str) -> None:
    seen: list[dict[str, Any]] = []

    def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        return []

    given = {"PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "q"}
    wsgi_below("/legacy", wsgi)(given, lambda *_: lambda _: None)
    assert seen == [{"PATH_INFO": rest, "SCRIPT_NAME": "/legacy", "QUERY_STRING": "q"}]
    assert given["SCRIPT_NAME"] == ""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    mounted: Any = asgi_below("/legacy", asgi)
    asyncio.run(mounted({"type": "http", "path": path}, None, None))
    assert seen[1]["root_path"] == "/legacy"
    assert seen[1]["path"] == f"/legacy{rest}"


def test_the_raw_path_stays_as_it_was_sent() -> None:
    seen: list[Any] = []

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    mounted: Any = asgi_below("/legacy", asgi)
    asyncio.run(mounted({"type": "websocket", "path": "/a b", "raw_path": b"/a%20b"}, None, None))
    asyncio.run(mounted({"type": "http", "path": "/legacy/ü", "raw_path": b"/legacy/%c3%bc"}, None, None))
    asyncio.run(mounted({"type": "lifespan"}, None, None))
    assert [scope.get("raw_path") for scope in seen] == [b"/legacy/a%20b", b"/legacy/%c3%bc", None]
    assert "root_path" not in seen[2]


@pytest.mark.parametrize("below", [wsgi_below, asgi_below])
def test_without_a_mount_path_nothing_stands_between(below: Any) -> None:
    app = object()
    assert below("", app) is app
