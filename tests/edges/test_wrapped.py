"""Zero-code use: what ``JIT_APP`` may name, and what each fault is called; the PasteDeploy filter."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jit_middleware import asgi, wrapped, wsgi
from jit_middleware.errors import ConfigurationError
from jit_middleware.settings import Settings
from tests.edges.fakes import FakeGate

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REMOTE_USER"].encode()]

class Holder:
    nested = application

def create():
    return Holder.nested

def create_with(name, *, debug=False):
    return Holder.nested

async def asgi_function(scope, receive, send):
    pass

def asgi_by_hand(scope, receive, send):
    return asgi_function(scope, receive, send)

class AsgiObject:
    async def __call__(self, scope, receive, send):
        pass

class WsgiObject:
    def __call__(self, environ, start_response):
        return [b""]

asgi_object, wsgi_object = AsgiObject(), WsgiObject()

def anything(*arguments):
    return asgi_function(*arguments)

def create_asgi():
    return asgi_object

not_callable = 7
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "legacy_site.py").write_text(APP)
    (tmp_path / "broken_site.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("legacy_site", "broken_site"):
        sys.modules.pop(name, None)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module as a new process has it, with the gate faked."""

    def stand(middleware: Any, app: Any, *_: Any) -> None:
        middleware._stand(app, FakeGate())

    monkeypatch.setattr(wsgi.JITMiddleware, "__init__", stand)
    monkeypatch.setattr(asgi.JITMiddleware, "__init__", stand)
    yield wrapped
    for name in ("wsgi", "asgi"):
        vars(wrapped).pop(name, None)


@pytest.mark.parametrize(
    "named", ["legacy_site:application", "legacy_site:Holder.nested", "legacy_site:create()", " legacy_site:create() "]
)
def test_jit_app_names_an_application_or_its_factory(
    site: Path, fresh: ModuleType, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("JIT_APP", named)
    assert fresh.wsgi.app is importlib.import_module("legacy_site").application


def test_each_world_is_made_once_and_only_when_asked_for(
    site: Path, fresh: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JIT_APP", "legacy_site:application")
    made = fresh.wsgi
    assert isinstance(made, wsgi.JITMiddleware)
    assert fresh.wsgi is made
    assert "asgi" not in vars(fresh)
    monkeypatch.setenv("JIT_APP", "legacy_site:asgi_function")
    assert isinstance(fresh.asgi, asgi.JITMiddleware)


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        (None, "it is missing"),
        ("", "it is missing"),
        ("legacy_site", "not of the form module:attribute"),
        ("legacy_site:", "not of the form module:attribute"),
        (":application", "not of the form module:attribute"),
        ("legacy_site:create(debug=1)", "not of the form module:attribute"),
        ("no_such_site:application", "the module 'no_such_site' cannot be imported"),
        ("no_such_site.wsgi:application", "the module 'no_such_site.wsgi' cannot be imported"),
        ("legacy_site:nothing", "the module 'legacy_site' has no 'nothing'"),
        ("legacy_site:not_callable", "'legacy_site:not_callable' is not callable"),
    ],
)
def test_each_fault_names_the_setting_and_the_fix(
    site: Path, fresh: ModuleType, monkeypatch: pytest.MonkeyPatch, named: str | None, problem: str
) -> None:
    if named is None:
        monkeypatch.delenv("JIT_APP", raising=False)
    else:
        monkeypatch.setenv("JIT_APP", named)
    with pytest.raises(ConfigurationError) as caught:
        _ = fresh.wsgi
    (fault,) = caught.value.faults
    assert fault.setting == "JIT_APP"
    assert problem in fault.problem
    assert fault.fix
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("world", "named", "problem", "fix"),
    [
        ("wsgi", "asgi_function", "is an ASGI application, and served as a WSGI one", "jit_middleware.wrapped:asgi"),
        ("wsgi", "asgi_by_hand", "is an ASGI application, and served as a WSGI one", "jit_middleware.wrapped:asgi"),
        ("wsgi", "asgi_object", "is an ASGI application, and served as a WSGI one", "jit_middleware.wrapped:asgi"),
        ("wsgi", "create_asgi()", "is an ASGI application, and served as a WSGI one", "uvicorn"),
        ("wsgi", "create", "does not take (environ, start_response)", "module:factory()"),
        ("wsgi", "create_with", "does not take (environ, start_response)", "module:factory()"),
        ("asgi", "application", "is a WSGI application, and served as an ASGI one", "jit_middleware.wrapped:wsgi"),
        ("asgi", "wsgi_object", "is a WSGI application, and served as an ASGI one", "gunicorn"),
        ("asgi", "create()", "is a WSGI application, and served as an ASGI one", "jit_middleware.wrapped:wsgi"),
        ("asgi", "create_asgi", "does not take (scope, receive, send)", "module:factory()"),
    ],
)
def test_an_application_of_the_other_world_is_refused_at_start(
    site: Path, fresh: ModuleType, monkeypatch: pytest.MonkeyPatch, world: str, named: str, problem: str, fix: str
) -> None:
    monkeypatch.setenv("JIT_APP", f"legacy_site:{named}")
    with pytest.raises(ConfigurationError) as caught:
        getattr(fresh, world)
    (fault,) = caught.value.faults
    assert fault.setting == "JIT_APP"
    assert f"'legacy_site:{named}'" in fault.problem
    assert problem in fault.problem
    assert fix in fault.fix


@pytest.mark.parametrize(
    ("world", "named"),
    [
        ("wsgi", "wsgi_object"),
        ("wsgi", "anything"),
        ("asgi", "asgi_function"),
        ("asgi", "asgi_by_hand"),
        ("asgi", "asgi_object"),
        ("asgi", "create_asgi()"),
        ("asgi", "anything"),
    ],
)
def test_an_application_of_its_own_world_is_served(
    site: Path, fresh: ModuleType, monkeypatch: pytest.MonkeyPatch, world: str, named: str
) -> None:
    monkeypatch.setenv("JIT_APP", f"legacy_site:{named}")
    assert callable(getattr(fresh, world).app)


def test_what_the_application_itself_lacks_is_not_hidden(
    site: Path, fresh: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JIT_APP", "broken_site:application")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        _ = fresh.wsgi


def test_other_names_are_not_there() -> None:
    assert not hasattr(wrapped, "fcgi")


def test_paste_settings_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[dict[str, str]] = []
    made: list[tuple[Any, Any]] = []
    settings = object()

    def load(*, env: dict[str, str]) -> Any:
        loaded.append(env)
        return settings

    monkeypatch.setattr(Settings, "load", staticmethod(load))
    monkeypatch.setattr(wsgi.JITMiddleware, "__init__", lambda middleware, app, given: made.append((app, given)))
    monkeypatch.setenv("JIT_PUBLIC_URL", "https://from.environment")
    monkeypatch.setenv("JIT_INJECT", "remote_user")
    app = object()
    wrap = wsgi.paste_filter({"here": "/srv"}, public_url="https://from.ini", JIT_SECRET_KEY="k", oidc_Issuer="i")
    wrap(app)  # type: ignore[arg-type]
    assert loaded[0]["JIT_PUBLIC_URL"] == "https://from.ini"
    assert (loaded[0]["JIT_SECRET_KEY"], loaded[0]["JIT_OIDC_ISSUER"]) == ("k", "i")
    assert loaded[0]["JIT_INJECT"] == "remote_user"
    assert "here" not in loaded[0]
    assert made == [(app, settings)]
