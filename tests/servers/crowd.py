"""Many people with fast browsers, and a fast provider in this very process that signs them in and out."""

from __future__ import annotations

import itertools
import json
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.adversarial import keys
from tests.adversarial.provider import CLIENT_ID, HostileProvider
from tests.adversarial.wire import Wire
from tests.client import NAVIGATION
from tests.servers.conftest import Kind, Server, serving

PATIENCE = 30.0
_LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
_ALONE = ("{python}", "-m")
_QUIET = ("--log-level", "warning")
#: Workers that keep connections alive, so that a client can go on talking to the one it knows.
GUNICORN = Kind(
    "gunicorn",
    "wsgi",
    (*_ALONE, "gunicorn", "-b", "127.0.0.1:{port}", *_QUIET, "-w", "4", "--threads", "8", "--keep-alive", "75", "tests.servers.timed:wsgi"),
    workers=4,
)  # fmt: skip
UVICORN = Kind(
    "uvicorn",
    "asgi",
    (*_ALONE, "uvicorn", "--host", "127.0.0.1", "--port", "{port}", *_QUIET, "--workers", "2", "--timeout-keep-alive", "75", "tests.servers.timed:asgi"),
    workers=2,
)  # fmt: skip
SERVERS = {kind.name: kind for kind in (GUNICORN, UVICORN)}


class Crowd:
    """The provider: honest, and asked for nothing but logins and logouts."""

    def __init__(self, wire: Wire) -> None:
        self._provider = HostileProvider(wire, f"crowd-{uuid.uuid4().hex}")
        self._coming: dict[str, dict[str, Any]] = {}
        self._provider.on_claims.append(lambda claims: claims.update(self._coming.pop(claims["nonce"])))
        self.issuer = self._provider.issuer
        self.secret = self._provider.client_secret

    def register(self, **_metadata: object) -> Any:
        """As ``serving`` asks for it; there is one client only."""
        return SimpleNamespace(client_secret=self.secret)

    def authorize(self, url: str, subject: str, sid: str) -> str:
        """The person signs in; where the browser is sent back to."""
        (nonce,) = parse_qs(urlsplit(url).query)["nonce"]
        self._coming[nonce] = {
            "sub": subject,
            "preferred_username": subject,
            "name": subject.title(),
            "email": f"{subject}@people.example",
            "sid": sid,
        }
        return self._provider.authorize(url).query_url

    def logout_token(self, **about: str) -> str:
        """A logout token about a ``sid`` or a ``sub`` (OIDC Back-Channel Logout 1.0 §2.4)."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 120,
            "jti": uuid.uuid4().hex,
            "events": {_LOGOUT: {}},
            **about,
        }
        key = self._provider.signing_key
        header = {"alg": "RS256", "kid": key.kid, "typ": "logout+jwt"}
        return keys.compact(header, json.dumps(claims).encode(), key, "RS256")


@contextmanager
def crowded(kind: Kind, directory: Path, **changes: str) -> Iterator[tuple[Server, Crowd]]:
    """A server of this kind, and the crowd that is about to come."""
    with Wire() as wire:
        crowd = Crowd(wire)
        settings = {
            "JIT_APP": f"tests.servers.timed:{kind.world}_app",
            "JIT_OIDC_CLIENT_ID": CLIENT_ID,
            "JIT_OIDC_CLIENT_SECRET": crowd.secret,
            **changes,
        }
        with serving(kind, crowd, directory, **settings) as server:  # type: ignore[arg-type]
            yield server, crowd
        assert wire.failures == []


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer. ``sent`` is the client's time before it asked, ``arrived`` the worker's when it had been asked."""

    status: int
    worker: int
    sent: float
    arrived: float
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told

    @property
    def location(self) -> str:
        return next(value for name, value in self.headers if name.lower() == "location")


class Line:
    """A connection that is kept, so that one worker answers all that is asked on it; opened anew when it broke."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.port = port

    def ask(self, method: str, target: str, cookie: str = "", body: str | None = None, **headers: str) -> Seen:
        """Raises ``OSError`` or ``HTTPException`` when there is no whole answer."""
        lines = {**NAVIGATION, "Host": f"localhost:{self.port}", **headers, **({"Cookie": cookie} if cookie else {})}
        sent = time.monotonic()
        try:
            self._connection.request(method, target, body, lines)
            # uvicorn sends head and body apart and lets Nagle wait for our acknowledgement of the head.
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException):
            self._connection.close()
            raise
        worker, arrived = int(answer.headers["X-Worker"]), float(answer.headers["X-Arrived"])
        return Seen(answer.status, worker, sent, arrived, answer.getheaders(), content)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def a_line_to_each(server: Server) -> Iterator[dict[int, Line]]:
    """One line to each of the workers, by process id."""
    lines: dict[int, Line] = {}
    others: list[Line] = []
    end = time.monotonic() + PATIENCE
    try:
        while len(lines) < server.kind.workers and time.monotonic() < end:
            line = Line(server.port)
            others.append(line)
            lines.setdefault(line.ask("GET", "/public/who").worker, line)
        assert len(lines) == server.kind.workers, f"only {len(lines)} workers answer: {server.said()}"
        for line in others:
            if line not in lines.values():
                line.close()
        yield lines
    finally:
        for line in others:
            line.close()


@dataclass
class Visitor:
    """Somebody with a browser: their cookies, and the session that the last login began."""

    subject: str
    sid: str
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def keep(self, seen: Seen) -> None:
        """Store and forget what the answer says."""
        for name, value in seen.headers:
            if name.lower() == "set-cookie":
                pair, _, attributes = value.partition(";")
                key, _, content = pair.partition("=")
                if "max-age=0" in attributes.lower():
                    self.cookies.pop(key, None)
                else:
                    self.cookies[key] = content

    def sign_in(self, line: Line, crowd: Crowd) -> Seen:
        """The whole way; the last answer, which is not 303 when it went wrong."""
        self.cookies.clear()
        begun = line.ask("GET", "/")
        if begun.status != 302:
            return begun
        self.keep(begun)
        place = urlsplit(crowd.authorize(begun.location, self.subject, self.sid))
        landed = line.ask("GET", f"{place.path}?{place.query}", self.cookie, **{"Sec-Fetch-Site": "cross-site"})
        self.keep(landed)
        return landed

    def sign_out(self, line: Line) -> Seen:
        headers = {"Origin": f"http://localhost:{line.port}", "Sec-Fetch-Site": "same-origin"}
        return line.ask("POST", "/_jit/logout", self.cookie, "", **headers)


def push_logout(line: Line, token: str) -> Seen:
    """As the provider posts it."""
    body = urlencode({"logout_token": token})
    return line.ask("POST", "/_jit/backchannel/oidc", "", body, **{"Content-Type": "application/x-www-form-urlencoded"})


_numbers = itertools.count(1)


def newcomers(number: int) -> list[Visitor]:
    """People nobody has seen before."""
    names = [f"visitor{next(_numbers)}" for _ in range(number)]
    return [Visitor(name, f"sid-of-{name}") for name in names]


def at_once(works: Iterable[Callable[[], object]]) -> None:
    """All of them in threads; raises what the first of them raised."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below, whatever it is
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def command(*arguments: str) -> int:
    """``jit-middleware`` in this process, with the settings in its environment; the exit code."""
    from jit_middleware.cli import main

    code = main(arguments)
    sys.stdout.flush()
    return code
