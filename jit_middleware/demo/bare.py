"""The other application of the demo: bare ASGI, showing what it finds in its scope."""

from __future__ import annotations

import json

from jit_middleware.bridge import Receive, Scope, Send
from jit_middleware.demo import chrome
from jit_middleware.injection import ScopeUser
from jit_middleware.model import Session, User


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """A bare ASGI application: ``/`` shows who is there, ``/whoami`` says it in JSON."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["type"] == "http":
        await _answer(scope, send)
    else:
        await send({"type": "websocket.close", "code": 1003})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _answer(scope: Scope, send: Send) -> None:
    status, kind, seen = 200, b"text/html; charset=utf-8", arrived(scope)
    user = scope.get("user")
    name = user.display_name if isinstance(user, ScopeUser) and user.is_authenticated else None
    if scope["path"] == "/whoami":
        kind, body = b"application/json", json.dumps(seen, indent=2).encode()
    elif scope["path"] in ("/", "/deep/link"):
        main = f"<h1>Hello</h1><p>This is a bare ASGI application.</p>{chrome.facts('What it was told', seen)}"
        body = chrome.page("Bare ASGI", "Hello", main, name)
    else:
        status, body = 404, chrome.page("Bare ASGI", "No", '<h1>There is no such page.</h1><a href="/">Home</a>', name)
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def arrived(scope: Scope) -> dict[str, object]:
    """What the middleware put into the scope, as plain values."""
    seen: dict[str, object] = {}
    user = scope.get("user")
    if isinstance(user, ScopeUser):
        seen.update(is_authenticated=user.is_authenticated, display_name=user.display_name, identity=user.identity)
    person, session = scope.get("jit.user"), scope.get("jit.session")
    if isinstance(person, User) and isinstance(session, Session):
        seen.update(chrome.told(person, session))
    return seen
