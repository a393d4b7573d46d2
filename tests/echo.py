"""The same small app in both worlds: it answers with what it sees of the request and of the user, as JSON."""

from __future__ import annotations

import json
from typing import Any


def echo_wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """A WSGI app that answers with what it sees."""
    size = int(environ.get("CONTENT_LENGTH") or 0)
    body = _told(
        user=environ.get("jit.user"),
        session=environ.get("jit.session"),
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
        mount=environ["SCRIPT_NAME"],
        query=environ["QUERY_STRING"],
        remote_user=environ.get("REMOTE_USER"),
        auth_type=environ.get("AUTH_TYPE"),
        is_authenticated="REMOTE_USER" in environ,
        headers={k[5:].lower().replace("_", "-"): v for k, v in environ.items() if k.startswith("HTTP_")},
        body=environ["wsgi.input"].read(size).decode("latin-1") if size else "",
    )
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def _told(*, user: Any, session: Any, **seen: Any) -> bytes:
    seen["user"] = (
        None
        if user is None
        else {
            "id": user.id,
            "username": user.username,
            "email": user.email,
            "display_name": user.display_name,
            "roles": list(user.roles),
            "tenant": user.tenant,
        }
    )
    seen["session"] = None if session is None else {"id": session.id, "connection": session.connection}
    return json.dumps(seen).encode()


async def echo_asgi(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app that answers with what it sees; a websocket is accepted and told the username."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        user = scope.get("jit.user")
        await send({"type": "websocket.send", "text": user.username if user else ""})
        await receive()
        return
    parts = []
    while True:
        message = await receive()
        parts.append(bytes(message.get("body", b"")))
        if not message.get("more_body", False):
            break
    root = scope["root_path"]
    body = _told(
        user=scope.get("jit.user"),
        session=scope.get("jit.session"),
        method=scope["method"],
        path=scope["path"].removeprefix(root),
        mount=root,
        query=scope["query_string"].decode("ascii"),
        remote_user=getattr(scope.get("jit.user"), "username", None),
        auth_type=None,
        is_authenticated=scope["user"].is_authenticated,
        headers={name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
        body=b"".join(parts).decode("latin-1"),
    )
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
