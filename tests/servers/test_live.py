"""What stays open on real servers: it ends with its session, and to the client it does not look whole.

And in time. The time of a revocation is when its commit was acknowledged; what is compared with it was stamped by the
server's own process, on the clock that all processes share. A machine that is slow makes neither look late: an event is
stamped before the middleware judges it, and who waits in silence counts the beats of its own event loop.
"""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from jit_middleware.cli import main
from jit_middleware.sessions import AT_ONCE
from tests.peers.oidc_provider import Provider
from tests.servers.app import BEAT, TICK, pulse_file, ticks_in
from tests.servers.conftest import KINDS, PATIENCE, Server, serving, wait_until

ASGI = sorted(name for name, kind in KINDS.items() if kind.world == "asgi")
WSGI = sorted(name for name, kind in KINDS.items() if kind.world == "wsgi")
BOUND = 1.0
#: What is unavoidable beyond the bound: under ASGI one look at what the worker knows serves for the next tenth of a
#: second, and an app that waits in silence is woken a moment after its connection has ended.
ASGI_BOUND, SILENT_BOUND = BOUND + AT_ONCE, BOUND + 2 * AT_ONCE
_names = itertools.count(1)


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
    """End sessions or accounts by the command line, in this process; when that was acknowledged."""
    with pytest.MonkeyPatch.context() as environment:
        for setting, value in server.env.items():
            if setting.startswith("JIT_"):
                environment.setenv(setting, value)
        assert main(what) == 0
    return time.monotonic()


def tell(capsys: pytest.CaptureFixture[str], what: str, delay: float) -> None:
    with capsys.disabled():
        print(f"\n{what} {delay:+.3f} s after the commit")


def judge_events(capsys: pytest.CaptureFixture[str], server: Server, body: bytes, committed: float) -> None:
    """No event came through that was made when the bound was over."""
    last = max(ticks_in(body))
    tell(capsys, f"{server.kind.name}: the last event that came through was made", last - committed)
    assert last < committed + (ASGI_BOUND if server.kind.world == "asgi" else BOUND)


def judge_silence(capsys: pytest.CaptureFixture[str], server: Server, name: str, committed: float) -> None:
    """The app was out of its silence before its event loop could count the beats of the bound."""
    file = pulse_file(server.log.parent, name)
    assert wait_until(file.exists)
    pulse = json.loads(file.read_text())
    meanwhile = [beat for beat in pulse["beats"] if committed < beat < pulse["ended"]]
    tell(capsys, f"{server.kind.name}: the silence ended after {len(meanwhile)} beats,", pulse["ended"] - committed)
    assert len(meanwhile) <= SILENT_BOUND / BEAT


def pulse_name() -> str:
    return f"{next(_names)}-{time.monotonic_ns()}"


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

    def read_to_the_end(self) -> None:
        """Until the server closes, or says that this is the end."""
        try:
            while not self.looks_whole() and (part := self._socket.recv(65_536)):
                self.got += part
        except ConnectionResetError:
            pass

    def goes_on(self) -> bool:
        """Whether more comes than what may have been on its way."""
        end = time.monotonic() + 1
        while time.monotonic() < end and (part := self._socket.recv(65_536)):
            self.got += part
        return bool(self._socket.recv(65_536))

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
    name = pulse_name()
    with websocket(browser, f"{path}?{name}") as ours, websocket(other, "/ws/chat") as theirs:
        assert str(ours.recv(PATIENCE)).startswith("alice")
        assert str(theirs.recv(PATIENCE)).startswith("alice")
        committed = end(asgi_server, "sessions", "revoke", "--session", session)
        with pytest.raises(ConnectionClosed) as closed:
            ours.recv(PATIENCE)
        judge_silence(capsys, asgi_server, name, committed)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        theirs.send("still there?")
        assert theirs.recv(PATIENCE) == "still there?"
    assert "Traceback" not in asgi_server.said(), asgi_server.said()


def test_everything_of_a_connection_is_closed_when_its_sessions_are_revoked(asgi_server: Server) -> None:
    """More of them than are looked up one by one."""
    with ExitStack() as stack:
        browsers = [signed_in(asgi_server)[0] for _ in range(25)]
        sockets = [stack.enter_context(websocket(browser, "/ws/chat")) for browser in browsers]
        response = stack.enter_context(closing(Response(browsers[0], "/endless")))
        for each in sockets:
            assert str(each.recv(PATIENCE)).startswith("alice")
        end(asgi_server, "sessions", "revoke", "--connection", "oidc")
        second = int(time.time())
        for each in sockets:
            with pytest.raises(ConnectionClosed) as closed:
                each.recv(PATIENCE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
        response.read_to_the_end()
        assert not response.looks_whole()
    # Whoever begins to sign in during that second is meant too: the next story waits for it to end.
    wait_until(lambda: time.time() >= second + 1)


@pytest.mark.parametrize("path", ["/endless", "/silent"])
def test_an_event_stream_breaks_off(asgi_server: Server, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    browser, session = signed_in(asgi_server)
    name = pulse_name()
    with closing(Response(browser, f"{path}?{name}")) as response:
        committed = end(asgi_server, "sessions", "revoke", "--session", session)
        response.read_to_the_end()
        assert not response.looks_whole()
        judge_events(capsys, asgi_server, response.got, committed)
    if path == "/silent":
        judge_silence(capsys, asgi_server, name, committed)


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
            committed = end(server, "sessions", "revoke", "--session", session)
            response.read_to_the_end()
            judge_events(capsys, server, response.got, committed)
            assert not (KINDS[name].breaks_off_bodies and response.looks_whole()), response.got[-100:]
        after, _ = signed_in(server)
        assert after.get("/page").status == 200, "the worker goes on"


def test_an_app_on_the_raw_socket_asks_and_stops(
    provider: Provider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(KINDS["gunicorn-threads"], provider, tmp_path) as server:
        (browser, session), (other, _) = signed_in(server), signed_in(server)
        with closing(Response(browser, "/raw")) as ours, closing(Response(other, "/raw")) as theirs:
            committed = end(server, "sessions", "revoke", "--session", session)
            ours.read_to_the_end()
            judge_events(capsys, server, ours.got, committed)
            assert theirs.goes_on(), "the session of somebody else"
        after, _ = signed_in(server)
        assert after.get("/page").status == 200, "the worker goes on"


def test_a_handshake_of_another_site_does_not_reach_an_app_on_the_raw_socket(
    provider: Provider, tmp_path: Path
) -> None:
    with serving(KINDS["gunicorn-threads"], provider, tmp_path) as server:
        browser, _ = signed_in(server)
        assert browser.get("/page").status == 200
        with browser.connection() as connection:
            foreign = (("Upgrade", "WebSocket"), ("Connection", "Upgrade"), ("Origin", "http://evil.localhost"))
            connection.putrequest("GET", "/raw", skip_host=True, skip_accept_encoding=True)
            lines = (("Host", f"localhost:{server.port}"), ("Cookie", browser.jar.header(browser.url)), *foreign)
            for name, value in lines:
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            assert (answer.status, TICK in answer.read()) == (403, False)


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
