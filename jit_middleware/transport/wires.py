"""Kept connections on an event loop, the counterpart of ``lines``.

They stand on asyncio's own protocols. Nothing lies between those and the reader of the answer, so that no byte which a
server sent beyond its answer can wait unseen in somebody's buffer for the next request, which is somebody else's. This
module loads asyncio and the HTTP machinery.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, cast

from httpcore2 import ConnectError, ConnectTimeout, ReadError

from jit_middleware.ports import Fetched
from jit_middleware.transport.destinations import Target
from jit_middleware.transport.exchange import Exchange
from jit_middleware.transport.http11 import Answer, Reader, request_bytes
from jit_middleware.transport.lines import MOST_AT_ONCE, Kept

if TYPE_CHECKING:
    import ssl

_PIECE: Final = 65_536


class Wires:
    """The connections of one event loop. ``connect`` opens one for an exchange.

    As many as for threads are in use at once, and kept.
    """

    def __init__(self, connect: Callable[[Exchange], Awaitable[Wire]]) -> None:
        self._connect = connect
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._kept = Kept[_Line]()

    async def fetch(self, exchange: Exchange) -> Fetched:
        """What the target answers.

        Raises ``ProviderUnavailable``, httpcore2's ``NetworkError`` and ``ProtocolError``, and what ``connect`` raises.
        """
        async with self._turns:
            line = self._kept.take(exchange) or _Line(exchange.target, await self._connect(exchange))
            try:
                answer, may_go_on = await line.exchange(exchange)
            except BaseException:
                line.close()
                raise
            if may_go_on:
                self._kept.add(line, exchange.clock.monotonic())
            else:
                line.close()
            return answer

    async def close(self) -> None:
        """Close the idle ones, and those in use as soon as they are not."""
        self._kept.close()
        await asyncio.sleep(0)  # the loop closes what was given up in its next turn, which may be its last


class _Line:
    """One connection to one origin."""

    __slots__ = ("_wire", "expires_at", "origin")

    def __init__(self, target: Target, wire: Wire) -> None:
        self.origin = target.origin
        self.expires_at = 0.0
        self._wire = wire

    async def exchange(self, exchange: Exchange) -> Answer:
        """What is answered to the request, and whether another one may be sent here."""
        request = request_bytes(exchange)
        exchange.sent += len(request)  # before, not after: the loop may send even where the write then fails
        self._wire.write(request)
        reader = Reader(exchange)
        while (answer := reader.feed(exchange.count(await self._wire.read()))) is None:
            pass
        fetched, may_go_on = answer
        return fetched, may_go_on and self._wire.is_quiet()

    def is_open(self, now: float) -> bool:
        return now < self.expires_at and self._wire.is_quiet() and not self._wire.is_readable()

    def close(self) -> None:
        self._wire.close()


class Wire(asyncio.Protocol):
    """A connection whose bytes are here as soon as the event loop has them."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._heard = bytearray()
        self._is_paused = False
        self._was_paused = False
        self._is_over = False
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @classmethod
    async def connect(cls, address: str, port: int, seconds: float) -> socket.socket:
        """A TCP connection to an address, not a name. Raises httpcore2's ``ConnectError`` and ``ConnectTimeout``."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            plain = socket.socket(family, socket.SOCK_STREAM)
        except OSError as refused:
            raise ConnectError from refused
        try:
            plain.setblocking(False)
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().sock_connect(plain, (address, port))
        except BaseException as failure:
            plain.close()
            if isinstance(failure, TimeoutError):
                raise ConnectTimeout from failure
            if isinstance(failure, OSError):
                raise ConnectError from failure
            raise
        return plain

    @classmethod
    async def over(cls, plain: socket.socket, context: ssl.SSLContext | None, host: str) -> Wire:
        """The wire over a TCP connection, with TLS where there is a context. Raises httpcore2's ``ConnectError``.

        Nothing is read before the handshake, so that what came without TLS is not taken for what came by it.
        """
        wire = cls()
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: wire, sock=plain, ssl=context, server_hostname=None if context is None else host
            )
        except BaseException as failure:
            # Broken off just after the handshake, the loop would go on reading from a number that is somebody else's
            # socket by then: it waits for the other side to say goodbye.
            wire.close()
            plain.close()
            if isinstance(failure, OSError):
                raise ConnectError from failure
            raise
        return wire

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def read(self) -> bytes:
        """What came next; nothing at the end. Raises httpcore2's ``ReadError``."""
        while not self._heard and not self._is_over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if not self._heard and self._failure is not None:
            raise ReadError from self._failure
        data = bytes(self._heard[:_PIECE])
        del self._heard[:_PIECE]
        if self._is_paused and len(self._heard) < _PIECE and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    def is_quiet(self) -> bool:
        """Whether everything that came was read, and it is not the end, and nothing that was written still waits in
        the uppermost buffer (below TLS there is another one, in the same order).

        Of one that was ever paused nobody can tell: more may wait for the loop's next turn.
        """
        return (
            self._transport is not None
            and not self._heard
            and not self._was_paused
            and not self._is_over
            and self._transport.get_write_buffer_size() == 0
        )

    def is_readable(self) -> bool:
        """Whether the system has something that the loop has not fetched yet."""
        found = (
            None if self._transport is None else cast("socket.socket | None", self._transport.get_extra_info("socket"))
        )
        if found is None or found.fileno() < 0:
            return True
        if not hasattr(select, "poll"):
            return bool(select.select([found.fileno()], [], [], 0)[0])
        poll = select.poll()
        poll.register(found.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Give it up at once, with whatever was not sent."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if len(self._heard) >= _PIECE and not self._is_paused and self._transport is not None:
            self._is_paused = self._was_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._is_over = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._failure = exc
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
