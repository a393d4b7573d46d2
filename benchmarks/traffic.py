"""A request as servers hand it over: a browser's navigation through a proxy, with the cookies an app collects."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

PATH = "/projects/7/reports"
OTHER_COOKIES = (
    "_ga=GA1.1.1438730214.1731582937; csrftoken=bX2vN0qk8TzR4mWcYh7LpJ5dSgAf1Ue9; theme=dark; lang=en-GB; "
    "_ga_QW12ER34TY=GS1.1.1731582937.4.1.1731583120.60.0.0; sidebar=collapsed"
)
_HEADERS = (
    ("Host", "app.example.com"),
    ("Connection", "keep-alive"),
    ("Cache-Control", "max-age=0"),
    ("sec-ch-ua", '"Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"'),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", '"Windows"'),
    ("Upgrade-Insecure-Requests", "1"),
    ("User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-User", "?1"),
    ("Sec-Fetch-Dest", "document"),
    ("Referer", "https://app.example.com/projects/7"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Proto", "https"),
)


def environ(cookie: str) -> dict[str, object]:
    """A WSGI environ of 40 keys."""
    made: dict[str, object] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": PATH,
        "QUERY_STRING": "page=3",
        "RAW_URI": f"{PATH}?page=3",
        "SERVER_NAME": "app.example.com",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "gunicorn/27.0.1",
        "REMOTE_ADDR": "10.0.0.4",
        "REMOTE_PORT": "51734",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": object,
        "wsgi.input_terminated": True,
        "gunicorn.socket": object(),
    }
    made.update({f"HTTP_{name.upper().replace('-', '_')}": value for name, value in _HEADERS})
    made["HTTP_COOKIE"] = cookie
    return made


def scope(cookie: str) -> dict[str, object]:
    """An ASGI scope of 14 keys with 19 headers."""
    headers = [(name.lower().encode(), value.encode()) for name, value in _HEADERS]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "server": ("10.0.0.2", 8000),
        "client": ("10.0.0.4", 51734),
        "scheme": "https",
        "method": "GET",
        "root_path": "",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"page=3",
        "headers": [*headers, (b"cookie", cookie.encode())],
        "state": {},
        "extensions": {"http.response.pathsend": {}},
    }


def made_anew(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The same headers as a server parses them: objects of their own, which nobody has hashed or compared yet."""
    return [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in headers]


def with_others(cookie: str) -> str:
    """The cookie of a session among those of the app, about 300 characters."""
    return f"{OTHER_COOKIES}; {cookie}"


def with_changing_others(cookie: str, count: int) -> Sequence[str]:
    """As many Cookie headers, each with other cookies beside the same session."""
    return [f"seen={number:06x}; {OTHER_COOKIES}; {cookie}; cart={number * 7919:08x}" for number in range(count)]
