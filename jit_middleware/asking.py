"""Open WSGI connections, asked about: WSGI has no second thread, so whoever sends asks whether the session still lives.

:class:`Parts` asks between the parts of a body. What an application sends past the server, by ``write()`` or on the
raw socket, nobody else sees: it asks by itself, with :class:`IsLive`, which it finds as ``environ["jit.is_live"]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from jit_middleware.bridge import step
from jit_middleware.errors import SessionEnded
from jit_middleware.sessions import AT_ONCE

if TYPE_CHECKING:
    from jit_middleware.http.messages import Basis
    from jit_middleware.sessions import LiveConnection, Watch


class Parts:
    """A body in parts, of a signed-in person: ends by ``SessionEnded`` before a part when the session has ended.

    So nothing is sent on knowledge older than the bound, and the part that the app was making meanwhile stays here. A
    first part that is there at once belongs to the request, which was let in: the answer to a write is finished. A
    server that meets an error in the middle breaks the response off: the client sees that it is not whole.
    """

    __slots__ = ("_basis", "_body", "_connection", "_watch")

    def __init__(self, body: Iterable[bytes], basis: Basis, watch: Watch) -> None:
        self._body = body
        self._basis = basis
        self._watch = watch
        self._connection: LiveConnection | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self._parts(iter(self._body))

    def close(self) -> None:
        """Let go, and close the app's body (PEP 3333)."""
        self._let_go()
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

    def _parts(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        is_fresh, basis, monotonic = self._watch.is_fresh, self._basis, self._watch.monotonic
        began = monotonic()
        try:
            for part in parts:
                if monotonic() - began >= AT_ONCE and not is_fresh(basis):
                    self._judge()
                yield part
                break
            for part in parts:
                if not is_fresh(basis):
                    self._judge()
                yield part
        finally:
            # Also when this is dropped: not every layer outside closes what it iterates.
            self._let_go()

    def _judge(self) -> None:
        """Ask whether the session is still there. Raises ``SessionEnded``."""
        if self._connection is None:
            self._connection = self._watch.open(self._basis)
        if step(self._watch.ended((self._connection,))):
            raise SessionEnded

    def _let_go(self) -> None:
        if self._connection is not None:
            self._watch.close(self._connection)
            self._connection = None


class IsLive:
    """Says whether the session of a request still lives; for an application that sends past the server. ::

        event = next_event()  # which may take long: what was asked before it is old when it comes
        while environ["jit.is_live"]():
            socket.sendall(event)
            event = next_event()

    ``False``: it has ended, or nobody can tell; nothing more may be sent. The answer is no older than the bound, and
    costs one read of the feed for all who ask in that time. The requests of a session share this, on whatever thread.
    """

    __slots__ = ("_basis", "_idle", "_watch")

    def __init__(self, basis: Basis, watch: Watch) -> None:
        self._basis = basis
        self._watch = watch
        # Who asks takes one, or opens another: two threads never judge the same one.
        self._idle: list[LiveConnection] = []

    def __call__(self) -> bool:
        if self._watch.is_fresh(self._basis):
            return True
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._watch.open(self._basis)
        is_live = False
        try:
            is_live = not step(self._watch.ended((connection,)))
        finally:
            if is_live:
                self._idle.append(connection)
            else:
                self._watch.close(connection)
        return is_live

    def __del__(self) -> None:
        for connection in self._idle:
            self._watch.close(connection)
