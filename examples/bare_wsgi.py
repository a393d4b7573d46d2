"""A bare WSGI application behind single sign-on.

Run it with the five ``JIT_`` variables set (see ``README.md``)::

    gunicorn --chdir examples bare_wsgi:application
"""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from jit_middleware.wsgi import JITMiddleware


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Greet whoever the middleware lets through."""
    body = (
        f"Hello {environ['REMOTE_USER']}, your roles are {', '.join(environ['jit.user'].roles) or 'none'}.\n".encode()
    )
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


application = JITMiddleware(hello)
