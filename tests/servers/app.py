"""The application behind every server: it answers with what it sees, streams, takes uploads and hands out a file."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.echo import echo_asgi, echo_wsgi

PARTS = (b"first\n", b"second\n", b"last\n")
PAUSE = 0.4
TICK = b"data: tick\n\n"
FILE_BYTES = 300_000


def _file() -> Path:
    path = Path(tempfile.gettempdir()) / f"jit-servers-{os.getpid()}.bin"
    if not path.exists():
        path.write_bytes(content())
    return path


def content() -> bytes:
    """What is in the file."""
    return b"".join(number.to_bytes(4, "big") for number in range(FILE_BYTES // 4))


def _span(header: str | None) -> tuple[int, int] | None:
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", header or "")
    return None if found is None else (int(found[1]), int(found[2]) + 1)


def _digest(body: Any, length: int) -> bytes:
    return json.dumps({"sha256": body.hexdigest(), "length": length, "pid": os.getpid()}).encode()


# --- WSGI -----------------------------------------------------------------------------------------------------------


def wsgi_app(environ: dict[str, Any], start_response: Any) -> Any:
    """By path; anything else is an echo."""
    path = environ["PATH_INFO"]
    if path == "/streamed":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return _slowly()
    if path == "/endless":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return _forever()
    if path == "/digest":
        return _said(start_response, _digest(*_read_all(environ)))
    if path == "/early":
        return _said(start_response, environ["wsgi.input"].read(1000))
    if path == "/pid":
        return _said(start_response, json.dumps({"pid": os.getpid()}).encode())
    if path == "/file":
        return _file_wsgi(environ, start_response)
    return echo_wsgi(environ, start_response)


def _said(start_response: Any, body: bytes) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _slowly() -> Iterator[bytes]:
    for part in PARTS:
        yield part
        time.sleep(PAUSE)


def _forever() -> Iterator[bytes]:
    while True:
        yield TICK
        time.sleep(0.02)


def _read_all(environ: dict[str, Any]) -> tuple[Any, int]:
    digest, length = hashlib.sha256(), 0
    given = environ.get("CONTENT_LENGTH")
    left = int(given) if given else None
    while left is None or left > 0:
        part = environ["wsgi.input"].read(65_536 if left is None else min(65_536, left))
        if not part:
            break
        digest.update(part)
        length += len(part)
        left = None if left is None else left - len(part)
    return digest, length


def _file_wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    span = _span(environ.get("HTTP_RANGE"))
    if span is not None:
        body = content()[span[0] : span[1]]
        start_response(
            "206 Partial Content",
            [
                ("Content-Type", "application/octet-stream"),
                ("Content-Length", str(len(body))),
                ("Content-Range", f"bytes {span[0]}-{span[1] - 1}/{FILE_BYTES}"),
            ],
        )
        return [body]
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(FILE_BYTES))])
    opened = _file().open("rb")
    wrapper = environ.get("wsgi.file_wrapper")
    return wrapper(opened, 16_384) if wrapper is not None else iter(lambda: opened.read(16_384), b"")


# --- ASGI -----------------------------------------------------------------------------------------------------------


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """The same, by ASGI messages."""
    path = scope["path"] if scope["type"] == "http" else ""
    if path == "/streamed":
        await _start(send, 200, [(b"content-type", b"text/plain")])
        for part in PARTS:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(PAUSE)
        await send({"type": "http.response.body", "body": b""})
    elif path in {"/endless", "/silent"}:
        await _start(send, 200, [(b"content-type", b"text/event-stream")])
        await send({"type": "http.response.body", "body": TICK, "more_body": True})
        while path == "/endless":
            await asyncio.sleep(0.02)
            await send({"type": "http.response.body", "body": TICK, "more_body": True})
        await asyncio.Event().wait()
    elif scope["type"] == "websocket":
        await _websocket(scope, receive, send)
    elif path == "/digest":
        digest, length, more = hashlib.sha256(), 0, True
        while more:
            message = await receive()
            digest.update(message.get("body", b""))
            length += len(message.get("body", b""))
            more = message.get("more_body", False)
        await _say(send, _digest(digest, length))
    elif path == "/early":
        got = b""
        while len(got) < 1000:
            got += (await receive()).get("body", b"")
        await _say(send, got[:1000])
    elif path == "/pid":
        await _say(send, json.dumps({"pid": os.getpid()}).encode())
    elif path == "/file":
        await _file_asgi(scope, send)
    else:
        await echo_asgi(scope, receive, send)


async def _websocket(scope: Any, receive: Any, send: Any) -> None:
    """Says what it hears, or hears nothing."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": scope["jit.user"].username})
    if scope["path"] == "/ws/silent":
        await asyncio.Event().wait()
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def _start(send: Any, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _say(send: Any, body: bytes) -> None:
    await _start(
        send, 200, [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode("ascii"))]
    )
    await send({"type": "http.response.body", "body": body})


async def _file_asgi(scope: Any, send: Any) -> None:
    span = _span(dict(scope["headers"]).get(b"range", b"").decode("ascii"))
    body, status, headers = content(), 200, [(b"content-type", b"application/octet-stream")]
    if span is not None:
        body, status = body[span[0] : span[1]], 206
        headers.append((b"content-range", f"bytes {span[0]}-{span[1] - 1}/{FILE_BYTES}".encode()))
    headers.append((b"content-length", str(len(body)).encode("ascii")))
    await _start(send, status, headers)
    for at in range(0, len(body), 16_384):
        await send({"type": "http.response.body", "body": body[at : at + 16_384], "more_body": True})
    await send({"type": "http.response.body", "body": b""})
