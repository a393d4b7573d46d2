"""Every server: the whole login, and requests and responses that arrive as they were sent."""

from __future__ import annotations

import hashlib
import json
import random
import time
from typing import Any

import pytest

from jit_middleware.http.headers import DEFAULT_IDENTITY_HEADERS
from tests.servers.app import FILE_BYTES, PARTS, PAUSE, content
from tests.servers.conftest import Server

BODY = random.Random(7).randbytes(1_048_576)


def test_a_whole_login_lands_on_the_deep_link(server: Server) -> None:
    browser = server.another()
    bob = browser.person("bob")
    seen = browser.sign_in(bob, "/reports/7?week=3&x=%20y").json()
    assert (seen["path"], seen["query"]) == ("/reports/7", "week=3&x=%20y")
    assert seen["remote_user"] == seen["user"]["username"] == bob
    assert "jit=" not in seen["headers"].get("cookie", "")
    assert browser.get("/_jit/logout", method="GET").status == 200
    with browser.connection() as connection:
        browser.begin(connection, "POST", "/_jit/logout", ("Content-Length", "0"))
        connection.endheaders()
        left = connection.getresponse()
        assert left.status == 303
        browser.jar.store(browser.url, left.headers.get_all("set-cookie") or [])
    assert browser.get("/").status == 302


def spellings() -> list[str]:
    names = []
    for name in sorted(DEFAULT_IDENTITY_HEADERS):
        names += [name, name.upper(), name.replace("-", "_"), name.replace("-", "_").upper(), name.title()]
    return list(dict.fromkeys(names))


@pytest.mark.parametrize("path", ["/public/page", "/page"])
def test_forged_identity_headers_never_reach_the_app(server: Server, path: str) -> None:
    names = spellings()
    assert len(names) > 20
    for at in range(0, len(names), 10):  # servers bound the number of headers
        forged = [(name, f"forged-{number}") for number, name in enumerate(names[at : at + 10])]
        answer = server.get(path, headers=[*forged, ("X-Harmless", "kept")])
        assert answer.status == 200
        assert "forged" not in answer.text, answer.text
        assert answer.json()["headers"]["x-harmless"] == "kept"


def test_a_head_request_has_a_head_and_no_body(server: Server) -> None:
    with server.connection() as connection:
        response = server.ask(connection, "HEAD", "/page")
        assert (response.status, response.read()) == (200, b"")
        assert int(response.getheader("content-length") or 0) > 100
    stranger = server.another().get("/page", method="HEAD")
    assert (stranger.status, stranger.body) == (302, b"")


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_an_upload_arrives_byte_for_byte(server: Server, pieces: int) -> None:
    with server.connection() as connection:
        server.begin(connection, "POST", "/digest", ("Content-Length", str(len(BODY))))
        connection.endheaders()
        for at in range(0, len(BODY), size := len(BODY) // pieces + 1):
            connection.send(BODY[at : at + size])
        told = json.loads(connection.getresponse().read())
    assert (told["length"], told["sha256"]) == (len(BODY), hashlib.sha256(BODY).hexdigest())


def test_a_chunked_upload_arrives_byte_for_byte(server: Server) -> None:
    with server.connection() as connection:
        server.begin(
            connection,
            "POST",
            "/digest" if server.kind.chunked_uploads else "/_jit/logout",
            ("Transfer-Encoding", "chunked"),
        )
        connection.endheaders()
        if not server.kind.chunked_uploads:
            # A server that cannot read chunks: the middleware does not read what has no length, and does not hang.
            connection.send(b"0\r\n\r\n")
            assert connection.getresponse().status in {200, 303, 411}
            server.jar.drop()
            server.sign_in(server.person("alice"))
            return
        for at in range(0, len(BODY), 50_000):
            part = BODY[at : at + 50_000]
            connection.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        connection.send(b"0\r\n\r\n")
        told = json.loads(connection.getresponse().read())
    assert (told["length"], told["sha256"]) == (len(BODY), hashlib.sha256(BODY).hexdigest())


def test_an_upload_is_not_held_back_until_it_is_whole(server: Server) -> None:
    with server.connection() as connection:
        server.begin(connection, "POST", "/early", ("Content-Length", str(len(BODY))), ("Connection", "close"))
        connection.endheaders()
        connection.send(BODY[:65_536])
        if not server.kind.streams_uploads:
            connection.send(BODY[65_536:])  # this server itself waits for the whole body
        assert connection.getresponse().read() == BODY[:1000]


def test_a_streamed_response_arrives_as_it_is_made(server: Server) -> None:
    with server.connection() as connection:
        began = time.monotonic()
        response = server.ask(connection, "GET", "/streamed")
        first = response.read(len(PARTS[0]))
        first_after = time.monotonic() - began
        rest = response.read()
        all_after = time.monotonic() - began
    assert first + rest == b"".join(PARTS)
    assert first_after < PAUSE
    assert all_after >= 2 * PAUSE


def test_a_file_arrives_whole_and_in_part(server: Server) -> None:
    with server.connection() as connection:
        response = server.ask(connection, "GET", "/file")
        assert response.getheader("content-length") == str(FILE_BYTES)
        assert response.read() == content()
    with server.connection() as connection:
        response = server.ask(connection, "GET", "/file", ("Range", "bytes=1000-1999"))
        assert (response.status, response.getheader("content-range")) == (206, f"bytes 1000-1999/{FILE_BYTES}")
        assert response.read() == content()[1000:2000]


def test_a_path_and_a_query_beyond_ascii_survive_the_login_and_the_app_sees_them(server: Server) -> None:
    target = "/d%C3%A9j%C3%A0/%E2%82%AC%20vu?q=%E2%82%AC&r=%FF"
    seen = server.get(target).json()
    assert (seen["path"], seen["query"]) == ("/déjà/€ vu", "q=%E2%82%AC&r=%FF")
    browser = server.another()
    seen = browser.sign_in(browser.person("carol"), target).json()
    assert (seen["path"], seen["query"]) == ("/déjà/€ vu", "q=%E2%82%AC&r=%FF")


def two_cookie_lines(server: Server, target: str, first: str, second: str) -> tuple[int, dict[str, Any]]:
    """What a client does that no browser does (RFC 6265 §5.4); a proxy may make it of an HTTP/2 request."""
    with server.connection() as connection:
        connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
        for name, value in (("Host", f"localhost:{server.port}"), ("Cookie", first), ("Cookie", second)):
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.mark.parametrize("ours_first", [True, False])
def test_cookies_in_two_header_lines_are_still_cookies(server: Server, ours_first: bool) -> None:
    ours, theirs = f"jit={server.jar.get('jit')}", "theirs=1; more=2"
    first, second = (ours, theirs) if ours_first else (theirs, ours)
    status, seen = two_cookie_lines(server, "/page", first, second)
    if server.kind.joins_cookies_by_comma:
        # The server has made one broken cookie of two: nobody is let in by it.
        assert (status, seen["error"]) == (401, "login_required")
        return
    assert status == 200
    assert seen["user"]["username"].startswith("alice")
    assert [cookie.strip() for cookie in seen["headers"]["cookie"].split(";")] == ["theirs=1", "more=2"]


def test_what_cannot_follow_a_redirect_gets_json(server: Server) -> None:
    with server.connection() as connection:
        connection.request("GET", "/page", headers={"Accept": "application/json", "Host": f"localhost:{server.port}"})
        response = connection.getresponse()
        assert response.status == 401
        assert json.loads(response.read())["error"] == "login_required"
