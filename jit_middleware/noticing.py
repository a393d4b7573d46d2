"""Which ASGI responses are watched: those that go on, from the first sign that they do.

Theory of operation. A response becomes a :class:`~jit_middleware.watching.Stream` by its first body part that is not
its last; by whatever comes long after the head, on knowledge that has grown old meanwhile; and by its head, where the
client asks for ``text/event-stream`` or the app says that this is what it sends. What makes it one is judged before it
is sent. An ordinary answer follows its head at once: it is neither registered nor held, and nobody asks for it.

A response on its way (``OnItsWay``) is a list: until when (monotonic) what follows belongs to its head, once that was
sent (before: 0; ``_FLOWS``: it is a stream; ``OVER``); the stream it has become, if it has; the session it stands on;
and how the server sends.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

from jit_middleware.bridge import Message, OnItsWay, Receive, Send
from jit_middleware.errors import SessionEnded
from jit_middleware.http.messages import Basis
from jit_middleware.http.navigation import takes_events, takes_html
from jit_middleware.sessions import AT_ONCE, Watch
from jit_middleware.watching import Socket, Stream, Watcher

Notice: TypeAlias = "Callable[[OnItsWay, Message], Awaitable[None]]"
#: How messages are noticed for a client that sent this Accept header; and whether it waits for events.
Manner: TypeAlias = "tuple[bytes, Notice, bool]"

#: The app has returned. Earlier than any reading of a clock, as ``_FLOWS`` is.
OVER: Final = -1.0
_FLOWS: Final = -math.inf
_EVENTS: Final = b"text/event-stream"
_LASTING: Final = frozenset({list, tuple})
_LONGEST_ACCEPT: Final = 1024
_MANNERS_KEPT: Final = 256


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

    def _noticing(self) -> Notice:
        """Passes a message of a response on, and sees whether it is a stream.

        A function and no coroutine: an ordinary answer costs one more call for each of its two messages.
        """
        send_watched, monotonic = self._send, self._watch.monotonic

        def notice(response: OnItsWay, message: Message) -> Awaitable[None]:
            send: Send
            until, _, _, send = response
            if until:
                if "more_body" not in message and monotonic() < until:
                    return send(message)
            elif "status" in message:
                response[0] = monotonic() + AT_ONCE
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
        if "status" in message and response[0] == 0:
            self._open(response, is_late=False)
        await self._send(response, message)

    async def _send(self, response: OnItsWay, message: Message) -> None:
        """Pass a message on; a part, and whatever comes late and on old knowledge, makes the response a stream."""
        until: float
        stream: Stream | None
        basis: Basis
        send: Send
        until, stream, basis, send = response
        if until == OVER:
            # By a task that the app has left behind: nobody would take a watch down.
            if (stream is not None and stream.has_ended) or not self._watch.is_fresh(basis):
                raise SessionEnded
            await send(message)
            return
        if stream is None:
            is_late = bool(until) and self._watch.monotonic() >= until
            if not (message.get("more_body", False) or (is_late and not self._watch.is_fresh(basis))):
                await send(message)
                return
            stream = self._open(response, is_late=is_late)
        await stream.send(message, send)

    def _open(self, response: OnItsWay, *, is_late: bool) -> Stream:
        stream = Stream(self.here(), response[2])
        response[:2] = _FLOWS, stream
        if not is_late:
            stream.rest()
        return stream

    def over(self, response: OnItsWay, error: BaseException) -> None:
        """The app has raised this. Raises ``SessionEnded`` when that is because we have ended the response."""
        stream: Stream | None = response[1]
        response[0] = OVER
        if stream is not None:
            stream.close(error)

    def hearing(self, response: OnItsWay, receive: Receive) -> Receive:
        """``receive`` for a response that may be a stream: gives a disconnect when that has ended."""

        def hear() -> Awaitable[Message]:
            stream: Stream | None = response[1]
            return receive() if stream is None else stream.receive(receive)

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
