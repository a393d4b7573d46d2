"""The ASGI edge: translates a scope into a request and a decision into an answer, and keeps out of the way otherwise.

A request that goes on to the app reaches it with a copied scope: no message is read, held back or rewritten. What stays
open for a signed-in person, a websocket or a response in parts, ends with the session (:mod:`jit_middleware.watching`);
anonymous requests get the server's own ``receive`` and ``send``. Lifespan messages pass through in order, with our
start before the app's startup and our end after its shutdown; scope types we do not know go to the app untouched.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from types import MethodType
from typing import TYPE_CHECKING, Final, Self, TypeAlias, Unpack

from jit_middleware.assembly import Ports, assemble
from jit_middleware.bridge import ASGIApplication, Message, OnItsWay, Receive, Scope, Send, StartOnce
from jit_middleware.edge import LOGGER, failure, framed, report
from jit_middleware.errors import AdapterError, JITError, RequestError
from jit_middleware.http.messages import Decision, PassThrough, Request, Respond, Response
from jit_middleware.http.navigation import kind_of
from jit_middleware.http.paths import below_mount
from jit_middleware.injection import ANONYMOUS_SCOPE
from jit_middleware.settings import Settings
from jit_middleware.system import SystemClock, SystemTokens

if TYPE_CHECKING:
    from jit_middleware.gate import Gate
    from jit_middleware.http.messages import Basis
    from jit_middleware.noticing import Manner
    from jit_middleware.ports import AsyncUserStore, UserStore
    from jit_middleware.watching import Socket

__all__ = ["ASGIApplication", "JITMiddleware"]

Headers: TypeAlias = "list[tuple[bytes, bytes]]"
#: Header names as they came; where the one Cookie header is (or ``_NO_COOKIE``, ``_ODD``); where Accept is, or -1; and
#: what followed from the Accept header that came last with them, if that was not too long to keep.
Shape: TypeAlias = "tuple[list[bytes], int, int, Manner]"

#: The ASGI specification wants lower case; a server or test client that sends what it got must not show our cookies.
_COOKIE: Final = frozenset({b"cookie", b"Cookie", b"COOKIE"})
_UPGRADE: Final = frozenset({b"upgrade", b"Upgrade", b"UPGRADE"})
_LOOKED_AT: Final = _UPGRADE | _COOKIE - {b"cookie"}
_REQUESTS: Final = frozenset({"http", "websocket"})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_NAME_OF: Final = itemgetter(0)
_NO_COOKIE: Final = -1
_ODD: Final = -2
_SHAPES_KEPT: Final = 1024
_LONGEST_SHAPE: Final = 1024
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
        from jit_middleware.noticing import Watchers  # which needs an event loop's library: whoever serves has it

        self.app = app
        self.gate = gate
        self._watchers = Watchers(gate.watch)
        # By all the names; and the last one of each length, which is found without a hash of every name.
        self._shapes: dict[tuple[bytes, ...], int] = {}
        lately: dict[int, Shape] = {}
        unknown: Shape = ([], -1, -1, self._watchers.manner(b""))
        # One attribute for the hot path: a class with __getattr__ pays for each that it reads.
        self._hot = (app, gate.admit, lately, unknown, unknown[3], self._watchers.manner)
        self._start = StartOnce(gate.start, SystemClock(), "asgi")

    # The hot path, in one piece: each call more would cost every request a twentieth of what it may.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app, admit, lately, unknown, manner, manner_of = self._hot
        headers: Headers | None = None
        basis: Basis | None = None
        inner = scope
        try:
            # Other methods are first checked for cross-site forgery.
            if scope["type"] == "http" and scope["method"] in ("GET", "HEAD", "OPTIONS"):
                headers = [*scope["headers"]]
                # Clients send the same header names again and again: what follows from them is looked up.
                names = [*map(_NAME_OF, headers)]
                known, place, accept, manner = lately.get(len(names), unknown)
                if known != names:
                    _, place, _, manner = self._shape(names, headers)
                elif accept >= 0 and headers[accept][1] != manner[0]:
                    manner = manner_of(headers[accept][1])
                if place >= 0:
                    root: str | None = scope.get("root_path")
                    passed = admit(below_mount(scope["path"], root) if root else scope["path"], headers[place][1])
                    if passed is not None and passed.basis is not None:
                        basis = passed.basis
                        # A copy: outer layers and the server keep the scope they made (ASGI, "Middleware").
                        inner = {**scope, **(passed.shown or _shown(passed))}
                        inner["headers"] = headers
                        if passed.kept is None:
                            del headers[place]
                        else:
                            headers[place] = passed.kept
                        headers += passed.added
        except Exception as error:  # noqa: BLE001 - the edge is the last resort
            await _Answer(failure(error, SystemTokens())).give(scope, receive, send)
            return
        if basis is None:
            considered = await self._consider(scope, headers, receive, send)
            if considered is None:
                return
            inner, basis, manner = considered
        response: OnItsWay = [0.0, None, basis, send]
        _, notice, hears = manner
        receive = self._watchers.hearing(response, receive) if hears else receive
        try:
            await app(inner, receive, MethodType(notice, response))
        except BaseException as error:
            self._watchers.over(response, error)
            raise
        response[0] = -1.0  # noticing.OVER: a constant costs nothing to look up
        if response[1] is not None:
            response[1].close(None)

    async def _consider(
        self, scope: Scope, headers: Headers | None, receive: Receive, send: Send
    ) -> tuple[Scope, Basis, Manner] | None:
        """Deal with every other request, whose ``headers`` may have been read already; only where the answer is to be
        watched: how the app sees it, what it stands on, and how the answer is noticed."""
        kind: str = scope["type"]
        if kind not in _REQUESTS:
            await self._pass_on(scope, receive, send)
            return None
        inner, basis, manner = scope, None, None
        answer: _Answer | None = None
        try:
            headers = list(scope["headers"]) if headers is None else headers
            _, place, _, manner = self._shape([name for name, _ in headers], headers)
            decision = await self._decide(scope, headers, place, receive)
            if isinstance(decision, Respond):
                answer = _Answer(decision.response)
            else:
                inner, basis = self._seen_by_app(scope, headers, place, decision), decision.basis
        except Exception as error:  # noqa: BLE001 - the edge is the last resort
            answer = _Answer(failure(error, SystemTokens()))
        if answer is not None:
            await answer.give(scope, receive, send)
        elif basis is None or manner is None:
            await self.app(inner, receive, send)
        elif kind == "http":
            return inner, basis, manner
        else:
            await self._serve_websocket(inner, self._watchers.socket(basis, receive, send))
        return None

    async def _serve_websocket(self, scope: Scope, socket: Socket) -> None:
        try:
            await self.app(scope, socket.receive, socket.send)
        except BaseException as error:
            if not await socket.close(error):
                raise
        else:
            await socket.close(None)

    def _shape(self, names: list[bytes], headers: Headers) -> Shape:
        """Where the one Cookie header is; ``_NO_COOKIE``; or ``_ODD``: go through the headers. And what Accept says."""
        _, _, lately, unknown, _, manner_of = self._hot
        key = tuple(names)
        place = self._shapes.get(key)
        if place is None:
            count = names.count(b"cookie")
            is_odd = count > 1 or not self.gate.scrubber.are_clean(names) or not _LOOKED_AT.isdisjoint(names)
            place = _ODD if is_odd else names.index(b"cookie") if count else _NO_COOKIE
            if len(self._shapes) >= _SHAPES_KEPT:
                self._shapes.clear()
                lately.clear()
        accept = names.index(b"accept") if b"accept" in names else -1
        shape = names, place, accept, manner_of(headers[accept][1] if accept >= 0 else b"")
        if sum(map(len, names)) <= _LONGEST_SHAPE:
            self._shapes[key] = place
            lately[len(names)] = shape if len(shape[3][0]) <= _LONGEST_SHAPE else (names, place, accept, unknown[3])
        return shape

    def _seen_by_app(self, scope: Scope, headers: Headers, place: int, passed: PassThrough) -> Scope:
        """A copy, without what is forged and with what the app is to see; ``headers`` are ours already."""
        inner: Scope = {**scope, **(passed.shown or _shown(passed))}
        if place >= 0:
            del headers[place]
        elif place == _ODD:
            headers = self.gate.scrubber.clean_headers([pair for pair in headers if pair[0] not in _COOKIE])
        if passed.kept is not None:
            headers.append(passed.kept)
        inner["headers"] = [*headers, *passed.added]
        if passed.admission is None:
            inner.pop("jit.user", None)
            inner.pop("jit.session", None)
        return inner

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

    async def _decide(self, scope: Scope, headers: Headers, place: int, receive: Receive) -> Decision:
        raw = headers[place][1] if place >= 0 else b"" if place == _NO_COOKIE else _cookies(headers)
        may_be_odd = place == _ODD and scope["type"] == "http" and scope["method"] in _SAFE
        if may_be_odd and _UPGRADE.isdisjoint(map(_NAME_OF, headers)):
            passed = self.gate.admit(below_mount(scope["path"], scope.get("root_path") or ""), raw)
            if passed is not None:
                return passed
        if not self._start.is_done():
            try:
                await self._start()
            except AdapterError as error:
                # The gate itself says what it can still serve (health) and refuses the rest.
                LOGGER.warning("not started yet: %s", error)
        return await self.gate.decide(_request(scope, headers, raw.decode("latin-1"), receive))

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


def _shown(passed: PassThrough) -> dict[str, object]:
    """What is put over the scope; and which headers: the app's own cookies, and who is there."""
    admission = passed.admission
    passed.kept = (b"cookie", passed.cookie.encode("latin-1")) if passed.cookie else None
    passed.added = () if admission is None else admission.headers
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

    async def give(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request; the body of an answer to HEAD stays here (RFC 9110 §9.3.2). Refuse a websocket before
        it is accepted: with this answer where the server can send one, else with 403."""
        if scope["type"] == "http":
            await self._say("http.response", b"" if scope.get("method") == "HEAD" else self._body, send)
            return
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
    method = scope.get("method", "GET")  # a websocket handshake is a GET
    upgrade = [value for name, value in text if name == "upgrade"] if scope["type"] == "http" else ["websocket"]
    return Request(
        kind=kind_of(method, upgrade),
        method=method,
        path=below_mount(scope["path"], scope.get("root_path") or ""),
        query=bytes(scope.get("query_string", b"")).decode("latin-1"),
        headers=text,
        cookie=cookie,
        client=str(next(iter(client))) if client else None,
        read_body=_Body(scope, receive).read,
    )


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
