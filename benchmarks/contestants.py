"""The applications whose logins are compared: ours and those of its peers, each as its documentation has it.

Each is made for an issuer and a database; ``login`` begins a login, ``callback`` is where the provider sends back to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.loops import WSGIApp, bare_wsgi
from benchmarks.subject import settings

CLIENT_ID, CLIENT_SECRET = "bench", "bench-secret"
ORIGIN = "http://localhost:8000"


@dataclass(frozen=True, slots=True)
class Made:
    """A WSGI application, the paths of its login, and the cookie that a login ends with."""

    app: WSGIApp
    login: str
    callback: str
    cookie: str


def ours(issuer: str, database: str) -> Made:
    """The middleware around a bare application: session row, audit line and role rules included."""
    from jit_middleware.wsgi import JITMiddleware

    middleware = JITMiddleware(
        bare_wsgi,
        settings(
            database,
            JIT_PUBLIC_URL=ORIGIN,
            JIT_OIDC_ISSUER=issuer,
            JIT_OIDC_CLIENT_ID=CLIENT_ID,
            JIT_OIDC_CLIENT_SECRET=CLIENT_SECRET,
        ),
    )
    return Made(middleware, "/_jit/login/oidc", "/_jit/callback/oidc", "jit")


def flask_authlib(issuer: str, database_url: str) -> Made:
    """Flask with Authlib's client and SQLAlchemy's get-or-create by issuer and subject."""
    from authlib.integrations.flask_client import OAuth
    from flask import Flask, redirect, session
    from sqlalchemy import Column, DateTime, Integer, String, UniqueConstraint, create_engine, func, select
    from sqlalchemy.orm import DeclarativeBase, Session

    class Base(DeclarativeBase):
        pass

    class Person(Base):
        __tablename__ = "flask_person"
        __table_args__ = (UniqueConstraint("issuer", "subject"),)
        id = Column(Integer, primary_key=True)
        issuer = Column(String(255), nullable=False)
        subject = Column(String(255), nullable=False)
        email = Column(String(255), nullable=False)
        name = Column(String(255), nullable=False)
        last_login = Column(DateTime, nullable=False)

    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    Base.metadata.create_all(engine)
    app = Flask("bench")
    app.secret_key = "flask" * 8
    oauth = OAuth(app)
    client = oauth.register(
        "idp",
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256"},
    )

    def login() -> Any:
        return client.authorize_redirect(f"{ORIGIN}/callback")

    def callback() -> Any:
        claims = client.authorize_access_token()["userinfo"]
        with Session(engine) as database:
            person = database.scalar(select(Person).filter_by(issuer=claims["iss"], subject=claims["sub"]))
            if person is None:
                person = Person(issuer=claims["iss"], subject=claims["sub"])
                database.add(person)
            person.email, person.name, person.last_login = claims["email"], claims["name"], func.now()
            database.flush()
            user_id = person.id
            database.commit()
        session.clear()
        session["user"] = user_id
        return redirect("/", 303)

    app.add_url_rule("/login", "login", login)
    app.add_url_rule("/callback", "callback", callback)
    return Made(app, "/login", "/callback", "session")


def mozilla(issuer: str, database: str) -> Made:
    """mozilla-django-oidc with Django's database sessions, its connection kept open."""
    _configure_django(
        database,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
        AUTHENTICATION_BACKENDS=["mozilla_django_oidc.auth.OIDCAuthenticationBackend"],
        OIDC_RP_CLIENT_ID=CLIENT_ID,
        OIDC_RP_CLIENT_SECRET=CLIENT_SECRET,
        OIDC_RP_SIGN_ALGO="RS256",
        OIDC_OP_AUTHORIZATION_ENDPOINT=f"{issuer}/authorize",
        OIDC_OP_TOKEN_ENDPOINT=f"{issuer}/token",
        OIDC_OP_USER_ENDPOINT=f"{issuer}/userinfo",
        OIDC_OP_JWKS_ENDPOINT=f"{issuer}/jwks",
        OIDC_USE_PKCE=True,
        LOGIN_REDIRECT_URL="/",
    )
    return Made(_django_app("oidc/", "mozilla_django_oidc.urls"), "/oidc/authenticate/", "/oidc/callback/", "sessionid")


def allauth(issuer: str, database: str) -> Made:
    """django-allauth's ``openid_connect`` provider."""
    provider = {"provider_id": "bench", "name": "bench", "client_id": CLIENT_ID, "secret": CLIENT_SECRET}
    _configure_django(
        database,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
            "allauth",
            "allauth.account",
            "allauth.socialaccount",
            "allauth.socialaccount.providers.openid_connect",
        ],
        MORE_MIDDLEWARE=["allauth.account.middleware.AccountMiddleware"],
        AUTHENTICATION_BACKENDS=["allauth.account.auth_backends.AuthenticationBackend"],
        SOCIALACCOUNT_PROVIDERS={
            "openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [{**provider, "settings": {"server_url": issuer}}]}
        },
        SOCIALACCOUNT_LOGIN_ON_GET=True,
        ACCOUNT_EMAIL_VERIFICATION="none",
        EMAIL_BACKEND="django.core.mail.backends.dummy.EmailBackend",
        LOGIN_REDIRECT_URL="/",
    )
    app = _django_app("accounts/", "allauth.urls")
    path = "/accounts/oidc/bench/login/"
    return Made(app, path, f"{path}callback/", "sessionid")


MAKERS: dict[str, Callable[[str, str], Made]] = {
    "ours": ours,
    "flask_authlib": flask_authlib,
    "mozilla": mozilla,
    "allauth": allauth,
}


def _configure_django(database: str, **more: Any) -> None:
    from django.conf import settings as django_settings
    from sqlalchemy import make_url

    url = make_url(database)
    middleware = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        *more.pop("MORE_MIDDLEWARE", []),
    ]
    django_settings.configure(
        SECRET_KEY="django" * 8,
        ROOT_URLCONF=_DjangoUrls,
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        MIDDLEWARE=middleware,
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": url.database,
                "USER": url.username,
                "HOST": url.query["host"],
                "CONN_MAX_AGE": None,
            }
        },
        **more,
    )


class _DjangoUrls:
    urlpatterns: list[Any] = []  # noqa: RUF012 - Django fills and reads it


def _django_app(prefix: str, urls: str) -> WSGIApp:
    import django
    from django.core.handlers.wsgi import WSGIHandler
    from django.core.management import call_command
    from django.urls import include, path

    django.setup()
    _DjangoUrls.urlpatterns.append(path(prefix, include(urls)))
    call_command("migrate", verbosity=0)
    return WSGIHandler()
