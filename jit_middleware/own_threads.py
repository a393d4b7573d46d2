"""Threads of our own for what blocks: neither the app's own threads nor the event loop's can keep such work waiting.

The loop's default executor belongs to the application. Were our work done there, a page that keeps it busy would hold
up every signed-in request, and one that asks its own server from there would wait for itself for ever.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from weakref import ref

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
_Job: TypeAlias = Callable[[], None]


class NoThread(RuntimeError):
    """The operating system starts no thread for this process, and none is there; the work was not taken."""


class OwnThreads:
    """Up to ``most`` threads for one kind of work, started when they are needed, in each process its own.

    They are daemons: a process ends without waiting for a database or a name server that does not answer. As an
    executor of an event loop it needs only :meth:`submit`.
    """

    def __init__(self, name: str, *, most: int) -> None:
        self._name = name
        self._most = most
        # By process, since threads do not survive a fork, and a lock that one held stays locked for ever in the child.
        self._crews: dict[int, _Crew] = {}

    def submit(self, work: Callable[[], T], /) -> Future[T]:
        """Have ``work`` done by the next thread that is free. Raises ``NoThread``."""
        from concurrent.futures import Future

        future: Future[T] = Future()
        while not self._crew().take(lambda: settle(future, work)):
            pass  # it was closed just now: the next one is open
        return future

    def close(self) -> None:
        """Let the threads end as soon as they have done what they were given; later work gets new ones."""
        crew = self._crews.pop(os.getpid(), None)
        if crew is not None:
            crew.end()

    def _crew(self) -> _Crew:
        pid = os.getpid()
        crew = self._crews.get(pid)
        if crew is None:
            for parent in [other for other in list(self._crews) if other != pid]:  # ours may have come just now
                self._crews.pop(parent, None)
            crew = self._crews.setdefault(pid, _Crew(self, self._name, self._most))
        return crew


class _Crew:
    """The threads of one process."""

    def __init__(self, owner: OwnThreads, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._count = 0
        #: Threads that wait for a job; below zero, jobs that wait for a thread.
        self._free = 0
        self._has_ended = False
        # Forgotten without being closed: nobody can give us work then, and a queue may be filled in any moment.
        put = self._jobs.put
        self._owner = ref(owner, lambda _: put(None))

    def take(self, job: _Job) -> bool:
        """Put a job into the queue; false when this crew has ended. Raises ``NoThread``."""
        with self._lock:
            if self._has_ended:
                return False
            if self._free > 0 or not self._has_grown():
                self._free -= 1
            self._jobs.put(job)
            return True

    def end(self) -> None:
        with self._lock:
            self._has_ended = True
            self._jobs.put(None)

    def _has_grown(self) -> bool:
        if self._count == self._most:
            return False
        thread = threading.Thread(target=self._serve, name=f"{self._name}-{self._count}", daemon=True)
        try:
            thread.start()
        except RuntimeError as refused:
            if self._count:
                return False
            raise NoThread(str(refused)) from None
        self._count += 1
        return True

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # what it holds is not kept until the next one
            with self._lock:
                self._free += 1
        self._jobs.put(None)  # for the next thread


def settle(future: Future[T], work: Callable[[], T]) -> None:
    """Do the work, unless nobody waits for it any more."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - who waits for the work gets it
        future.set_exception(error)
    else:
        future.set_result(result)
    finally:
        del future, work  # the traceback of an error holds this frame
