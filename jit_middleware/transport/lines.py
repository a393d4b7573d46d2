"""Kept connections, and those of threads.

A provider is one origin that is asked one thing at a time: a few idle connections, the last one used first, are all it
takes. A pool for every protocol, proxy and concurrency costs a login more than the exchange itself. Importing this
module brings the HTTP machinery in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, Protocol, TypeVar

from httpcore2 import NetworkStream, PoolTimeout, WriteError

from jit_middleware.ports import Fetched
from jit_middleware.transport.destinations import Target
from jit_middleware.transport.exchange import POOL, Exchange
from jit_middleware.transport.http11 import Answer, read_answer, request_bytes

MOST_AT_ONCE: Final = POOL["max_connections"]
_MOST_IDLE: Final = POOL["max_keepalive_connections"]
_IDLE_SECONDS: Final = POOL["keepalive_expiry"]
_PIECE: Final = 65_536


class Keepable(Protocol):
    """A connection to one origin that may serve another request until ``expires_at``."""

    expires_at: float

    @property
    def origin(self) -> tuple[str, str, int]: ...

    def is_open(self, now: float) -> bool:
        """Whether it is worth a try after a while: whatever there is to read then is the end."""
        ...

    def close(self) -> None: ...


L = TypeVar("L", bound=Keepable)


class Kept(Generic[L]):
    """Idle connections, 16 at most, for half a minute each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[L] = []
        self._is_closed = False

    def take(self, exchange: Exchange) -> L | None:
        """The connection that was used last; those that turn out to be closed by the other side are closed here too."""
        origin, now = exchange.target.origin, exchange.clock.monotonic()
        while True:
            with self._lock:
                found = next((line for line in reversed(self._idle) if line.origin == origin), None)
                if found is None:
                    return None
                self._idle.remove(found)
            if found.is_open(now):
                return found
            found.close()

    def add(self, line: L, now: float) -> None:
        """Keep a connection for the next request."""
        line.expires_at = now + _IDLE_SECONDS
        with self._lock:
            self._idle.append(line)
            # In the order in which they were kept: what is over, and what is too much, stands in front.
            over = sum(1 for each in self._idle if each.expires_at <= now)
            gone = self._idle[: max(over, len(self._idle) - (0 if self._is_closed else _MOST_IDLE))]
            del self._idle[: len(gone)]
        for each in gone:
            each.close()

    def close(self) -> None:
        """Close them, and keep none from now on."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()


class Lines:
    """The connections of one process. ``connect`` opens a stream to a target, within the time of the current exchange.

    At most 64 are in use at once; whoever comes then waits for a turn. 16 are kept idle, for half a minute.
    """

    def __init__(self, connect: Callable[[Target], NetworkStream]) -> None:
        self._connect = connect
        self._turns = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._kept = Kept[_Line]()

    def fetch(self, exchange: Exchange) -> Fetched:
        """What the target answers.

        Raises ``ProviderUnavailable``, httpcore2's ``PoolTimeout`` and ``ProtocolError``, and what the stream raises.
        """
        if not self._turns.acquire(timeout=exchange.left()):
            raise PoolTimeout
        try:
            line = self._kept.take(exchange) or _Line(exchange.target, self._connect(exchange.target))
            try:
                answer, may_go_on = line.exchange(exchange)
            except BaseException:
                line.close()
                raise
            if may_go_on:
                self._kept.add(line, exchange.clock.monotonic())
            else:
                line.close()
            return answer
        finally:
            self._turns.release()

    def close(self) -> None:
        """Close the idle ones, and those in use as soon as they are not."""
        self._kept.close()


class _Line:
    """One connection to one origin."""

    __slots__ = ("_stream", "expires_at", "origin")

    def __init__(self, target: Target, stream: NetworkStream) -> None:
        self.origin = target.origin
        self.expires_at = 0.0
        self._stream = stream

    def exchange(self, exchange: Exchange) -> Answer:
        """What is answered to the request, and whether another one may be sent here."""
        request = request_bytes(exchange)
        # RFC 9112 §9.5: a server that has heard enough may have answered before it closed its ear.
        with suppress(WriteError):
            self._stream.write(request)
        return read_answer(exchange, self._read)

    def is_open(self, now: float) -> bool:
        """Whether it is worth a try after a while: whatever there is to read then is the end."""
        return now < self.expires_at and not self._stream.get_extra_info("is_readable")

    def close(self) -> None:
        self._stream.close()

    def _read(self) -> bytes:
        return self._stream.read(_PIECE)
