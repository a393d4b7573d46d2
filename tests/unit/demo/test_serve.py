from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest

from jit_middleware.demo.serve import ASGIHost, WSGIHost, listen


def talk(port: int, data: bytes, *, close: bool = True) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        if close:
            connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


class Recorder:
    """An ASGI application that keeps its scopes and echoes the body."""

    def __init__(self) -> None:
        self.scopes: list[MutableMapping[str, Any]] = []
        self.lifespan: list[str] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while not self.lifespan or self.lifespan[-1] != "lifespan.shutdown":
                self.lifespan.append((await receive())["type"])
                await send({"type": f"{self.lifespan[-1]}.complete"})
            return
        self.scopes.append(scope)
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 201, "headers": [(b"x-one", b"1"), (b"x-one", b"2")]})
        await send({"type": "http.response.body", "body": b"got ", "more_body": True})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def port(recorder: Recorder) -> Iterator[int]:
    with listen(0) as listener:
        number: int = listener.getsockname()[1]
        with ASGIHost(recorder, listener):
            yield number


def test_asgi_request_reaches_the_app_whole(recorder: Recorder, port: int) -> None:
    answer = talk(
        port,
        b"POST /a%20b/%C3%BC?x=%20 HTTP/1.1\r\nHost: h\r\nX-Two:  a b \r\nx-two: c\r\nContent-Length: 4\r\n\r\nbody",
    )
    scope = recorder.scopes[0]
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("POST", "/a b/ü", b"/a%20b/%C3%BC")
    assert (scope["query_string"], scope["http_version"], scope["scheme"]) == (b"x=%20", "1.1", "http")
    assert [value for name, value in scope["headers"] if name == b"x-two"] == [b"a b", b"c"]
    assert scope["client"][0] == "127.0.0.1"
    assert answer == b"HTTP/1.1 201 Created\r\nx-one: 1\r\nx-one: 2\r\nConnection: close\r\n\r\ngot body"


def test_asgi_answer_to_head_has_no_body(port: int) -> None:
    assert talk(port, b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX : y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 431),
    ],
)
def test_malformed_request_is_refused_before_the_app(
    recorder: Recorder, port: int, request_bytes: bytes, status: int
) -> None:
    assert talk(port, request_bytes, close=False).startswith(f"HTTP/1.1 {status} ".encode())
    assert recorder.scopes == []


def test_client_that_goes_away_in_the_middle_harms_nobody(recorder: Recorder, port: int) -> None:
    assert talk(port, b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc") == b""
    assert talk(port, b"GET / HT") == b""
    assert b"got" in talk(port, b"GET / HTTP/1.1\r\n\r\n")
    assert len(recorder.scopes) == 1


def test_lifespan_goes_around_everything(recorder: Recorder) -> None:
    with listen(0) as listener, ASGIHost(recorder, listener):
        assert recorder.lifespan == ["lifespan.startup"]
    assert recorder.lifespan == ["lifespan.startup", "lifespan.shutdown"]


def test_app_without_lifespan_is_served(recorder: Recorder) -> None:
    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan here")
        await recorder(scope, receive, send)

    with listen(0) as listener, ASGIHost(app, listener):
        assert b"201" in talk(listener.getsockname()[1], b"GET / HTTP/1.1\r\n\r\n")


def test_app_sees_the_disconnect() -> None:
    seen: list[str] = []

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.extend([(await receive())["type"], (await asyncio.wait_for(receive(), 10))["type"]])

    with listen(0) as listener, ASGIHost(app, listener):
        assert talk(listener.getsockname()[1], b"GET / HTTP/1.1\r\n\r\n") == b""
    assert seen == ["http.request", "http.disconnect"]


def test_wsgi_host_serves_in_parallel() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert environ["wsgi.multithread"]
        inner = b"end"
        if environ["PATH_INFO"] == "/outer":
            inner = talk(int(environ["SERVER_PORT"]), b"GET /inner HTTP/1.0\r\n\r\n")[-3:]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [inner]

    with listen(0) as listener, WSGIHost(app, listener):
        assert talk(listener.getsockname()[1], b"GET /outer HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nend")


def test_taken_port_is_replaced_by_a_free_one() -> None:
    with listen(0) as first, listen(first.getsockname()[1]) as second:
        assert second.getsockname()[1] != first.getsockname()[1]


def test_hosts_listen_on_loopback_only() -> None:
    with listen(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
