"""What the ASGI edge itself does: identity in and out, our own answers, websocket refusals, bodies, failures, lifespan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from jit_middleware.asgi import JITMiddleware
from jit_middleware.errors import RequestError
from jit_middleware.http.messages import Decision, Request, Respond, Response
from tests.asgi_lint import lint
from tests.edges.asgi_tools import REQUEST, ignored, nothing_received, run, scope, unreachable_app, websocket
from tests.edges.fakes import ALICE, OURS, SESSION, FakeGate
from tests.worlds import call_asgi

HTML = ("Content-Type", "text/html")


def seen_by_app(gate: FakeGate, given: dict[str, Any]) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    run(JITMiddleware.with_gate(app, gate)(given, nothing_received, ignored))
    return seen[0]


def answered(gate: FakeGate, given: dict[str, Any], *messages: dict[str, Any]) -> tuple[int, list[Any], bytes]:
    sent = run(call_asgi(lint(JITMiddleware.with_gate(unreachable_app, gate)), given, *(messages or (REQUEST,))))
    start, *bodies = sent
    return start["status"], start["headers"], b"".join(message["body"] for message in bodies)


# --- identity -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cached", "decided"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_the_app_sees_the_user(way: Any, kind: str) -> None:
    seen = seen_by_app(FakeGate(way), scope() if kind == "http" else websocket())
    assert (seen["jit.user"], seen["jit.session"], seen["user"].is_authenticated) == (ALICE, SESSION, True)


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_an_anonymous_request_has_no_identity_whatever_an_outer_layer_left(kind: str) -> None:
    left: dict[str, Any] = {"jit.user": ALICE, "jit.session": SESSION, "user": object(), "auth": object()}
    seen = seen_by_app(FakeGate("anonymous"), scope(**left) if kind == "http" else websocket(**left))
    assert not {"jit.user", "jit.session"} & seen.keys()
    assert seen["user"].is_authenticated is False
    assert seen["auth"].scopes == ()


@pytest.mark.parametrize("way", ["cached", "decided", "anonymous"])
@pytest.mark.parametrize(
    "name", [b"remote-user", b"remote_user", b"x-remote-user", b"x_remote-user", b"X_Remote_User", b"x-forwarded-user"]
)
def test_identity_headers_are_scrubbed_in_every_spelling(way: Any, name: bytes) -> None:
    headers = [(b"host", b"app.test"), (name, b"admin"), (name, b"admin"), (b"x-other", b"kept")]
    assert seen_by_app(FakeGate(way), scope() | {"headers": headers})["headers"] == [headers[0], headers[3]]


def test_what_is_known_of_one_request_says_nothing_about_another_with_as_many_headers() -> None:
    ordinary = [(b"host", b"app.test"), (b"accept", b"*/*"), (b"cookie", OURS.encode()), (b"x-tag", b"1")]
    requests = {
        "ordinary": (ordinary, [ordinary[0], ordinary[1], ordinary[3]]),
        "elsewhere": ([ordinary[2], *ordinary[:2], ordinary[3]], [ordinary[0], ordinary[1], ordinary[3]]),
        "forged": ([*ordinary[:3], (b"X_Remote-User", b"admin")], ordinary[:2]),
        "forged in its place": ([*ordinary[:2], (b"x-remote-user", b"admin"), ordinary[2]], ordinary[:2]),
        "two cookies": ([*ordinary[:3], (b"cookie", b"b=2")], [*ordinary[:2], (b"cookie", b"b=2")]),
        "another spelling": ([*ordinary[:3], (b"Cookie", b"b=2")], [*ordinary[:2], (b"cookie", b"b=2")]),
        "none": ([*ordinary[:2], (b"x-a", b"1"), ordinary[3]], [*ordinary[:2], (b"x-a", b"1"), ordinary[3]]),
    }
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["headers"])

    middleware = JITMiddleware.with_gate(app, FakeGate("cached"))  # type: ignore[arg-type]
    for name in [first for one in requests for first in ("ordinary", one, one)]:
        given, wanted = requests[name]
        # As servers hand them over: objects that nobody has seen before.
        headers = [(bytes(bytearray(key)), bytes(bytearray(value))) for key, value in given]
        run(middleware(scope() | {"headers": headers}, nothing_received, ignored))
        assert seen[-1] == wanted, name
        assert headers == given, "the server's own list stays as it is"


def test_headers_that_nobody_expects_keep_no_request_from_being_admitted() -> None:
    gate = FakeGate("cached")
    headers = [(b"x-tracing", b"7"), (b"cookie", f"a=1; {OURS}".encode()), (b"cf-ray", b"8")]
    seen = seen_by_app(gate, scope() | {"headers": headers})
    assert seen["headers"] == [(b"x-tracing", b"7"), (b"cookie", b"a=1"), (b"cf-ray", b"8")]
    assert (gate.admitted, gate.requests) == ([("/", f"a=1; {OURS}")], [])


@pytest.mark.parametrize("name", [b"upgrade", b"Upgrade"])
@pytest.mark.parametrize("upgrade", [b"websocket", b"foo, WebSocket", b"h2c"])
def test_what_may_be_a_handshake_is_not_answered_from_memory(name: bytes, upgrade: bytes) -> None:
    gate, given = FakeGate(), scope()
    given["headers"].append((name, upgrade))
    seen = seen_by_app(gate, given)
    assert (name, upgrade) in seen["headers"]
    assert gate.admitted == []
    assert [request.kind for request in gate.requests] == ["websocket" if b"ocket" in upgrade else "http"]


def test_headers_that_can_be_read_only_once_are_enough() -> None:
    for way in ("cached", "decided", "anonymous"):
        seen = seen_by_app(FakeGate(way), scope() | {"headers": iter([(b"host", b"a"), (b"cookie", b"a=1")])})
        assert seen["headers"] == [(b"host", b"a"), (b"cookie", b"a=1")]


def test_injected_headers_are_added_after_the_scrubbing() -> None:
    gate = FakeGate("cached", headers=((b"x-remote-user", b"zo%C3%AB"),))
    seen = seen_by_app(gate, scope() | {"headers": [(b"x-remote-user", b"admin")]})
    assert seen["headers"] == [(b"x-remote-user", b"zo%C3%AB")]


def test_the_shared_admission_is_not_changed_by_an_app() -> None:
    gate = FakeGate("cached")
    before = dict(gate.admission.scope)
    seen_by_app(gate, scope()).clear()
    assert gate.admission.scope == before


# --- what the gate is asked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_are_admitted_without_a_decision(method: str) -> None:
    gate = FakeGate("cached")
    seen_by_app(gate, scope(method, "http://app.test/p") | {"headers": [(b"cookie", OURS.encode())]})
    assert (gate.admitted, gate.requests) == ([("/p", OURS)], [])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PROPFIND", "TRACE"])
def test_other_methods_are_always_decided(method: str) -> None:
    gate = FakeGate("cached")
    seen_by_app(gate, scope(method))
    assert gate.admitted == []
    assert [request.method for request in gate.requests] == [method]


def test_websockets_are_always_decided() -> None:
    gate = FakeGate("cached")
    seen_by_app(gate, websocket())
    assert gate.admitted == []
    assert [(request.kind, request.method) for request in gate.requests] == [("websocket", "GET")]


@pytest.mark.parametrize(
    ("path", "root", "below"),
    [
        ("/page", "", "/page"),
        ("/legacy/page", "/legacy", "/page"),  # as the specification says
        ("/page", "/legacy", "/page"),  # a server that leaves root_path out
        ("/legacy", "/legacy", ""),
        ("/legacy/", "/legacy", "/"),
        ("/legacy/page", "/legacy/", "/page"),
        ("/legacyother", "/legacy", "/legacyother"),
        ("/", "/", "/"),
        ("/page", "/", "/page"),
    ],
)
def test_the_gate_sees_the_path_below_the_mount(path: str, root: str, below: str) -> None:
    gate = FakeGate("decided")
    seen_by_app(gate, scope() | {"path": path, "root_path": root})
    assert gate.admitted[0][0] == gate.requests[0].path == below


def test_the_gate_sees_headers_cookies_query_and_client() -> None:
    gate = FakeGate("decided")
    headers = [(b"cookie", b"a=1"), (b"x-a", b"\xeb"), (b"cookie", b"b=2"), (b"x-a", b"2")]
    seen_by_app(gate, scope(url="http://app.test/?x=%20") | {"headers": headers})
    request = gate.requests[0]
    assert request.headers == [("x-a", "\xeb"), ("x-a", "2"), ("cookie", "a=1; b=2")]
    assert (request.cookie, request.query, request.client) == ("a=1; b=2", "x=%20", "127.0.0.1")


# --- our own answers ----------------------------------------------------------------------------------------------


def test_an_answer_of_ours_is_sent_whole() -> None:
    response = Response(303, [("Location", "/x"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), HTML], b"moved")
    status, headers, body = answered(FakeGate(answer=response), scope())
    assert (status, body) == (303, b"moved")
    assert headers == [
        (b"location", b"/x"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"),
        (b"content-type", b"text/html"), (b"content-length", b"5"),
    ]  # fmt: skip


def test_an_answer_to_head_keeps_its_body() -> None:
    status, headers, body = answered(FakeGate(answer=Response(401, [HTML], b"denied")), scope("HEAD"))
    assert (status, body) == (401, b"")
    assert (b"content-length", b"6") in headers


def test_a_client_that_left_before_our_answer_is_no_error() -> None:
    async def send(message: Any) -> None:
        raise ConnectionResetError

    gate = FakeGate(answer=Response(401, [HTML], b"denied"))
    run(JITMiddleware.with_gate(unreachable_app, gate)(scope(), nothing_received, send))
    assert len(gate.requests) == 1


@pytest.mark.parametrize("header", [("X-A", "1\r\nSet-Cookie: x=1"), ("X\nA", "1"), ("X-A", "\u20ac")])
def test_a_header_that_would_split_the_answer_is_never_sent(header: tuple[str, str]) -> None:
    status, headers, _ = answered(FakeGate(answer=Response(200, [header])), scope())
    assert status == 500
    assert b"x-a" not in dict(headers)


# --- websocket refusals -------------------------------------------------------------------------------------------


def refused(gate: FakeGate, given: dict[str, Any], first: str = "websocket.connect") -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": first}

    async def send(message: Any) -> None:
        sent.append(message)

    run(lint(JITMiddleware.with_gate(unreachable_app, gate))(given, receive, send))
    return sent


def test_a_refused_websocket_gets_our_answer_where_the_server_can_send_one() -> None:
    gate = FakeGate(answer=Response(401, [HTML], b"denied"))
    start, body = refused(gate, websocket(extensions={"websocket.http.response": {}}))
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert (b"content-type", b"text/html") in start["headers"]
    assert body == {"type": "websocket.http.response.body", "body": b"denied"}


@pytest.mark.parametrize("extensions", [{}, None, {"tls": {}}])
def test_a_refused_websocket_is_closed_before_it_is_accepted(extensions: Any) -> None:
    gate = FakeGate(answer=Response(401, [HTML], b"denied"))
    assert refused(gate, websocket(extensions=extensions)) == [{"type": "websocket.close", "code": 1008, "reason": ""}]


def test_a_websocket_that_we_fail_on_is_closed_as_our_error() -> None:
    gate = FakeGate(deciding=failing(ValueError("x")))
    assert refused(gate, websocket())[0]["code"] == 1011


def test_a_websocket_that_left_already_gets_nothing() -> None:
    gate = FakeGate(answer=Response(401))
    assert refused(gate, websocket(), "websocket.disconnect") == []


# --- bodies -------------------------------------------------------------------------------------------------------


def reading(limit: int = 10) -> Callable[[Request], Any]:
    async def decide(request: Request) -> Decision:
        try:
            body = await request.read_body(limit)
            assert await request.read_body(limit) == body
        except RequestError as error:
            return Respond(Response(error.response_status, [HTML], error.reason.encode()))
        return Respond(Response(200, [HTML], body))

    return decide


def part(body: Any, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("messages", "status", "body"),
    [
        ([part(b"0123"), part(memoryview(b"45")), part(bytearray(b"67")), part(b"89", False)], 200, b"0123456789"),
        ([{"type": "http.request"}], 200, b""),
        ([part(b"0123456789"), part(b"", False)], 200, b"0123456789"),
        ([part(b"0123456789"), part(b"+", False)], 413, b"body_too_large"),
        ([part(b"01"), {"type": "http.disconnect"}], 400, b"body_incomplete"),
    ],
)
def test_a_body_of_ours_is_read_with_a_cap(messages: list[dict[str, Any]], status: int, body: bytes) -> None:
    given = scope("POST")
    got, _, text = answered(FakeGate(deciding=reading()), given, *messages)
    assert (got, text) == (status, body)


def test_an_endless_body_is_not_read_to_its_end() -> None:
    asked = 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return part(b"xxxx")

    gate = FakeGate(deciding=reading())
    run(JITMiddleware.with_gate(unreachable_app, gate)(scope("POST"), receive, ignored))
    assert asked == 3


# --- failures -----------------------------------------------------------------------------------------------------


def failing(error: BaseException) -> Callable[[Request], Any]:
    async def decide(request: Request) -> Decision:
        raise error

    return decide


def test_a_failure_of_ours_shows_a_reference_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "jit_middleware"):
        status, headers, body = answered(FakeGate(deciding=failing(ValueError("secret-token"))), scope())
    assert status == 500
    assert (b"cache-control", b"no-store") in headers
    reference = body.decode().partition("Reference: ")[2].partition("<")[0]
    assert len(reference) >= 12
    assert reference in caplog.text
    assert b"secret-token" not in body
    assert "secret-token" not in caplog.text


def test_a_failure_on_the_hot_path_does_not_let_the_request_pass() -> None:
    gate = FakeGate("cached")

    def admit(path: str, cookie: str | bytes) -> None:
        raise KeyError(path)

    gate.admit = admit  # type: ignore[method-assign]
    assert answered(gate, scope())[0] == 500


def test_a_cancelled_decision_is_cancelled() -> None:
    async def story() -> None:
        gate = FakeGate(deciding=failing(asyncio.CancelledError()))
        with pytest.raises(asyncio.CancelledError):
            await JITMiddleware.with_gate(unreachable_app, gate)(scope(), nothing_received, ignored)

    asyncio.run(story())
