"""What others do to know who is there, each over the same framework without it, for a signed-in request.

Sessions that live in the cookie hold what Authlib's examples put there, ``session["user"] = token["userinfo"]``: the
claims of the person, from which ours shows name, address and roles as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.loops import ASGIApp, WSGIApp, bare_asgi, bare_wsgi
from benchmarks.subject import PERSON
from benchmarks.traffic import PATH, with_others

#: The claims of an ID token.
_USERINFO = {
    **PERSON,
    "iss": "https://idp.example.com",
    "sub": "3f1c0a9e-5b7d-4e8f-9a2b-6c4d8e0f1a3b",
    "aud": "bench",
    "iat": 1_731_582_937,
    "exp": 1_731_586_537,
    "nonce": "Zx3kQ9vT1mN7bW5yR8sU2g",
}
_STARLETTE_SECRET = "starlette" * 5


@dataclass(frozen=True, slots=True)
class Peer:
    """``guarded`` answers a request with ``cookie`` and knows the user; ``bare`` answers without looking.

    ``at_least``: how many times dearer than ours it has to be.
    """

    name: str
    bare: WSGIApp
    guarded: WSGIApp
    cookie: str
    at_least: float
    calls: int = 50


def wsgi_peers(directory: Path) -> Iterator[Peer]:
    """All WSGI peers; what they store goes into ``directory``."""
    yield from _flask()
    yield _repoze_who()
    yield _beaker()
    yield from _django(directory)


@dataclass(frozen=True, slots=True)
class ASGIPeer:
    """``guarded`` answers a request with ``cookie`` and knows the user; without ``at_least`` it is not judged."""

    name: str
    guarded: ASGIApp
    cookie: str
    at_least: float | None = None


def asgi_peers() -> Iterator[ASGIPeer]:
    """Starlette's two middlewares; the former alone, or with a mere name in the session, knows less than ours shows."""
    from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
    from starlette.middleware.authentication import AuthenticationMiddleware
    from starlette.middleware.sessions import SessionMiddleware

    class FromSession(AuthenticationBackend):
        async def authenticate(self, conn: Any) -> Any:
            user = conn.session.get("user")
            if user is None:
                return None
            if isinstance(user, str):
                return AuthCredentials(["authenticated"]), SimpleUser(user)
            return AuthCredentials(["authenticated", *user["groups"]]), SimpleUser(user["preferred_username"])

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        if scope["session"]["user"] != "alice":
            raise RuntimeError("Starlette does not know the user")
        await bare_asgi(scope, receive, send)

    async def authenticated(scope: Any, receive: Any, send: Any) -> None:
        if scope["user"].display_name != "alice":
            raise RuntimeError("Starlette does not know the user")
        await bare_asgi(scope, receive, send)

    alone = SessionMiddleware(checked, secret_key=_STARLETTE_SECRET)
    with_backend: Any = AuthenticationMiddleware(authenticated, backend=FromSession())
    both = SessionMiddleware(with_backend, secret_key=_STARLETTE_SECRET)
    name, claims = _starlette_cookie("alice"), _starlette_cookie(_USERINFO)
    yield ASGIPeer("Starlette SessionMiddleware, a name in it", alone, name)
    yield ASGIPeer("Starlette Session + AuthenticationMiddleware, a name", both, name)
    yield ASGIPeer("Starlette Session + AuthenticationMiddleware, claims", both, claims, 10)


def _starlette_cookie(user: object) -> str:
    from base64 import b64encode
    from json import dumps

    from itsdangerous import TimestampSigner

    value = TimestampSigner(_STARLETTE_SECRET).sign(b64encode(dumps({"user": user}).encode())).decode()
    return with_others(f"session={value}")


def _flask() -> Iterator[Peer]:
    from flask import Flask, session
    from flask_login import LoginManager, UserMixin, login_required, login_user

    class Person(UserMixin):
        def __init__(self, name: str) -> None:
            self.id = name

    def app(secret: str | None) -> Flask:
        made = Flask("bench")
        made.secret_key = secret

        def sign_in() -> str:
            session["user"] = _USERINFO
            return "ok"

        made.add_url_rule("/sign-in", "sign_in", sign_in)
        return made

    bare, plain, managed = app(None), app("flask" * 8), app("flask" * 8)
    bare.add_url_rule(PATH, "page", lambda: "ok")

    def checked() -> str:
        if session["user"]["preferred_username"] != "alice":
            raise RuntimeError("Flask does not know the user")
        return "ok"

    plain.add_url_rule(PATH, "page", checked)
    manager = LoginManager(managed)
    people = {"alice": Person("alice")}
    manager.user_loader(people.get)
    managed.add_url_rule(PATH, "page", login_required(lambda: "ok"))
    managed.add_url_rule("/log-in", "log_in", lambda: str(login_user(people["alice"])))
    # Flask-Login ties the session to address and browser, so it is begun by the browser that is measured later.
    with plain.test_client() as client:
        client.get("/sign-in")
        flask_cookie = client.get_cookie("session")
    with managed.test_client() as client:
        client.get("/log-in", headers=_as_measured())
        login_cookie = client.get_cookie("session")
    assert flask_cookie is not None
    assert login_cookie is not None
    yield Peer("Flask session", bare, plain, with_others(f"session={flask_cookie.value}"), 20, 100)
    yield Peer("Flask-Login", bare, managed, with_others(f"session={login_cookie.value}"), 20, 100)


