"""``run``: serve an application behind the middleware, with the server that is installed."""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar, cast
from urllib.parse import urlsplit
from wsgiref.simple_server import make_server
from wsgiref.types import WSGIApplication

from jit_middleware.cli.mounting import asgi_below, wsgi_below
from jit_middleware.cli.terminal import DONE, WrongUse, complain
from jit_middleware.settings import Settings
from jit_middleware.wrapped import World, application, world_of

if TYPE_CHECKING:
    from jit_middleware.asgi import ASGIApplication

NAME = "run"
HELP = "Serve MODULE:APP behind the middleware (waitress or wsgiref for WSGI, uvicorn for ASGI)."
_PORT = 8000

T = TypeVar("T")


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("app", metavar="MODULE:APP", help="the application, as legacy.wsgi:application")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=_port, help="port to listen on (that of a loopback public URL, else 8000)")
    world = parser.add_mutually_exclusive_group()
    world.add_argument("--wsgi", dest="world", action="store_const", const="wsgi", help="it is a WSGI application")
    world.add_argument("--asgi", dest="world", action="store_const", const="asgi", help="it is an ASGI application")
    parser.add_argument("--json", action="store_true", help="no difference: serving prints no result")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> int:
    os.environ["JIT_APP"] = arguments.app
    if os.getcwd() not in sys.path:  # as gunicorn and uvicorn do: the app is looked for where the command is given
        sys.path.insert(0, os.getcwd())
    settings = Settings.load()
    public = urlsplit(settings.public_url.origin)
    wanted: int | None = arguments.port
    port = wanted or (public.port if settings.public_url.loopback else None) or _PORT
    host: str = arguments.host

    app = application()
    world: World = arguments.world or world_of(app)
    if world == "wsgi":
        from jit_middleware.wsgi import JITMiddleware

        wsgi = JITMiddleware(cast("WSGIApplication", app), settings)
        _serve_wsgi(wsgi_below(settings.public_url.mount, wsgi), host, port)
    else:
        from jit_middleware.asgi import JITMiddleware as ASGIMiddleware

        asgi = ASGIMiddleware(cast("ASGIApplication", app), settings)
        _serve_asgi(asgi_below(settings.public_url.mount, asgi), host, port)
    return DONE


class _Serving(Protocol):
    def run(self) -> object: ...


class _Waitress(Protocol):
    def create_server(self, app: WSGIApplication, *, host: str, port: int) -> _Serving: ...


class _Uvicorn(Protocol):
    def run(self, app: object, *, host: str, port: int, proxy_headers: bool) -> object: ...


def _serve_wsgi(app: WSGIApplication, host: str, port: int) -> None:
    logging.basicConfig()
    try:
        waitress = cast("_Waitress", importlib.import_module("waitress"))
    except ModuleNotFoundError:
        with _listening(lambda: make_server(host, port, app), host, port) as server, suppress(KeyboardInterrupt):
            complain(f"Serving on http://{host}:{port} with wsgiref, one request at a time; install waitress for more.")
            server.serve_forever()
        return
    serving = _listening(lambda: waitress.create_server(app, host=host, port=port), host, port)
    complain(f"Serving on http://{host}:{port} with waitress.")
    serving.run()


def _listening(begin: Callable[[], T], host: str, port: int) -> T:
    """The server that ``begin`` makes. Raises ``WrongUse`` where nobody may listen."""
    try:
        return begin()
    except (OSError, ValueError) as refused:  # waitress says ValueError of a host that it cannot resolve
        is_taken = isinstance(refused, OSError) and refused.errno == errno.EADDRINUSE
        why = "something else listens there" if is_taken else f"{getattr(refused, 'strerror', None) or refused}"
        fix = "end that, or choose another --port." if is_taken else "choose another --host or --port."
        raise WrongUse(f"Cannot listen on {host} port {port}: {why.rstrip('.')}. Fix: {fix}") from refused


def _serve_asgi(app: object, host: str, port: int) -> None:
    try:
        uvicorn = cast("_Uvicorn", importlib.import_module("uvicorn"))
    except ModuleNotFoundError as missing:
        sentence = "An ASGI application needs uvicorn: pip install uvicorn. If it is a WSGI application, say --wsgi."
        raise WrongUse(sentence) from missing
    try:
        uvicorn.run(app, host=host, port=port, proxy_headers=False)  # JIT_TRUSTED_PROXIES says who is believed
    except SystemExit as ended:
        if ended.code:  # it has said why
            raise WrongUse(f"uvicorn could not start on {host} port {port}.") from ended


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)
