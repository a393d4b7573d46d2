"""The two worlds a test client speaks to: WSGI by calls, ASGI on an event loop of its own, each between two linters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from typing import Any, TypeVar
from urllib.parse import unquote, unquote_to_bytes, urljoin, urlsplit
from wsgiref.validate import validator

from tests.asgi_lint import lint
from tests.echo import echo_asgi, echo_wsgi

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it goes over the wire: absolute URL, header lines in order."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it came back; header names as sent."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    url: str

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The first value of that header, whatever its case."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """All values of that header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def location(self) -> str:
        """The absolute URL of a redirect."""
        target = self.header("location")
        assert target is not None, f"no Location in {self.status} {self.headers}"
        return urljoin(self.url, target)


@dataclass(frozen=True, slots=True)
class Handshake:
    """How a websocket handshake ended; ``status`` is what the browser sees (101 when accepted)."""

    accepted: bool
    status: int
    body: bytes = b""
    code: int | None = None
    said: list[str] = field(default_factory=list)


# --- WSGI ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class WsgiResult:
    """What a server got from a WSGI application, piece by piece."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes
    errors: str


def environ_of(request: Outgoing, mount: str = "", **extra: Any) -> dict[str, Any]:
    """The environ a server would make of a request; repeated headers are joined, cookies by ``"; "``."""
    place = urlsplit(request.url)
    path = unquote_to_bytes(place.path or "/").decode("latin-1")
    assert path.startswith(mount), f"{request.url} is not below {mount}"
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": mount,
        "PATH_INFO": path[len(mount) :],
        "QUERY_STRING": place.query,
        "SERVER_NAME": place.hostname or "",
        "SERVER_PORT": str(place.port or (443 if place.scheme == "https" else 80)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": place.netloc,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": place.scheme,
        "wsgi.input": BytesIO(request.body),
        "wsgi.errors": StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if request.body:
        environ["CONTENT_LENGTH"] = str(len(request.body))
    for name, value in request.headers:
        key = name.upper().replace("-", "_")
        if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = f"HTTP_{key}"
        if key in environ and key.startswith("HTTP_") and key != "HTTP_HOST":
            environ[key] += ("; " if key == "HTTP_COOKIE" else ",") + value
        else:
            environ[key] = value
    environ.update(extra)
    return environ


def call_wsgi(app: Any, environ: dict[str, Any]) -> WsgiResult:
    """Serve one request as a strict server does: ``write()``, late ``start_response``, ``exc_info`` and ``close()``."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    sent: list[bytes] = []
    errors: StringIO = environ["wsgi.errors"]  # linters put their own in its place

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if any(sent):
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
            started.clear()
        assert not started, "start_response called twice"
        started.append((status, headers))
        return sent.append

    iterable: Iterable[bytes] = app(environ, start_response)
    try:
        for part in iterable:
            assert started, "a body before start_response"
            sent.append(part)
    finally:
        close = getattr(iterable, "close", None)
        if close is not None:
            close()
    status, headers = started[0]
    return WsgiResult(status, headers, b"".join(sent), errors.getvalue())


class WsgiWorld:
    """The middleware between two validators, called in this thread or in several."""

    def __init__(self, wrap: Callable[[Any], Any], app: Any, mount: str) -> None:
        self.middleware = wrap(validator(app or echo_wsgi))
        self._served = validator(self.middleware)
        self._mount = mount

    def start(self) -> None:
        """Nothing: WSGI has no lifespan."""

    def stop(self) -> None:
        from jit_middleware.bridge import step

        step(self.middleware.gate.close())

    def exchange(self, request: Outgoing) -> Answer:
        environ = environ_of(request, self._mount)
        result = call_wsgi(self._served, environ)
        assert not result.errors, result.errors
        return Answer(int(result.status[:3]), result.headers, result.body, request.url)

    def together(self, requests: Sequence[Outgoing]) -> list[Answer]:
        with ThreadPoolExecutor(max_workers=max(1, len(requests))) as threads:
            return list(threads.map(self.exchange, requests))

    def beside(self, work: Callable[[], T]) -> T:
        """Its result: what goes on beside the requests has threads of its own."""
        return work()


# --- ASGI ---------------------------------------------------------------------------------------------------------


