"""Servers as processes: each is started by its own command line, answers on a port of its own, and is ended by SIGTERM."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from tests.browser import over_http
from tests.client import NAVIGATION
from tests.jar import Jar
from tests.peers.oidc_provider import Provider
from tests.scenarios.conftest import SECRET
from tests.worlds import Answer, Outgoing

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Kind:
    """One way to run a server; what the server itself cannot do is named, so that nothing is skipped silently."""

    name: str
    world: str
    command: Sequence[str]
    workers: int = 1
    chunked_uploads: bool = True
    streams_uploads: bool = True
    joins_cookies_by_comma: bool = False
    breaks_off_bodies: bool = True

    def command_line(self, port: int) -> list[str]:
        return [part.format(port=port, python=sys.executable, bin=Path(sys.executable).parent) for part in self.command]


_GUNICORN = ("{python}", "-m", "gunicorn", "-b", "127.0.0.1:{port}", "--log-level", "warning")
_UVICORN = ("{python}", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning")
_GRANIAN = ("{bin}/granian", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning")
WSGI, ASGI = "jit_middleware.wrapped:wsgi", "jit_middleware.wrapped:asgi"
KINDS = {
    kind.name: kind
    for kind in (
        Kind("gunicorn", "wsgi", (*_GUNICORN, "-w", "2", WSGI), workers=2, joins_cookies_by_comma=True),
        Kind("gunicorn-preload", "wsgi", (*_GUNICORN, "-w", "2", "--preload", WSGI), workers=2, joins_cookies_by_comma=True),
        Kind("gunicorn-threads", "wsgi", (*_GUNICORN, "-w", "1", "--threads", "8", WSGI), joins_cookies_by_comma=True),
        Kind("gunicorn-gevent", "wsgi", (*_GUNICORN, "-w", "1", "-k", "gevent", WSGI), joins_cookies_by_comma=True),
        Kind("uvicorn", "asgi", (*_UVICORN, "--workers", "2", ASGI), workers=2),
        Kind(
            "waitress",
            "wsgi",
            ("{python}", "-m", "waitress", "--listen=127.0.0.1:{port}", WSGI),
            streams_uploads=False,
            joins_cookies_by_comma=True,
        ),
        # granian completes a WSGI body whose iteration fails.
        Kind("granian-wsgi", "wsgi", (*_GRANIAN, "--interface", "wsgi", WSGI), breaks_off_bodies=False),
        Kind("granian-asgi", "asgi", (*_GRANIAN, "--interface", "asgi", ASGI)),
        Kind(
            "wsgiref",
            "wsgi",
            ("{python}", "-m", "tests.servers.wsgiref_server", "{port}"),
            chunked_uploads=False,  # wsgiref hands over the raw socket, and the app does not know where the body ends
            joins_cookies_by_comma=True,
            breaks_off_bodies=False,  # HTTP/1.0 has no way to say that a body of unknown length is not whole
        ),
    )
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@dataclass
class Server:
    """A running server, and one browser's worth of cookies in front of it."""

    kind: Kind
    url: str
    env: Mapping[str, str]
    provider: Provider
    process: subprocess.Popen[bytes]
    log: Path
    jar: Jar = field(default_factory=Jar)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def another(self) -> Server:
        """Another browser."""
        return Server(self.kind, self.url, self.env, self.provider, self.process, self.log)

    def get(self, target: str, *, method: str = "GET", headers: Sequence[tuple[str, str]] = ()) -> Answer:
        """A navigation with the cookies of this browser."""
        url = target if "://" in target else self.url + target
        lines = [*NAVIGATION.items(), *headers]
        cookie = self.jar.header(url, method=method)
        if cookie:
            lines.append(("Cookie", cookie))
        answer = over_http(Outgoing(method, url, tuple(lines)))
        self.jar.store(url, answer.all("set-cookie"))
        return answer

    def sign_in(self, who: str, target: str = "/") -> Answer:
        """The whole way; what is seen in the end."""
        sent = self.get(target)
        assert sent.status == 302, (sent.status, sent.text)
        with self.provider.agent(who) as agent:
            landed = self.get(agent.visit(sent.location).url)
        assert landed.status == 303, (landed.status, landed.text, self.said())
        return self.get(landed.location)

    def person(self, subject: str) -> str:
        """Make a person at the provider."""
        name = f"{subject}{next(_numbers)}"
        self.provider.add_user(name, {"preferred_username": name, "name": subject, "email": f"{name}@example.org"})
        return name

    @contextmanager
    def connection(self) -> Iterator[HTTPConnection]:
        """A connection for requests that need care."""
        opened = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            yield opened
        finally:
            opened.close()

    def begin(self, connection: HTTPConnection, method: str, target: str, *headers: tuple[str, str]) -> None:
        """The head of a request as a script of the app's own pages sends it; the body is the caller's."""
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in (
            ("Host", f"localhost:{self.port}"),
            ("Cookie", self.jar.header(self.url)),
            ("Origin", self.url),
            ("Sec-Fetch-Site", "same-origin"),
            *headers,
        ):
            connection.putheader(name, value)

    def ask(self, connection: HTTPConnection, method: str, target: str, *headers: tuple[str, str]) -> HTTPResponse:
        """A request without a body."""
        self.begin(connection, method, target, *headers)
        connection.endheaders()
        return connection.getresponse()

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """``jit-middleware`` in a process of its own, with the settings of this server."""
        run = "import sys; from jit_middleware.cli import main; sys.exit(main())"
        return subprocess.Popen(
            [sys.executable, "-c", run, *arguments], env=dict(self.env), cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    def pids(self, wanted: int) -> set[int]:
        """The workers that answer this browser's requests; each on a connection of its own."""
        found: set[int] = set()
        end = time.monotonic() + PATIENCE
        while len(found) < wanted and time.monotonic() < end:
            answer = self.get("/pid")
            assert answer.status == 200, answer.status
            found.add(json.loads(answer.body)["pid"])
        assert len(found) == wanted, found
        return found


def environment(provider: Provider, port: int, directory: Path, world: str, **changes: str) -> dict[str, str]:
    """The settings as a person would export them, on top of a bare environment."""
    name = f"server{next(_numbers)}-{time.monotonic_ns()}"
    url = f"http://localhost:{port}"
    client = provider.register(
        client_id=name,
        redirect_uris=[f"{url}/_jit/callback/oidc"],
        post_logout_redirect_uris=[f"{url}/_jit/signed-out"],
    )
    assert client.client_secret is not None
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(directory),
        "JIT_APP": f"tests.servers.app:{world}_app",
        "JIT_PUBLIC_URL": url,
        "JIT_SECRET_KEY": SECRET,
        "JIT_OIDC_ISSUER": provider.issuer,
        "JIT_OIDC_CLIENT_ID": name,
        "JIT_OIDC_CLIENT_SECRET": client.client_secret,
        "JIT_DATABASE_URL": f"sqlite:///{directory / 'jit.db'}",
        "JIT_PUBLIC_PATHS": "/public/*",
        **changes,
    }


