"""What the WSGI edge itself does: identity in and out, our own answers, bodies for our endpoints, failures, start."""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Callable
from typing import Any
from wsgiref.validate import validator

import pytest

from jit_middleware.errors import ConfigurationError, Fault, RequestError, StoreUnavailable
from jit_middleware.http.messages import Decision, Request, Respond, Response
from jit_middleware.wsgi import JITMiddleware
from tests.edges.fakes import ALICE, OURS, SESSION, FakeGate
from tests.edges.second_opinion import webtest_lint
from tests.worlds import Outgoing, WsgiResult, call_wsgi, environ_of

HTML = ("Content-Type", "text/html")


def environ(method: str = "GET", url: str = "http://app.test/", body: bytes = b"", **extra: Any) -> dict[str, Any]:
    return environ_of(Outgoing(method, url, (), body), **extra)


def seen_by_app(gate: FakeGate, given: dict[str, Any]) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [HTML])
        return []

    call_wsgi(JITMiddleware.with_gate(app, gate), given)
    return seen[0]


def unreachable_app(*_: Any) -> Any:
    raise AssertionError("the app was called")


def answered(gate: FakeGate, given: dict[str, Any]) -> WsgiResult:
    served = webtest_lint(validator(JITMiddleware.with_gate(unreachable_app, gate)))
    return call_wsgi(served, given)


# --- identity -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cached", "decided"])
def test_the_app_sees_the_user(way: Any) -> None:
    seen = seen_by_app(FakeGate(way), environ(HTTP_COOKIE=OURS))
    assert (seen["REMOTE_USER"], seen["AUTH_TYPE"], seen["jit.user"], seen["jit.session"]) == (
        "zoë",
        "jit",
        ALICE,
        SESSION,
    )


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket, foo", "h2c", ""])
def test_what_may_be_a_handshake_is_not_answered_from_memory(upgrade: str) -> None:
    gate = FakeGate()
    seen_by_app(gate, environ(HTTP_COOKIE=OURS, HTTP_UPGRADE=upgrade))
    assert gate.admitted == []
    assert [request.kind for request in gate.requests] == ["websocket" if "socket" in upgrade.lower() else "http"]


FORGED = {
    "REMOTE_USER": "admin",
    "AUTH_TYPE": "Basic",
    "REMOTE_IDENT": "admin",
    "jit.user": "admin",
    "jit.session": "x",
    "jit.is_live": "x",
    "HTTP_REMOTE_USER": "admin",
    "HTTP_X_REMOTE_USER": "admin",
    "HTTP_X_FORWARDED_USER": "admin",
}


def test_an_anonymous_request_has_no_identity_whatever_it_claims() -> None:
    assert not FORGED.keys() & seen_by_app(FakeGate("anonymous"), environ(**FORGED)).keys()


def test_a_signed_in_request_cannot_claim_another_identity() -> None:
    assert "admin" not in seen_by_app(FakeGate("cached"), environ(**FORGED)).values()


def test_injected_headers_are_added_in_cgi_spelling() -> None:
    gate = FakeGate("cached", headers=((b"x-remote-user", b"zo%C3%AB"),))
    assert seen_by_app(gate, environ(HTTP_X_REMOTE_USER="admin"))["HTTP_X_REMOTE_USER"] == "zo%C3%AB"


def test_the_shared_admission_is_not_changed_by_an_app() -> None:
    gate = FakeGate("cached")
    before = dict(gate.admission.environ)
    seen_by_app(gate, environ()).clear()
    assert gate.admission.environ == before


# --- what the gate is asked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_are_admitted_without_a_decision(method: str) -> None:
    gate = FakeGate("cached")
    seen_by_app(gate, environ(method, "http://app.test/p", HTTP_COOKIE=OURS))
    assert (gate.admitted, gate.requests) == ([("/p", OURS)], [])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PROPFIND", "TRACE", "get"])
