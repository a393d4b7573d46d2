"""The standard claims have types (OIDC Core §5.1): a value that is not of its claim's type is not stored.

Only fields mapped straight from a standard claim are judged; what an expression makes is the operator's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from jit_middleware.model import JSON

_LOCALE: Final = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8}){0,4}")
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
_BIRTHDATE: Final = re.compile(r"\d{4}(?:-\d{2}-\d{2})?")
_PHONE: Final = re.compile(r"\+?[0-9 ().;=extEXT/-]{3,40}")
_HOST: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z][a-z0-9-]*", re.IGNORECASE)


def well_formed(claim: str, value: JSON) -> bool:
    """Whether ``value`` is of the type that the standard gives ``claim``; true for claims it does not name."""
    check = _CHECKS.get(claim)
    return check is None or check(value)


def _web_address(value: JSON) -> bool:
    """An https URL of a public host name: shown to people, and perhaps fetched by the app."""
    if not isinstance(value, str) or len(value) > 2_048 or not value.isascii():
        return False
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme == "https" and _HOST.fullmatch(host) is not None and parts.username is None


def _matching(pattern: re.Pattern[str]) -> Callable[[JSON], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _timestamp(value: JSON) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


_CHECKS: Final[Mapping[str, Callable[[JSON], bool]]] = MappingProxyType(
    {
        "picture": _web_address,
        "profile": _web_address,
        "website": _web_address,
        "locale": _matching(_LOCALE),
        "zoneinfo": _matching(_ZONE),
        "birthdate": _matching(_BIRTHDATE),
        "phone_number": _matching(_PHONE),
        "updated_at": _timestamp,
        "address": lambda value: isinstance(value, Mapping),
        "email_verified": lambda value: isinstance(value, bool),
        "phone_number_verified": lambda value: isinstance(value, bool),
    }
)
