"""Names are looked up in threads of their own, since the system's resolver knows no deadline."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

from jit_middleware.own_threads import NoThread, OwnThreads

if TYPE_CHECKING:
    from concurrent.futures import Future

_MOST: Final = 8


class Names:
    """Looks up names for event loops. Who asks while the same name is being looked up gets that answer.

    A name server that never answers holds one thread for each name it is silent about. While fewer than eight names are
    held so, no other name waits for them; with eight, the next one waits until the resolver gives one of them up.
    """

    def __init__(self) -> None:
        self._threads = OwnThreads("jit-middleware-names", most=_MOST)
        self._under_way: dict[tuple[int, str, int], Future[list[str]]] = {}  # the process first: threads end at a fork

    async def look_up(self, host: str, port: int) -> list[str]:
        """The addresses of a name. Raises ``OSError`` or ``UnicodeError``, as the resolver does."""
        import asyncio

        return await asyncio.wrap_future(self._answer(host, port))

    def close(self) -> None:
        """Let the threads end when they are done."""
        self._threads.close()

    def _answer(self, host: str, port: int) -> Future[list[str]]:
        from concurrent.futures import Future

        asked = os.getpid(), host, port
        mine: Future[list[str]] = Future()
        mine.set_running_or_notify_cancel()  # from now on nobody who gives up can take it from the others
        answer = self._under_way.setdefault(asked, mine)
        if answer is mine:
            try:
                work = self._threads.submit(lambda: _resolve(host, port))
            except NoThread as none:
                self._under_way.pop(asked, None)
                mine.set_exception(OSError(str(none)))
            else:
                work.add_done_callback(lambda done: self._hand_over(asked, done, mine))
        return answer

    def _hand_over(self, asked: tuple[int, str, int], done: Future[list[str]], answer: Future[list[str]]) -> None:
        self._under_way.pop(asked, None)
        failure = done.exception()
        if failure is None:
            answer.set_result(done.result())
        else:
            answer.set_exception(failure)


def _resolve(host: str, port: int) -> list[str]:
    return [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
