"""Which ASGI responses are watched: those that go on, from the first sign that they do.

Theory of operation. A response becomes a :class:`~jit_middleware.watching.Stream` by its first body part that is not
its last; by its head, where the client asks for ``text/event-stream`` or the app says that this is what it sends; and
by whatever is sent on knowledge that has grown old meanwhile. What makes it one is judged before it is sent. Only the
answer to a write is spared that for as long as it follows its head at once: it must not be cut in the middle, however
long the write took. An ordinary answer is neither registered nor held, and nobody asks for it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeAlias
from weakref import WeakKeyDictionary

from jit_middleware.bridge import Message, OnItsWay, Receive, Send
from jit_middleware.errors import SessionEnded
from jit_middleware.http.messages import Admission, Basis
from jit_middleware.http.navigation import takes_events, takes_html
from jit_middleware.sessions import AT_ONCE, Watch
from jit_middleware.watching import Socket, Stream, Watcher

#: What has become of a response: nothing out of the ordinary; a stream; or the app has returned, and its session had
#: ended by then or not.
State: TypeAlias = "Stream | Literal['over', 'ended'] | None"
Notice: TypeAlias = "Callable[[OnItsWay, Message], Awaitable[None]]"
#: How messages are noticed for a client that sent this Accept header; and whether it waits for events.
Manner: TypeAlias = "tuple[bytes, Notice, bool]"

OVER: Final = "over"
_EVENTS: Final = b"text/event-stream"
_LASTING: Final = frozenset({list, tuple})
_LONGEST_ACCEPT: Final = 1024
_MANNERS_KEPT: Final = 256


class JustDecided:
    """What the response to a request that was just decided on stands on. What is sent before ``until`` (monotonic)
    belongs to the decision."""

    __slots__ = ("_basis", "until")

    def __init__(self, basis: Basis, until: float) -> None:
        self._basis = basis
        self.until = until

    @property
    def admission(self) -> Admission:
        return self._basis.admission

    @property
    def user_id(self) -> str:
        return self._basis.user_id

    @property
    def deadline(self) -> float:
        return self._basis.deadline


class Watchers:
    """The watcher of each event loop that has open connections. One for each middleware."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._notice = self._noticing()
        self._look = self._looking()
        self._manners: dict[bytes, Manner] = {}
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Watcher] = WeakKeyDictionary()

    def here(self) -> Watcher:
        """The watcher of the running loop."""
        loop = asyncio.get_running_loop()
        watcher = self._by_loop.get(loop)
        if watcher is None:
            for old in [old for old in list(self._by_loop) if old.is_closed()]:
                self._by_loop.pop(old, None)
            watcher = self._by_loop[loop] = Watcher(self._watch, loop)
        return watcher

    def manner(self, accept: bytes) -> Manner:
        """How a response to this Accept header (an absent one: ``b""``) is to be noticed; the head of the answer to a
        page load is not looked at."""
        manner = self._manners.get(accept)
        if manner is None:
            text = accept.decode("latin-1")
            plain = self._notice if takes_html(text) else self._look
            manner = (accept, self._begin, True) if takes_events(text) else (accept, plain, False)
            if len(accept) <= _LONGEST_ACCEPT:
                if len(self._manners) >= _MANNERS_KEPT:
                    self._manners.clear()
                self._manners[accept] = manner
        return manner

    def decided(self, basis: Basis, manner: Manner, *, writes: bool) -> tuple[Basis, Manner]:
        """What the response to a request that was just decided on stands on, and how it is noticed."""
        if not writes:
            return JustDecided(basis, self._watch.monotonic() + AT_ONCE), manner
        accept, _, hears = manner
        return JustDecided(basis, math.inf), manner if hears else (accept, self._answer, False)

    def _noticing(self) -> Notice:
        """Passes a message of the answer to a read on, and sees whether it is a stream.

        A function and no coroutine: an ordinary answer costs one more call for each of its two messages.
        """
        send_watched, monotonic, feed = self._send, self._watch.monotonic, self._watch.feed

        def notice(response: OnItsWay, message: Message) -> Awaitable[None]:
            send: Send
            state, basis, send = response
            if state is None:
                if "status" in message:
                    return send(message)
                if "more_body" not in message:
                    now = monotonic()
                    if now < basis.deadline and now < feed.fresh_until:
                        return send(message)
            return send_watched(response, message)

        return notice

    def _looking(self) -> Notice:
        """Also looks at the head, for an event stream that the client did not ask for by its name."""
        notice, begin = self._notice, self._begin

        def look(response: OnItsWay, message: Message) -> Awaitable[None]:
            if "status" in message and _tells_events(message):
                return begin(response, message)
            return notice(response, message)

        return look

    async def _begin(self, response: OnItsWay, message: Message) -> None:
        """Pass a message of an event stream on, which its head makes one."""
        if "status" in message and response[0] is None:
            self._open(response, at_once=True)
        await self._send(response, message)

    async def _answer(self, response: OnItsWay, message: Message) -> None:
        """Pass a message of the answer to a write on."""
        state, basis, _ = response
        if "status" in message and state is None:
            if isinstance(basis, JustDecided):
                basis.until = self._watch.monotonic() + AT_ONCE
            if _tells_events(message):
                self._open(response, at_once=True)
        await self._send(response, message)

    async def _send(self, response: OnItsWay, message: Message) -> None:
        """Pass a message on; a part, and whatever comes late and on old knowledge, makes the response a stream."""
        state: State
        basis: Basis
        send: Send
        state, basis, send = response
        if state is None:
            at_once = "status" in message or self._is_at_once(basis)
            if not message.get("more_body", False) and (at_once or self._watch.is_fresh(basis)):
                await send(message)
                return
            state = self._open(response, at_once=at_once)
        if isinstance(state, Stream):
            await state.send(message, send)
            return
        # By a task that the app has left behind: nobody would take a watch down.
        if state != OVER or not self._watch.is_fresh(basis):
            raise SessionEnded
        await send(message)

    def _is_at_once(self, basis: Basis) -> bool:
        return isinstance(basis, JustDecided) and self._watch.monotonic() < basis.until

    def _open(self, response: OnItsWay, *, at_once: bool) -> Stream:
        response[0] = stream = Stream(self.here(), response[1])
        if at_once:
            stream.rest()
        return stream

    def over(self, response: OnItsWay, error: BaseException | None) -> State:
        """The app has raised this, or returned: what has become of the response. Raises ``SessionEnded`` when that is
        because we have ended it."""
        state: State = response[0]
        final: State = "ended" if isinstance(state, Stream) and state.has_ended else OVER
        response[0] = final
        if isinstance(state, Stream):
            state.close(error)
        return final

    def hearing(self, response: OnItsWay, receive: Receive) -> Receive:
        """``receive`` for a response that may be a stream: gives a disconnect when that has ended."""

        def hear() -> Awaitable[Message]:
            state: State = response[0]
            return state.receive(receive) if isinstance(state, Stream) else receive()

        return hear

    def socket(self, basis: Basis, receive: Receive, send: Send) -> Socket:
        """A websocket on this loop, watched from now on."""
        return Socket(self.here(), basis, receive, send)

    def close(self) -> None:
        """The server ends: watch no more on this loop."""
        watcher = self._by_loop.pop(asyncio.get_running_loop(), None)
        if watcher is not None:
            watcher.close()


def _tells_events(head: Message) -> bool:
    """Whether the app says that it sends an event stream."""
    headers: list[tuple[bytes, bytes]] = head.get("headers", ())
    # Anything else may be readable only once, and is the server's.
    if type(headers) in _LASTING:
        for header in headers:
            if header[0] == b"content-type":
                return header[1][:17].lower() == _EVENTS
    return False
