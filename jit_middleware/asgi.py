"""The ASGI edge: translates a scope into a request and a decision into an answer, and keeps out of the way otherwise.

A request that goes on to the app reaches it with a copied scope: no message is read, held back or rewritten. What stays
open for a signed-in person, a websocket or a response in parts, ends with the session (:mod:`jit_middleware.watching`);
anonymous requests get the server's own ``receive`` and ``send``. Lifespan messages pass through in order, with our
start before the app's startup and our end after its shutdown; scope types we do not know go to the app untouched.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Self, TypeAlias, Unpack

from jit_middleware.assembly import Ports, assemble
from jit_middleware.bridge import ASGIApplication, Message, Receive, Scope, Send, StartOnce
from jit_middleware.edge import LOGGER, failure, framed, report
from jit_middleware.errors import AdapterError, JITError, RequestError
from jit_middleware.http.messages import Decision, PassThrough, Request, Respond, Response
from jit_middleware.injection import ANONYMOUS_SCOPE
from jit_middleware.settings import Settings
from jit_middleware.system import SystemClock, SystemTokens
from jit_middleware.watching import Socket, Stream, Watchers, hearing

if TYPE_CHECKING:
    from jit_middleware.gate import Gate
    from jit_middleware.ports import AsyncUserStore, UserStore

__all__ = ["ASGIApplication", "JITMiddleware"]

Headers: TypeAlias = "list[tuple[bytes, bytes]]"

#: The ASGI specification wants lower case; a server or test client that sends what it got must not show our cookies.
_COOKIE: Final = frozenset({b"cookie", b"Cookie", b"COOKIE"})
_EVENTS: Final = b"text/event-stream"
_NAME_OF: Final = itemgetter(0)
_NO_COOKIE: Final = -1
_ODD: Final = -2
_SHAPES_KEPT: Final = 1024
_LONGEST_SHAPE: Final = 1024
#: Methods the gate may admit from its cache; all others are first checked for cross-site forgery.
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_REQUESTS: Final = frozenset({"http", "websocket"})
_CLOSING: Final = frozenset({"lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"})
_POLICY_VIOLATION: Final = 1008  # RFC 6455 §7.4.1
_INTERNAL_ERROR: Final = 1011


class JITMiddleware:
    """Single sign-on in front of an ASGI application.

    ::

        from jit_middleware.asgi import JITMiddleware

        app = JITMiddleware(app)  # settings from JIT_* variables
        app.add_middleware(JITMiddleware)  # or so, in Starlette and FastAPI

    ``users`` is a custom user store, sync or async; ``ports`` replace further parts of the assembly by name. Attributes
    that the middleware lacks are the wrapped application's. Raises ``ConfigurationError``.
    """

    app: ASGIApplication
    gate: Gate

    def __init__(
        self,
        app: ASGIApplication,
        settings: Settings | None = None,
        *,
        users: UserStore | AsyncUserStore | None = None,
        **ports: Unpack[Ports],
    ) -> None:
        self._stand(app, assemble(settings, world="asgi", users=users, **ports))

    @classmethod
    def with_gate(cls, app: ASGIApplication, gate: Gate) -> Self:
        """The middleware with a gate assembled elsewhere, which several applications may share."""
        middleware = cls.__new__(cls)
        middleware._stand(app, gate)
        return middleware

    def _stand(self, app: ASGIApplication, gate: Gate) -> None:
        self.app = app
        self.gate = gate
        # One attribute for the hot path: a class with __getattr__ pays for each that it reads.
        shapes: dict[tuple[bytes, ...], tuple[int, int]] = {}
        self._watchers = Watchers(gate.watch)
        self._hot = (app, gate.admit, gate.scrubber, shapes, self._watchers.noticing(), self._watchers.send)
        self._start = StartOnce(gate.start, SystemClock(), "asgi")

    # In one piece: each coroutine more would cost every request a twentieth of what it may.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: PLR0912, PLR0915
        app, admit, scrubber, shapes, notice, watched = self._hot
        kind: str = scope["type"]
        if kind not in _REQUESTS:
            await self._pass_on(scope, receive, send)
            return
        inner, basis, wants_events = scope, None, False
        try:
            received: Headers = list(scope["headers"])
            # Clients send the same header names again and again: what follows from them is looked up.
            names = tuple(map(_NAME_OF, received))
            shape, accept = shapes.get(names) or self._shape(names)
            raw = received[shape][1] if shape >= 0 else b"" if shape == _NO_COOKIE else _cookies(received)
            cookie = raw.decode("latin-1")
            decision: Decision | None = None
            if kind == "http" and scope["method"] in _SAFE:
                path: str = scope["path"]
                root: str | None = scope.get("root_path")
                decision = admit(_below_mount(path, root) if root else path, cookie)
            if decision is None:
                decision = await self._decide(scope, received, cookie, receive)
            if isinstance(decision, Respond):
                answer = _Answer(decision.response)
            else:
                basis = decision.basis
                wants_events = accept >= 0 and received[accept][1] == _EVENTS
                if shape >= 0:
                    del received[shape]
                elif shape == _ODD:
                    received = scrubber.clean_headers([pair for pair in received if pair[0] not in _COOKIE])
                inner, answer = _seen_by_app(scope, received, decision), None
        except Exception as error:  # noqa: BLE001 - the edge is the last resort
            answer = _Answer(failure(error, SystemTokens()))
        if answer is None:
            if basis is None:
                await app(inner, receive, send)
            elif kind == "http":
                streams: list[Stream] = []
                if wants_events:
                    receive, notice = hearing(streams, receive), watched
                try:
                    await app(inner, receive, partial(notice, streams, basis, send))
                except BaseException as error:
                    if streams:
                        streams[0].close(error)
                    raise
                if streams:
                    streams[0].close(None)
            else:
                await self._serve_websocket(inner, Socket(self._watchers.here(), basis, receive, send))
        elif kind == "http":
            await answer.send(scope["method"], send)
        else:
            await answer.refuse(scope, receive, send)

    async def _serve_websocket(self, scope: Scope, socket: Socket) -> None:
        try:
            await self.app(scope, socket.receive, socket.send)
        except BaseException as error:
            if not await socket.close(error):
                raise
        else:
            await socket.close(None)

    def _shape(self, names: tuple[bytes, ...]) -> tuple[int, int]:
        """Where the one Cookie header is among everyday names; ``_NO_COOKIE``; or ``_ODD``: go through the headers. And
        where the Accept header is, or -1."""
        _, _, scrubber, shapes, _, _ = self._hot
        count = names.count(b"cookie")
        if count > 1 or not scrubber.are_ordinary(names):
            shape = _ODD
        else:
            shape = names.index(b"cookie") if count else _NO_COOKIE
        found = shape, names.index(b"accept") if b"accept" in names else -1
        if sum(map(len, names)) <= _LONGEST_SHAPE:
            if len(shapes) >= _SHAPES_KEPT:
                shapes.clear()
            shapes[names] = found
        return found

    def __getattr__(self, name: str) -> object:
        if name == "app" or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        return getattr(self.app, name)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is no request: the lifespan, and whatever else a server may know."""
        if scope["type"] == "lifespan":
            send = self._ending_with(send)
            receive = self._starting_with(receive, send)
        await self.app(scope, receive, send)

    async def _decide(self, scope: Scope, headers: Headers, cookie: str, receive: Receive) -> Decision:
        if not self._start.is_done():
            try:
                await self._start()
            except AdapterError as error:
                # The gate itself says what it can still serve (health) and refuses the rest.
                LOGGER.warning("not started yet: %s", error)
        return await self.gate.decide(_request(scope, headers, cookie, receive))

    def _starting_with(self, receive: Receive, send: Send) -> Receive:
        """``receive`` for a lifespan: the gate is started before the app hears of the startup.

        A wrong configuration stops the server here. A database that is down does not: the first requests try again.
        """

        async def receive_started() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._start()
                except AdapterError as error:
                    LOGGER.warning("not started yet: %s", error)
                except Exception as error:
                    said = str(error) if isinstance(error, JITError) else type(error).__name__
                    await send({"type": "lifespan.startup.failed", "message": said})
                    raise
            return message

        return receive_started

    def _ending_with(self, send: Send) -> Send:
        """``send`` for a lifespan: the gate is closed before the server hears of the end, and may stop the loop."""
        failed = False

        async def send_closed(message: Message) -> None:
            nonlocal failed
            if failed and message["type"].startswith("lifespan.startup."):
                return  # the app's own word on the failure that we have reported already
            if message["type"] in _CLOSING:
                failed = message["type"] == "lifespan.startup.failed"
                await self._close()
            await send(message)

        return send_closed

    async def _close(self) -> None:
        self._start.forget()
        self._watchers.close()
        try:
            await self.gate.close()
        except Exception as error:  # noqa: BLE001 - the edge is the last resort
            report(error, SystemTokens())


