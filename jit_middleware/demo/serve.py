"""Two small servers of the standard library, for the demo on loopback and nothing else.

The WSGI one is wsgiref with a thread for each connection. The ASGI one speaks just enough HTTP/1.1 for a browser and
curl: one request for each connection, bodies with a length, no upgrades.
"""

from __future__ import annotations

import asyncio
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Iterable
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from jit_middleware.bridge import ASGIApplication, Message, Scope

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LOOPBACK: Final = "127.0.0.1"

_LARGEST_BODY: Final = 1_048_576
_PATIENCE: Final = 30.0
_REQUEST_LINE: Final = re.compile(rb"([A-Z]{1,20}) (/[\x21-\x7e]*) HTTP/1\.([01])")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")


def listen(port: int) -> socket.socket:
    """A listening socket on loopback: at ``port`` if nobody else has it, on IPv6 neither, else at a free one."""
    for wanted in (port, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if wanted and _answers_on_ipv6(wanted):
                raise OSError("taken")
            listener.bind((LOOPBACK, wanted))
        except OSError:
            listener.close()
            if not wanted:
                raise
            continue
        listener.listen(128)
        return listener
    raise AssertionError("unreachable")


class WSGIHost:
    """A WSGI application served from a background thread while the ``with`` block runs."""

    def __init__(self, app: WSGIApplication, listener: socket.socket) -> None:
        self._server = _ThreadedServer(listener)
        self._server.set_app(_threaded(app))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_PATIENCE)


class ASGIHost:
    """An ASGI application served from an event loop in a background thread while the ``with`` block runs."""

    def __init__(self, app: ASGIApplication, listener: socket.socket) -> None:
        self._app = app
        self._listener = listener
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(_PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        lifespan = _Lifespan(self._app)
        await lifespan.say("startup")
        server = await asyncio.start_server(self._connection, sock=self._listener, limit=65_536)
        self._ready.set()
        async with server:
            await self._stop.wait()
        await lifespan.say("shutdown")
        await lifespan.end()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._exchange(reader, writer)
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            pass  # the client went away
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            scope = _scope(await reader.readuntil(b"\r\n\r\n"), writer)
            body = await reader.readexactly(_length(scope))
        except (_BadRequest, asyncio.LimitOverrunError) as bad:
            status = bad.status if isinstance(bad, _BadRequest) else 431
            writer.write(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await reader.read()  # ends when the client closes
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                writer.write(_head(message))
            elif message["type"] == "http.response.body" and scope["method"] != "HEAD":
                writer.write(bytes(message.get("body", b"")))
            await writer.drain()

        await self._app(scope, receive, send)


class _BadRequest(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Lifespan:
    """Startup and shutdown of the application; one that knows no lifespan is served without (ASGI lifespan spec)."""

    def __init__(self, app: ASGIApplication) -> None:
        self._to: asyncio.Queue[Message] = asyncio.Queue()
        self._back: asyncio.Queue[Message] = asyncio.Queue()
        scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        self._task = asyncio.ensure_future(app(scope, self._to.get, self._back.put))

    async def say(self, event: str) -> None:
        await self._to.put({"type": f"lifespan.{event}"})
        answer = asyncio.ensure_future(self._back.get())
        await asyncio.wait({self._task, answer}, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if answer.done() and answer.result()["type"].endswith(".failed"):
            print(f"the application failed at {event}: {answer.result().get('message', '')}", file=sys.stderr)
        answer.cancel()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()


class _ThreadedServer(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        super().__init__((host, port), _QuietHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        # What server_bind would set, without the reverse look-up that it makes.
        self.server_address = (host, port)
        self.server_name, self.server_port = "localhost", port
        self.setup_environ()

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _threaded(app: WSGIApplication) -> WSGIApplication:
    """The same application, told the truth about threads: wsgiref's handler always says there are none."""

    def tell(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.multithread"] = True
        return app(environ, start_response)

    return tell


class _QuietHandler(WSGIRequestHandler):
    timeout = _PATIENCE

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of ordinary requests."""

    def address_string(self) -> str:
        return str(self.client_address[0])


def _answers_on_ipv6(port: int) -> bool:
    """Whether somebody else answers at this port of ``::1``, where browsers look for ``localhost`` first."""
    try:
        with socket.create_connection(("::1", port), timeout=0.2):
            return True
    except OSError:
        return False


def _scope(head: bytes, writer: asyncio.StreamWriter) -> Scope:
    first, *lines = head[:-4].split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    fields = [_FIELD.fullmatch(line) for line in lines]
    if request is None or not all(fields):
        raise _BadRequest(400)
    raw_path, _, query = request[2].partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": f"1.{request[3].decode()}",
        "method": request[1].decode(),
        "scheme": "http",
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": [(field[1].lower(), field[2]) for field in fields if field is not None],
        "server": writer.get_extra_info("sockname")[:2],
        "client": writer.get_extra_info("peername")[:2],
    }


def _length(scope: Scope) -> int:
    """The length of the body. Raises ``_BadRequest`` for one that is unclear, chunked or too large (RFC 9112 §6.3)."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if any(name == b"transfer-encoding" for name, _ in headers):
        raise _BadRequest(411)
    lengths = {value for name, value in headers if name == b"content-length"}
    if not lengths:
        return 0
    (length, *others) = lengths
    if others or not re.fullmatch(rb"[0-9]{1,9}", length):
        raise _BadRequest(400)
    if int(length) > _LARGEST_BODY:
        raise _BadRequest(413)
    return int(length)


def _head(message: Message) -> bytes:
    status: int = message["status"]
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
    headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])
