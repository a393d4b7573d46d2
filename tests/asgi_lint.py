"""What ``wsgiref.validate`` is to WSGI: an ASGI layer that asserts the specification on both of its sides.

Put one outside the middleware (judging what it sends) and one between it and the app (judging what it hands on)::

    lint(JITMiddleware(lint(app), settings))

Source: the ASGI specification 3.0, "HTTP & WebSocket" 2.5 and "Lifespan" 2.0, with the extensions known to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_RECEIVED = {
    "http": {"http.request", "http.disconnect"},
    "websocket": {"websocket.connect", "websocket.receive", "websocket.disconnect"},
    "lifespan": {"lifespan.startup", "lifespan.shutdown"},
}
#: state → message type → the state after it; "body" and "denial" end when ``more_body`` is false.
_SENT: dict[str, dict[str, dict[str, str]]] = {
    "http": {
        "new": {
            "http.response.start": "body",
            "http.response.push": "new",
            "http.response.early_hint": "new",
            "http.response.debug": "new",
        },
        "body": {
            "http.response.body": "body",
            "http.response.zerocopysend": "body",
            "http.response.pathsend": "ended",
            "http.response.push": "body",
        },
        "ended": {"http.response.trailers": "ended"},
    },
    "websocket": {
        "new": {
            "websocket.accept": "open",
            "websocket.close": "ended",
            "websocket.http.response.start": "body",
        },
        "body": {"websocket.http.response.body": "body"},
        "open": {"websocket.send": "open", "websocket.close": "ended"},
        "ended": {},
    },
    "lifespan": {
        "new": {"lifespan.startup.complete": "up", "lifespan.startup.failed": "ended"},
        "up": {"lifespan.shutdown.complete": "ended", "lifespan.shutdown.failed": "ended"},
        "ended": {},
    },
}


def lint(app: App) -> App:
    """The same app; an ``AssertionError`` names what broke the specification. Scope types unknown to it are let be."""

    async def linted(scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind not in _RECEIVED:
            await app(scope, receive, send)
            return
        _check_scope(scope)
        state = "new"
        heard: list[str] = []

        async def checked_receive() -> Message:
            message = await receive()
            assert message["type"] in _RECEIVED[kind], f"{message['type']} received in a {kind} scope"
            if message["type"] == "http.request":
                assert isinstance(message.get("body", b""), bytes | bytearray | memoryview), "body is not bytes"
                assert isinstance(message.get("more_body", False), bool), "more_body is not a bool"
            heard.append(message["type"])
            return message

        async def checked_send(message: Message) -> None:
            nonlocal state
            allowed = _SENT[kind].get(state, {})
            assert message["type"] in allowed, f"{message['type']} sent in state {state!r} of a {kind} scope"
            if kind == "websocket" and state == "new":
                assert "websocket.connect" in heard, f"{message['type']} sent before websocket.connect was received"
            if kind == "lifespan":
                about = message["type"].rpartition(".")[0]
                assert about in heard, f"{message['type']} sent before {about} was received"
            _check_sent(scope, message)
            state = allowed[message["type"]]
            if state == "body" and message["type"].endswith(".body") and not message.get("more_body", False):
                state = "ended"
            await send(message)

        await app(scope, checked_receive, checked_send)
        assert kind == "lifespan" or state == "ended" or "disconnect" in "".join(heard), f"left in state {state!r}"

    return linted


def _check_scope(scope: Scope) -> None:
    assert type(scope) is dict, f"the scope is a {type(scope).__name__}"
    assert isinstance(scope["asgi"]["version"], str)
    if scope["type"] == "lifespan":
        return
    assert type(scope["path"]) is str, "path"
    assert type(scope.get("root_path", "")) is str, "root_path"
    assert type(scope["query_string"]) is bytes, "query_string"
    assert scope.get("raw_path") is None or type(scope["raw_path"]) is bytes, "raw_path"
    _check_headers(scope["headers"])
    if scope["type"] == "http":
        assert type(scope["method"]) is str, "method"
        assert scope["method"] == scope["method"].upper(), "method"
        assert scope.get("scheme", "http") in {"http", "https"}, "scheme"
    else:
        assert scope.get("scheme", "ws") in {"ws", "wss"}, "scheme"
        assert all(type(name) is str for name in scope.get("subprotocols", [])), "subprotocols"
    for end in ("client", "server"):
        if scope.get(end) is not None:
            host, port = scope[end]
            assert type(host) is str, end
            assert port is None or type(port) is int, end


def _check_sent(scope: Scope, message: Message) -> None:
    kind = message["type"]
    if kind.endswith("response.start"):
        assert type(message["status"]) is int, "status"
        assert 200 <= message["status"] <= 999, "status"
    if kind.endswith("response.start") or kind in {"websocket.accept", "http.response.trailers"}:
        _check_headers(message.get("headers", []))
    if kind.endswith("response.body"):
        assert isinstance(message.get("body", b""), bytes), "body is not bytes"
    if kind == "websocket.send":
        given = [key for key in ("bytes", "text") if message.get(key) is not None]
        assert len(given) == 1, "exactly one of bytes and text"
    if kind == "websocket.close":
        assert type(message.get("code", 1000)) is int, "code"
        assert isinstance(message.get("reason") or "", str), "reason"
    if kind.startswith("websocket.http.response"):
        assert "websocket.http.response" in (scope.get("extensions") or {}), "denial without the extension"
    if kind in {"http.response.pathsend", "http.response.zerocopysend", "http.response.trailers"}:
        assert kind in (scope.get("extensions") or {}), f"{kind} without the extension"


def _check_headers(headers: Any) -> None:
    for name, value in headers:
        assert type(name) is bytes, f"header name {name!r}"
        assert type(value) is bytes, f"header value of {name!r}"
        assert name == name.lower(), f"header name {name!r} is not lower case"
        assert not set(value) & {0, 10, 13}, f"a control character in the value of {name!r}"
