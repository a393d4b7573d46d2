from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jit_middleware.demo.browser import Browser, Visit
from jit_middleware.demo.serve import WSGIHost, listen

PAGE = b"""<form action="/go?x=1" method=post><input type=hidden name=a value="1 &amp; 2"><input name=b>
<textarea name=c></textarea></form><form method=post><input name=username value=bob></form>"""


class Site:
    """Keeps what it was sent, and sets whatever cookies it was told to."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.cookies: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        self.seen.append({**environ, "body": environ["wsgi.input"].read(length)})
        headers = [("Content-Type", "text/html"), *(("Set-Cookie", line) for line in self.cookies)]
        if environ["PATH_INFO"] == "/away":
            start_response("302 Found", [*headers, ("Location", "../there?q#f")])
            return []
        start_response("200 OK", headers)
        return [PAGE]


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def origin(site: Site) -> Iterator[str]:
    with listen(0) as listener, WSGIHost(site, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_cookies_go_back_to_their_host_and_path_until_they_are_cleared(site: Site, origin: str) -> None:
    browser = Browser()
    site.cookies = ["a=1; Path=/; HttpOnly", "b=2; Path=/deep; Max-Age=60"]
    browser.get(f"{origin}/")
    site.cookies = []
    for path in ("/", "/deep", "/deep/er", "/deeper"):
        browser.get(origin + path)
    assert [seen.get("HTTP_COOKIE") for seen in site.seen] == [None, "a=1", "a=1; b=2", "a=1; b=2", "a=1"]
    browser.get(origin.replace("127.0.0.1", "localhost") + "/")
    assert "HTTP_COOKIE" not in site.seen[-1]
    site.cookies = ["a=; Path=/; Max-Age=0", "b=; Path=/deep; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]
    browser.get(f"{origin}/")
    assert browser.jar == {}


def test_redirects_are_not_followed_and_are_absolute(origin: str) -> None:
    visit = Browser().get(f"{origin}/away")
    assert (visit.status, visit.location) == (302, f"{origin}/there?q#f")


def test_form_is_sent_with_its_fields_and_the_page_as_origin(site: Site, origin: str) -> None:
    browser = Browser()
    page = browser.get(f"{origin}/form?y=2")
    first, second = page.forms()
    assert (first.action, dict(first.fields)) == (f"{origin}/go?x=1", {"a": "1 & 2", "b": "", "c": ""})
    assert second.action == f"{origin}/form?y=2"
    browser.submit(first, page, b="ü")
    sent = site.seen[-1]
    assert (sent["REQUEST_METHOD"], sent["QUERY_STRING"], sent["body"]) == ("POST", "x=1", b"a=1+%26+2&b=%C3%BC&c=")
    assert (sent["HTTP_ORIGIN"], sent["HTTP_SEC_FETCH_SITE"]) == (origin, "same-origin")


@pytest.mark.parametrize(
    ("came_from", "site_header"),
    [(None, "none"), ("http://127.0.0.1:1/", "same-site"), ("http://localhost:1/", "cross-site")],
)
def test_navigation_says_where_it_comes_from(site: Site, origin: str, came_from: str | None, site_header: str) -> None:
    Browser().get(origin, came_from=came_from)
    assert site.seen[-1]["HTTP_SEC_FETCH_SITE"] == site_header
    assert site.seen[-1]["HTTP_SEC_FETCH_MODE"] == "navigate"


def test_script_does_not_look_like_a_navigation(site: Site, origin: str) -> None:
    Browser().get(origin, accept="application/json")
    assert "HTTP_SEC_FETCH_MODE" not in site.seen[-1]
    assert site.seen[-1]["HTTP_ACCEPT"] == "application/json"


@pytest.mark.parametrize(
    ("body", "document"), [(b'{"a": [1]}', {"a": [1]}), (b"[1]", {}), (b"<html>", {}), (b"\xff", {})]
)
def test_document_is_an_object_or_nothing(body: bytes, document: dict[str, object]) -> None:
    assert Visit("http://x/", 200, (), body).document() == document
