"""What kind of client asks: one that can follow a redirect to log in, one that acts for another site, or neither.

The answers rest on what a browser says about its own request (Fetch Metadata, ``Origin``); a page cannot set these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from jit_middleware.http.messages import Request

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 §9.2.1
_EVENTS: Final = "text/event-stream"
_PAGE_DESTINATIONS: Final = frozenset({"document", "iframe", "frame"})
_NEVER_IN_A_NAVIGATION: Final = frozenset({"x-requested-with", "upgrade", "authorization", "depth", "git-protocol"})
_TOOLS: Final = (
    "aiohttp/",
    "ansible-httpget",
    "apache-httpclient",
    "apt-",
    "axios/",
    "cadaver/",
    "curl/",
    "davclnt",
    "davfs2/",
    "davx5",
    "debian apt",
    "docker/",
    "git/",
    "git-lfs/",
    "go-http-client",
    "gvfs/",
    "httpie/",
    "insomnia/",
    "java/",
    "jgit/",
    "libcurl",
    "libwww-perl",
    "mercurial/",
    "microsoft-webdav",
    "node-fetch",
    "okhttp/",
    "pip/",
    "poetry/",
    "postmanruntime/",
    "python-httpx",
    "python-requests",
    "python-urllib",
    "rclone/",
    "ruby",
    "svn/",
    "twine/",
    "undici",
    "uv/",
    "wget",
)


def follows_redirects(request: Request) -> bool:
    """Whether this is a browser loading a page: only then is a redirect to the login any use.

    Scripts, API and WebDAV clients, git, pip and websockets get a refusal they understand instead. A header sent twice
    with different values counts as neither value.
    """
    if request.kind != "http" or request.method not in ("GET", "HEAD"):
        return False
    accept: list[str] = []
    for name, value in request.headers:
        if name == "accept":
            accept.append(value)
        elif name in _NEVER_IN_A_NAVIGATION:
            return False
        elif name == "sec-fetch-mode":
            if value != "navigate":
                return False
        elif name == "sec-fetch-dest":
            if value not in _PAGE_DESTINATIONS:
                return False
        elif name == "user-agent" and value.lower().startswith(_TOOLS):
            return False
    return takes_html(*accept)


def kind_of(method: str, upgrade: Iterable[str]) -> Literal["http", "websocket"]:
    """What a request is that came as HTTP, by the values of its Upgrade headers.

    To a server that leaves websockets to the application a handshake (RFC 6455 §4.1) is a GET. Whatever mentions
    websockets counts as one, however it is spelt: applications differ in how they read it, and in the method they want.
    """
    if method in _SAFE_METHODS and any("websocket" in value.lower() for value in upgrade):
        return "websocket"
    return "http"


def takes_html(*accept: str) -> bool:
    """Whether the Accept headers name ``text/html``, as a browser does that loads a page."""
    media_ranges = ",".join(accept).lower().split(",")
    return any(media_range.partition(";")[0].strip() == "text/html" for media_range in media_ranges)


def takes_events(accept: str) -> bool:
    """Whether this Accept header names ``text/event-stream``, with whatever else."""
    return _EVENTS in accept.lower()


def forged_write(request: Request, origin: str) -> bool:
    """Whether a request that may change something was caused by another site (CSRF, cross-site websocket hijacking).

    Asked of unsafe methods and of every websocket; ``origin`` is ours as browsers serialise it (RFC 6454 §6.1:
    lower case, no default port). A foreign ``Origin`` is one, and so is ``null``, unless the browser states that the
    request is same-origin (under ``Referrer-Policy: no-referrer`` it sends ``null`` from our own pages). A sibling site
    (``same-site``) is foreign too, unless ``Origin`` is ours. A client that sends neither header is no browser, and no
    site can have made it act.
    """
    if request.kind == "http" and request.method in _SAFE_METHODS:
        return False
    sites = {value for name, value in request.headers if name == "sec-fetch-site"}
    origins = {value for name, value in request.headers if name == "origin"}
    if not sites.issubset({"same-origin", "same-site", "none"}):
        return True
    if not origins:
        return "same-site" in sites
    if origins == {"null"}:
        return sites != {"same-origin"}
    return origins != {origin}
