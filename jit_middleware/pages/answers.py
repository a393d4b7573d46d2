"""The answers without a template: redirects, JSON refusals, and the headers that every answer of ours carries."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final, Literal
from urllib.parse import quote, urlsplit

from jit_middleware.errors import RequestError
from jit_middleware.http.messages import Response

Header = tuple[str, str]

_HOST: Final = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# Printable ASCII but space, quote, backslash and angle brackets; "%" stays, so nothing is encoded twice.
_URL_SAFE: Final = "%!#$&'()*+,-./:;=?@[]^_`{|}~"
_WRITTEN: Final = re.compile(f"[A-Za-z0-9{re.escape(_URL_SAFE)}]*")


def security_headers(
    *,
    style_hash: str | None = None,
    form_targets: Sequence[str] = (),
    form_anywhere: bool = False,
    own_script: bool = False,
    framed_by: Sequence[str] = (),
) -> list[Header]:
    """The headers every answer of ours carries.

    ``style_hash`` is the one inline style the page may apply (``sha256-…``). ``form_targets`` are URLs whose origins a
    form may end at besides our own: Chromium applies ``form-action`` to the redirects that follow a POST, so a page
    whose form leads on to the identity provider must name it. ``form_anywhere`` lets it end at any https origin, where
    the provider itself sends the browser on to others that nobody can list. ``own_script`` allows our own scripts.
    ``framed_by`` are URLs whose origins may show the answer in a frame; without them nobody may.
    Raises ``ValueError`` for a target that is no http(s) URL.
    """
    policy = ["default-src 'none'"]
    if style_hash is not None:
        policy.append(f"style-src '{style_hash}'")
    if own_script:
        policy.append("script-src 'self'")
    targets = [*(["https:"] if form_anywhere else []), *dict.fromkeys(_origin(target) for target in form_targets)]
    policy.append(" ".join(["form-action 'self'", *targets]))
    framing = " ".join(dict.fromkeys(_origin(url) for url in framed_by)) or "'none'"
    policy += ["base-uri 'none'", f"frame-ancestors {framing}"]
    return [
        ("Cache-Control", "no-store"),
        ("Vary", "Cookie"),
        ("Content-Security-Policy", "; ".join(policy)),
        ("X-Content-Type-Options", "nosniff"),
        # It knows no origins but our own, and browsers that know frame-ancestors leave it aside (CSP Level 3 §6.4.2.2).
        *([] if framed_by else [("X-Frame-Options", "DENY")]),
        # Not no-referrer: under it browsers send "Origin: null" with our own forms, which the cross-site check refuses.
        ("Referrer-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "cross-origin" if framed_by else "same-origin"),
        ("X-Robots-Tag", "noindex"),
    ]


_USUAL: Final = security_headers()


def redirect(url: str, *, status: Literal[302, 303] = 302, cookies: Sequence[Header] = ()) -> Response:
    """Send the browser on to ``url``; ``cookies`` are whole ``("Set-Cookie", …)`` headers.

    Characters a URL may not hold are percent-encoded as UTF-8 (RFC 3986 §2.1), so that ``Location`` is ASCII. Raises
    ``RequestError`` for a control character, which could end the header, and for text that is no Unicode.
    """
    # wsgiref's validator, and some gateways, want a type even where the body is empty.
    head = [("Location", _location(url)), ("Content-Type", "text/plain; charset=utf-8")]
    return Response(status, [*head, *_USUAL, *checked_headers(cookies)])


def json_error(
    *,
    code: str,
    message: str,
    reference: str,
    status: int,
    login_url: str | None = None,
    headers: Sequence[Header] = (),
) -> Response:
    """Refuse a request that is no navigation: the same code, sentence and reference as the page, as JSON.

    A 401 gives its ``WWW-Authenticate`` through ``headers`` (RFC 9110 §11.6.1) and says with ``login_url`` where a
    person can sign in.
    """
    document = {"error": code, "message": message, "reference": reference}
    if login_url is not None:
        document["login_url"] = login_url
    head = [("Content-Type", "application/json"), *_USUAL, *checked_headers(headers)]
    return Response(status, head, json.dumps(document).encode("ascii"))


def checked_headers(headers: Sequence[Header]) -> list[Header]:
    """The same headers; raises ``ValueError`` when one could end its line or is not latin-1."""
    for name, value in headers:
        is_plain = value.isascii() and value.isprintable()
        if not _NAME.fullmatch(name) or (not is_plain and _CONTROL.search(value.replace("\t", " "))):
            raise ValueError(f"the header {name!r} cannot be sent: its name or value holds a forbidden character")
        value.encode("latin-1")
    return list(headers)


def _location(url: str) -> str:
    if _CONTROL.search(url):
        raise RequestError("redirect_target", "a control character")
    if _WRITTEN.fullmatch(url):
        return url
    try:
        return quote(url, safe=_URL_SAFE, errors="surrogateescape")
    except UnicodeEncodeError:
        raise RequestError("redirect_target", "not Unicode") from None


def _origin(url: str) -> str:
    parts = urlsplit(url.lower())
    host, _, port = parts.netloc.partition(":") if not parts.netloc.startswith("[") else _bracketed(parts.netloc)
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or not (port == "" or port.isdecimal()):
        raise ValueError("a form target must be an http or https URL")
    return f"{parts.scheme}://{host}{':' + port if port else ''}"


def _bracketed(netloc: str) -> tuple[str, str, str]:
    address, _, rest = netloc.partition("]")
    return f"{address}]", "", rest.removeprefix(":")