def _as_measured() -> dict[str, str]:
    from benchmarks.traffic import environ

    made = environ("")
    return {"User-Agent": str(made["HTTP_USER_AGENT"]), "X-Forwarded-For": str(made["HTTP_X_FORWARDED_FOR"])}


def _repoze_who() -> Peer:
    from repoze.who.classifiers import default_challenge_decider, default_request_classifier
    from repoze.who.middleware import PluggableAuthenticationMiddleware
    from repoze.who.plugins.auth_tkt import AuthTktCookiePlugin

    ticket = AuthTktCookiePlugin("repoze" * 6, cookie_name="auth_tkt", digest_algo="sha256")

    def checked(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REMOTE_USER"] != "alice":
            raise RuntimeError("repoze.who does not know the user")
        return bare_wsgi(environ, start_response)

    plugins = [("auth_tkt", ticket)]
    guarded = PluggableAuthenticationMiddleware(
        checked, plugins, plugins, [], [], default_request_classifier, default_challenge_decider
    )
    asked: dict[str, Any] = {"REMOTE_ADDR": "10.0.0.4", "HTTP_HOST": "app.example.com"}
    header = ticket.remember(asked, {"repoze.who.userid": "alice"})[0][1]
    return Peer("repoze.who auth_tkt", bare_wsgi, guarded, with_others(header.partition(";")[0]), 30, 200)


def _beaker() -> Peer:
    from beaker.middleware import SessionMiddleware

    def sign_in(environ: dict[str, Any], start_response: Any) -> Any:
        environ["beaker.session"]["user"] = _USERINFO
        environ["beaker.session"].save()
        return bare_wsgi(environ, start_response)

    def checked(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["beaker.session"]["user"]["preferred_username"] != "alice":
            raise RuntimeError("Beaker does not know the user")
        return bare_wsgi(environ, start_response)

    options = {
        "session.type": "cookie",
        "session.validate_key": "beaker" * 6,
        "session.key": "beaker",
        "session.auto": False,
        "session.data_serializer": "json",
    }
    given: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        given.extend(value for name, value in headers if name.lower() == "set-cookie")

    list(SessionMiddleware(sign_in, options)({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, start_response))
    cookie = given[0].partition(";")[0]
    return Peer("Beaker cookie session", bare_wsgi, SessionMiddleware(checked, options), with_others(cookie), 30, 200)


def _django(directory: Path) -> Iterator[Peer]:
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.http import HttpRequest, HttpResponse
    from django.urls import include, path

    def page(request: HttpRequest) -> HttpResponse:
        user = getattr(request, "user", None)
        if user is not None and not user.is_authenticated:
            raise RuntimeError("Django does not know the user")
        return HttpResponse("ok")

    class Urls:
        urlpatterns: ClassVar[list[Any]] = [path(PATH.lstrip("/"), page)]

    model, oidc = "django.contrib.auth.backends.ModelBackend", "mozilla_django_oidc.auth.OIDCAuthenticationBackend"
    endpoints = ("TOKEN", "USER", "AUTHORIZATION", "JWKS")
    settings.configure(
        SECRET_KEY="django" * 8,
        ROOT_URLCONF=Urls,
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
        AUTHENTICATION_BACKENDS=[model, oidc],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(directory / "django.db"),
                "CONN_MAX_AGE": None,
            }
        },
        OIDC_RP_CLIENT_ID="bench",
        OIDC_RP_CLIENT_SECRET="bench-secret",
        **{f"OIDC_OP_{name}_ENDPOINT": f"https://idp.example.com/{name}" for name in endpoints},
    )
    django.setup()
    Urls.urlpatterns.append(path("oidc/", include("mozilla_django_oidc.urls")))
    call_command("migrate", verbosity=0)

    from django.contrib.auth.models import User

    user = User.objects.create_user("alice", "alice@example.com")
    bare = _django_handler((), "signed_cookies")
    sessions = ("django.contrib.sessions.middleware.SessionMiddleware",)
    auth = (*sessions, "django.contrib.auth.middleware.AuthenticationMiddleware")
    for name, engine, middleware, backend in (
        ("Django signed cookies + auth", "signed_cookies", auth, model),
        ("Django database sessions + auth", "db", auth, model),
        ("mozilla SessionRefresh", "db", (*auth, "mozilla_django_oidc.middleware.SessionRefresh"), oidc),
    ):
        cookie = with_others(f"sessionid={_django_session(engine, user, backend)}")
        yield Peer(name, bare, _django_handler(middleware, engine), cookie, 150, 30)


def _django_handler(middleware: tuple[str, ...], engine: str) -> WSGIApp:
    from django.core.handlers.wsgi import WSGIHandler
    from django.test.utils import override_settings

    with override_settings(MIDDLEWARE=list(middleware), SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}"):
        return WSGIHandler()


def _django_session(engine: str, user: Any, backend: str) -> str:
    from importlib import import_module

    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

    session = import_module(f"django.contrib.sessions.backends.{engine}").SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = backend
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session["oidc_id_token_expiration"] = time.time() + 86_400
    session.save()
    return str(session.session_key)
