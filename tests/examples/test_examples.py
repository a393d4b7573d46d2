"""Every example is run as it stands: signed in by a real login, and not to be fooled by a header."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from paste.deploy import loadapp

from jit_middleware.demo.browser import Browser
from jit_middleware.model import Profile, User
from jit_middleware.testing.contract import UserStoreContract
from jit_middleware.testing.provider import DemoProvider
from tests.client import Client, Edge
from tests.examples.conftest import EXAMPLES, ORIGIN, Load, answer_at_the_provider, serving

ROOT = EXAMPLES.parent

IN_PROCESS: list[tuple[str, Edge, Callable[[Any], Any]]] = [
    ("bare_wsgi.py", "wsgi", lambda module: module.application),
    ("bare_asgi.py", "asgi", lambda module: module.app),
    ("flask_app.py", "wsgi", lambda module: module.app.wsgi_app),
    ("fastapi_app.py", "asgi", lambda module: module.app),
    ("custom_user_store.py", "wsgi", lambda module: module.application),
    ("password_user_store.py", "wsgi", lambda module: module.application),
]


def test_every_example_is_tested_here() -> None:
    there = {path.name for path in EXAMPLES.iterdir() if path.name != "__pycache__"}
    assert there == {name for name, _, _ in IN_PROCESS} | {
        "django_app.py",
        "pyramid_app",
        "mod_wsgi",
        "demo_provider.py",  # in test_testing_guide.py
    }


@pytest.mark.parametrize(("name", "edge", "application"), IN_PROCESS, ids=[name for name, _, _ in IN_PROCESS])
def test_example_greets_who_signed_in(name: str, edge: Edge, application: Callable[[Any], Any], load: Load) -> None:
    wrapped = application(load(EXAMPLES / name))
    with Client(edge, lambda _: wrapped) as client:
        assert "roles are member" in signed_in(client)


def test_mod_wsgi_example_reads_the_toml_file_beside_it(
    load: Load, provider: DemoProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("JIT_")]:
        monkeypatch.delenv(name)
    shutil.copy(EXAMPLES / "mod_wsgi" / "app.wsgi", tmp_path)
    given = (EXAMPLES / "mod_wsgi" / "settings.example.toml").read_text("utf-8")
    document = given.replace("https://app.example.org", ORIGIN).replace("https://login.example.org", provider.issuer)
    document = document.replace("sqlite:////srv/app/jit.db", f"sqlite:///{tmp_path}/jit.db")
    (tmp_path / "settings.toml").write_text(document, "utf-8")
    (tmp_path / "secret-key").write_text("vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM\n", "utf-8")
    (tmp_path / "client-secret").write_text("client-secret\n", "utf-8")
    wrapped = load(tmp_path / "app.wsgi").application
    with Client("wsgi", lambda _: wrapped) as client:
        assert "roles are member" in signed_in(client)


@pytest.mark.filterwarnings("ignore:'cgi' is deprecated:DeprecationWarning")  # WebOb's
@pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")  # Pyramid's
@pytest.mark.usefixtures("five_variables")
def test_pyramid_example_is_filtered_by_the_ini_file(
    provider: DemoProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_entry_points(tmp_path, monkeypatch)
    monkeypatch.syspath_prepend(str(EXAMPLES / "pyramid_app"))
    for name in ("JIT_PUBLIC_URL", "JIT_OIDC_ISSUER", "JIT_OIDC_CLIENT_ID", "JIT_DEFAULT_ROLES"):
        monkeypatch.delenv(name)  # these stand in the file
    given = (EXAMPLES / "pyramid_app" / "production.ini").read_text("utf-8")
    (tmp_path / "production.ini").write_text(given.replace("https://login.example.org", provider.issuer), "utf-8")
    wrapped = loadapp(f"config:{tmp_path / 'production.ini'}")
    with Client("wsgi", lambda _: wrapped) as client:
        assert "roles are member" in signed_in(client)
        client.jar.drop()
        assert client.get("/").status == 302


def test_django_example_makes_the_django_user(five_variables: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    public = f"http://localhost:{port}"
    with serving(public) as provider:
        variables = {**five_variables, "JIT_PUBLIC_URL": public, "JIT_OIDC_ISSUER": provider.issuer}
        with running_django({**os.environ, **variables}, port):
            browser = Browser()
            challenge = browser.get(f"{public}/")
            assert challenge.location is not None, challenge.text
            landed = browser.get(answer_at_the_provider(challenge.location))
            assert (landed.status, landed.location) == (303, f"{public}/")
            assert "Hello alice, your roles are member." in browser.get(f"{public}/").text
            forged = Browser().get(f"{public}/", headers={"Remote-User": "admin", "X-Remote-User": "admin"})
            assert forged.status == 302
    with closing(sqlite3.connect(tmp_path / "django.db")) as db:
        assert db.execute("SELECT username FROM auth_user").fetchall() == [("alice",)]


class TestTheShopsTable(UserStoreContract):
    """The custom store of the example keeps its promises."""

    keeps_attributes = False  # its table has no place for them

    @pytest.fixture
    def store(self, load: Load, tmp_path: Path) -> Any:
        return load(EXAMPLES / "custom_user_store.py").ShopUsers(str(tmp_path / "empty.db"))


class TestTheAccountsWithPasswords(UserStoreContract):
    """The store with a login of its own keeps its promises, the optional ones included."""

    keeps_attributes = keeps_display_name = False
    password: ClassVar[str | None] = "correct horse"

    @pytest.fixture
    def store(self, load: Load, tmp_path: Path) -> Any:
        return load(EXAMPLES / "password_user_store.py").Accounts(str(tmp_path / "empty.db"))

    def give_password(self, store: Any, user: User, password: str) -> None:
        module = sys.modules[type(store).__module__]
        store._change("UPDATE people SET password = ? WHERE id = ?", module.hashed(password), int(user.id))


def test_a_customer_of_before_keeps_the_row(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The legacy row is taken over by the verified address, with its number and its groups."""
    monkeypatch.setenv("JIT_LINK_POLICY", "auto")
    monkeypatch.setenv("JIT_OIDC_VERIFIED_DOMAINS", "example.org")
    module = load(EXAMPLES / "custom_user_store.py")
    store = module.ShopUsers()
    old = store.create(Profile("", "a.angstrom", email="Alice@example.org", email_verified=True, roles=("wholesale",)))
    with Client("wsgi", lambda _: module.application) as client:
        assert f"Hello a.angstrom, customer {old.id}, your roles are member, wholesale." in signed_in(
            client, old.username
        )
    assert [user.id for user in store.find(email="alice@example.org")] == [old.id]


