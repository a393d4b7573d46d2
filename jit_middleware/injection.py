"""What the app sees of the signed-in person: prepared once per cached session, shared by its requests.

Presets name families of apps, each with the keys and headers that family reads. Whatever a preset can set, a client can
not: the names are scrubbed from every request first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import quote

from jit_middleware.http.messages import Admission
from jit_middleware.model import Session, User
from jit_middleware.settings import InjectSettings

_AUTH_TYPE: Final = "jit"

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


class ScopeAuth:
    """``scope["auth"]``: ``scopes`` are ``authenticated`` and the user's roles."""

    __slots__ = ("scopes",)

    def __init__(self, scopes: tuple[str, ...]) -> None:
        self.scopes = scopes


ANONYMOUS_SCOPE: Final[Mapping[str, object]] = MappingProxyType({"user": ScopeUser(None), "auth": ScopeAuth(())})


def injector(settings: InjectSettings, world: Literal["wsgi", "asgi"]) -> Callable[[User, Session], Admission]:
    """The function that prepares what the app of this world sees."""
    templates = headers_of(settings)

    def wsgi(user: User, session: Session) -> Admission:
        environ: dict[str, object] = {
            "REMOTE_USER": user.username,
            "AUTH_TYPE": _AUTH_TYPE,
            "jit.user": user,
            "jit.session": session,
        }
        for name, source in templates:
            value = header_value(user, source)
            if value is not None:
                environ["HTTP_" + name.upper().replace("-", "_")] = value
        return Admission(user, session, environ, {})

    def asgi(user: User, session: Session) -> Admission:
        scope: dict[str, object] = {
            "jit.user": user,
            "jit.session": session,
            "user": ScopeUser(user),
            "auth": ScopeAuth(("authenticated", *user.roles)),
        }
        if "datasette" in settings.presets:
            scope["actor"] = {
                "id": user.username,
                "name": user.display_name or user.username,
                "roles": list(user.roles),
            }
        values = ((name, header_value(user, source)) for name, source in templates)
        headers = tuple((name.lower().encode(), value.encode()) for name, value in values if value is not None)
        return Admission(user, session, {}, scope, headers)

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
    match source:
        case "username" | "email" | "display_name" | "id" | "tenant":
            value: object = getattr(user, source)
        case "roles":
            return ",".join(quote(role, safe=" !#$&'()*+-./:;<=>?@[]^_`{|}~") for role in user.roles)
        case _:
            value = user.attributes.get(source.removeprefix("attributes."))
    if value is None:
        return None
    return quote(str(value), safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
