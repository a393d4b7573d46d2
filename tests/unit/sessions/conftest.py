from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jit_middleware.bridge import step
from jit_middleware.settings import Settings
from jit_middleware.wsgi import JITMiddleware
from tests.conftest import FakeClock


def settings_at(directory: Path, **more: str) -> Settings:
    """The settings of an application whose database is there."""
    return Settings.load(
        {
            "JIT_PUBLIC_URL": "https://app.example.org",
            "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
            "JIT_OIDC_ISSUER": "https://login.example.org",
            "JIT_OIDC_CLIENT_ID": "app",
            "JIT_OIDC_CLIENT_SECRET": "secret",
            "JIT_DATABASE_URL": f"sqlite:///{directory}/jit.db",
            **more,
        }
    )


@pytest.fixture
def middleware(tmp_path: Path, fake_clock: FakeClock) -> Iterator[JITMiddleware]:
    """The whole house, around an application that is never asked."""
    middleware = JITMiddleware(lambda environ, start_response: [], settings_at(tmp_path), clock=fake_clock)
    yield middleware
    step(middleware.gate.close())