def test_a_role_with_a_comma_is_not_read_back_as_two(load: Load, tmp_path: Path) -> None:
    store = load(EXAMPLES / "custom_user_store.py").ShopUsers(str(tmp_path / "empty.db"))
    with pytest.raises(ValueError, match="comma"):
        store.create(Profile("key", "ann", roles=("member,admin",)))
    assert list(store.find(username="ann")) == []


# --- the story --------------------------------------------------------------------------------------------------------


def signed_in(client: Client, username: str = "alice") -> str:
    """Tell the story of a first visit, and return what the application says at its end."""
    forged = {"X-Remote-User": "admin", "Remote_User": "admin", "X-Forwarded-User": "admin"}
    challenge = client.get("/", headers=forged)
    assert challenge.status == 302, challenge.text
    refused = client.xhr("/", headers=forged)
    assert refused.status == 401
    assert refused.json()["error"] == "login_required"
    landed = client.get(answer_at_the_provider(challenge.location))
    assert (landed.status, landed.location) == (303, f"{client.origin}/"), landed.text
    page = client.get("/", headers=forged)
    assert page.status == 200, page.text
    assert f"Hello {username}," in page.text
    assert client.another().get("/").status == 302
    return page.text


def offer_entry_points(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an installation would make of ``pyproject.toml``, so that ``egg:jit-middleware`` is found as it stands."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    info = directory / "site" / f"jit_middleware-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(info.parent))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_django(environment: dict[str, str], port: int) -> Iterator[None]:
    """The Django example in a process of its own: Django can be configured once in each."""
    code = (
        "from wsgiref.simple_server import make_server; from django_app import application;"
        f" server = make_server('127.0.0.1', {port}, application); print('ready', flush=True); server.serve_forever()"
    )
    path = os.pathsep.join([str(EXAMPLES), str(ROOT), str(ROOT / "adapters")])
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.terminate()
        process.communicate(timeout=10)