# --- scope ⇄ messages ---------------------------------------------------------------------------------------------


def _seen_by_app(scope: Scope, headers: Headers, passed: PassThrough) -> Scope:
    """A copy: outer layers and the server keep the scope they made (ASGI specification, "Middleware")."""
    shown = passed.shown or _shown(passed)
    inner: Scope = {**scope, **shown}
    headers.extend(passed.added)
    inner["headers"] = headers
    if passed.admission is None:
        inner.pop("jit.user", None)
        inner.pop("jit.session", None)
    return inner


def _shown(passed: PassThrough) -> dict[str, object]:
    """What is put over the scope, and the headers to add: the app's own cookies, and who is there."""
    admission = passed.admission
    cookies = ((b"cookie", passed.cookie.encode("latin-1")),) if passed.cookie else ()
    passed.added = cookies if admission is None else (*cookies, *admission.headers)
    passed.shown = dict(ANONYMOUS_SCOPE if admission is None else admission.scope)
    return passed.shown


def _cookies(headers: Headers) -> bytes:
    """All cookies as one header: HTTP/2 may split it (RFC 9113 §8.2.3)."""
    return b"; ".join(value for name, value in headers if name in _COOKIE)


class _Answer:
    """A whole answer of ours, framed."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, response: Response) -> None:
        self._status = response.status
        self._headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in framed(response)]
        self._body = response.body

    async def send(self, method: str, send: Send) -> None:
        """Answer an HTTP request; the body of an answer to HEAD stays here (RFC 9110 §9.3.2)."""
        await self._say("http.response", b"" if method == "HEAD" else self._body, send)

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a websocket before it is accepted: with this answer where the server can send one, else with 403."""
        if (await receive())["type"] != "websocket.connect":
            return
        if "websocket.http.response" in (scope.get("extensions") or {}):
            await self._say("websocket.http.response", self._body, send)
            return
        code = _POLICY_VIOLATION if self._status < 500 else _INTERNAL_ERROR
        await send({"type": "websocket.close", "code": code, "reason": ""})

    async def _say(self, kind: str, body: bytes, send: Send) -> None:
        try:
            await send({"type": f"{kind}.start", "status": self._status, "headers": self._headers})
            await send({"type": f"{kind}.body", "body": body})
        except OSError:
            LOGGER.debug("the client left before our answer")


