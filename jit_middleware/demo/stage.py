"""The stage of the demo: two applications behind the middleware, an identity provider and a database, on loopback."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from jit_middleware import asgi, wsgi
from jit_middleware.demo import bare
from jit_middleware.demo.board import NotesBoard
from jit_middleware.demo.serve import LOOPBACK, ASGIHost, WSGIHost, listen
from jit_middleware.records import dataclass
from jit_middleware.settings import Settings
from jit_middleware.system import SystemClock, SystemTokens
from jit_middleware.testing.provider import DemoClient, DemoProvider, DemoUser

PEOPLE: Final = (
    DemoUser(
        "5e1d7f0a-alice",
        "alice",
        "alice-demo",
        {"name": "Alice Ångström", "email": "alice@example.com", "email_verified": True, "groups": ["staff", "ops"]},
    ),
    DemoUser(
        "91c3b2d4-bob",
        "bob",
        "bob-demo",
        {"name": "Bob Brown", "email": "bob@example.com", "email_verified": True, "groups": ["staff"]},
    ),
    DemoUser(
        "c40af6e7-mallory",
        "mallory",
        "mallory-demo",
        {"name": "Mallory Moss", "email": "mallory@example.net", "email_verified": False, "groups": ["visitors"]},
    ),
)


@dataclass(frozen=True, slots=True)
class AppOnStage:
    """One application of the demo: where it is, how it is registered at the provider, how it was set up."""

    kind: str
    url: str
    client: DemoClient
    settings: Settings
    deep_link: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    legacy: AppOnStage
    modern: AppOnStage
    provider: DemoProvider
    database_url: str


@contextmanager
def set_up(*, database_url: str | None, port: int) -> Generator[Stage]:
    """Start it all at ``port`` and the two after it, or at free ones; gone again when the ``with`` block ends.

    Without a ``database_url``, a SQLite file that is gone as well. The applications are at ``localhost`` and the
    provider at ``127.0.0.1``, so that for a browser they are as foreign to each other as in real life. Raises
    ``ConfigurationError`` for a database that does not fit, ``OSError`` when no port is to be had.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="jit-demo-", ignore_cleanup_errors=True)))
        database = database_url or f"sqlite:///{directory / 'jit.db'}"
        front, back, third = (stack.enter_context(listen(wanted)) for wanted in (port, port + 1, port + 2))
        issuer = f"http://{LOOPBACK}:{_port(back)}"
        # One key and one database for both: browsers share the cookies of localhost between ports (RFC 6265 §8.5).
        key = SystemTokens()(48)
        legacy = _app("WSGI", _port(front), issuer, key, database, "/notes/2")
        modern = _app("ASGI", _port(third), issuer, key, database, "/deep/link?from=demo")
        provider = DemoProvider(issuer, [legacy.client, modern.client], PEOPLE, SystemClock())
        board = wsgi.JITMiddleware(NotesBoard(directory / "notes.db"), legacy.settings)
        stack.enter_context(WSGIHost(provider, back))
        stack.enter_context(WSGIHost(board, front))
        stack.enter_context(ASGIHost(asgi.JITMiddleware(bare.app, modern.settings), third))
        yield Stage(legacy, modern, provider, database)


def _app(kind: str, port: int, issuer: str, key: str, database: str, deep_link: str) -> AppOnStage:
    url = f"http://localhost:{port}"
    client = DemoClient(
        client_id=f"demo-{kind.lower()}",
        client_secret=SystemTokens()(),
        redirect_uris=(f"{url}/_jit/callback/oidc",),
        post_logout_redirect_uris=(f"{url}/_jit/signed-out",),
    )
    settings = Settings.load(
        env={
            "JIT_PUBLIC_URL": url,
            "JIT_SECRET_KEY": key,
            "JIT_OIDC_ISSUER": issuer,
            "JIT_OIDC_CLIENT_ID": client.client_id,
            "JIT_OIDC_CLIENT_SECRET": client.client_secret,
            "JIT_DATABASE_URL": database,
            "JIT_APP_NAME": "Notes board" if kind == "WSGI" else "Bare ASGI",
            "JIT_PUBLIC_PATHS": "/about",
            "JIT_REQUIRED_GROUPS": "staff",
            "JIT_DEFAULT_ROLES": "reader",
            "JIT_ROLE_RULES": '[{"when": "contains(groups, \'ops\')", "grant": ["operator"]}]',
        }
    )
    return AppOnStage(kind, url, client, settings, deep_link)


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port
