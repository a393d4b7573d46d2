"""Importing an edge brings in what every request needs, not what one kind of deployment needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.sources import ROOT

# Drivers, migrations and SAML's native libraries: needed by some deployments, broken or absent in others.
NOT_AT_IMPORT = {
    "aiomysql",
    "aiosqlite",
    "alembic",
    "asyncpg",
    "django",
    "fastapi",
    "flask",
    "granian",
    "lxml",
    "onelogin",
    "psycopg",
    "pymysql",
    "pytest",
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


def test_the_wsgi_edge_does_not_load_the_asgi_edge() -> None:
    program = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'adapters')]!r}; import jit_middleware.wsgi; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    assert "jit_middleware.asgi" not in loaded.stdout.split()
