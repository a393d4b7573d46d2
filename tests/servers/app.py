"""The application behind every server: it answers with what it sees, streams, takes uploads and hands out a file."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import socket
import sqlite3
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
#: Seconds from one beat of a :class:`Pulse` to the next, at least.
BEAT = 0.05


def tick() -> bytes:
    """An event, and when it was made: before it is handed to the middleware. All processes share this clock."""
    return TICK + f": {time.monotonic()!r}\n\n".encode("ascii")


def ticks_in(body: bytes) -> list[float]:
    """When the events were made that came whole."""
    return [float(stamp) for stamp in re.findall(rb"\n: ([0-9.e+]+)\n\n", body)]


def pulse_file(directory: Path, name: str) -> Path:
    """Where a :class:`Pulse` leaves its count; ``name`` is the query of the request."""
    return directory / f"pulse-{name}.json"


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
    if path == "/raw":
        return _past_the_server(environ)
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
        yield tick()
        time.sleep(0.02)


def _past_the_server(environ: dict[str, Any]) -> Any:
    """As websockets under WSGI do it: on gunicorn's own socket, for as long as the session lives."""
    taken: socket.socket = environ["gunicorn.socket"]
    taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    event = tick()  # made before it is asked whether it may be sent
    while environ["jit.is_live"]():
        taken.sendall(event)
        time.sleep(0.02)
        event = tick()
    taken.shutdown(socket.SHUT_RDWR)
    raise StopIteration  # what tells gunicorn that nothing is left to answer


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
        await send({"type": "http.response.body", "body": tick(), "more_body": True})
        while path == "/endless":
            await asyncio.sleep(0.02)
            await send({"type": "http.response.body", "body": tick(), "more_body": True})
        with Pulse(scope):
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
    with Pulse(scope):
        if scope["path"] == "/ws/silent":
            await asyncio.Event().wait()
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})


class Pulse:
    """Counts the time of this event loop while an app waits in it, and leaves the count in a file when that ends.

    A beat is at least ``BEAT`` seconds, a turn of the loop, one of a thread and a read of the database: what the
    middleware needs as well. A machine that is slow, or stands still, has fewer of them, and never more.
    """

    def __init__(self, scope: Any) -> None:
        self._file = pulse_file(Path(tempfile.gettempdir()), scope["query_string"].decode())
        self._beats: list[float] = []

    def __enter__(self) -> None:
        self._beating = asyncio.get_running_loop().create_task(self._beat())

    def __exit__(self, *_: object) -> None:
        told = json.dumps({"ended": time.monotonic(), "beats": self._beats})
        self._beating.cancel()
        half = self._file.with_suffix(".half")
        half.write_text(told)
        half.replace(self._file)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            await asyncio.to_thread(_look_into_the_database)
            self._beats.append(time.monotonic())


def _look_into_the_database() -> None:
    path = os.environ["JIT_DATABASE_URL"].removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
        database.execute("SELECT count(*) FROM jit_feed").fetchone()


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
