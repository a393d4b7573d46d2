"""A Pyramid application behind single sign-on; the middleware is a filter in ``production.ini``.

Run it with the secrets in the environment and the rest in the file (see ``production.ini``)::

    cd examples/pyramid_app && gunicorn --paste production.ini
"""

from __future__ import annotations

from wsgiref.types import WSGIApplication

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response


class RemoteUserPolicy:
    """Pyramid's security policy over ``REMOTE_USER``: the identity is our user, its roles are permissions."""

    def identity(self, request: Request) -> object:
        return request.environ.get("jit.user")

    def authenticated_userid(self, request: Request) -> str | None:
        name: str | None = request.remote_user
        return name

    def permits(self, request: Request, _context: object, permission: str) -> bool:
        user = request.environ.get("jit.user")
        return user is not None and permission in ("view", *user.roles)

    def remember(self, _request: Request, _userid: str, **_options: object) -> list[tuple[str, str]]:
        return []

    def forget(self, _request: Request, **_options: object) -> list[tuple[str, str]]:
        return []


def hello(request: Request) -> Response:
    """Greet the person."""
    roles = ", ".join(request.identity.roles) or "none"
    return Response(text=f"Hello {request.authenticated_userid}, your roles are {roles}.\n", content_type="text/plain")


def main(_global_config: dict[str, str], **settings: str) -> WSGIApplication:
    """The PasteDeploy application factory."""
    config = Configurator(settings=settings)
    config.set_security_policy(RemoteUserPolicy())
    config.add_route("hello", "/")
    config.add_view(hello, route_name="hello", permission="view")
    application: WSGIApplication = config.make_wsgi_app()
    return application