def test_other_methods_are_always_decided(method: str) -> None:
    gate = FakeGate("cached")
    seen_by_app(gate, environ(method))
    assert gate.admitted == []
    assert [request.method for request in gate.requests] == [method]


@pytest.mark.parametrize(
    ("url", "path"),
    [("/zo%C3%AB", "/zoë"), ("/%FF", "/\udcff"), ("/a%2Fb", "/a/b"), ("/a;b", "/a;b"), ("/%C0%AF", "/\udcc0\udcaf")],
)
def test_the_gate_sees_the_path_as_text(url: str, path: str) -> None:
    gate = FakeGate("decided")
    seen_by_app(gate, environ(url=f"http://app.test{url}"))
    assert gate.admitted[0][0] == gate.requests[0].path == path


def test_the_gate_sees_the_path_below_the_mount() -> None:
    gate = FakeGate("decided")
    seen_by_app(gate, environ_of(Outgoing("GET", "http://app.test/legacy/page?x=%20"), "/legacy"))
    assert (gate.requests[0].path, gate.requests[0].query) == ("/page", "x=%20")


def test_a_path_that_the_server_decoded_already_is_taken_as_it_is() -> None:
    gate = FakeGate("decided")
    seen_by_app(gate, environ(PATH_INFO="/\u20ac"))
    assert gate.requests[0].path == "/\u20ac"


def test_the_gate_sees_headers_cookie_and_client() -> None:
    gate = FakeGate("decided")
    given = environ(
        "POST", body=b"x", CONTENT_TYPE="text/plain", HTTP_X_A="1", HTTP_COOKIE="a=1", HTTP_CONTENT_TYPE="other"
    )
    seen_by_app(gate, given)
    request = gate.requests[0]
    assert sorted(request.headers) == [
        ("content-length", "1"), ("content-type", "text/plain"), ("cookie", "a=1"), ("host", "app.test"), ("x-a", "1"),
    ]  # fmt: skip
    assert (request.kind, request.cookie, request.client) == ("http", "a=1", "127.0.0.1")


# --- our own answers ----------------------------------------------------------------------------------------------


def test_an_answer_of_ours_is_sent_whole() -> None:
    cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    result = answered(FakeGate(answer=Response(303, [("Location", "/x"), *cookies, HTML], b"moved")), environ())
    assert result.status == "303 See Other"
    assert result.headers == [("Location", "/x"), *cookies, HTML, ("Content-Length", "5")]
    assert result.body == b"moved"


def test_an_answer_to_head_keeps_its_body() -> None:
    result = answered(FakeGate(answer=Response(401, [HTML], b"denied")), environ("HEAD"))
    assert (result.headers, result.body) == ([HTML, ("Content-Length", "6")], b"")


def test_a_bodiless_answer_has_neither_length_nor_type() -> None:
    result = answered(FakeGate(answer=Response(204, [("Cache-Control", "no-store")])), environ())
    assert (result.status, result.headers, result.body) == ("204 No Content", [("Cache-Control", "no-store")], b"")


def test_an_answer_without_a_type_is_never_sniffed_as_a_page() -> None:
    result = answered(FakeGate(answer=Response(404, (), b"<script>")), environ())
    assert ("Content-Type", "text/plain; charset=utf-8") in result.headers


def test_an_unknown_status_gets_a_status_line() -> None:
    assert answered(FakeGate(answer=Response(499, [HTML])), environ()).status == "499 Unknown"


@pytest.mark.parametrize("header", [("X-A", "1\r\nSet-Cookie: x=1"), ("X\nA", "1"), ("X-A", "\0"), ("X-A", "\u20ac")])
def test_a_header_that_would_split_the_answer_is_never_sent(header: tuple[str, str]) -> None:
    result = answered(FakeGate(answer=Response(200, [header])), environ())
    assert result.status.startswith("500 ")
    assert header not in result.headers


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


