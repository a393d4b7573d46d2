"""Work beside the requests: what is heavy, done where it holds up nobody else, and what nobody waits for.

Verifying a SAML message keeps the processor busy for milliseconds, for longer when somebody means it. How much of that
goes on at once is bounded here, so that a flood of messages ends in refusals and not in a process that hangs.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Literal, TypeVar

from jit_middleware.bridge import step
from jit_middleware.errors import Busy

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

log = logging.getLogger("jit_middleware")


class InThisThread:
    """Heavy work under WSGI, as an :class:`~jit_middleware.ports.Offload`: done by the thread that serves the request.

    At most ``most`` are at it at once, so that a flood of messages leaves processor time for everybody else; the next
    one waits for its turn, ``deadline`` seconds at most.
    """

    def __init__(self, *, most: int = 4, deadline: float = 10.0) -> None:
        self._most = most
        self._deadline = deadline
        # By process, since a semaphore that was taken during a fork stays taken for ever in the child.
        self._turns: dict[int, threading.BoundedSemaphore] = {}

    async def __call__(self, work: Callable[[], T], /) -> T:
        turns = self._turns.setdefault(os.getpid(), threading.BoundedSemaphore(self._most))
        if not turns.acquire(timeout=self._deadline):
            raise Busy("busy", f"{self._most} under way, and none was done in {self._deadline}s")
        try:
            return work()
        finally:
            turns.release()


class InThreads:
    """Heavy work under ASGI, as an :class:`~jit_middleware.ports.Offload`: done by ``most`` threads of its own.

    Beyond ``waiting`` in the queue the next one is refused. Nobody waits longer than ``deadline`` seconds; the thread
    goes on to the end, and counts until then.
    """

    def __init__(self, *, most: int = 4, waiting: int = 64, deadline: float = 10.0) -> None:
        self._most = most
        self._limit = most + waiting
        self._deadline = deadline
        self._lock = threading.Lock()
        self._under_way = 0
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    async def __call__(self, work: Callable[[], T], /) -> T:
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            if self._pool is None or self._pool[0] != os.getpid():
                self._pool = (os.getpid(), ThreadPoolExecutor(self._most, thread_name_prefix="jit-middleware"))
                self._under_way = 0
            if self._under_way >= self._limit:
                raise Busy("busy", f"{self._under_way} under way or waiting")
            try:
                future = self._pool[1].submit(copy_context().run, work)
            except RuntimeError as refused:
                # No thread can be started. The pool has queued the work all the same: it goes with the pool.
                self._pool[1].shutdown(wait=False)
                self._pool = None
                raise Busy("busy", str(refused)) from None
            self._under_way += 1
        future.add_done_callback(lambda _: self._done())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._deadline)
        except TimeoutError:
            raise Busy("deadline", f"not done in {self._deadline}s") from None

    def _done(self) -> None:
        with self._lock:
            self._under_way -= 1


class InBackground:
    """Work that nobody waits for, as a :class:`~jit_middleware.ports.Background`: a task under ASGI, a thread under
    WSGI."""

    _daemon = True

    def __init__(self, world: Literal["wsgi", "asgi"]) -> None:
        self._world = world
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, work: Callable[[], Coroutine[object, object, None]], /) -> None:
        if self._world == "wsgi":
            try:
                threading.Thread(target=lambda: step(work()), name="jit-middleware", daemon=self._daemon).start()
            except RuntimeError as refused:  # the request that wanted it goes on, and a later one will want it again
                log.warning("work in the background is left for later: %s", refused)
            return
        import asyncio

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)  # the loop itself holds its tasks weakly
        task.add_done_callback(self._tasks.discard)


class ToTheEnd(InBackground):
    """The same for work that is short and whose result must not be lost: under WSGI a process that ends waits for it.
    Under ASGI whoever began it has to wait, since the loop ends."""

    _daemon = False


class Pauses:
    """How such work lets time pass: its thread sleeps under WSGI, its task under ASGI."""

    def __init__(self, world: Literal["wsgi", "asgi"]) -> None:
        self._world = world

    async def __call__(self, seconds: float, /) -> None:
        if self._world == "wsgi":
            time.sleep(seconds)  # noqa: ASYNC251 - a thread of its own, and no event loop
            return
        import asyncio

        await asyncio.sleep(seconds)
