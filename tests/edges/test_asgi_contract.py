"""The ASGI specification, point by point, for connections that go on to the app: no message is read, held back or changed.

Each point runs for a request admitted from the cache, one admitted after a look-up and an anonymous one.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from jit_middleware.asgi import JITMiddleware
from tests.asgi_lint import lint
from tests.edges.asgi_tools import (
    BODY,
    REQUEST,
    START,
    Wrap,
    nothing_received,
    nothing_sent,
    run,
    scope,
    told,
    websocket,
)
from tests.edges.fakes import OURS, WAYS, FakeGate
from tests.worlds import call_asgi


@pytest.fixture(params=WAYS)
def wrap(request: pytest.FixtureRequest) -> Wrap:
    return lambda app: JITMiddleware.with_gate(app, FakeGate(request.param))


# --- messages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_receive_and_send_are_the_servers_own_for_nobody_in_particular(kind: str) -> None:
    def wrap(app: Any) -> JITMiddleware:
        return JITMiddleware.with_gate(app, FakeGate("anonymous"))  # type: ignore[arg-type]

    _, receive, send = told(wrap, scope() if kind == "http" else websocket())
    assert receive is nothing_received
    assert send is nothing_sent


def test_receive_is_the_servers_own_for_an_ordinary_request(wrap: Wrap) -> None:
    assert told(wrap, scope())[1] is nothing_received


@pytest.mark.parametrize(
    "messages",
    [
        [START, BODY],
        [{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}],
        [{"type": "http.response.start", "status": 200, "headers": iter([(b"b", b"2"), (b"b", b"1")])}, BODY],
        [{"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}, START, BODY],
        [{"type": "http.response.push", "path": "/a.css", "headers": []}, START, BODY],
        [{"type": "http.response.debug", "info": {"template": object()}}, START, BODY],
        [START, {"type": "http.response.pathsend", "path": "/srv/file"}],
        [START, {"type": "http.response.zerocopysend", "file": 7, "offset": 1, "count": 2, "more_body": False}],
        [{**START, "trailers": True}, BODY, {"type": "http.response.trailers", "headers": [(b"t", b"1")]}],
        [START, {"type": "http.response.body", "body": b"", "more_body": True}, BODY],
        [{"type": "vendor.response.something", "any": "thing"}],
    ],
    ids=lambda messages: messages[-1]["type"] if len(messages) > 1 else "vendor",
)
def test_messages_of_the_app_pass_as_the_same_objects(wrap: Wrap, messages: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    sent = run(call_asgi(wrap(app), scope()))
    assert [id(message) for message in sent] == [id(message) for message in messages]


def test_messages_are_sent_when_the_app_sends_them(wrap: Wrap) -> None:
    async def story() -> None:
        go_on = asyncio.Event()
        sent: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await go_on.wait()
            await send(BODY)

        async def send(message: Any) -> None:
            sent.append(message)

        task = asyncio.create_task(wrap(app)(scope(), nothing_received, send))  # type: ignore[arg-type]
        while len(sent) < 2:
            await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        await task
        assert len(sent) == 3

    run(story())


def test_parts_of_the_request_body_arrive_one_by_one_and_untouched(wrap: Wrap) -> None:
    parts = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": memoryview(b"bc"), "more_body": True},
        {"type": "http.request", "body": bytearray(b"d"), "more_body": True},
        {"type": "http.request"},
    ]
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.extend([await receive() for _ in parts])
        await send(START)
        await send(BODY)

    run(call_asgi(wrap(app), scope("POST"), *parts))
    assert [id(message) for message in got] == [id(part) for part in parts]


def test_the_app_hears_of_a_disconnect_while_it_streams(wrap: Wrap) -> None:
    async def story() -> list[Any]:
        heard: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def listen() -> None:
                while (message := await receive())["type"] != "http.disconnect":
                    heard.append(message["type"])
                heard.append("http.disconnect")

            listening = asyncio.create_task(listen())
            await send(START)
            while not listening.done():
                await send({"type": "http.response.body", "body": b".", "more_body": True})
                await asyncio.sleep(0)

        inbox: asyncio.Queue[Any] = asyncio.Queue()
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) == 5:
                inbox.put_nowait({"type": "http.disconnect"})

        inbox.put_nowait(REQUEST)
        await wrap(app)(scope(), inbox.get, send)
        return heard

    assert run(story()) == ["http.request", "http.disconnect"]


def test_an_oserror_of_send_reaches_the_app(wrap: Wrap) -> None:
    caught: list[OSError] = []
    gone = ConnectionResetError("client left")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(START)
        except OSError as error:
            caught.append(error)

    async def send(message: Any) -> None:
        raise gone

    run(wrap(app)(scope(), nothing_received, send))
    assert caught == [gone]


@pytest.mark.parametrize("error", [ZeroDivisionError("the app's own"), asyncio.CancelledError("the server's")])
def test_the_apps_exception_comes_out_as_it_is(wrap: Wrap, error: BaseException) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    async def story() -> None:
        with pytest.raises(type(error)) as caught:
            await wrap(app)(scope(), nothing_received, nothing_sent)
        assert caught.value is error

    asyncio.run(story())


def test_a_cancelled_request_cancels_the_app(wrap: Wrap) -> None:
    async def story() -> list[str]:
        diary: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            diary.append("begun")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                diary.append("cancelled")
                raise

        task = asyncio.create_task(wrap(app)(scope(), nothing_received, nothing_sent))  # type: ignore[arg-type]
        while not diary:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return diary

    assert run(story()) == ["begun", "cancelled"]


def test_work_after_the_body_is_waited_for(wrap: Wrap) -> None:
    diary: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(BODY)
        assert (await receive())["type"] == "http.disconnect"
        await asyncio.sleep(0.01)
        diary.append("background work done")

    run(call_asgi(wrap(app), scope()))
    assert diary == ["background work done"]


def test_an_app_that_never_answers_is_left_to_the_server(wrap: Wrap) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert run(call_asgi(wrap(app), scope())) == []


def test_interleaved_requests_do_not_meet(wrap: Wrap) -> None:
    async def story() -> list[bytes]:
        waiting = 0
        all_here = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal waiting
            waiting += 1
            if waiting == 8:
                all_here.set()
            await all_here.wait()
            await send(START)
            await send({**BODY, "body": scope["query_string"]})

        middleware = wrap(app)
        answers = await asyncio.gather(
            *(call_asgi(middleware, scope(url=f"http://app.test/?{number}")) for number in range(8))
        )
        return [sent[1]["body"] for sent in answers]

    assert run(story()) == [str(number).encode() for number in range(8)]


def test_context_variables_reach_the_app(wrap: Wrap) -> None:
    variable: ContextVar[str] = ContextVar("variable")
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(variable.get())
        variable.set("by the app")

    async def story() -> str:
        variable.set("by an outer layer")
        await wrap(app)(scope(), nothing_received, nothing_sent)
        return variable.get()

    assert run(story()) == "by the app"
    assert seen == ["by an outer layer"]


# --- the scope ----------------------------------------------------------------------------------------------------

OWNED = {"headers", "user", "auth", "jit.user", "jit.session"}


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_the_scope_is_a_copy_and_the_servers_stays_as_it_was(wrap: Wrap, kind: str) -> None:
    state, tls = {"pool": object()}, {"tls_version": 772}
    extra = {"state": state, "extensions": {"tls": tls, "http.response.pathsend": {}}, "vendor.key": object()}
    given = scope(**extra) if kind == "http" else websocket(**extra)
    before, headers = dict(given), list(given["headers"])
    seen, _, _ = told(wrap, given)
    seen["path"] = "/changed by the app"
    seen["headers"].clear()
    assert seen is not given
    assert type(seen) is dict
    assert given == before
    assert given["headers"] == headers
    assert seen["state"] is state
    assert {key: value for key, value in seen.items() if key not in OWNED | {"path"}} == {
        key: value for key, value in before.items() if key not in OWNED | {"path"}
    }


@pytest.mark.parametrize(
    "path",
    ["/a/../b", "//admin", "/a;v=1", "/a%252Fb", "/a%2Fb", "/zo%C3%AB", "/%FF", "/a%00b", "/legacy", "/legacy/x"],
)
@pytest.mark.parametrize("root", ["", "/legacy"])
def test_paths_and_query_are_as_they_came(wrap: Wrap, path: str, root: str) -> None:
    given = scope(url=f"http://app.test{path}?a=%C3%AB&a=2", root_path=root)
    seen, _, _ = told(wrap, given)
    for key in ("path", "raw_path", "root_path", "query_string", "scheme", "client", "server", "http_version"):
        assert seen[key] == given[key]


def test_optional_keys_may_be_absent(wrap: Wrap) -> None:
    given = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/"}
    given |= {"query_string": b"", "headers": []}
    seen, _, _ = told(wrap, dict(given))
    assert seen.keys() - OWNED == given.keys() - OWNED
    empty = dict.fromkeys(("client", "server", "raw_path", "extensions", "state"))
    seen, _, _ = told(wrap, {**given, **empty})
    assert {key: seen[key] for key in empty} == empty


def test_cookie_headers_may_be_several(wrap: Wrap) -> None:
    headers = [(b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", OURS.encode()), (b"cookie", b"b=2"), (b"x-a", b"2")]
    seen, _, _ = told(wrap, scope() | {"headers": headers})
    assert [pair for pair in seen["headers"] if pair[0] == b"x-a"] == [(b"x-a", b"1"), (b"x-a", b"2")]
    assert [value for name, value in seen["headers"] if name == b"cookie"] == [b"a=1; b=2"]


def test_our_cookie_alone_leaves_no_cookie_header(wrap: Wrap) -> None:
    seen, _, _ = told(wrap, scope() | {"headers": [(b"cookie", OURS.encode()), (b"host", b"app.test")]})
    assert seen["headers"] == [(b"host", b"app.test")]


@pytest.mark.parametrize("make", [tuple, iter, lambda pairs: [list(pair) for pair in pairs]])
def test_request_headers_may_be_any_iterable_of_pairs(wrap: Wrap, make: Any) -> None:
    seen, _, _ = told(wrap, scope() | {"headers": make([(b"cookie", b"a=\xff"), (b"host", b"app.test")])})
    assert sorted(tuple(pair) for pair in seen["headers"]) == [(b"cookie", b"a=\xff"), (b"host", b"app.test")]


def test_the_linter_is_content(wrap: Wrap) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["body"] == b"payload"
        await send(START)
        await send({**BODY, "more_body": True})
        await send({"type": "http.response.body"})

    given = scope("POST", "http://app.test/zo%C3%AB?q=1")
    sent = run(call_asgi(lint(wrap(lint(app))), given, {**REQUEST, "body": b"payload"}))
    assert len(sent) == 3
