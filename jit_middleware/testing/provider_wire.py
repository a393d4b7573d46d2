"""What comes to the demo provider, taken apart, and what goes back as JSON."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from io import BufferedIOBase
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote_plus

from jit_middleware.http.messages import Response
from jit_middleware.records import dataclass

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

_BODY_LIMIT: Final = 65_536


class Refused(Exception):
    """An OAuth error (RFC 6749 §4.1.2.1, §5.2): its code and one sentence."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.description = description
        self.status = status


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the provider, taken apart; each parameter is there at most once (RFC 6749 §3.1)."""

    method: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    cookies: Mapping[str, str]
    authorization: str

    @classmethod
    def read(cls, environ: WSGIEnvironment) -> Call:
        form: Mapping[str, str] = {}
        if environ["REQUEST_METHOD"] == "POST":
            form = _parameters(_body(environ))
        try:
            cookies = {name: morsel.value for name, morsel in SimpleCookie(text(environ, "HTTP_COOKIE")).items()}
        except CookieError:
            cookies = {}
        query = _parameters(text(environ, "QUERY_STRING"))
        return cls(str(environ["REQUEST_METHOD"]), query, form, cookies, text(environ, "HTTP_AUTHORIZATION"))


def text(environ: WSGIEnvironment, name: str) -> str:
    value: object = environ.get(name, "")
    return value if isinstance(value, str) else ""


def _body(environ: WSGIEnvironment) -> str:
    length = text(environ, "CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > _BODY_LIMIT:
        raise Refused("invalid_request", "the body is too large", 413)
    stream: BufferedIOBase = environ["wsgi.input"]
    return stream.read(int(length)).decode("utf-8", "replace")


def _parameters(text: str) -> dict[str, str]:
    pairs = parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="replace")
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("invalid_request", "a parameter is given more than once")
    return found


def basic_credentials(credentials: str) -> tuple[str, str]:
    """Client id and secret; RFC 6749 §2.3.1: both are form-encoded before they are joined."""
    try:
        client_id, _, secret = base64.b64decode(credentials, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote_plus(client_id), unquote_plus(secret)


def oauth_error(refused: Refused) -> Response:
    response = json_answer({"error": refused.code, "error_description": refused.description}, refused.status)
    if refused.status != 401:
        return response
    scheme = "Bearer" if refused.code == "invalid_token" else "Basic"
    challenge = ("WWW-Authenticate", f'{scheme} realm="demo", error="{refused.code}"')
    return Response(401, [*response.headers, challenge], response.body)


def json_answer(document: Mapping[str, object], status: int = 200) -> Response:
    return Response(status, [("Content-Type", "application/json")], json.dumps(document).encode())
