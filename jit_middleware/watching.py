"""Open ASGI connections, watched: each ends soon after its session, whatever the application is waiting for.

Theory of operation. Websockets are watched from the handshake on, responses from where :mod:`jit_middleware.noticing`
sees that they go on. Each event loop has one :class:`Watcher`, which has a timer, and a task only while it asks; when
nothing is open it has neither. Who sends a part of a response asks, too, where the watcher cannot have done so: because
the part is the first and comes late, or something held up the loop.

A connection that must end is closed to the app first: ``send`` raises
:class:`~jit_middleware.errors.SessionEnded`, ``receive`` gives a disconnect, also to who is waiting in it already. An
app that is still there a moment later waits for something else, and its task is cancelled. To the client a websocket is
closed with 1008 (RFC 6455 §7.4.1), and a response breaks off: what the edge raises in the end makes any server drop
the connection, or reset the stream, and never end the body properly.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final
from weakref import ref

from jit_middleware.bridge import Message, Receive, Send
from jit_middleware.errors import SessionEnded
from jit_middleware.http.messages import Basis
from jit_middleware.sessions import AT_ONCE, Ending, LiveConnection, Watch

log = logging.getLogger("jit_middleware.sessions")

_COURTESY: Final = 0.05
_CODES: Final[dict[Ending, int]] = {"session_ended": 1008, "unavailable": 1011}
#: What ends a response, unless more is to come.
_LAST: Final = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})


class Watcher:
    """Asks, about as often as the bound wants, which of the connections on one event loop must end."""

    def __init__(self, watch: Watch, loop: asyncio.AbstractEventLoop) -> None:
        self._watch = watch
        self.monotonic = watch.monotonic
        self._loop = ref(loop)  # weakly, or the loop would live as long as what is kept for it
        self._open: dict[LiveConnection, Callable[[Ending], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        self._again = False
        self._served_by: dict[asyncio.Task[object], int] = {}

    def add(self, basis: Basis, end: Callable[[Ending], None], task: asyncio.Task[object] | None) -> LiveConnection:
        """Watch a connection that this task serves; ``end`` is called once, on this loop, when it must end."""
        connection = self._watch.open(basis)
        if task is not None:
            self._served_by[task] = self._served_by.get(task, 0) + 1
        self._open[connection] = end
        if self._timer is None and self._asking is None:
            self._watch.tell_of_hurry(self._hear)
            self._rest()
        return connection

    def remove(self, connection: LiveConnection, task: asyncio.Task[object] | None) -> None:
        """The connection is no more; to be called once."""
        self._open.pop(connection, None)
        self._watch.close(connection)
        if task is not None:
            left = self._served_by.pop(task, 1) - 1
            if left:
                self._served_by[task] = left

    def count(self, task: asyncio.Task[object]) -> int:
        """How many open connections this task serves."""
        return self._served_by.get(task, 0)

    def close(self) -> None:
        """Ask no more."""
        self._watch.tell_no_more(self._hear)
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
        for connection in list(self._open):
            self._watch.close(connection)
        self._open.clear()

    def _rest(self) -> None:
        """Wait for the next turn; with nothing open there is none."""
        self._timer = None
        if self._open:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._watch.pause(self._open), self._begin)
        else:
            self._watch.tell_no_more(self._hear)

    def _begin(self) -> None:
        self._timer = None
        self._again = False
        self._asking = asyncio.get_running_loop().create_task(self._ask())
        self._asking.add_done_callback(self._asked)

    async def _ask(self) -> None:
        await self._watch.judge(tuple(self._open), self._end, early=True)

    async def ask(self, connection: LiveConnection) -> float | None:
        """Ask about one connection before its turn: until when (monotonic) that will do. ``None``: it has ended, which
        whoever holds it has been told."""
        ended = await self._watch.ended((connection,))
        for _, why in ended:
            self._end(connection, why)
        return None if ended else max(self.monotonic() + AT_ONCE, self.fresh_until)

    @property
    def fresh_until(self) -> float:
        return self._watch.fresh_until

    def _end(self, connection: LiveConnection, why: Ending) -> None:
        end = self._open.pop(connection, None)
        if end is not None:
            self._watch.close(connection)  # nobody may be left who would
            end(why)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if self._again and not task.cancelled():
            self._begin()
        else:
            self._rest()
        if not task.cancelled():  # which is somebody else's doing, or that of `close`, after which nothing is open
            task.result()  # a fault of ours is the loop's to report, and the next turn comes all the same

    def _hear(self) -> None:
        """Somebody wants haste; on any thread."""
        loop = self._loop()
        try:
            if loop is None:
                raise RuntimeError
            loop.call_soon_threadsafe(self._hurry)
        except RuntimeError:  # the loop has been closed
            self._watch.tell_no_more(self._hear)

    def _hurry(self) -> None:
        if self._asking is not None:
            self._again = True
        elif self._timer is not None:
            self._timer.cancel()
            self._begin()


class _Interruption:
    """Gets an application out of whatever it is waiting for: first out of ``receive``, soon after out of anything."""

    __slots__ = (
        "_askers", "_asking", "_has_cancelled", "_has_left", "_in_receive", "_sure_until", "_timer", "_watcher",
        "_woken", "connection", "task", "why",
    )  # fmt: skip

    def __init__(self, watcher: Watcher, basis: Basis) -> None:
        # Who makes this is who must stop: the task of the request, or where it sends by a child, one it waits for.
        self.task = asyncio.current_task()
        self.why: Ending | None = None
        self._watcher = watcher
        self._in_receive: dict[asyncio.Task[object], None] = {}
        self._woken: dict[asyncio.Task[object], None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._asking = asyncio.Lock()  # first come, first served: the order of what is sent stays
        self._askers = 0
        self._has_cancelled = False
        self._has_left = False
        self.connection = watcher.add(basis, self._end, self.task)
        self._sure_until = -math.inf if self.connection.unsure else watcher.fresh_until

    def rest(self) -> None:
        """Nobody need ask for a moment."""
        self._sure_until = max(self._sure_until, self._watcher.monotonic() + AT_ONCE)

    def is_sure(self) -> bool:
        """Whether something may be sent without :meth:`has_come`."""
        return self.why is None and not self._askers and self._knows()

    def _knows(self) -> bool:
        return self._has_left or (self._watcher.monotonic() < self._sure_until and not self.connection.gone)

    async def has_come(self) -> bool:
        """Whether the connection has ended; asks where the watcher has not, or could not: the loop was held up."""
        if self.why is not None or self.is_sure():
            return self.why is not None
        self._askers += 1
        try:
            async with self._asking:
                if self.why is None and not self._knows():
                    sure_until = await self._watcher.ask(self.connection)
                    if sure_until is None:
                        return True  # whoever has left meanwhile is told here alone
                    self._sure_until = sure_until
        finally:
            self._askers -= 1
        return self.why is not None

    async def receive(self, receive: Receive) -> Message | None:
        """The server's next message; ``None`` when the connection has ended, perhaps meanwhile."""
        if self.why is not None:
            return None
        task = asyncio.current_task()
        if task is None:  # driven by hand: there is nobody to wake
            return await receive()
        self._in_receive[task] = None
        try:
            return await receive()
        except asyncio.CancelledError:
            if self._woken.pop(task, self) is self or task.uncancel() > 0:
                raise
            return None
        finally:
            self._in_receive.pop(task, None)

    def leave(self) -> None:
        """Nothing is open any more that could end; a repeat changes nothing."""
        if not self._has_left:
            self._has_left = True
            self._watcher.remove(self.connection, self.task)

    def settle(self, error: BaseException | None) -> bool:
        """The application is done, by ``error`` or in peace: whether that is our doing."""
        self.leave()
        if self._timer is not None:
            self._timer.cancel()
        if self.why is None or isinstance(error, GeneratorExit):
            return False
        task = asyncio.current_task()
        others = 0 if task is None else task.cancelling()
        if task is not None and self._has_cancelled and task is self.task:
            others = task.uncancel()
        if isinstance(error, asyncio.CancelledError):
            return others == 0
        return error is None or isinstance(error, SessionEnded)

    def _end(self, why: Ending) -> None:
        self.why = why
        for waiting in list(self._in_receive):
            self._woken[waiting] = None
            waiting.cancel()
        self._timer = asyncio.get_running_loop().call_later(_COURTESY, self._cancel)

    def _cancel(self) -> None:
        # A task that sends to several clients serves those that may stay.
        if self.task is not None and not self.task.done() and self._watcher.count(self.task) == 1:
            self._has_cancelled = True
            self.task.cancel()


