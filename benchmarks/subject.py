"""The middleware as it is measured: every feature of the hot path on."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.loops import bare_asgi, bare_wsgi
from jit_middleware import asgi, wsgi
from jit_middleware.bridge import step
from jit_middleware.gate import Gate
from jit_middleware.settings import Settings
from jit_middleware.testing.login import login_as

PUBLIC_URL = "https://app.example.com"
# Of no worth: it signs nothing but the sessions of a benchmark.
_KEY = "wsP0CMVVUUltTtDbIJ3Et1yKWWKRDvKB5sMNEagY9Q751pcknWiq4WeHVJIO1ZIR"
PERSON = {
    "preferred_username": "alice",
    "email": "alice@example.com",
    "email_verified": True,
    "name": "Alice Ångström",
    "groups": ["staff", "ops"],
}


def settings(database: str, **more: str) -> Settings:
    """Settings with injection into headers, path rules, role rules, proxies and the app's own cookies."""
    return Settings.load(
        env={
            "JIT_PUBLIC_URL": PUBLIC_URL,
            "JIT_SECRET_KEY": _KEY,
            "JIT_OIDC_ISSUER": "https://idp.example.com",
            "JIT_OIDC_CLIENT_ID": "bench",
            "JIT_OIDC_CLIENT_SECRET": "bench-secret",
            "JIT_DATABASE_URL": database,
            "JIT_INJECT": "remote_user,generic-headers",
            "JIT_PUBLIC_PATHS": "/about,/static/*,/healthz",
            "JIT_OPTIONAL_PATHS": "/welcome/*",
            "JIT_API_PATHS": "/api/*",
            "JIT_APP_COOKIES": "sessionid",
            "JIT_TRUSTED_PROXIES": "10.0.0.0/8",
            "JIT_DEFAULT_ROLES": "reader",
            "JIT_ROLE_RULES": '[{"when": "contains(groups, \'ops\')", "grant": ["operator"]}]',
            **more,
        }
    )


@dataclass(frozen=True, slots=True)
class Ledger:
    """A SQLite ledger with a template user and session in it, from which :func:`populated` makes many."""

    path: Path
    middleware: wsgi.JITMiddleware
    session_id: str

    @property
    def gate(self) -> Gate:
        return self.middleware.gate

    @contextmanager
    def traced(self) -> Generator[list[str]]:
        """Every statement that SQLite runs meanwhile on the connection that is next in the pool."""
        ledger: Any = self.gate.house.ledger
        seen: list[str] = []
        pooled = ledger.database.engine.raw_connection()
        connection = pooled.driver_connection
        pooled.close()
        connection.set_trace_callback(seen.append)
        try:
            yield seen
        finally:
            connection.set_trace_callback(None)

    def remembering(self, session_ids: Sequence[str]) -> wsgi.JITMiddleware:
        """A WSGI middleware on the same ledger that has read these sessions already: what is left is its own work."""
        remembered = Remembering(self.gate.house.ledger, session_ids)
        return wsgi.JITMiddleware(bare_wsgi, settings(f"sqlite:///{self.path}"), ledger=remembered)

    def cookie(self, session_id: str) -> str:
        """The Cookie header of a session that is in the ledger."""
        house = self.gate.house
        now = house.clock.now()
        return house.sessions.cookie.issue(session_id, now + 40_000, now)[1].partition(";")[0]

    def cookies(self, users: int, count: int) -> list[str]:
        """Cookies of as many sessions, spread over a ledger of that many users."""
        return [self.cookie(session_name(number)) for number in spread(users, count)]

    def asgi_twin(self, **more: str) -> asgi.JITMiddleware:
        """An ASGI middleware on the same ledger, with the same keys; it has a pool and a cache of its own."""
        return asgi.JITMiddleware(bare_asgi, settings(f"sqlite+aiosqlite:///{self.path}", **more))


class Remembering:
    """A ledger whose reads of sessions are answered from memory."""

    def __init__(self, ledger: Any, session_ids: Sequence[str]) -> None:
        self._ledger = ledger
        self._views = {session_id: step(ledger.find_session(session_id)) for session_id in session_ids}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def find_session(self, session_id: str) -> Any:
        return self._views[session_id]


def spread(users: int, count: int) -> list[int]:
    """So many numbers, evenly spread below ``users``."""
    stride = max(1, users // count)
    return [number * stride % users for number in range(count)]


def session_name(number: int) -> str:
    return f"s{number:031d}"


def open_ledger(path: Path, **more: str) -> Ledger:
    """A ledger, made if need be, with one more session of one person in it."""
    middleware = wsgi.JITMiddleware(bare_wsgi, settings(f"sqlite:///{path}", **more))
    login_as(middleware, "template", **PERSON)
    live = step(middleware.gate.house.ledger.reading(lambda tx: tx.list_sessions()))
    return Ledger(path, middleware, live[0].id)


def populate(ledger: Ledger, users: int, revocations: int) -> None:
    """Copy the template until there are that many users, each with a live session; then that many past revocations."""
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-200000")
        _copy(connection, "jit_users", {"id": "'u' || n", "username": "'user' || n", "username_key": "'user' || n",
                                        "email": "'user' || n || '@example.com'",
                                        "email_key": "'user' || n || '@example.com'",
                                        "provisioning_key": "'key' || n"}, users)  # fmt: skip
        _copy(connection, "jit_sessions", {"id": "printf('s%031d', n)", "user_id": "'u' || n",
                                           "subject": "'sub' || n", "idp_session": "'sid' || n"}, users)  # fmt: skip
        _copy(connection, "jit_grants", {"user_id": "'u' || n"}, users)
        connection.execute(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
            " INSERT INTO jit_feed (position, kind, entry_key, at)"
            " SELECT (SELECT position FROM jit_feed_head) + n, 'session', 'gone' || n, 1 FROM numbers",
            (revocations,),
        )
        connection.execute("UPDATE jit_feed_head SET position = position + ?", (revocations,))
    connection.close()


def _copy(connection: sqlite3.Connection, table: str, changed: dict[str, str], count: int) -> None:
    columns = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]
    chosen = ", ".join(changed.get(column, f'template."{column}"') for column in columns)
    names = ", ".join(f'"{column}"' for column in columns)
    connection.execute(
        f"WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < ? - 1)"
        f" INSERT INTO {table} ({names}) SELECT {chosen} FROM numbers,"
        f" (SELECT * FROM {table} LIMIT 10) AS template",
        (count,),
    )
