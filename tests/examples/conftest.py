"""What an example needs to run: a provider on loopback, five variables, and a person who signs in."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from jit_middleware.demo.browser import Browser
from jit_middleware.demo.serve import WSGIHost, listen
from jit_middleware.system import SystemClock
from jit_middleware.testing.provider import DemoClient, DemoProvider, DemoUser

EXAMPLES = Path(__file__).parents[2] / "examples"
ORIGIN = "http://localhost:8000"
ALICE = DemoUser(
    "s-alice",
    "alice",
    "alice-password",
    {"name": "Alice Ångström", "email": "alice@example.org", "email_verified": True, "groups": ["ops"]},
)

Load = Callable[[Path], ModuleType]


@contextmanager
def serving(origin: str) -> Iterator[DemoProvider]:
    """A provider that knows one application, at ``origin``, and one person."""
    with listen(0) as listener:
        client = DemoClient("app", "client-secret", (f"{origin}/_jit/callback/oidc",), (f"{origin}/_jit/signed-out",))
        provider = DemoProvider(f"http://127.0.0.1:{listener.getsockname()[1]}", [client], [ALICE], SystemClock())
        with WSGIHost(provider, listener):
            yield provider


@pytest.fixture(scope="session")
def provider() -> Iterator[DemoProvider]:
    """A provider that knows the application at ``ORIGIN``."""
    with serving(ORIGIN) as served:
        yield served


@pytest.fixture
def five_variables(provider: DemoProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The five variables, and a database and a role beside them."""
    variables = {
        "JIT_PUBLIC_URL": ORIGIN,
        "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
        "JIT_OIDC_ISSUER": provider.issuer,
        "JIT_OIDC_CLIENT_ID": "app",
        "JIT_OIDC_CLIENT_SECRET": "client-secret",
        "JIT_DATABASE_URL": f"sqlite:///{tmp_path / 'jit.db'}",
        "JIT_DEFAULT_ROLES": "member",
        "SHOP_DATABASE": str(tmp_path / "shop.db"),
        "PEOPLE_DATABASE": str(tmp_path / "people.db"),
        "DJANGO_DATABASE": str(tmp_path / "django.db"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def load(five_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Load:
    """Runs an example file as a fresh module of its own name, with the five variables set."""

    def loaded(path: Path) -> ModuleType:
        loader = SourceFileLoader(path.stem, str(path))
        spec = importlib.util.spec_from_loader(path.stem, loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        loader.exec_module(module)
        return module

    return loaded


def answer_at_the_provider(url: str, user: DemoUser = ALICE) -> str:
    """Sign in at the provider's page ``url``, and return where it sends the browser then."""
    browser = Browser()
    page = browser.get(url)
    form = next(form for form in page.forms() if form.fields.get("username", user.username) == user.username)
    answer = browser.submit(form, page, username=user.username, password=user.password)
    assert answer.location is not None, answer.text
    return answer.location