class Stream:
    """A response that goes on being sent."""

    __slots__ = ("_interruption", "_is_over")

    def __init__(self, watcher: Watcher, basis: Basis) -> None:
        self._interruption = _Interruption(watcher, basis)
        self._is_over = False

    def rest(self) -> None:
        """Send what follows at once unasked: it belongs to an answer that had not begun, and such are finished."""
        self._interruption.rest()

    async def send(self, message: Message, send: Send) -> None:
        """Pass a message on. Raises ``SessionEnded`` when the session is over."""
        if await self._interruption.has_come():
            raise SessionEnded
        await send(message)
        if message["type"] in _LAST and not message.get("more_body", False):
            self._is_over = True
            self._interruption.leave()

    @property
    def has_ended(self) -> bool:
        """Whether its session has."""
        return self._interruption.why is not None

    async def receive(self, receive: Receive) -> Message:
        """The server's next message, or a disconnect."""
        message = await self._interruption.receive(receive)
        return {"type": "http.disconnect"} if message is None else message

    def close(self, error: BaseException | None) -> None:
        """The application is done. Raises ``SessionEnded`` when we have ended the response before its own end."""
        if self._interruption.settle(error) and not self._is_over:
            raise SessionEnded from None


class Socket:
    """A websocket."""

    __slots__ = ("_goodbye", "_interruption", "_is_connected", "_is_over", "_receive", "_send")

    def __init__(self, watcher: Watcher, basis: Basis, receive: Receive, send: Send) -> None:
        self._interruption = _Interruption(watcher, basis)
        self._interruption.rest()  # the handshake has just been let in
        self._goodbye: asyncio.Task[None] | None = None
        self._receive = receive
        self._send = send
        self._is_connected = False
        self._is_over = False

    async def receive(self) -> Message:
        """The server's next message, or a disconnect with the code that the client is told."""
        message = await self._interruption.receive(self._receive)
        if message is None:
            self._begin_goodbye()
            return {"type": "websocket.disconnect", "code": self._code, "reason": ""}
        self._is_connected = True
        if message["type"] == "websocket.disconnect":
            self._is_over = True
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on. Raises ``SessionEnded`` when the session is over."""
        return self._pass_on(message) if self._interruption.is_sure() else self._ask_and_send(message)

    async def _ask_and_send(self, message: Message) -> None:
        if await self._interruption.has_come():
            self._begin_goodbye()
            raise SessionEnded
        await self._pass_on(message)

    def _pass_on(self, message: Message) -> Awaitable[None]:
        kind: str = message.get("type", "")
        if kind == "websocket.close" or kind.startswith("websocket.http."):
            self._is_over = True
        return self._send(message)

    async def close(self, error: BaseException | None) -> bool:
        """The application is done, by ``error`` or in peace; whether that is our doing. The client is told then."""
        is_ours = self._interruption.settle(error)
        if is_ours or (self._interruption.why is not None and isinstance(error, Exception)):
            self._begin_goodbye()
            if self._goodbye is not None:
                await self._goodbye
        elif self._goodbye is not None:
            self._goodbye.cancel()  # somebody else's cancellation, or nobody runs us any more
        return is_ours

    @property
    def _code(self) -> int:
        return _CODES[self._interruption.why or "session_ended"]

    def _begin_goodbye(self) -> None:
        """Close towards the client, once, beside the app: a slow client must not take the app's time to tidy up."""
        if not self._is_over:
            self._is_over = True
            self._goodbye = asyncio.get_running_loop().create_task(self._say_goodbye())

    async def _say_goodbye(self) -> None:
        """Before the handshake was answered this is a refusal."""
        try:
            if not self._is_connected:
                await self._receive()
            await self._send({"type": "websocket.close", "code": self._code, "reason": ""})
        except (OSError, RuntimeError) as error:  # servers differ in how they say that the client has left
            log.debug("the client of an ended websocket had left: %s", type(error).__name__)
