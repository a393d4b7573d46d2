"""Which paths need a login. Everything does, unless a pattern says otherwise and the path means one thing only.

A pattern is an exact path, or ``/prefix/*``: ``/prefix`` itself, ``/prefix/`` and all below it, but not ``/prefixx``.
Paths are the decoded ones the app will see, compared with case. The most specific pattern wins: an exact one before a
prefix, a longer prefix before a shorter; of equal ones the stricter. A path that a server, proxy or app further in
could read as another one (``/public/../admin``, ``//``, ``;``, a backslash, a second layer of percent-encoding, bytes
that are not UTF-8 ...) is never let through without a login.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from dataclasses import field
from typing import Final

from jit_middleware.records import dataclass


class Access(enum.Enum):
    """What a path asks of whoever requests it."""

    REQUIRED = enum.auto()
    """A login; a browser without one is sent to log in."""
    OPTIONAL = enum.auto()
    """None, but the app sees who it is when there is one."""
    PUBLIC = enum.auto()
    """None."""
    API = enum.auto()
    """A login; without one the answer is 401, never a redirect."""


_STRICTNESS: Final = {Access.PUBLIC: 0, Access.OPTIONAL: 1, Access.API: 2}
_STILL_ENCODED: Final = re.compile(r"%(?:[0-9A-Fa-f]{2}|[uU])")
_SEPARATORS: Final = "/.\\;%"


@dataclass(frozen=True, slots=True)
class PathPolicy:
    """The three lists of patterns, and what they say about a path.

    Raises ``ValueError`` with the sentence of :func:`validate_pattern` for a bad pattern.

    >>> PathPolicy(public=("/static/*",)).classify("/static/../admin")
    <Access.REQUIRED: 1>
    """

    public: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    api: tuple[str, ...] = ()
    _exact: dict[str, Access] = field(init=False, repr=False, compare=False)
    _prefixes: tuple[tuple[str, Access], ...] = field(init=False, repr=False, compare=False)
    _openings: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        exact: dict[str, Access] = {}
        prefixes: dict[str, Access] = {}
        lists = ((Access.PUBLIC, self.public), (Access.OPTIONAL, self.optional), (Access.API, self.api))
        for access, patterns in lists:  # the stricter come later and win
            for pattern in patterns:
                problem = validate_pattern(pattern)
                if problem is not None:
                    raise ValueError(problem)
                if pattern.endswith("/*"):
                    prefixes[pattern[:-1]] = access
                else:
                    exact[pattern] = access
        object.__setattr__(self, "_exact", exact)
        object.__setattr__(self, "_prefixes", tuple(sorted(prefixes.items(), key=lambda item: -len(item[0]))))
        object.__setattr__(self, "_openings", tuple(prefix[:-1] for prefix in prefixes))

    def classify(self, path: str) -> Access:
        """What the decoded path (below the mount point) asks; ``""`` is the app's root, like ``/``."""
        path = path or "/"
        access = self._match(path)
        if access is Access.REQUIRED or access is Access.API:
            return access
        if is_ambiguous(path) or self._is_api_but_for_case(path):
            # An open pattern inside an API: what falls back from it is API still.
            return Access.API if any(_covers(pattern, path) for pattern in self.api) else Access.REQUIRED
        return access

    def _match(self, path: str) -> Access:
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        if path.startswith(self._openings):
            for prefix, access in self._prefixes:
                if path.startswith(prefix) or path == prefix[:-1]:
                    return access
        return Access.REQUIRED

    def _is_api_but_for_case(self, path: str) -> bool:
        """Whether an app that ignores case would take an open path for one of its API."""
        folded = path.casefold()
        return any(_covers(pattern.casefold(), folded) and not _covers(pattern, path) for pattern in self.api)


def _covers(pattern: str, path: str) -> bool:
    if pattern.endswith("/*"):
        return path.startswith(pattern[:-1]) or path == pattern[:-2]
    return path == pattern


def is_ambiguous(path: str) -> bool:
    """Whether somebody between here and the app's handler may read this decoded path as another one.

    So are: no ``/`` at the start, ``//``, ``;``, a backslash, control, format and undecodable characters (also where a
    server has put U+FFFD for them), what is still
    percent-encoded after decoding, characters that become a separator by compatibility mapping, and segments of dots
    and blanks only.
    """
    if (
        not path.startswith("/")
        or "//" in path
        or ";" in path
        or "\\" in path
        or "\ufffd" in path
        or not path.isprintable()
    ):
        return True
    if "%" in path and _STILL_ENCODED.search(path):
        return True
    if any(segment and not segment.strip(". ") for segment in path.split("/")):
        return True
    if path.isascii():
        return False
    mapped = unicodedata.normalize("NFKC", path)
    return any(mapped.count(character) != path.count(character) for character in _SEPARATORS)


def validate_pattern(pattern: str) -> str | None:
    """One sentence on what is wrong with a pattern, ``None`` when it is good."""
    if not pattern.startswith("/"):
        return f"The path {pattern!r} does not start with '/'."
    path = pattern[:-1] if pattern.endswith("/*") else pattern
    if "*" in path:
        return f"The path {pattern!r} has a '*' elsewhere than in a final '/*'."
    if "?" in path or "#" in path:
        return f"The path {pattern!r} has a query or fragment; only paths are matched."
    if is_ambiguous(path):
        return f"The path {pattern!r} is ambiguous: write it decoded, without '//', ';', backslash or dot segments."
    return None


def is_own(path: str, prefix: str) -> str | None:
    """The rest of a path below our endpoint prefix (``/_jit/login``: ``login``), ``None`` for a path of the app's.

    The prefix itself, with or without a slash, is ours with nothing after it: ``""``.
    """
    if not path.startswith(prefix):
        return None
    rest = path[len(prefix) :]
    if not rest:
        return ""
    return rest[1:] if rest.startswith("/") else None


def mount_left_on(path: str, prefix: str, mount: str) -> str | None:
    """What of the mount path stands in front of our prefix, for a path below the mount that nobody, or not everybody
    who should, has taken it off: ``/legacy`` for ``/legacy/_jit/login``. ``None`` for any other path.

    >>> mount_left_on("/b/_jit/login", "/_jit", "/a/b")
    '/b'
    """
    if prefix not in path:
        return None
    ends = (mount[place:] for place, character in enumerate(mount) if character == "/")
    return next((end for end in ends if path.startswith(end) and is_own(path[len(end) :], prefix) is not None), None)


def below_mount(path: str, root: str) -> str:
    """The path without ``root_path``, which by the ASGI specification it includes, and on some servers does not."""
    root = root.rstrip("/")
    return path[len(root) :] if path == root or path.startswith(f"{root}/") else path
