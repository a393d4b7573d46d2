"""A bare ASGI application behind single sign-on.

Run it with the five ``JIT_`` variables set (see ``README.md``)::

    uvicorn --app-dir examples bare_asgi:app
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from jit_middleware.asgi import JITMiddleware

Message = MutableMapping[str, Any]


async def hello(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Greet whoever the middleware lets through."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # how an ASGI application says that it has no lifespan or websockets
    user = scope["jit.user"]
    body = f"Hello {user.username}, your roles are {', '.join(user.roles) or 'none'}.\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = JITMiddleware(hello)
