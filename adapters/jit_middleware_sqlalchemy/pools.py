"""A pool for each event loop: a connection of an async driver belongs to the loop that has made it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import AsyncAdaptedQueuePool, PoolProxiedConnection, QueuePool


class LoopPool(AsyncAdaptedQueuePool):
    """Lends the connections of the running loop; several loops may take turns, or run side by side on threads.

    Those of a loop that was closed are dropped when the next new loop comes. ``dispose`` closes those of the running
    loop: nobody else's can be closed from there.
    """

    def __init__(self, creator: Callable[[], DBAPIConnection], **options: object) -> None:
        super().__init__(creator, **options)  # type: ignore[arg-type]
        # Each is one more of this class, used as the plain pool that it is.
        self._by_loop: dict[asyncio.AbstractEventLoop, QueuePool] = {}

    def connect(self) -> PoolProxiedConnection:
        """A connection of the running loop."""
        return QueuePool.connect(self.here())

    def dispose(self) -> None:
        """Close what is idle in the running loop, which begins anew with another pool."""
        QueuePool.dispose(self.here())
        self._by_loop.pop(asyncio.get_running_loop(), None)

    def distrust(self) -> None:
        """Have each connection of the running loop made anew before it is lent again."""
        self.here()._invalidate_time = time.time()

    def _invalidate(
        self, connection: PoolProxiedConnection, exception: BaseException | None = None, _checkin: bool = True
    ) -> None:
        QueuePool._invalidate(self.here(), connection, exception, _checkin)

    def here(self) -> QueuePool:
        """The pool of the running loop."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            for other in list(self._by_loop):
                if other.is_closed():
                    self._by_loop.pop(other, None)
            found = self._by_loop[loop] = self.recreate()
            # The very same, so that it has the listeners that are still to come as well.
            found.dispatch = self.dispatch  # pyright: ignore[reportAttributeAccessIssue]
        return found
