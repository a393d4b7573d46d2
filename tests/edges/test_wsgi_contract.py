"""PEP 3333, point by point, for requests that go on to the app: what the app and the server do to each other stays theirs.

Each point runs for a request admitted from the cache, one admitted after a look-up and an anonymous one, and each with
``wsgiref.validate`` or ``webtest.lint`` around the middleware where the point allows it.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from jit_middleware.wsgi import JITMiddleware
from tests.edges.fakes import OURS, WAYS, FakeGate
from tests.edges.second_opinion import webtest_lint
from tests.worlds import Outgoing, call_wsgi, environ_of

TEXT = [("Content-Type", "text/plain")]
Wrap = Callable[[Any], JITMiddleware]


@pytest.fixture(params=WAYS)
def wrap(request: pytest.FixtureRequest) -> Wrap:
    return lambda app: JITMiddleware.with_gate(app, FakeGate(request.param))


def environ(method: str = "GET", url: str = "http://app.test/", body: bytes = b"", **extra: Any) -> dict[str, Any]:
    return environ_of(Outgoing(method, url, (("Cookie", f"a=1; {OURS}"),), body), **extra)


class Body:
    """An iterable that keeps a diary of how it is used."""

    def __init__(self, *parts: bytes, failing: Exception | None = None) -> None:
        self.parts = list(parts)
        self.failing = failing
        self.diary: list[str] = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.diary.append("next")
        if self.parts:
            return self.parts.pop(0)
        if self.failing is not None:
            raise self.failing
        raise StopIteration

    def close(self) -> None:
        self.diary.append("close")


def serving(body: Any, status: str = "200 OK", headers: list[tuple[str, str]] = TEXT) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, headers)
        return body

    return app


def refuse_start(*_: Any) -> Any:
    raise AssertionError("start_response of the server called")


# --- the iterable -------------------------------------------------------------------------------------------------


def test_the_iterable_is_the_same_object_for_nobody_in_particular() -> None:
    body = Body(b"x")
    gate: Any = FakeGate("anonymous")
    assert JITMiddleware.with_gate(serving(body), gate)(environ(), lambda *_: None) is body


@pytest.mark.parametrize("body", [[b"a"], (b"a",), b"a"], ids=["list", "tuple", "bytes"])
def test_a_whole_body_is_the_same_object(wrap: Wrap, body: Any) -> None:
    assert wrap(serving(body))(environ(), lambda *_: None) is body


def test_a_list_keeps_its_length(wrap: Wrap) -> None:
    body = [b"whole"]
    result = wrap(serving(body))(environ(), lambda *_: None)
    assert result is body
    assert len(result) == 1


def test_close_is_called_once_after_a_full_read(wrap: Wrap) -> None:
    body = Body(b"a", b"b")
    assert call_wsgi(wrap(serving(body)), environ()).body == b"ab"
    assert body.diary == ["next", "next", "next", "close"]


def test_close_is_called_once_when_the_server_aborts(wrap: Wrap) -> None:
    body = Body(b"a", b"b")
    iterable = wrap(serving(body))(environ(), lambda *_: None)
    assert next(iter(iterable)) == b"a"
    iterable.close()  # type: ignore[attr-defined]
    assert body.diary == ["next", "close"]


def test_close_is_called_once_when_the_body_fails(wrap: Wrap) -> None:
    body = Body(b"a", failing=OSError("disk"))
    with pytest.raises(OSError, match="disk"):
        call_wsgi(wrap(serving(body)), environ())
    assert body.diary == ["next", "next", "close"]


def test_iteration_is_lazy_and_blocks_are_not_joined(wrap: Wrap) -> None:
    body = Body(b"a", b"", b"b")
    iterable = wrap(serving(body))(environ(), lambda *_: None)
    assert body.diary == []
    assert list(iterable) == [b"a", b"", b"b"]


def test_start_response_from_inside_a_generator(wrap: Wrap) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("202 Accepted", TEXT)
        yield b"late"

    result = call_wsgi(validator(wrap(validator(app))), environ())
    assert (result.status, result.body) == ("202 Accepted", b"late")


def test_the_app_is_not_run_ahead_of_the_first_next(wrap: Wrap) -> None:
    ran: list[int] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        ran.append(1)
        start_response("200 OK", TEXT)
        yield b""

    iterable = wrap(app)(environ(), lambda *_: None)
    assert ran == []
    assert list(iterable) == [b""]


def test_a_file_wrapper_object_is_kept(wrap: Wrap) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"file"))

    result = wrap(app)(environ(**{"wsgi.file_wrapper": FileWrapper}), lambda *_: None)
    assert type(result) is FileWrapper


# --- start_response -----------------------------------------------------------------------------------------------


def test_start_response_is_the_servers_own(wrap: Wrap) -> None:
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(start_response)
        start_response("200 OK", TEXT)
        return []

    def start_response(*_: Any) -> None: ...

    wrap(app)(environ(), start_response)
    assert seen == [start_response]


def test_write_reaches_the_server(wrap: Wrap) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"by write, ")
        write(b"twice; ")
        return [b"then the iterable"]

    assert call_wsgi(validator(wrap(app)), environ()).body == b"by write, twice; then the iterable"


def test_exc_info_before_the_body_replaces_the_response(wrap: Wrap) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT, ("X-First", "1")])
        try:
            raise KeyError("late")
        except KeyError:
            start_response("500 Oops", TEXT, sys.exc_info())
        return [b"error page"]

    result = call_wsgi(validator(wrap(validator(app))), environ())
    assert (result.status, result.headers, result.body) == ("500 Oops", TEXT, b"error page")


def test_exc_info_after_the_body_is_raised_by_the_server(wrap: Wrap) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"begun"
        try:
            raise KeyError("too late")
        except KeyError:
            start_response("500 Oops", TEXT, sys.exc_info())

    with pytest.raises(KeyError, match="too late"):
        call_wsgi(wrap(app), environ())


def test_a_second_start_response_without_exc_info_is_not_hidden(wrap: Wrap) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        start_response("200 OK", TEXT)
        return []

    with pytest.raises(AssertionError, match="twice"):
        call_wsgi(wrap(app), environ())


def test_the_apps_exception_comes_out_as_it_is(wrap: Wrap) -> None:
    error = ZeroDivisionError("the app's own")

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        wrap(app)(environ(), refuse_start)
    assert caught.value is error


def test_header_order_duplicates_case_and_latin_1_are_kept(wrap: Wrap) -> None:
    headers = [("Set-Cookie", "b=2"), ("content-TYPE", "text/plain"), ("Set-Cookie", "a=1"), ("X-Name", "zo\xeb")]
    assert call_wsgi(validator(wrap(serving([b""], headers=headers))), environ()).headers == headers


@pytest.mark.parametrize("status", ["200 OK", "299 Very Odd / Text", "404 ", "599 Zürich"])
def test_an_odd_status_text_is_kept(wrap: Wrap, status: str) -> None:
    assert call_wsgi(wrap(serving([b""], status)), environ()).status == status


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_bodiless_answers_get_no_additions(wrap: Wrap, status: str) -> None:
    result = call_wsgi(validator(wrap(validator(serving([], status, [("ETag", '"1"')])))), environ())
    assert (result.headers, result.body) == ([("ETag", '"1"')], b"")


def test_head_is_asked_as_head(wrap: Wrap) -> None:
    seen: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ["REQUEST_METHOD"])
        start_response("200 OK", [*TEXT, ("Content-Length", "12")])
        return []

    result = call_wsgi(validator(wrap(validator(app))), environ("HEAD"))
    assert seen == ["HEAD"]
    assert ("Content-Length", "12") in result.headers


# --- the environ --------------------------------------------------------------------------------------------------


def seen_by(wrap: Wrap, given: dict[str, Any]) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", TEXT)
        return []

    wrap(app)(given, lambda *_: None)
    return seen[0]


def test_the_input_is_the_same_object_and_unread(wrap: Wrap) -> None:
    given = environ("POST", body=b"payload")
    seen = seen_by(wrap, given)
    assert seen["wsgi.input"] is given["wsgi.input"]
    assert seen["wsgi.input"].tell() == 0


def test_a_chunked_input_without_length_is_untouched(wrap: Wrap) -> None:
    source = io.BytesIO(b"chunks, decoded by the server")
    extra = {"wsgi.input": source, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    seen = seen_by(wrap, environ("POST", **extra))
    assert "CONTENT_LENGTH" not in seen
    assert seen["wsgi.input_terminated"] is True
    assert seen["wsgi.input"].read() == b"chunks, decoded by the server"


@pytest.mark.parametrize(
    "path", ["/a/../b", "//admin", "/a;v=1", "/a%252Fb", "/zo%C3%AB", "/%FF%FE", "/a%00b", "/" + "x" * 9000, "/a%0Db"]
)
def test_path_info_is_not_normalised(wrap: Wrap, path: str) -> None:
    given = environ(url=f"http://app.test{path}")
    assert seen_by(wrap, given)["PATH_INFO"] == given["PATH_INFO"]


def test_script_name_and_an_empty_path_info_are_kept(wrap: Wrap) -> None:
    given = environ_of(Outgoing("GET", "http://app.test/legacy"), "/legacy")
    seen = seen_by(wrap, given)
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/legacy", "")


def test_query_string_is_raw(wrap: Wrap) -> None:
    assert seen_by(wrap, environ(url="http://app.test/?a=%C3%AB&a=2&;+%00"))["QUERY_STRING"] == "a=%C3%AB&a=2&;+%00"


def test_the_environ_is_a_plain_dict_and_a_copy(wrap: Wrap) -> None:
    given = environ()
    before = dict(given)
    seen = seen_by(wrap, given)
    assert type(seen) is dict
    assert seen is not given
    assert given == before


def test_what_the_app_does_to_its_environ_does_not_reach_the_server(wrap: Wrap) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["PATH_INFO"] = environ["PATH_INFO"].lstrip("/")
        environ["wsgi.input"] = None
        del environ["HTTP_HOST"]
        start_response("200 OK", TEXT)
        return []

    given = environ(url="http://app.test/page")
    wrap(app)(given, lambda *_: None)
    assert given["PATH_INFO"] == "/page"
    assert given["wsgi.input"] is not None
    assert given["HTTP_HOST"] == "app.test"


def test_keys_we_do_not_own_are_kept_with_their_identity(wrap: Wrap) -> None:
    marker = object()
    extra = {"werkzeug.request": marker, "gunicorn.socket": marker, "HTTP_ORIGIN": "http://app.test", "HTTPS": "on"}
    given = environ(**extra)
    seen = seen_by(wrap, given)
    ours = {"HTTP_COOKIE", "REMOTE_USER", "AUTH_TYPE", "jit.user", "jit.session", "jit.is_live"}
    assert {key: value for key, value in seen.items() if key not in ours} == {
        key: value for key, value in given.items() if key not in ours
    }
    assert seen["werkzeug.request"] is marker


def test_our_cookie_is_hidden_and_the_apps_are_kept(wrap: Wrap) -> None:
    assert seen_by(wrap, environ())["HTTP_COOKIE"] == "a=1"
    assert "HTTP_COOKIE" not in seen_by(wrap, environ(HTTP_COOKIE=OURS))
    assert "HTTP_COOKIE" not in seen_by(wrap, environ(HTTP_COOKIE=""))


def test_requests_in_threads_do_not_meet(wrap: Wrap) -> None:
    together = threading.Barrier(8)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        together.wait(5)
        start_response("200 OK", TEXT)
        return [environ["QUERY_STRING"].encode()]

    middleware = wrap(app)
    bodies: dict[int, bytes] = {}

    def ask(number: int) -> None:
        bodies[number] = call_wsgi(middleware, environ(url=f"http://app.test/?{number}")).body

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == {number: str(number).encode() for number in range(8)}


def test_both_linters_are_content(wrap: Wrap) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(7)
        start_response("200 OK", [*TEXT, ("Content-Length", "7")])
        return [body]

    given = environ("POST", body=b"payload")
    served = webtest_lint(validator(wrap(webtest_lint(validator(app)))))
    result = call_wsgi(served, given)
    assert (result.body, result.errors) == (b"payload", "")