def scope_of(request: Outgoing, mount: str = "", **extra: Any) -> dict[str, Any]:
    """The scope a server would make of a request: ``path`` includes ``root_path``, cookies stay apart."""
    place = urlsplit(request.url)
    default = 443 if place.scheme == "https" else 80
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": place.scheme,
        "path": unquote(place.path or "/"),
        "raw_path": (place.path or "/").encode("ascii"),
        "query_string": place.query.encode("ascii"),
        "root_path": mount,
        "headers": [
            (b"host", place.netloc.encode("ascii")),
            *([(b"content-length", str(len(request.body)).encode())] if request.body else []),
            *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers),
        ],
        "client": ("127.0.0.1", 50000),
        "server": (place.hostname, place.port or default),
        **extra,
    }


async def call_asgi(app: Any, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Serve one HTTP request: hand over the messages, then a disconnect once the answer is whole; what was sent."""
    sent: list[dict[str, Any]] = []
    over = asyncio.Event()
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop(0)
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            over.set()

    await app(scope, receive, send)
    return sent


class AsgiWorld:
    """The middleware between two linters, on one event loop that lives as long as the client."""

    def __init__(self, wrap: Callable[[Any], Any], app: Any, mount: str) -> None:
        self.middleware = wrap(lint(app or echo_asgi))
        self._served = lint(self.middleware)
        self._mount = mount
        self._runner = asyncio.Runner()
        self._lifespan: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[dict[str, Any]] | None = None
        self._outbox: asyncio.Queue[dict[str, Any]] | None = None

    def start(self) -> None:
        self._runner.run(self._lift())

    def stop(self) -> None:
        try:
            self._runner.run(self._settle())
        finally:
            self._runner.close()

    def exchange(self, request: Outgoing) -> Answer:
        return self._runner.run(self._exchange(request))

    def together(self, requests: Sequence[Outgoing]) -> list[Answer]:
        async def all_of_them() -> list[Answer]:
            return list(await asyncio.gather(*(self._exchange(request) for request in requests)))

        return self._runner.run(all_of_them())

    def beside(self, work: Callable[[], T]) -> T:
        """Its result, while the event loop goes on: what was begun beside a request may hold what it waits for."""
        return self._runner.run(asyncio.to_thread(work))

    def handshake(self, request: Outgoing, *, denial: bool = True) -> Handshake:
        """``denial``: whether the server has the extension ``websocket.http.response``."""
        return self._runner.run(self._handshake(request, denial))

    async def _exchange(self, request: Outgoing) -> Answer:
        half = len(request.body) // 2
        sent = await call_asgi(
            self._served,
            scope_of(request, self._mount),
            {"type": "http.request", "body": request.body[:half], "more_body": True},
            {"type": "http.request", "body": request.body[half:], "more_body": False},
        )
        start = next(message for message in sent if message["type"] == "http.response.start")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", [])]
        body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
        return Answer(start["status"], headers, body, request.url)

    async def _handshake(self, request: Outgoing, denial: bool) -> Handshake:
        scope = scope_of(request, self._mount, type="websocket", subprotocols=[])
        del scope["method"]
        scope["scheme"] = {"http": "ws", "https": "wss"}[scope["scheme"]]
        if denial:
            scope["extensions"] = {"websocket.http.response": {}}
        waiting: list[dict[str, Any]] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return waiting.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._served(scope, receive, send)
        first = sent[0]
        said = [message.get("text") or "" for message in sent if message["type"] == "websocket.send"]
        match first["type"]:
            case "websocket.accept":
                return Handshake(True, 101, said=said)
            case "websocket.close":
                return Handshake(False, 403, code=first.get("code", 1000))
            case _:
                return Handshake(False, first["status"], b"".join(m.get("body", b"") for m in sent[1:]))

    async def _lift(self) -> None:
        self._inbox, self._outbox = asyncio.Queue(), asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        self._lifespan = asyncio.create_task(self._served(scope, self._inbox.get, self._outbox.put))
        await self._say("lifespan.startup")

    async def _settle(self) -> None:
        if self._lifespan is not None and not self._lifespan.done():
            await self._say("lifespan.shutdown")
            await self._lifespan
        else:
            await self.middleware.gate.close()

    async def _say(self, event: str) -> None:
        assert self._inbox is not None
        assert self._outbox is not None
        assert self._lifespan is not None
        await self._inbox.put({"type": event})
        heard = asyncio.create_task(self._outbox.get())
        await asyncio.wait({heard, self._lifespan}, return_when=asyncio.FIRST_COMPLETED)
        if not heard.done():
            heard.cancel()
            self._lifespan.exception()  # an app without lifespan support raises: servers go on without it
            return
        message = heard.result()
        assert message["type"] == f"{event}.complete", message
