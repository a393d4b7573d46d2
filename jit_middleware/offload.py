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
from jit_middleware.errors import Busy, causes
from jit_middleware.own_threads import settle
from jit_middleware.records import dataclass

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future, ThreadPoolExecutor

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
        # By process, since neither threads nor what somebody held during a fork outlive it.
        self._pools: dict[int, _Pool] = {}

    async def __call__(self, work: Callable[[], T], /) -> T:
        import asyncio

        future = self._begin(work)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._deadline)
        except TimeoutError:
            raise Busy("deadline", f"not done in {self._deadline}s") from None

    def _begin(self, work: Callable[[], T]) -> Future[T]:
        from concurrent.futures import Future

        pool = self._pool()
        if not pool.places.acquire(blocking=False):
            raise Busy("busy", f"{self._limit} under way or waiting")
        future: Future[T] = Future()
        context = copy_context()
        held: list[Callable[[], T]] = [lambda: context.run(work)]

        def do() -> T:
            return held[0]()

        def leave(_: Future[T]) -> None:
            held.clear()  # whoever went away may stay in the queue: then not with all that they brought
            pool.places.release()

        future.add_done_callback(leave)
        try:
            pool.threads.submit(settle, future, do)
        except RuntimeError as refused:
            # No thread can be started, and the work is queued all the same: it must not be done later.
            if future.cancel():
                raise Busy("busy", str(refused)) from None
        return future

    def _pool(self) -> _Pool:
        pool = self._pools.get(os.getpid())
        if pool is None:
            from concurrent.futures import ThreadPoolExecutor

            threads = ThreadPoolExecutor(self._most, thread_name_prefix="jit-middleware")
            pool = self._pools.setdefault(os.getpid(), _Pool(threads, threading.BoundedSemaphore(self._limit)))
        return pool


@dataclass(frozen=True, slots=True)
class _Pool:
    """The threads of one process, and a place for each work that they may have."""

    threads: ThreadPoolExecutor
    places: threading.BoundedSemaphore


class InBackground:
    """Work that nobody waits for, as a :class:`~jit_middleware.ports.Background`: a task under ASGI, a thread under
    WSGI."""

    _daemon = True

    def __init__(self, world: Literal["wsgi", "asgi"]) -> None:
        self._world = world
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, work: Callable[[], Coroutine[object, object, None]], /) -> bool:
        if self._world == "wsgi":
            try:
                threading.Thread(target=lambda: step(_told(work)), name="jit-middleware", daemon=self._daemon).start()
            except RuntimeError as refused:  # the request that wanted it goes on, and a later one will want it again
                log.warning("work in the background is left for later: %s", refused)
                return False
            return True
        import asyncio

        task = asyncio.get_running_loop().create_task(_told(work))
        self._tasks.add(task)  # the loop itself holds its tasks weakly
        task.add_done_callback(self._tasks.discard)
        return True


async def _told(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """The work; the log gets what it failed on, without the text of a foreign exception, which may quote a person."""
    try:
        await work()
    except Exception as error:  # noqa: BLE001 - nobody waits for it
        log.error("work in the background failed: %s", "; caused by ".join(causes(error)))


class ToTheEnd(InBackground):
    """The same for work that is short and whose result must not be lost: under WSGI a process that ends waits for it.
    Under ASGI whoever began it has to wait, since the loop ends."""

    _daemon = False

    def is_ending(self) -> bool:
        """Whether the process waits for this work in order to end: then it begins nothing more.

        Exit handlers would come too late, since they are run after the wait; but the main thread counts as dead by
        then. It does as well in a process whose server goes on in another thread, so what is asked for is still begun.
        """
        return self._world == "wsgi" and not threading.main_thread().is_alive()


class Pauses:
    """How time passes for whoever has nothing to do meanwhile: the thread sleeps under WSGI, the task under ASGI."""

    def __init__(self, world: Literal["wsgi", "asgi"]) -> None:
        self._world = world

    async def __call__(self, seconds: float, /) -> None:
        if self._world == "wsgi":
            time.sleep(seconds)  # noqa: ASYNC251 - no event loop
            return
        import asyncio

        await asyncio.sleep(seconds)
