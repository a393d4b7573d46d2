"""Where a browser may be sent after login or logout: a place of this origin that is none of our own endpoints.

The check works on the text that will stand in ``Location``, after the query was decoded once, and asks of it what
*any* reader might make of it: the browser (which folds backslashes, ``%2e`` and white space) and a server or proxy that
decodes it once more. What is not plainly safe is not repaired; the default takes its place.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

MAX_TARGET: Final = 2048
"""Characters of a return target."""

# Visible ASCII, without the backslash (a slash to browsers) and without what could end an HTML attribute or open a tag.
_SAFE_TEXT: Final = re.compile(r"[!#-;=?-\[\]-~]+")
_ABSOLUTE: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*)(.*)")
_PATH: Final = re.compile(r"[^?#]*")
_ENCODED_DOT: Final = re.compile(r"%2[eE]")
_SLASHES: Final = re.compile(r"/+")
_DANGEROUS_WHEN_DECODED: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_DEFAULT_PORT: Final = {"https": ":443", "http": ":80"}


def checked_target(value: str | None, *, origin: str, own_prefix: str, mount: str = "") -> str:
    """The return target as path, query and fragment, or ``mount + "/"`` when ``value`` is not one that is safe to use.

    ``value`` is a path of this origin or an absolute URL whose scheme, host and port equal those of ``origin`` (such as
    ``https://app.example.com``). The result starts with exactly one ``/``. Paths under ``mount + own_prefix`` are
    refused, however they are encoded: they would loop, or log out right after login. Checking a result again gives it
    back unchanged.

    >>> checked_target("/reports?week=7", origin="https://app.example.com", own_prefix="/_jit")
    '/reports?week=7'
    >>> checked_target("//evil.example", origin="https://app.example.com", own_prefix="/_jit", mount="/legacy")
    '/legacy/'
    """
    mount = mount.rstrip("/")
    default = mount + "/"
    if not value or len(value) > MAX_TARGET or not _SAFE_TEXT.fullmatch(value):
        return default
    target = value if value.startswith("/") else _below_origin(value, origin)
    if target is None or _leads_astray(target, unquote(mount + own_prefix)):
        return default
    return target


def _below_origin(value: str, origin: str) -> str | None:
    """What follows the origin in an absolute URL of ours; ``None`` for any other text."""
    absolute = _ABSOLUTE.fullmatch(value)
    if absolute is None:
        return None
    port = _DEFAULT_PORT.get(origin.partition("://")[0].lower(), "")
    # The text is known to be ASCII here, so lower-casing maps A-Z only.
    if absolute[1].lower().removesuffix(port) != origin.lower().removesuffix(port):
        return None
    return absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]


def _leads_astray(target: str, own: str) -> bool:
    """Whether some reading of the path leaves this origin, smuggles a control character or is below ``own``."""
    match = _PATH.match(target)
    path = match[0] if match else target
    if not {".", ".."}.isdisjoint(path.split("/")):
        return True
    decoded = unquote(path)
    if _DANGEROUS_WHEN_DECODED.search(decoded):
        return True
    # A browser takes %2e for a dot before it asks; a proxy may decode slashes as well before it removes dot segments.
    readings = (decoded, unquote(_without_dot_segments(_ENCODED_DOT.sub(".", path))), _without_dot_segments(decoded))
    return any(reading.startswith("//") or _is_below(reading, own) for reading in readings)


def _is_below(path: str, prefix: str) -> bool:
    path = _SLASHES.sub("/", path)  # proxies that merge slashes
    return path == prefix or path.startswith(prefix + "/")


def _without_dot_segments(path: str) -> str:
    """RFC 3986 §5.2.4, for a path that starts with ``/``."""
    segments = path.split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
