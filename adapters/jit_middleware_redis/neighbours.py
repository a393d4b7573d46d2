"""Two threads in each process: one says what was committed here, one hears what was committed elsewhere.

They start when they are first needed, in the process that needs them, so never before a fork. Nobody waits for either:
a request leaves its hints in a list and goes on. A connection that breaks is opened again, after a pause that grows; in
the meantime everything is as without Redis.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from jit_middleware.ports import Clock
from jit_middleware_redis.hints import MOST, Hints, decode
from jit_middleware_redis.used_keys import UsedKeys
from jit_middleware_redis.wire import PATIENCE, Address, Wire, WireDown

log = logging.getLogger("jit_middleware.redis")

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
#: The listener looks up so often, in seconds, to see whether it is to end.
_GLANCE: Final = 0.2
#: After so many glances without a sound it asks for a sign of life, and after so many more it opens a new connection.
_SILENT_GLANCES: Final = 10
_LOST_GLANCES: Final = 5
#: Hints are acted on together, at most so often: a hundred changes in a moment are one reason to ask the ledger.
_REST: Final = 0.02
_MOST_AT_ONCE: Final = 1_000
_END: Final = 4 * PATIENCE


class RedisNeighbours:
    """The other workers of this application, reached through a channel of Redis or Valkey (``ports.Neighbours``).

    ::

        neighbours = RedisNeighbours("redis://localhost", channel="jit:https://app.example.org", clock=clock)
        neighbours.listen(feed.hurry)

    Raises ``ConfigurationError`` for a URL that cannot be used. A server that is away is no error, ever.
    """

    def __init__(self, url: str, *, channel: str, clock: Clock) -> None:
        self._address = Address(url)
        self._channel = channel
        self._now = clock.now
        self._used = UsedKeys()
        self._hurry: Callable[[], None] | None = None
        # By process: threads do not cross a fork, and a lock that was held during one stays locked for ever.
        self._crews: dict[int, _Crew] = {}

    def listen(self, hurry: Callable[[], None]) -> None:
        """Have ``hurry`` called, from any thread, whenever access may have changed."""
        self._hurry = hurry

    def attend(self) -> None:
        """See to it that this process listens, if anybody here wants to hear."""
        if self._hurry is not None:
            self._crew().hear()

    def tell(self, *, access_changed: bool, used: Sequence[tuple[str, int]]) -> None:
        """Note what this process has committed, and have it said to the others."""
        for key, until in used:
            self._used.add(key, until)
        if access_changed:
            self._hasten()
        if access_changed or used:
            self._crew().say(access_changed, used)

    def have_used(self, once_key: str) -> bool:
        """Whether some worker is known to have committed this key."""
        return self._used.holds(once_key, self._now())

    def close(self) -> None:
        """Say what is left to say, and end both threads; two seconds at most. Later calls start them again."""
        crew = self._crews.pop(os.getpid(), None)
        if crew is not None:
            crew.end()

    def _crew(self) -> _Crew:
        pid = os.getpid()
        return self._crews.get(pid) or self._crews.setdefault(
            pid, _Crew(self._address, self._channel, self._heard, self._hasten)
        )

    def _heard(self, hints: Hints) -> None:
        for key, until in hints.used:
            self._used.add(key, until)
        if hints.access_changed:
            self._hasten()

    def _hasten(self) -> None:
        if self._hurry is not None:
            self._hurry()


class _Crew:
    """The threads of one process. ``missed`` is called when something may have been said that was not heard."""

    def __init__(
        self, address: Address, channel: str, heard: Callable[[Hints], None], missed: Callable[[], None]
    ) -> None:
        self._mouth = _Mouth(address, channel)
        self._ear = _Ear(address, channel, heard, missed)
        self._guard = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}
        self._ended = False

    def say(self, access_changed: bool, used: Sequence[tuple[str, int]]) -> None:
        self._mouth.add(access_changed, used)
        self._run("says", self._mouth.run)

    def hear(self) -> None:
        self._run("hears", self._ear.run)

    def end(self) -> None:
        with self._guard:
            self._ended = True
        self._mouth.end()
        self._ear.end()
        end = time.monotonic() + _END
        for thread in self._threads.values():
            thread.join(max(0.0, end - time.monotonic()))

    def _run(self, name: str, work: Callable[[], None]) -> None:
        """Start the thread, unless it runs. A process that may have no threads does without."""
        thread = self._threads.get(name)
        if thread is not None and thread.is_alive():
            return
        with self._guard:
            thread = self._threads.get(name)
            if self._ended or (thread is not None and thread.is_alive()):
                return
            thread = threading.Thread(target=work, name=f"jit-middleware-{name}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                log.warning("no thread for Redis, other workers hear within the bound: %s", error)
                return
            self._threads[name] = thread


class _Mouth:
    """Says what is on the list, in order, and keeps it there until it was said."""

    def __init__(self, address: Address, channel: str) -> None:
        self._address = address
        self._channel = channel
        self._news = threading.Condition()
        self._access_changed = False
        self._used: list[tuple[str, int]] = []
        self._ending = False
        self._reached = _Reached("others hear of revocations within the bound")

    def add(self, access_changed: bool, used: Sequence[tuple[str, int]]) -> None:
        with self._news:
            self._access_changed = self._access_changed or access_changed
            # Without Redis the list grows no further: the ledger knows these keys, and that is what counts.
            self._used = [*self._used, *used][-MOST:]
            self._news.notify()

    def end(self) -> None:
        with self._news:
            self._ending = True
            self._news.notify()

    def run(self) -> None:
        pause = _FIRST_PAUSE
        while self._has_news():
            try:
                with self._address.open() as wire:
                    self._say_all(wire)
                    pause = _FIRST_PAUSE
            except WireDown as down:
                self._reached.now(False, str(down))
                with self._news:
                    if self._news.wait_for(lambda: self._ending, pause):
                        return
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _has_news(self) -> bool:
        """Wait for something to say; false when there is nothing, and never will be."""
        with self._news:
            self._news.wait_for(lambda: self._ending or self._access_changed or self._used)
            return self._access_changed or bool(self._used)

    def _say_all(self, wire: Wire) -> None:
        """Say it as it comes, until the end or until the connection turns out to be gone.

        Raises ``WireDown`` when even the first word is not taken.
        """
        has_spoken = False
        while self._has_news():
            with self._news:
                hints = Hints(self._access_changed, tuple(self._used))
                self._access_changed, self._used = False, []
            try:
                wire.publish(self._channel, hints.encode())
            except WireDown:
                # Perhaps it was heard: saying it twice is no harm.
                self.add(hints.access_changed, hints.used)
                if has_spoken:
                    return  # a connection grown old; the next one will do
                raise
            has_spoken = True
            self._reached.now(True)


class _Ear:
    """Hears what the others say. Whenever it begins to listen, something may have been missed."""

    def __init__(
        self, address: Address, channel: str, heard: Callable[[Hints], None], missed: Callable[[], None]
    ) -> None:
        self._address = address
        self._channel = channel
        self._heard = heard
        self._missed = missed
        self._ending = threading.Event()
        self._reached = _Reached("this worker hears of revocations within the bound")

    def end(self) -> None:
        self._ending.set()

    def run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._ending.is_set():
            try:
                with self._address.open() as wire:
                    wire.subscribe(self._channel)
                    self._reached.now(True)
                    pause = _FIRST_PAUSE
                    self._missed()
                    self._listen(wire)
            except WireDown as down:
                self._reached.now(False, str(down))
                self._ending.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _listen(self, wire: Wire) -> None:
        silent = 0
        while not self._ending.is_set():
            message = wire.hear(_GLANCE)
            if message is None:
                silent += 1
                if silent == _SILENT_GLANCES:
                    wire.ping()
                elif silent >= _SILENT_GLANCES + _LOST_GLANCES:
                    raise WireDown("no sign of life")
                continue
            silent = 0
            messages = [message]
            while len(messages) < _MOST_AT_ONCE and (more := wire.hear(0)) is not None:
                messages.append(more)
            hints = decode(messages)
            self._heard(hints)
            if hints.access_changed:
                self._ending.wait(_REST)


class _Reached:
    """Whether Redis is reached, told to the log when that changes."""

    def __init__(self, meanwhile: str) -> None:
        self._meanwhile = meanwhile
        self._reached = True

    def now(self, reached: bool, why: str = "") -> None:
        if reached is not self._reached:
            self._reached = reached
            if reached:
                log.info("Redis is reached again")
            else:
                log.warning("Redis is not reached, %s: %s", self._meanwhile, why)