def _request(scope: Scope, headers: Headers, cookie: str, receive: Receive) -> Request:
    """The request for the gate; ``cookie`` is what the Cookie headers among ``headers`` say together."""
    text = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers if name not in _COOKIE]
    if cookie:
        text.append(("cookie", cookie))
    client: Iterable[object] | None = scope.get("client")
    return Request(
        kind=scope["type"],
        method=scope.get("method", "GET"),  # a websocket handshake is a GET
        path=_below_mount(scope["path"], scope.get("root_path") or ""),
        query=bytes(scope.get("query_string", b"")).decode("latin-1"),
        headers=text,
        cookie=cookie,
        client=str(next(iter(client))) if client else None,
        read_body=_Body(scope, receive).read,
    )


def _below_mount(path: str, root: str) -> str:
    """The path without ``root_path``, which by the specification it includes, and on some servers does not."""
    root = root.rstrip("/")
    return path[len(root) :] if path == root or path.startswith(f"{root}/") else path


class _Body:
    """The request body, read for our own endpoints only."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._kind: str = scope["type"]
        self._receive = receive
        self._read: bytes | None = None

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises ``RequestError`` beyond ``limit`` bytes, or when the client leaves before its end."""
        if self._read is None:
            self._read = b"" if self._kind == "websocket" else await self._take(limit)
        if len(self._read) > limit:
            raise RequestError("body_too_large", status=413)
        return self._read

    async def _take(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise RequestError("body_incomplete")
            part = bytes(message.get("body", b""))
            size += len(part)
            if size > limit:
                raise RequestError("body_too_large", status=413)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)
