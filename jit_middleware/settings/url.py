"""URLs that settings give: the app's own public URL, and the test for loopback hosts.

The configured public URL is the only source of our own URLs; the ``Host`` header never decides one.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from jit_middleware.records import dataclass
from jit_middleware.settings.values import BadValue, shown

_DEFAULT_PORT: Final = {"http": 80, "https": 443}
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*")
_SEGMENT: Final = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._~!$&'()*+,;=:@-]+")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\<>\"^`{|}]|[^\x00-\x7f]")


@dataclass(frozen=True, slots=True)
class PublicURL:
    """Where browsers find the app.

    ``origin`` is scheme, host and any port that is not the default, lower case; ``mount`` is ``""`` or a path such as
    ``/legacy`` without a slash at its end. ``secure`` means https; ``loopback`` a host that is this machine.
    """

    origin: str
    mount: str
    secure: bool
    loopback: bool

    @classmethod
    def parse(cls, text: str) -> PublicURL:
        """Read the URL; raises :class:`BadValue` for anything but scheme, host, port and plain path."""
        parts, host, port = split_url(text, example="https://app.example.org")
        segments = [] if parts.path in {"", "/"} else parts.path.removesuffix("/").split("/")[1:]
        if not all(_SEGMENT.fullmatch(segment) for segment in segments):
            raise BadValue(
                "its path is not plain: it has empty, dot or percent-encoded segments.",
                "write the mount path with plain segments, as in https://app.example.org/legacy.",
            )
        shown_host = f"[{host}]" if ":" in host else host
        authority = shown_host if port in {None, _DEFAULT_PORT[parts.scheme]} else f"{shown_host}:{port}"
        return cls(
            origin=f"{parts.scheme}://{authority}",
            mount="".join(f"/{segment}" for segment in segments),
            secure=parts.scheme == "https",
            loopback=is_loopback(host),
        )

    def join(self, path: str) -> str:
        """The full URL of a path below the mount; ``path`` begins with ``/``."""
        return f"{self.origin}{self.mount}{path}"


def split_url(text: str, *, example: str) -> tuple[SplitResult, str, int | None]:
    """The parts of an http(s) URL without user name, query and fragment, with its lower-case host and its port.

    Raises :class:`BadValue`, which never quotes a URL that could hold a password.
    """
    if _UNSAFE.search(text):  # before urlsplit, which silently drops some of them
        raise BadValue(
            "it has blanks or characters that no URL has.", f"write it as {example}, host names in ASCII (xn--)."
        )
    try:
        parts = urlsplit(text)
        port = parts.port
        host = (parts.hostname or "").lower()
    except ValueError as broken:
        raise BadValue("its host or port cannot be read.", f"write it as {example}.") from broken
    if "@" in parts.netloc:
        raise BadValue("it has a user name or password in it.", f"write it without them, as {example}.")
    if parts.scheme not in _DEFAULT_PORT:
        raise BadValue(f"{shown(text)} does not begin with https:// or http://.", f"write it as {example}.")
    if "?" in text or "#" in text:
        raise BadValue("it has a query or a fragment.", f"cut it off before ? and #, as in {example}.")
    if not (_NAME.fullmatch(host) or _is_address(host)) or port == 0:
        raise BadValue(f"{shown(text)} has no usable host.", f"write it as {example}.")
    return parts, host, port


def is_loopback(host: str) -> bool:
    """Whether this host (lower case, an IPv6 address without brackets) is always this very machine (RFC 6761 §6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        return isinstance(ip_address(host), IPv6Address) and "%" not in host
    except ValueError:
        return False
