"""A whole Django project in one file, behind single sign-on: Django makes its own user from ``REMOTE_USER``.

Run it with the five ``JIT_`` variables set (see ``README.md``)::

    gunicorn --chdir examples django_app:application

An existing project needs the two ``RemoteUser`` lines below in its settings, and the last line in its ``wsgi.py``.
"""

from __future__ import annotations

import os

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from jit_middleware.wsgi import JITMiddleware

settings.configure(
    SECRET_KEY=os.environ["JIT_SECRET_KEY"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("DJANGO_DATABASE", "django.db")}
    },
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.RemoteUserMiddleware",  # reads REMOTE_USER
    ],
    AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"],  # makes the Django user
)
django.setup()


def hello(request: HttpRequest) -> HttpResponse:
    """Greet the Django user; ``request.META["jit.user"]`` has the rest."""
    roles = ", ".join(request.META["jit.user"].roles) or "none"
    return HttpResponse(f"Hello {request.user}, your roles are {roles}.\n", content_type="text/plain; charset=utf-8")


urlpatterns = [path("", hello)]

call_command("migrate", verbosity=0)
application = JITMiddleware(get_wsgi_application())
