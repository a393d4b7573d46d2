"""What the app sees of the signed-in person: prepared once per cached session, shared by its requests.

Presets name families of apps, each with the keys and headers that family reads. Whatever a preset can set, a client can
not: the names are scrubbed from every request first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, NoReturn

from jit_middleware.http.messages import Admission
from jit_middleware.model import Session, User
from jit_middleware.settings import InjectSettings

_AUTH_TYPE: Final = "jit"
_ROLE_LISTS_KEPT: Final = 1_024
#: Printable ASCII but for the percent sign, which is ours; in a list element the separator and quotes are encoded too.
_PLAIN: Final = re.compile(r"[ -$&-~]*")
_PLAIN_ELEMENT: Final = re.compile(r"[ !#$&-+\--\[\]-~]*")
#: How each byte of UTF-8 is shown: as itself, or percent-encoded.
_SHOWN: Final = tuple(chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"%{byte:02X}" for byte in range(256))
_SHOWN_IN_A_LIST: Final = tuple(
    chr(byte) if _PLAIN_ELEMENT.fullmatch(chr(byte)) else f"%{byte:02X}" for byte in range(256)
)

#: Header name → what goes in, for each preset that speaks in headers.
HEADER_PRESETS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = MappingProxyType(
    {
        "generic-headers": (
            ("X-Remote-User", "username"),
            ("X-Remote-Email", "email"),
            ("X-Remote-Name", "display_name"),
            ("X-Remote-Groups", "roles"),
        ),
        "forwarded-headers": (
            ("X-Forwarded-User", "username"),
            ("X-Forwarded-Email", "email"),
            ("X-Forwarded-Groups", "roles"),
        ),
        "django": (("Remote-User", "username"),),
    }
)


class ScopeUser:
    """``scope["user"]`` in the shape Starlette's ``AuthenticationMiddleware`` leaves there."""

    __slots__ = ("_user",)

    def __init__(self, user: User | None) -> None:
        self._user = user

    @property
    def is_authenticated(self) -> bool:
        return self._user is not None

    @property
    def display_name(self) -> str:
        return "" if self._user is None else self._user.display_name or self._user.username

    @property
    def identity(self) -> str:
        return "" if self._user is None else self._user.id

    @property
    def username(self) -> str:
        return "" if self._user is None else self._user.username


def _refuse_change(*_args: object, **_kwargs: object) -> NoReturn:
    raise TypeError("this actor is shared by requests: change a copy")


#: ``scope["actor"]`` as Datasette reads it: a dict shared by the requests of a session, so nobody may change it.
Actor: Final = type(
    "Actor",
    (dict,),
    dict.fromkeys(
        ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"), _refuse_change
    ),
)


class ScopeAuth:
    """``scope["auth"]``: ``scopes`` are ``authenticated`` and the user's roles."""

    __slots__ = ("scopes",)

    def __init__(self, scopes: tuple[str, ...]) -> None:
        self.scopes = scopes


ANONYMOUS_SCOPE: Final[Mapping[str, object]] = MappingProxyType({"user": ScopeUser(None), "auth": ScopeAuth(())})


def injector(settings: InjectSettings, world: Literal["wsgi", "asgi"]) -> Callable[[User, Session], Admission]:
    """The function that prepares what the app of this world sees."""
    templates = headers_of(settings)
    roles_shown = lru_cache(_ROLE_LISTS_KEPT)(_joined)
    keys = tuple(("HTTP_" + name.upper().replace("-", "_"), _shower(source, roles_shown)) for name, source in templates)
    fields = tuple((name.lower().encode(), _shower(source, _joined)) for name, source in templates)
    nothing: dict[str, object] = {}

    def wsgi(user: User, session: Session) -> Admission:
        environ: dict[str, object] = {
            "REMOTE_USER": user.username,
            "AUTH_TYPE": _AUTH_TYPE,
            "jit.user": user,
            "jit.session": session,
        }
        for key, shown in keys:
            value = shown(user)
            if value is not None:
                environ[key] = value
        return Admission(user, session, environ, nothing)

    def asgi(user: User, session: Session) -> Admission:
        scope: dict[str, object] = {
            "jit.user": user,
            "jit.session": session,
            "user": ScopeUser(user),
            "auth": ScopeAuth(("authenticated", *user.roles)),
        }
        if "datasette" in settings.presets:
            scope["actor"] = Actor(id=user.username, name=user.display_name or user.username, roles=user.roles)
        values = ((name, shown(user)) for name, shown in fields)
        headers = tuple((name, value.encode()) for name, value in values if value is not None)
        return Admission(user, session, nothing, scope, headers)

    return wsgi if world == "wsgi" else asgi


def headers_of(settings: InjectSettings) -> tuple[tuple[str, str], ...]:
    """Every header the settings inject, as (name, source)."""
    preset = [pair for name in settings.presets for pair in HEADER_PRESETS.get(name, ())]
    return (*preset, *settings.headers)


def header_value(user: User, source: str) -> str | None:
    """The value for a header: plain where it is printable ASCII, else percent-encoded UTF-8; lists joined by commas.

    Frameworks decode headers as latin-1, so anything beyond ASCII would arrive as something else (or as a header of its
    own, for a newline). A comma inside a list element is encoded, so that no name can smuggle in another.
    """
    return _shower(source, _joined)(user)


def _shower(source: str, joined: Callable[[tuple[str, ...]], str]) -> Callable[[User], str | None]:
    """What :func:`header_value` promises, for one source."""
    match source:
        case "email":
            # An app that takes a header for an identity must not get an address that nobody vouches for.
            return lambda user: _shown(user.email) if user.email_verified else None
        case "username":
            return lambda user: _shown(user.username)
        case "display_name":
            return lambda user: _shown(user.display_name)
        case "id" | "tenant":
            return lambda user: _shown(getattr(user, source))
        case "roles":
            return lambda user: joined(user.roles)
        case _:
            name = source.removeprefix("attributes.")
            return lambda user: _shown(user.attributes.get(name))


def _shown(value: object) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else str(value)
    if text.isascii() and text.isprintable() and "%" not in text:
        return text
    return "".join([_SHOWN[byte] for byte in text.encode()])


def _joined(roles: tuple[str, ...]) -> str:
    return ",".join(
        [
            role if _PLAIN_ELEMENT.fullmatch(role) else "".join([_SHOWN_IN_A_LIST[byte] for byte in role.encode()])
            for role in roles
        ]
    )