class Source(io.BytesIO):
    """An input that blocks (here: fails) when it is read past its declared end."""

    def __init__(self, data: bytes, end: int) -> None:
        super().__init__(data)
        self.end = end

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 <= size <= self.end - self.tell(), "read past the end of the request"
        return super().read(min(size, 3))


def read_of(**extra: Any) -> tuple[str, bytes]:
    result = call_wsgi(JITMiddleware.with_gate(unreachable_app, FakeGate(deciding=reading())), environ("POST", **extra))
    return result.status[:3], result.body


def test_a_body_of_ours_is_read_to_its_declared_end_and_no_further() -> None:
    source = Source(b"0123456789 next request", 10)
    assert read_of(**{"wsgi.input": source, "CONTENT_LENGTH": "10"}) == ("200", b"0123456789")


def test_a_body_that_is_declared_too_large_is_not_read() -> None:
    source = Source(b"x" * 11, 0)
    assert read_of(**{"wsgi.input": source, "CONTENT_LENGTH": "11"}) == ("413", b"body_too_large")
    assert read_of(**{"wsgi.input": source, "CONTENT_LENGTH": "9" * 5000}) == ("413", b"body_too_large")


@pytest.mark.parametrize("length", ["-1", "+1", "1_0", "٣", "0x1", " 1", "1.0", "nan"])
def test_a_malformed_content_length_is_refused(length: str) -> None:
    assert read_of(**{"wsgi.input": Source(b"", 0), "CONTENT_LENGTH": length}) == ("400", b"content_length_invalid")


def test_a_body_that_breaks_off_is_refused() -> None:
    assert read_of(**{"wsgi.input": io.BytesIO(b"012"), "CONTENT_LENGTH": "10"}) == ("400", b"body_incomplete")


def test_without_a_length_there_is_no_body() -> None:
    assert read_of(**{"wsgi.input": Source(b"next request", 0)}) == ("200", b"")
    assert read_of(**{"wsgi.input": Source(b"next request", 0), "CONTENT_LENGTH": ""}) == ("200", b"")


def test_a_chunked_body_needs_a_server_that_ends_it() -> None:
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked"}
    assert read_of(**chunked, **{"wsgi.input": Source(b"x", 0)}) == ("411", b"length_required")
    ended = {"wsgi.input_terminated": True}
    assert read_of(**chunked, **ended, **{"wsgi.input": io.BytesIO(b"0123456789")}) == ("200", b"0123456789")
    assert read_of(**chunked, **ended, **{"wsgi.input": io.BytesIO(b"0123456789+")}) == ("413", b"body_too_large")


def test_of_a_body_that_was_too_large_no_part_is_taken_for_the_whole() -> None:
    async def decide(request: Request) -> Decision:
        for limit in (10, 100):
            with pytest.raises(RequestError, match="body_too_large"):
                await request.read_body(limit)
        return Respond(Response(200, [HTML], b"refused twice"))

    extra: dict[str, Any] = {"wsgi.input_terminated": True, "wsgi.input": io.BytesIO(b"x" * 50)}
    result = call_wsgi(JITMiddleware.with_gate(unreachable_app, FakeGate(deciding=decide)), environ("POST", **extra))
    assert result.body == b"refused twice"


def test_a_client_that_leaves_during_its_body_is_refused_without_a_traceback() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("connection reset")

    assert read_of(**{"wsgi.input": Broken(), "CONTENT_LENGTH": "3"}) == ("400", b"body_unreadable")


# --- failures -----------------------------------------------------------------------------------------------------


def failing(error: Exception) -> Callable[[Request], Any]:
    async def decide(request: Request) -> Decision:
        raise error

    return decide


