"""What stays open on real servers: it ends with its session, and to the client it does not look whole."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.peers.oidc_provider import Provider
from tests.servers.app import TICK
from tests.servers.conftest import KINDS, PATIENCE, Server, serving, wait_until

ASGI = sorted(name for name, kind in KINDS.items() if kind.world == "asgi")
WSGI = sorted(name for name, kind in KINDS.items() if kind.world == "wsgi")
BOUND = 1.0


@pytest.fixture(scope="module", params=ASGI)
def asgi_server(
    request: pytest.FixtureRequest, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(KINDS[request.param], provider, tmp_path_factory.mktemp("live")) as running:
        yield running


def signed_in(server: Server) -> tuple[Server, str]:
    """Another browser and its session."""
    browser = server.another()
    return browser, browser.sign_in(browser.person("alice"), "/page").json()["session"]["id"]


def end(server: Server, *what: str) -> float:
    """End sessions or accounts by the command line; when that was done."""
    with server.command(*what) as command:
        assert command.wait(PATIENCE) == 0
    return time.monotonic()


def told(capsys: pytest.CaptureFixture[str], what: str, delay: float) -> float:
    """The delay, shown."""
    with capsys.disabled():
        print(f"\n{what}: ended {delay:.3f} s after the command that revoked the session was done")
    return delay


def websocket(browser: Server, path: str) -> ClientConnection:
    return connect(
        f"ws://localhost:{browser.port}{path}",
        additional_headers={"Cookie": browser.jar.header(browser.url)},
        origin=browser.url,  # type: ignore[arg-type]
        proxy=None,
    )


class Response:
    """An HTTP/1.1 response, byte by byte as it comes."""

    def __init__(self, browser: Server, path: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", browser.port), PATIENCE)
        head = f"GET {path} HTTP/1.1\r\nHost: localhost:{browser.port}\r\nCookie: {browser.jar.header(browser.url)}\r\n"
        self._socket.sendall(f"{head}Sec-Fetch-Site: same-origin\r\nAccept: text/event-stream\r\n\r\n".encode())
        self.got = b""
        while self.got.count(TICK) < 1:
            self.got += self._socket.recv(65_536)
        assert b"200 OK" in self.got.split(b"\r\n", 1)[0]
        self._is_chunked = b"transfer-encoding: chunked" in self.got.lower()

    def read_to_the_end(self) -> float:
        """Until the server closes, or says that this is the end; when that was."""
        try:
            while not self.looks_whole() and (part := self._socket.recv(65_536)):
                self.got += part
        except ConnectionResetError:
            pass
        return time.monotonic()

    def looks_whole(self) -> bool:
        return self._is_chunked and self.got.endswith(b"\r\n0\r\n\r\n")

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("path", ["/ws/chat", "/ws/silent"])
def test_a_websocket_is_closed_with_1008_though_nobody_asks_the_worker_anything(
    asgi_server: Server, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    browser, session = signed_in(asgi_server)
    other, _ = signed_in(asgi_server)
    with websocket(browser, path) as ours, websocket(other, "/ws/chat") as theirs:
        assert str(ours.recv(PATIENCE)).startswith("alice")
        assert str(theirs.recv(PATIENCE)).startswith("alice")
        done = end(asgi_server, "sessions", "revoke", "--session", session)
        with pytest.raises(ConnectionClosed) as closed:
            ours.recv(PATIENCE)
        assert told(capsys, f"{asgi_server.kind.name} {path}", time.monotonic() - done) < BOUND + 2.0
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        theirs.send("still there?")
        assert theirs.recv(PATIENCE) == "still there?"
    assert "Traceback" not in asgi_server.said(), asgi_server.said()


@pytest.mark.parametrize("path", ["/endless", "/silent"])
def test_an_event_stream_breaks_off(asgi_server: Server, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    browser, session = signed_in(asgi_server)
    with closing(Response(browser, path)) as response:
        done = end(asgi_server, "sessions", "revoke", "--session", session)
        assert told(capsys, f"{asgi_server.kind.name} {path}", response.read_to_the_end() - done) < BOUND + 2.0
        assert not response.looks_whole()


def test_a_suspended_account_loses_what_it_has_open(asgi_server: Server) -> None:
    browser, _ = signed_in(asgi_server)
    user = browser.get("/page").json()["user"]["id"]
    with websocket(browser, "/ws/chat") as ours:
        ours.recv(PATIENCE)
        end(asgi_server, "users", "suspend", user)
        with pytest.raises(ConnectionClosed) as closed:
            ours.recv(PATIENCE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


@pytest.mark.parametrize("name", WSGI)
def test_a_body_in_parts_breaks_off_between_two_of_them(
    name: str, provider: Provider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(KINDS[name], provider, tmp_path) as server:
        browser, session = signed_in(server)
        with closing(Response(browser, "/endless")) as response:
            done = end(server, "sessions", "revoke", "--session", session)
            assert told(capsys, f"{name} /endless", response.read_to_the_end() - done) < BOUND + 2.0
            assert not (KINDS[name].breaks_off_bodies and response.looks_whole()), response.got[-100:]
        after, _ = signed_in(server)
        assert after.get("/page").status == 200, "the worker goes on"


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn-threads"])
def test_the_absolute_limit_ends_what_is_open(name: str, provider: Provider, tmp_path: Path) -> None:
    limits = {"JIT_SESSION_ABSOLUTE": "3s", "JIT_SESSION_IDLE": "3s"}
    with serving(KINDS[name], provider, tmp_path, **limits) as server:
        browser, _ = signed_in(server)
        with closing(Response(browser, "/endless")) as response:
            response.read_to_the_end()
            assert not response.looks_whole()


def test_a_server_with_open_connections_ends_in_peace(provider: Provider, tmp_path: Path) -> None:
    kind = KINDS["uvicorn"]
    with serving(kind, provider, tmp_path) as server:
        browser, _ = signed_in(server)
        with websocket(browser, "/ws/chat") as ours:
            ours.recv(PATIENCE)
            server.process.terminate()
            with pytest.raises(ConnectionClosed):
                ours.recv(PATIENCE)
        assert wait_until(lambda: server.process.poll() is not None, 20), server.said()
        assert "Task was destroyed" not in server.said()
        assert "never awaited" not in server.said()
