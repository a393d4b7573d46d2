"""Zero-code use: serve ``jit_middleware.wrapped:wsgi`` or ``:asgi``, and name the application in ``JIT_APP``.

::

    JIT_APP=legacy.wsgi:application gunicorn jit_middleware.wrapped:wsgi
    JIT_APP="app:create_app()" uvicorn jit_middleware.wrapped:asgi

Each object is made when it is first asked for, so that only the world in use is built. An application that cannot be
found, or speaks the other interface, is a ``ConfigurationError``; what it raises while it is imported or made comes out
as it is.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from jit_middleware.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from jit_middleware.asgi import ASGIApplication
    from jit_middleware.asgi import JITMiddleware as ASGIMiddleware
    from jit_middleware.wsgi import JITMiddleware as WSGIMiddleware

    wsgi: WSGIMiddleware
    asgi: ASGIMiddleware

World: TypeAlias = Literal["wsgi", "asgi"]

_EXAMPLE: Final = (
    "set it to module:attribute, as in JIT_APP=legacy.wsgi:application, or module:factory() for a factory."
)
#: By world: what an application is called with (PEP 3333, ASGI 3.0), and what serves it.
_CALLED_WITH: Final[dict[World, tuple[str, ...]]] = {
    "wsgi": ("environ", "start_response"),
    "asgi": ("scope", "receive", "send"),
}
_SERVERS: Final[dict[World, str]] = {"wsgi": "gunicorn", "asgi": "uvicorn"}


def __getattr__(name: str) -> WSGIMiddleware | ASGIMiddleware:
    if name == "wsgi":
        from jit_middleware.wsgi import JITMiddleware as Outer

        made: WSGIMiddleware | ASGIMiddleware = Outer(cast("WSGIApplication", application("wsgi")))
    elif name == "asgi":
        from jit_middleware.asgi import JITMiddleware as OuterASGI

        made = OuterASGI(cast("ASGIApplication", application("asgi")))
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = made  # servers may ask again, and there is to be one gate
    return made


def application(world: World | None = None) -> object:
    """The application that ``JIT_APP`` names, which has to be one of this ``world`` if that is given. Raises
    ``ConfigurationError`` when it names none."""
    named = os.environ.get("JIT_APP", "").strip()
    if not named:
        raise _fault("it is missing.", _EXAMPLE)
    module_name, colon, attribute = named.partition(":")
    is_factory = attribute.endswith("()")
    path = attribute.removesuffix("()").split(".")
    if not (colon and module_name and all(part.isidentifier() for part in path)):
        raise _fault(f"{named!r} is not of the form module:attribute.", _EXAMPLE)
    try:
        found: object = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the application was found, and misses something itself
        raise _fault(
            f"the module {module_name!r} cannot be imported.",
            "correct the name, or start the server in the directory of the application (or put it on PYTHONPATH).",
        ) from None
    for part in path:
        try:
            found = getattr(found, part)
        except AttributeError:
            raise _fault(f"the module {module_name!r} has no {attribute!r}.", "correct the attribute.") from None
    if not callable(found):
        raise _fault(f"{named!r} is not callable.", _EXAMPLE)
    made: object = found() if is_factory else found
    if world is not None:
        _check_world(named, made, world)
    return made


def world_of(app: object) -> World:
    """Which interface an application speaks: an ASGI one is a coroutine function, or an object whose call is one."""
    call: object = getattr(app, "__call__", None)  # noqa: B004 -- the method itself is looked at
    return "asgi" if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call) else "wsgi"


def _check_world(named: str, app: object, world: World) -> None:
    """Refuse what cannot be called as this world calls an application: each request would fail, after the login."""
    other: World = "asgi" if world == "wsgi" else "wsgi"
    is_other = world == "wsgi" and world_of(app) == "asgi"
    if not is_other and _takes(app, world):
        return
    if is_other or _takes(app, other):
        fix = f"serve jit_middleware.wrapped:{other}, with {_SERVERS[other]} for instance."
        raise _fault(f"{named!r} is {_an(other)} application, and served as {_an(world)} one.", fix)
    arguments = ", ".join(_CALLED_WITH[world])
    raise _fault(
        f"{named!r} is no {world.upper()} application: it does not take ({arguments}).",
        "name the application itself; a function that makes it is written module:factory().",
    )


def _takes(app: object, world: World) -> bool:
    """Whether it can be called with the arguments of that world; what does not tell its arguments counts as one."""
    try:
        inspect.signature(cast("Callable[..., object]", app)).bind(*_CALLED_WITH[world])
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _an(world: World) -> str:
    return "an ASGI" if world == "asgi" else "a WSGI"


def _fault(problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError([Fault("JIT_APP", problem, fix)])
