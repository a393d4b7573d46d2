"""The test client, jar, browser and linter themselves: a tool that lets everything pass proves nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from jit_middleware.http.messages import Decision, PassThrough, Request, Respond, Response
from tests.asgi_lint import lint
from tests.browser import Browser
from tests.client import Answer, Client, Edge, middleware_of
from tests.edges.fakes import OURS, FakeGate
from tests.jar import Jar
from tests.worlds import Outgoing, call_asgi, call_wsgi, environ_of, scope_of

EDGES: list[Edge] = ["wsgi", "asgi"]
HTML = ("Content-Type", "text/html")


def client_of(edge: Edge, gate: FakeGate, **options: Any) -> Client:
    return Client(edge, lambda app: middleware_of(edge).with_gate(app, gate), **options)


# --- the client ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", EDGES)
def test_one_story_runs_through_both_edges(edge: Edge) -> None:
    with client_of(edge, FakeGate("cached"), mount="/legacy") as client:
        client.jar.put(client.origin, *OURS.split("="))
        client.jar.put(client.origin, "theme", "dark")
        seen = client.get("/zo%C3%AB?x=1").json()
        assert seen["user"]["username"] == seen["remote_user"] == "zoë"
        assert (seen["path"], seen["mount"], seen["query"], seen["method"]) == ("/zoë", "/legacy", "x=1", "GET")
        assert seen["headers"]["cookie"] == "theme=dark"
        assert seen["headers"]["sec-fetch-site"] == "none"
        written = client.post("/save", {"a": "ë", "b": "2"}).json()
        assert (written["method"], written["body"]) == ("POST", "a=%C3%AB&b=2")
        assert written["headers"]["origin"] == client.origin
        assert written["headers"]["sec-fetch-site"] == "same-origin"
        assert client.xhr("/data", method="PUT", json={"k": 1}).json()["body"] == '{"k": 1}'
        assert client.request("HEAD", "/").body == b""
        other = client.another().get("/").json()
        assert "cookie" not in other["headers"]


@pytest.mark.parametrize("edge", EDGES)
def test_the_client_keeps_cookies_and_follows_redirects_within_the_origin(edge: Edge) -> None:
    async def decide(request: Request) -> Decision:
        match request.path:
            case "/first":
                return Respond(Response(302, [("Location", "/second"), ("Set-Cookie", "seen=1; Path=/"), HTML]))
            case "/second":
                return Respond(Response(303, [("Location", "https://elsewhere.test/"), HTML], request.cookie.encode()))
            case _:
                return PassThrough(None, "")

    with client_of(edge, FakeGate(deciding=decide)) as client:
        assert client.get("/first").status == 302
        landed = client.get("/first", follow=True)
        assert (landed.status, landed.location, landed.text) == (303, "https://elsewhere.test/", "seen=1")
        assert client.get("/").json()["is_authenticated"] is False


@pytest.mark.parametrize("edge", EDGES)
def test_requests_can_be_sent_together(edge: Edge) -> None:
    meeting = threading.Barrier(4)
    arrived: list[int] = []

    async def decide(request: Request) -> Decision:
        arrived.append(1)
        if edge == "wsgi":
            meeting.wait(5)
        else:
            while len(arrived) < 4:
                await asyncio.sleep(0)
        return Respond(Response(200, [HTML], request.query.encode()))

    with client_of(edge, FakeGate(deciding=decide)) as client:
        answers = client.together(*(client.prepare("GET", f"/?{number}") for number in range(4)))
    assert [answer.text for answer in answers] == ["0", "1", "2", "3"]


def test_the_client_runs_the_lifespan_and_closes_the_gate() -> None:
    gate = FakeGate("cached")
    with client_of("asgi", gate):
        assert gate.log == ["start"]
    assert gate.log == ["start", "close"]


@pytest.mark.parametrize("denial", [True, False])
def test_a_handshake_is_told_apart(denial: bool) -> None:
    with client_of("asgi", FakeGate("cached")) as client:
        handshake = client.handshake("/ws", denial=denial)
        assert (handshake.accepted, handshake.status, handshake.said) == (True, 101, ["zoë"])
    with client_of("asgi", FakeGate(answer=Response(401, [HTML], b"denied"))) as client:
        handshake = client.handshake("/ws", denial=denial)
        assert (handshake.accepted, handshake.status) == (False, 401 if denial else 403)


def test_a_wsgi_app_that_breaks_the_contract_is_caught_on_either_side() -> None:
    with (
        client_of("wsgi", FakeGate("cached"), app=lambda environ, start_response: "text") as client,
        pytest.raises(AssertionError),
    ):
        client.get("/")

    class Rude(FakeGate):
        """Puts a value that is no ``str`` where the app expects one."""

        def admit(self, path: str, cookie: str) -> PassThrough:
            self.admission.environ["REMOTE_USER"] = b"bytes"
            return PassThrough(self.admission, "")

    with client_of("wsgi", Rude()) as client, pytest.raises(AssertionError):
        client.get("/")


def test_the_raw_server_refuses_a_body_before_start_response() -> None:
    with pytest.raises(AssertionError, match="before start_response"):
        call_wsgi(lambda environ, start_response: [b"x"], environ_of(Outgoing("GET", "http://app.test/")))


# --- the linter ---------------------------------------------------------------------------------------------------

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body", "body": b""}],
        [START, START],
        [START, {"type": "http.response.body", "body": b""}, {"type": "http.response.body", "body": b""}],
        [START, {"type": "http.response.body", "body": "text"}],
        [{**START, "headers": [("x", "y")]}],
        [{**START, "headers": [(b"X-Upper", b"y")]}],
        [{**START, "headers": [(b"x", b"y\r\nz")]}],
        [{**START, "status": "200"}],
        [{**START, "status": 101}],
        [{"type": "websocket.accept"}],
        [START, {"type": "http.response.pathsend", "path": "/x"}],
        [START],
        [],
    ],
)
def test_the_linter_catches_what_breaks_the_specification(messages: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    with pytest.raises(AssertionError):
        asyncio.run(call_asgi(lint(app), scope_of(Outgoing("GET", "http://app.test/"))))


@pytest.mark.parametrize(
    "change",
    [
        {"path": b"/"}, {"query_string": ""}, {"headers": [("a", "b")]}, {"method": "get"}, {"headers": [(b"A", b"b")]},
        {"scheme": "ws"}, {"client": ("127.0.0.1", "80")}, {"raw_path": "/"},
    ],
)  # fmt: skip
def test_the_linter_checks_the_scope(change: dict[str, Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    with pytest.raises(AssertionError):
        asyncio.run(call_asgi(lint(app), scope_of(Outgoing("GET", "http://app.test/")) | change))


def test_the_linter_wants_the_connect_first() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    scope = scope_of(Outgoing("GET", "http://app.test/"), type="websocket", scheme="ws")
    with pytest.raises(AssertionError, match=r"before websocket\.connect"):
        asyncio.run(call_asgi(lint(app), scope))


# --- the jar ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "line", "kept"),
    [
        ("https://app.test/", "__Host-s=1; Secure; Path=/", True),
        ("http://localhost:8000/", "__Host-s=1; Secure; Path=/", True),
        ("http://app.test/", "__Host-s=1; Secure; Path=/", False),
        ("https://app.test/", "__Host-s=1; Path=/", False),
        ("https://app.test/", "__Host-s=1; Secure", False),
        ("https://app.test/", "__Host-s=1; Secure; Path=/app", False),
        ("https://app.test/", "__Host-s=1; Secure; Path=/; Domain=app.test", False),
        ("https://app.test/", "__Secure-s=1", False),
        ("https://app.test/", "s=1; SameSite=None", False),
        ("https://app.test/", "s=1; SameSite=None; Secure", True),
        ("https://app.test/", "s=1; Domain=other.test", False),
        ("https://app.test/", "s=1; Max-Age=0", False),
        ("https://app.test/", "s=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", False),
    ],
)
def test_the_jar_keeps_what_a_browser_keeps(url: str, line: str, kept: bool) -> None:
    jar = Jar(lambda: 1000.0)
    jar.store(url, [line])
    assert [cookie.value for cookie in jar.live()] == (["1"] if kept else [])


def test_the_jar_forgets_in_time_and_on_demand() -> None:
    now = [1000.0]
    jar = Jar(lambda: now[0])
    jar.store("https://app.test/", ["a=1; Max-Age=60", "b=2"])
    now[0] += 60
    assert jar.header("https://app.test/") == "b=2"
    jar.store("https://app.test/", ["b=; Max-Age=0"])
    assert jar.header("https://app.test/") == ""


def test_the_jar_sends_by_path_host_and_site() -> None:
    jar = Jar()
    jar.store(
        "https://app.test/x/y",
        ["root=1; Path=/; SameSite=Lax", "deep=2; Path=/x", "none=3; Path=/; SameSite=None; Secure"],
    )
    jar.store("https://app.test/", ["strict=4; Path=/; SameSite=Strict"])
    assert jar.header("https://app.test/x/z") == "deep=2; root=1; none=3; strict=4"
    assert jar.header("https://app.test/xy") == "root=1; none=3; strict=4"
    assert jar.header("https://other.test/") == ""
    idp = "https://idp.test/page"
    assert jar.header("https://app.test/", initiator=idp) == "root=1; none=3"
    assert jar.header("https://app.test/", method="POST", initiator=idp) == "none=3"
    assert jar.header("https://app.test/", initiator=idp, navigation=False) == "none=3"


# --- the browser --------------------------------------------------------------------------------------------------


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


LOGIN_PAGE = b"""<form method="post" action="login?x=1"><input type=hidden name=csrf value="t&amp;t">
<input name=login><input type=password name=password><input type=checkbox name=stay>
<select name=lang><option value=de><option value=en selected></select><textarea name=note>hi</textarea>
<button type=submit name=go value=yes>Go</button></form>"""


@pytest.fixture
def provider() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A provider on real HTTP: a login page, then a redirect to the app's callback or a form to it."""
    asked: list[dict[str, Any]] = []

    def serve(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        asked.append({**environ, "body": environ["wsgi.input"].read(size).decode()})
        if environ["REQUEST_METHOD"] == "POST":
            start_response(
                "303 See Other",
                [("Location", "http://localhost:8000/callback?code=c"), ("Set-Cookie", "sso=1; Path=/")],
            )
            return [b""]
        start_response("200 OK", [HTML])
        if environ["PATH_INFO"] == "/form_post":
            return [b'<form method=post action="http://localhost:8000/callback"><input name=code value=c></form>']
        return [LOGIN_PAGE]

    with make_server("127.0.0.1", 0, serve, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def login_gate(provider: str, callbacks: list[Request]) -> FakeGate:
    async def decide(request: Request) -> Decision:
        match request.path:
            case "/callback":
                callbacks.append(request)
                return Respond(Response(303, [("Location", "/home"), HTML]))
            case "/private":
                cookies = [
                    ("Set-Cookie", "lax=1; Path=/; SameSite=Lax"),
                    ("Set-Cookie", "none=2; Path=/; SameSite=None; Secure"),
                ]
                return Respond(Response(302, [("Location", f"{provider}/authorize"), *cookies, HTML]))
            case "/links":
                return Respond(Response(200, [HTML], b'<a href="/private">Sign <b>in</b></a>'))
            case _:
                return PassThrough(None, request.cookie)

    return FakeGate(deciding=decide)


@pytest.mark.parametrize("edge", EDGES)
def test_a_login_across_two_origins(edge: Edge, provider: tuple[str, list[dict[str, Any]]]) -> None:
    url, asked = provider
    callbacks: list[Request] = []
    with client_of(edge, login_gate(url, callbacks)) as client:
        browser = Browser(client)
        browser.open("/links")
        page = browser.click("Sign in")
        assert page.url == f"{url}/authorize"
        assert "HTTP_COOKIE" not in asked[0]
        browser.submit({"login": "alice", "password": "p&w"}, button="go")
        assert asked[1]["PATH_INFO"] == "/login"
        assert asked[1]["body"] == "csrf=t%26t&login=alice&password=p%26w&lang=en&note=hi&go=yes"
        assert asked[1]["HTTP_ORIGIN"] == url
        (callback,) = callbacks
        assert (callback.cookie, callback.header("sec-fetch-site")) == ("lax=1; none=2", "cross-site")
        assert [answer.status for answer in browser.trail] == [303, 303, 200]
        assert browser.here.json()["path"] == "/home"
        assert browser.jar.get("sso", "127.0.0.1") == "1"
        browser.open(f"{url}/authorize")
        with pytest.raises(AssertionError, match="no field"):
            browser.submit({"nonsense": "1"})


@pytest.mark.parametrize("edge", EDGES)
def test_a_form_post_answer_is_a_cross_site_post(edge: Edge, provider: tuple[str, list[dict[str, Any]]]) -> None:
    url, _ = provider
    callbacks: list[Request] = []
    with client_of(edge, login_gate(url, callbacks)) as client:
        browser = Browser(client)
        browser.open("/private", follow=False)
        assert browser.here.location == f"{url}/authorize"
        browser.open(f"{url}/form_post")
        browser.submit()
        (callback,) = callbacks
        assert (callback.method, callback.cookie, callback.header("origin")) == ("POST", "none=2", url)


@pytest.mark.parametrize("edge", EDGES)
def test_a_redirect_loop_is_noticed(edge: Edge) -> None:
    gate = FakeGate(answer=Response(302, [("Location", "/"), HTML]))
    with client_of(edge, gate) as client, pytest.raises(AssertionError, match="redirected without end"):
        Browser(client).open("/")


def test_headers_of_an_answer_are_found_in_any_case() -> None:
    answer = Answer(
        302, [("LOCATION", "next"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2")], b"", "http://app.test/x/y"
    )
    assert answer.location == "http://app.test/x/next"
    assert answer.all("Set-Cookie") == ["a=1", "b=2"]
    assert answer.header("missing") is None
