"""The groups of settings that one room needs together, and the readers of their structured values."""

from __future__ import annotations

import re
from typing import Final

from jit_middleware.records import dataclass
from jit_middleware.settings.values import BadValue, comma_list, one_of, shown

PRESETS: Final = (
    "remote_user", "generic-headers", "forwarded-headers", "django", "flask", "starlette", "datasette", "trac",
)  # fmt: skip
_SOURCES: Final = ("id", "username", "email", "display_name", "roles", "tenant")
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_COOKIE: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
FIELD_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_NOT_OURS: Final = frozenset(
    (
        "connection", "content-length", "content-type", "cookie", "host", "keep-alive", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How long a login lasts, in seconds: without activity (``idle``) and in all (``absolute``).

    ``users_max_staleness`` is how old, in seconds, our knowledge of a user may be that the app itself keeps.
    """

    idle: int = 3600
    absolute: int = 43_200
    users_max_staleness: int = 60


@dataclass(frozen=True, slots=True)
class InjectSettings:
    """What the app is told: ``presets`` by family of apps, and single ``headers`` as (name, field of the user).

    ``app_cookies`` are the app's own login cookies, which must not outlive the person they were given to.
    """

    presets: tuple[str, ...] = ("remote_user",)
    headers: tuple[tuple[str, str], ...] = ()
    app_cookies: tuple[str, ...] = ()


def inject(value: object) -> InjectSettings:
    """Presets and ``Header-Name=field`` pairs, in one list."""
    presets: list[str] = []
    headers: list[tuple[str, str]] = []
    for entry in comma_list(value):
        name, pair, source = (part.strip() for part in entry.partition("="))
        if not pair and name not in PRESETS:
            raise BadValue(
                f"{shown(name)} is not a preset.", f"write {one_of(PRESETS)}, or a pair as X-Remote-Email=email."
            )
        if not pair:
            presets.append(name)
            continue
        if not _HEADER.fullmatch(name) or name.lower() in _NOT_OURS:
            raise BadValue(
                f"{shown(name)} cannot be the name of an identity header.",
                "use letters, digits and hyphens, and none of the headers that HTTP itself needs.",
            )
        attribute = source.removeprefix("attributes.")
        if source not in _SOURCES and not (source != attribute and FIELD_NAME.fullmatch(attribute)):
            raise BadValue(
                f"{shown(source)} is no field of a user.", f"write {one_of((*_SOURCES, 'attributes.NAME'))}."
            )
        headers.append((name, source))
    return InjectSettings(tuple(presets), tuple(headers))


def cookie_names(value: object) -> tuple[str, ...]:
    """Names of cookies (RFC 6265 §4.1.1)."""
    names = comma_list(value)
    for name in names:
        if not _COOKIE.fullmatch(name):
            raise BadValue(f"{shown(name)} cannot be the name of a cookie.", "write the names only, comma separated.")
    return names
