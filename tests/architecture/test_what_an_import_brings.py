"""Importing an edge brings in what every request needs, not what one kind of deployment needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jit_middleware.settings import Settings
from jit_middleware.testing.login import login_as
from jit_middleware.wsgi import JITMiddleware
from tests.architecture.sources import ROOT

# Drivers, migrations and SAML's native libraries: needed by some deployments, broken or absent in others. Cryptography,
# pages and the way out: needed by a login, and by no request of a session that is there.
NOT_AT_IMPORT = {
    "aiomysql",
    "aiosqlite",
    "alembic",
    "asgiref",
    "asyncpg",
    "authlib",
    "cryptography",
    "django",
    "fastapi",
    "flask",
    "granian",
    "h11",
    "httpcore2",
    "httpx2",
    "jinja2",
    "joserfc",
    "lxml",
    "onelogin",
    "psycopg",
    "pymysql",
    "pytest",
    "redis",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "xmlsec",
}


@pytest.mark.parametrize("edge", ["jit_middleware.wsgi", "jit_middleware.asgi"])
def test_an_edge_loads_no_driver_no_framework_and_no_saml_library(edge: str) -> None:
    program = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'adapters')]!r}; import {edge}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    assert edge in loaded.stdout.split()
    assert {name.partition(".")[0] for name in loaded.stdout.split()} & NOT_AT_IMPORT == set()


_WORKER = """
import sys; sys.path[:0] = {path!r}
from jit_middleware.settings import Settings
from jit_middleware.wsgi import JITMiddleware
app = lambda environ, start: start("200 OK", []) or [b"in"]
middleware = JITMiddleware(app, Settings.load(env={{
    "JIT_PUBLIC_URL": "https://app.example.com", "JIT_SECRET_KEY": "{key}", "JIT_DATABASE_URL": "sqlite:///{database}",
    "JIT_OIDC_ISSUER": "https://idp.example.com", "JIT_OIDC_CLIENT_ID": "c", "JIT_OIDC_CLIENT_SECRET": "s" * 32,
}}))
seen = []
environ = {{"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.url_scheme": "https", "HTTP_COOKIE": "{cookie}"}}
middleware(environ, lambda status, headers: seen.append(status))
assert seen == ["200 OK"], seen
print(*sys.modules)
"""
LOGINS_ONLY = {
    "authlib",
    "cryptography",
    "h11",
    "httpcore2",
    "httpx2",
    "jinja2",
    "joserfc",
    "asyncpg",
    "psycopg",
    "pymysql",
}


def test_a_worker_that_serves_a_session_loads_nothing_that_logins_need(tmp_path: Path) -> None:
    key, database = "wsP0CMVVUUltTtDbIJ3Et1yKWWKRDvKB5sMNEagY9Q751pcknWiq4WeHVJIO1ZIR", tmp_path / "jit.db"
    settings = Settings.load(
        env={
            "JIT_PUBLIC_URL": "https://app.example.com",
            "JIT_SECRET_KEY": key,
            "JIT_DATABASE_URL": f"sqlite:///{database}",
            "JIT_OIDC_ISSUER": "https://idp.example.com",
            "JIT_OIDC_CLIENT_ID": "c",
            "JIT_OIDC_CLIENT_SECRET": "s" * 32,
        }
    )
    cookie = login_as(JITMiddleware(lambda _environ, _start: [], settings), "s1", preferred_username="alice")
    path = [str(ROOT), str(ROOT / "adapters")]
    program = _WORKER.format(path=path, key=key, database=database, cookie=cookie)
    loaded = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    names = loaded.stdout.split()
    assert {name.partition(".")[0] for name in names} & LOGINS_ONLY == set()
    assert "sqlalchemy" in names
    assert "sqlalchemy.ext.asyncio" not in names


def test_the_wsgi_edge_does_not_load_the_asgi_edge() -> None:
    program = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'adapters')]!r}; import jit_middleware.wsgi; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    assert "jit_middleware.asgi" not in loaded.stdout.split()