def start(kind: Kind, port: int, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """The server as a process group of its own."""
    with log.open("wb") as sink:
        return subprocess.Popen(
            kind.command_line(port), env=dict(env), cwd=ROOT, stdout=sink, stderr=sink, start_new_session=True
        )


def is_alive(group: int) -> bool:
    """Whether any process of that group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(true: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def serving(kind: Kind, provider: Provider, directory: Path, **changes: str) -> Iterator[Server]:
    """A server that is ready; gone afterwards, with all its workers."""
    port = free_port()
    env = environment(provider, port, directory, kind.world, **changes)
    log = directory / "log"
    process = start(kind, port, env, log)
    server = Server(kind, env["JIT_PUBLIC_URL"], env, provider, process, log)

    def is_ready() -> bool:
        assert process.poll() is None, server.said()
        try:
            return server.get("/_jit/ready").status == 200
        except OSError:
            return False

    try:
        assert wait_until(is_ready), server.said()
        yield server
    finally:
        for how in (signal.SIGTERM, signal.SIGKILL):
            if is_alive(process.pid) and process.poll() is None:
                os.killpg(process.pid, how)
            if wait_until(lambda: process.poll() is not None and not is_alive(process.pid), 10):
                break
        process.wait(10)


@pytest.fixture(scope="module", params=sorted(KINDS))
def server(
    request: pytest.FixtureRequest, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Each server once for all tests of a module, with somebody signed in."""
    kind = KINDS[request.param]
    with serving(kind, provider, tmp_path_factory.mktemp(kind.name)) as running:
        running.sign_in(running.person("alice"))
        yield running
