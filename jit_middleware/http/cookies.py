"""Cookies, read and written by our own rules instead of ``http.cookies``.

Reading: the header is split at ``;``, each part is stripped of SP and HT and nothing else, a name is compared byte for
byte, a value is never unquoted. Browsers and the usual parsers disagree on Unicode spaces, quotes and ``$Version``, and
that difference is how a foreign cookie passes for a ``__Host-`` one. Several cookies of one name are all shown, so that
a planted one cannot hide the real one. Everything here is linear in the length of the header.

Writing: one :class:`CookieSpec` makes both the cookie and its removal, so that the two always mean the same cookie.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from jit_middleware.records import record

MAX_HEADER: Final = 16 * 1024
"""Characters of a Cookie header in which we still look for our own cookies."""

_BLANK: Final = " \t"
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_COOKIE_OCTETS: Final = re.compile(r"[\x21\x23-\x2B\x2D-\x3A\x3C-\x5B\x5D-\x7E]*")
_PATH: Final = re.compile(r"/[\x20-\x3A\x3C-\x7E]*")


@record(frozen=True, slots=True)
class CookieSpec:
    """One cookie of ours: everything about it but the value (RFC 6265bis §4.1).

    It never has a ``Domain``, so the browser sends it to this host only. ``max_age`` is in seconds; ``None`` makes a
    cookie that ends with the browser. Raises ``ValueError`` for a spec that browsers would not keep: a ``__Host-`` name
    that is not ``Secure`` with ``Path=/``, a ``__Secure-`` name or ``SameSite=None`` that is not ``Secure``.

    >>> CookieSpec("__Host-jit", secure=True, max_age=60).set("abc")
    ('Set-Cookie', '__Host-jit=abc; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax')
    """

    name: str
    secure: bool
    same_site: Literal["Lax", "None", "Strict"] = "Lax"
    path: str = "/"
    max_age: int | None = None
    http_only: bool = True

    def __post_init__(self) -> None:
        prefix = self.name.lower()
        if not _TOKEN.fullmatch(self.name):
            raise ValueError(f"a cookie name is an RFC 9110 token, not {self.name!r}")
        if not _PATH.fullmatch(self.path):
            raise ValueError(f"a cookie path starts with '/' and holds no ';' or control character, not {self.path!r}")
        if prefix.startswith("__host-") and not (self.secure and self.path == "/"):
            raise ValueError("a __Host- cookie is Secure and has Path=/")
        if not self.secure and (prefix.startswith("__secure-") or self.same_site == "None"):
            raise ValueError("a __Secure- cookie and a SameSite=None cookie are Secure")

    def set(self, value: str, *, max_age: int | None = None) -> tuple[str, str]:
        """The header that gives the browser this cookie; ``max_age`` (seconds) takes the place of the spec's own.

        Raises ``ValueError`` unless ``value`` is made of cookie-octets (RFC 6265 §4.1.1); the text does not repeat it.
        """
        if not _COOKIE_OCTETS.fullmatch(value):
            raise ValueError(f"the value of cookie {self.name} holds a character that a cookie cannot carry")
        return self._header(value, self.max_age if max_age is None else max_age)

    def clear(self) -> tuple[str, str]:
        """The header that makes the browser forget this cookie."""
        return self._header("", 0)

    def _header(self, value: str, max_age: int | None) -> tuple[str, str]:
        age = "" if max_age is None else f"; Max-Age={max(max_age, 0)}"
        secure = "; Secure" if self.secure else ""
        http_only = "; HttpOnly" if self.http_only else ""
        return "Set-Cookie", f"{self.name}={value}; Path={self.path}{age}{secure}{http_only}; SameSite={self.same_site}"


def split(raw: str, name: str, prefixes: tuple[str, ...] = ()) -> tuple[str | None, str]:
    """The value of the one cookie of that name, and the header as the app is to see it.

    The second part is ``raw`` without the cookies called ``name`` and without those whose name starts with one of
    ``prefixes``; when there are none it is ``raw`` itself, otherwise the other cookies keep their bytes and the
    separators they came with. The value is ``None`` when the name does not occur, occurs more than once (see
    :func:`values`), or the header is longer than ``MAX_HEADER``.

    This runs on every request, so the usual header (ours once, after the usual ``"; "``) is cut without being parsed;
    every other one goes to the general parser, which gives the same answer for both.
    """
    before, found, after = raw.partition(f"; {name}=")
    if found:
        value, semicolon, after = after.partition(";")
        value = value.rstrip(_BLANK)
        rest = f"{before};{after}" if semicolon else before
    else:
        key, equals, after = raw.partition("=")
        if equals and key == name:
            value, _, after = after.partition(";")
            value = value.rstrip(_BLANK)
            rest = after.lstrip(_BLANK)
        else:
            value, rest = None, raw
    if name in rest or len(raw) > MAX_HEADER:
        return _split_any(raw, name, prefixes)
    for prefix in prefixes:
        if prefix in rest:
            return _split_any(raw, name, prefixes)
    return value, rest


class Splitter:
    """:func:`split` for one name and its prefixes. It remembers its last answer: one request asks up to three times."""

    __slots__ = ("_last", "_name", "_prefixes")

    def __init__(self, name: str, prefixes: tuple[str, ...] = ()) -> None:
        self._name = name
        self._prefixes = prefixes
        self._last: tuple[str, tuple[str | None, str]] = ("", split("", name, prefixes))

    def __call__(self, raw: str) -> tuple[str | None, str]:
        known, answer = self._last
        if known is not raw:
            answer = split(raw, self._name, self._prefixes)
            self._last = raw, answer
        return answer


def _split_any(raw: str, name: str, prefixes: tuple[str, ...]) -> tuple[str | None, str]:
    """What :func:`split` promises, for any header at all."""
    found: list[str] = []
    kept: list[str] = []
    parts = raw.split(";")
    for part in parts:
        key, equals, value = part.strip(_BLANK).partition("=")
        if equals and key == name:
            found.append(value)
        elif not (equals and prefixes and key.startswith(prefixes)):
            kept.append(part)
    rest = raw if len(kept) == len(parts) else ";".join(kept)
    if kept and kept[0] is not parts[0]:
        rest = rest.lstrip(_BLANK)
    return (found[0] if len(found) == 1 and len(raw) <= MAX_HEADER else None), rest


def values(raw: str, name: str) -> tuple[str, ...]:
    """All values of the cookies with exactly this name, in the order sent; none from a header over ``MAX_HEADER``."""
    return tuple(value for key, value in _pairs(raw) if key == name) if name in raw else ()


def names(raw: str, prefix: str) -> tuple[str, ...]:
    """The names that start with ``prefix``, in the order sent; none from a header over ``MAX_HEADER``."""
    return tuple(key for key, _ in _pairs(raw) if key.startswith(prefix)) if prefix in raw else ()


def _pairs(raw: str) -> list[tuple[str, str]]:
    if len(raw) > MAX_HEADER:
        return []
    pairs: list[tuple[str, str]] = []
    for part in raw.split(";"):
        key, equals, value = part.strip(_BLANK).partition("=")
        if equals:
            pairs.append((key, value))
    return pairs