def test_a_failure_of_ours_shows_a_reference_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("SELECT secret-token")
    error.__cause__ = OSError("password=hunter2")
    with caplog.at_level(logging.ERROR, "jit_middleware"):
        result = answered(FakeGate(deciding=failing(error)), environ())
    assert result.status == "500 Internal Server Error"
    assert ("Cache-Control", "no-store") in result.headers
    page = result.body.decode()
    reference = page.partition("Reference: ")[2].partition("<")[0]
    assert len(reference) >= 12
    assert reference in caplog.text
    assert "builtins.ValueError at " in caplog.text
    assert "builtins.OSError at" in caplog.text
    for secret in ("secret-token", "hunter2", "Traceback", "ValueError"):
        assert secret not in page
    assert "secret-token" not in caplog.text
    assert "hunter2" not in caplog.text


def test_a_failure_on_the_hot_path_does_not_let_the_request_pass() -> None:
    gate = FakeGate("cached")
    gate.admit = failing_admit  # type: ignore[method-assign]
    assert answered(gate, environ()).status == "500 Internal Server Error"


def failing_admit(method: str, path: str, cookie: str) -> None:
    raise KeyError(method)


def test_a_port_that_needs_an_event_loop_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    import asyncio

    async def decide(request: Request) -> Decision:
        await asyncio.sleep(1)
        raise AssertionError

    result = answered(FakeGate(deciding=decide), environ())
    assert result.status == "500 Internal Server Error"
    assert "RuntimeError" in caplog.text


# --- start --------------------------------------------------------------------------------------------------------


def test_the_gate_is_started_once_by_the_first_requests_that_need_it() -> None:
    class Slow(FakeGate):
        async def start(self) -> None:
            threading.Event().wait(0.02)
            await super().start()

    gate = Slow("decided")
    middleware = JITMiddleware.with_gate(echo, gate)
    threads = [threading.Thread(target=call_wsgi, args=(middleware, environ())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gate.log == ["start"]
    assert len(gate.requests) == 8


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [HTML])
    return [b""]


def test_a_request_admitted_from_the_cache_starts_nothing() -> None:
    gate = FakeGate("cached")
    seen_by_app(gate, environ())
    assert gate.log == []


def test_a_forked_worker_starts_its_own_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = FakeGate("decided")
    middleware = JITMiddleware.with_gate(echo, gate)
    call_wsgi(middleware, environ())
    monkeypatch.setattr(os, "getpid", lambda: 999_999)
    call_wsgi(middleware, environ())
    call_wsgi(middleware, environ())
    assert gate.log == ["start", "start"]


def test_a_database_that_is_down_at_start_leaves_the_decision_to_the_gate() -> None:
    gate = FakeGate("decided")
    gate.start_failure = StoreUnavailable("database")
    middleware = JITMiddleware.with_gate(echo, gate)
    assert call_wsgi(middleware, environ()).status == "200 OK"
    call_wsgi(middleware, environ())
    assert gate.log == ["start"], "a queue of requests does not ask a dead database one by one"


def test_a_wrong_configuration_at_start_is_an_error_page_without_its_detail(caplog: pytest.LogCaptureFixture) -> None:
    gate = FakeGate("decided")
    gate.start_failure = ConfigurationError([Fault("JIT_DATABASE_URL", "the schema is old.", "migrate.")])
    result = answered(gate, environ())
    assert result.status == "500 Internal Server Error"
    assert b"schema" not in result.body
    assert "the schema is old." in caplog.text


# --- shape --------------------------------------------------------------------------------------------------------


def test_attributes_of_the_app_shine_through() -> None:
    class App:
        def __init__(self) -> None:
            self.config = {"DEBUG": False}

        def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
            return echo(environ, start_response)

    app = App()
    middleware = JITMiddleware.with_gate(app, FakeGate())
    assert middleware.config is app.config
    assert middleware.app is app
    with pytest.raises(AttributeError):
        _ = middleware.nonsense
    with pytest.raises(AttributeError):
        _ = JITMiddleware.__new__(JITMiddleware).config  # a copy in the making does not recurse
