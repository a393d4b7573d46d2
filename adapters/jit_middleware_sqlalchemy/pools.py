"""A pool for each event loop: a connection of an async driver belongs to the loop that has made it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import cast

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import AsyncAdaptedQueuePool, PoolProxiedConnection, QueuePool


class LoopPool(AsyncAdaptedQueuePool):
    """Lends the connections of the running loop; several loops may take turns, or run side by side on threads.

    What it tells of itself (``size``, ``checkedin``, ``checkedout``, ``overflow``, ``status``) is of all living loops
    together, and can be asked from any thread. Those of a loop that was closed are dropped when the next new loop
    comes.
    """

    def __init__(self, creator: Callable[[], DBAPIConnection], **options: object) -> None:
        super().__init__(creator, **options)  # type: ignore[arg-type]
        self._creator_and_options = creator, options
        self._by_loop: dict[asyncio.AbstractEventLoop, QueuePool] = {}
        self._pid = os.getpid()

    def connect(self) -> PoolProxiedConnection:
        """A connection of the running loop."""
        return self.here().connect()

    def dispose(self) -> None:
        """Close what is idle in the running loop, which begins anew with another pool.

        Nobody else's can be closed from there; where no loop runs, nobody's. They go on.
        """
        self._drop_closed()
        loop = _running_loop()
        pool = None if loop is None else self._by_loop.pop(loop, None)
        if pool is not None:
            pool.dispose()

    def recreate(self) -> LoopPool:
        """Another one like this, where the loops keep what they have: whoever disposes of their own takes nothing from
        the others. In a forked process none does, since it all belongs to the parent."""
        another = cast("LoopPool", super().recreate())
        if self._pid == os.getpid():
            another._by_loop.update(self._by_loop)
        return another

    def distrust(self) -> None:
        """Have each connection of the running loop made anew before it is lent again."""
        self.here()._invalidate_time = time.time()

    def here(self) -> QueuePool:
        """The pool of the running loop."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            self._drop_closed()
            creator, options = self._creator_and_options
            found = self._by_loop[loop] = AsyncAdaptedQueuePool(creator, **options)  # type: ignore[arg-type]
            # The very same, so that it has the listeners that are still to come as well.
            found.dispatch = self.dispatch  # pyright: ignore[reportAttributeAccessIssue]
        return found

    # --- what it tells of itself ------------------------------------------------------------------------------------

    def size(self) -> int:
        """How many connections are kept at most."""
        return sum(pool.size() for pool in self._living())

    def checkedin(self) -> int:
        """How many are idle."""
        return sum(pool.checkedin() for pool in self._living())

    def checkedout(self) -> int:
        """How many are lent."""
        return sum(pool.checkedout() for pool in self._living())

    def overflow(self) -> int:
        """How many more there are than are kept; below zero, how many fewer."""
        return sum(pool.overflow() for pool in self._living())

    # ----------------------------------------------------------------------------------------------------------------

    def _invalidate(
        self, connection: PoolProxiedConnection, exception: BaseException | None = None, _checkin: bool = True
    ) -> None:
        # That of the pool which has lent it: meanwhile the loop may have begun anew with another.
        lender: object = getattr(connection, "_pool", None)
        pool = lender if isinstance(lender, QueuePool) and lender is not self else self.here()
        pool._invalidate(connection, exception, _checkin)

    def _living(self) -> list[QueuePool]:
        return [pool for loop, pool in list(self._by_loop.items()) if not loop.is_closed()]

    def _drop_closed(self) -> None:
        for loop in list(self._by_loop):
            if loop.is_closed():
                self._by_loop.pop(loop, None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
