"""Zero-code use: serve ``jit_middleware.wrapped:wsgi`` or ``:asgi``, and name the application in ``JIT_APP``.

::

    JIT_APP=legacy.wsgi:application gunicorn jit_middleware.wrapped:wsgi
    JIT_APP="app:create_app()" uvicorn jit_middleware.wrapped:asgi

Each object is made when it is first asked for, so that only the world in use is built. An application that cannot be
found is a ``ConfigurationError``; what it raises while it is imported or made comes out as it is.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn, cast

from jit_middleware.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from jit_middleware.asgi import ASGIApplication
    from jit_middleware.asgi import JITMiddleware as ASGIMiddleware
    from jit_middleware.wsgi import JITMiddleware as WSGIMiddleware

    wsgi: WSGIMiddleware
    asgi: ASGIMiddleware

_EXAMPLE = "set it to module:attribute, as in JIT_APP=legacy.wsgi:application, or module:factory() for a factory."


def __getattr__(name: str) -> WSGIMiddleware | ASGIMiddleware:
    if name == "wsgi":
        from jit_middleware.wsgi import JITMiddleware as Outer

        made: WSGIMiddleware | ASGIMiddleware = Outer(cast("WSGIApplication", application()))
    elif name == "asgi":
        from jit_middleware.asgi import JITMiddleware as OuterASGI

        made = OuterASGI(cast("ASGIApplication", application()))
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = made  # servers may ask again, and there is to be one gate
    return made


def application() -> object:
    """The application that ``JIT_APP`` names. Raises ``ConfigurationError`` when it names none."""
    named = os.environ.get("JIT_APP", "").strip()
    if not named:
        _refuse("is not set.", _EXAMPLE)
    module_name, colon, attribute = named.partition(":")
    is_factory = attribute.endswith("()")
    path = attribute.removesuffix("()").split(".")
    if not (colon and module_name and all(part.isidentifier() for part in path)):
        _refuse(f"is {named!r}, which is not of the form module:attribute.", _EXAMPLE)
    try:
        found: object = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the application was found, and misses something itself
        _refuse(
            f"names the module {module_name!r}, which cannot be imported.",
            "correct the name, or start the server in the directory of the application (or put it on PYTHONPATH).",
        )
    for part in path:
        try:
            found = getattr(found, part)
        except AttributeError:
            _refuse(f"names {attribute!r}, which the module {module_name!r} does not have.", "correct the attribute.")
    if not callable(found):
        _refuse(f"names {attribute!r}, which is not callable.", _EXAMPLE)
    return found() if is_factory else found


def _refuse(problem: str, fix: str) -> NoReturn:
    raise ConfigurationError([Fault("JIT_APP", problem, fix)])
