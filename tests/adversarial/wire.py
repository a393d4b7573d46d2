"""The socket behind the hostile providers: one server for a whole run, issuers below paths of their own."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

JSON = (("Content-Type", "application/json"),)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def form(self) -> list[tuple[str, str]]:
        return parse_qsl(self.body.decode(), keep_blank_values=True)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: well-formed from status, headers and body; or ``raw``, which writes what it likes to the socket."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = JSON
    raw: Callable[[socket.socket], None] | None = None

    @property
    def as_bytes(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Said", *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, f"Content-Length: {len(self.body)}", "", ""]).encode("latin-1") + self.body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, self.rfile.read(length))
        answer = self.server.mounted.get(asked.path.split("/")[1])
        reply = Reply(404) if answer is None else answer(asked)
        if reply.raw is None:
            self.wfile.write(reply.as_bytes)
            return
        self.close_connection = True
        reply.raw(self.connection)

    do_GET = do_POST = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the console is the tests'."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mounted: dict[str, Callable[[Asked], Reply]] = {}
        self.failures: list[BaseException] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.failures.append(error)  # a client that goes away is what many cases are about


class Wire:
    """The server. Use it as a context manager; ``mount`` gives a provider a place."""

    def __enter__(self) -> Wire:
        self._server = _Server()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def failures(self) -> list[BaseException]:
        """What broke in a provider itself: a fault of these tests."""
        return self._server.failures

    def mount(self, name: str, answer: Callable[[Asked], Reply]) -> str:
        self._server.mounted[name] = answer
        return f"{self.origin}/{name}"


def flood(connection: socket.socket, head: bytes, pieces: Iterator[bytes]) -> None:
    """Write a head, then pieces until they end or the client has enough."""
    connection.settimeout(12)
    connection.sendall(head)
    for piece in pieces:
        connection.sendall(piece)


def reset(connection: socket.socket) -> None:
    """End the connection with a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())
