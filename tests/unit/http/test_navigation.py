"""Who can be redirected to a login, and whose request is forged."""

from __future__ import annotations

from typing import Literal

import pytest

from jit_middleware.http.messages import Request
from jit_middleware.http.navigation import follows_redirects, forged_write, kind_of, takes_events

ORIGIN = "https://app.example.com"
BROWSER = (
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
)
NAVIGATION = (*BROWSER, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "none"))


async def no_body(limit: int) -> bytes:
    return b""


def request(
    *headers: tuple[str, str], method: str = "GET", kind: Literal["http", "websocket"] = "http", path: str = "/"
) -> Request:
    return Request(kind, method, path, "", headers, "", None, no_body)


@pytest.mark.parametrize(
    "headers",
    [
        NAVIGATION,
        BROWSER,  # an old browser, or plain http: no Fetch Metadata
        (*BROWSER, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")),
        (*BROWSER, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "frame")),
        (("accept", "TEXT/HTML;level=1"),),
        (("accept", "application/xml"), ("accept", "image/png, text/html")),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_browser_loading_a_page_is_redirected(headers: tuple[tuple[str, str], ...], method: str) -> None:
    assert follows_redirects(request(*headers, method=method))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "get", "TRACE"])
def test_other_methods_are_not_redirected(method: str) -> None:
    assert not follows_redirects(request(*NAVIGATION, method=method))


def test_a_websocket_is_not_redirected() -> None:
    assert not follows_redirects(request(*BROWSER, kind="websocket"))


@pytest.mark.parametrize(
    "header",
    [
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-mode", "same-origin"),
        ("sec-fetch-mode", "websocket"),
        ("sec-fetch-dest", "empty"),
        ("sec-fetch-dest", "image"),
        ("sec-fetch-dest", "script"),
        ("sec-fetch-dest", "object"),
        ("x-requested-with", "XMLHttpRequest"),
        ("upgrade", "websocket"),
        ("authorization", "Basic YTpi"),
        ("depth", "1"),
        ("git-protocol", "version=2"),
    ],
)
def test_one_sign_of_a_script_or_protocol_client_is_enough(header: tuple[str, str]) -> None:
    assert not follows_redirects(request(*BROWSER, header))
    assert not follows_redirects(request(header, *NAVIGATION))


@pytest.mark.parametrize(
    "accept", ["", "*/*", "application/json", "text/plain, */*;q=0.1", "text/htmlx", "x-text/html"]
)
def test_who_does_not_ask_for_html_is_not_redirected(accept: str) -> None:
    assert not follows_redirects(request(("accept", accept)))
    assert not follows_redirects(request())


@pytest.mark.parametrize(
    "agent",
    [
        "git/2.47.1",
        "mercurial/proto-1.0 (Mercurial 7.2)",
        "pip/25.0 {}",
        "twine/6.1.0",
        "curl/8.12.0",
        "Wget/1.25",
        "python-requests/2.32.3",
        "Python-urllib/3.11",
        "python-httpx/0.28",
        "Go-http-client/2.0",
        "PostmanRuntime/7.43",
        "SVN/1.14.5",
        "davfs2/1.7.1 neon/0.34",
        "Microsoft-WebDAV-MiniRedir/10.0",
        "uv/0.6",
    ],
)
def test_a_known_tool_is_not_redirected_even_when_it_takes_html(agent: str) -> None:
    assert not follows_redirects(request(("accept", "text/html"), ("user-agent", agent)))


def forged(*headers: tuple[str, str], method: str = "POST", kind: Literal["http", "websocket"] = "http") -> bool:
    return forged_write(request(*headers, method=method, kind=kind), ORIGIN)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_a_safe_method_is_never_a_forged_write(method: str) -> None:
    assert not forged(("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), method=method)


SITES_AND_ORIGINS = [
    (None, None, False),  # no browser
    (None, ORIGIN, False),
    (None, "https://evil.example", True),
    (None, "null", True),
    (None, "http://app.example.com", True),
    (None, "https://app.example.com:8443", True),
    (None, "https://app.example.com.evil.example", True),
    (None, "", True),
    ("same-origin", None, False),
    ("same-origin", ORIGIN, False),
    ("same-origin", "null", False),  # Referrer-Policy: no-referrer on our own page
    ("same-origin", "https://evil.example", True),
    ("none", None, False),
    ("none", ORIGIN, False),
    ("none", "null", True),
    ("none", "https://evil.example", True),
    ("same-site", None, True),
    ("same-site", ORIGIN, False),
    ("same-site", "null", True),
    ("same-site", "https://sibling.example.com", True),
    ("cross-site", None, True),
    ("cross-site", ORIGIN, True),
    ("cross-site", "null", True),
    ("cross-site", "https://evil.example", True),
    ("nonsense", None, True),
    ("nonsense", ORIGIN, True),
    ("", None, True),
]


@pytest.mark.parametrize(("site", "origin", "expected"), SITES_AND_ORIGINS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPPATCH", "post"])
def test_a_write_is_forged_when_another_site_caused_it(
    method: str, site: str | None, origin: str | None, expected: bool
) -> None:
    headers = [(name, value) for name, value in (("sec-fetch-site", site), ("origin", origin)) if value is not None]
    assert forged(*headers, method=method) is expected


@pytest.mark.parametrize(("site", "origin", "expected"), SITES_AND_ORIGINS)
def test_a_websocket_is_held_to_the_same_rule(site: str | None, origin: str | None, expected: bool) -> None:
    headers = [(name, value) for name, value in (("sec-fetch-site", site), ("origin", origin)) if value is not None]
    assert forged(*headers, method="GET", kind="websocket") is expected


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
@pytest.mark.parametrize(
    "upgrade",
    [
        ("websocket",), ("WebSocket",), ("WEBSOCKET",), ("websocket, foo",), ("h2c,websocket",), ("h2c", "websocket"),
        ("websocket/13",), (" websocket\t",), ("\"websocket\"",),
    ],
)  # fmt: skip
def test_an_upgrade_that_mentions_websockets_is_a_handshake(upgrade: tuple[str, ...], method: str) -> None:
    assert kind_of(method, upgrade) == "websocket"


@pytest.mark.parametrize("upgrade", [(), ("",), ("h2c",), ("web socket",), ("TLS/1.2, h2c",)])
def test_another_upgrade_is_none(upgrade: tuple[str, ...]) -> None:
    assert kind_of("GET", upgrade) == "http"


def test_a_write_stays_one_whatever_it_upgrades_to() -> None:
    assert kind_of("POST", ("websocket",)) == "http"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/event-stream", True),
        ("application/json, text/event-stream", True),
        ("text/event-stream;q=0.1, */*", True),
        ("TEXT/Event-Stream", True),
        ("", False),
        ("*/*", False),
        ("text/*", False),
        ("text/html, event-stream", False),
    ],
)
def test_who_names_event_streams_waits_for_events(accept: str, expected: bool) -> None:
    assert takes_events(accept) is expected


def test_a_header_sent_twice_does_not_help() -> None:
    assert forged(("origin", ORIGIN), ("origin", "https://evil.example"))
    assert forged(("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site"))
    assert forged(("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-site"), ("origin", "null"))
    assert forged(("origin", "null"), ("origin", ORIGIN), ("sec-fetch-site", "same-origin"))
