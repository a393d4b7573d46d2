"""Ctrl-C ends a command at once, and never makes it say that something was not done which was.

By itself asyncio hears it only when the event loop has its turn, which a driver that answers at once never gives it;
and then it throws away the result that is there by now. So the handler is ours: in the midst of a unit of work it
raises, which rolls the work back. From a commit on it holds the interrupt until the ledger is asked again, or until the
command has said what it did; only a second Ctrl-C is heard then.

Work on the schema is ended at once too. How much of it was done by then nobody can say: a database that commits each
change of a table by itself keeps those it has made, and none tells whether an interrupted commit came to its end.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final, TypeVar, cast

from jit_middleware.ports import Ledger, Transaction

T = TypeVar("T")

_NOTHING: Final = "Interrupted; nothing was changed."
_SOMETHING: Final = "Interrupted; what was committed before that stays."
_UNKNOWN: Final = "Interrupted during a commit; whether it was done is not known."
_SCHEMA: Final = (
    "Interrupted while the schema was looked at or changed; how much of it was changed is not known. The same"
    " command goes on from there. Nothing else was changed."
)


class Interrupts:
    """The handler of SIGINT. What it raises carries the one line to print."""

    def __init__(self) -> None:
        self._is_held = False
        self._is_pending = False
        self._is_committing = False
        self._is_preparing = False
        self.has_committed = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        if self._is_held and not self._is_pending:
            self._is_pending = True
            return
        if self._is_preparing:
            raise KeyboardInterrupt(_SCHEMA)
        raise KeyboardInterrupt(_UNKNOWN if self._is_committing else _SOMETHING if self.has_committed else _NOTHING)

    def listen(self) -> None:
        """From now on each is heard at once; raises ``KeyboardInterrupt`` when one came before."""
        self._is_held = self._is_committing = False
        if self._is_pending:
            raise KeyboardInterrupt(_SOMETHING if self.has_committed else _NOTHING)

    @contextmanager
    def preparing(self) -> Generator[None]:
        """Around what may change the schema."""
        self._is_preparing = True
        try:
            yield
        finally:
            self._is_preparing = False

    def commit(self) -> None:
        """A commit begins."""
        self._is_held = self._is_committing = True

    def committed(self) -> None:
        """It has succeeded."""
        self._is_committing, self.has_committed = False, True

    def failed(self) -> None:
        """The unit of work has failed, and says so itself."""
        self._is_held = self._is_committing = False


class _Heard:
    """A ledger that tells where its commits begin and end."""

    def __init__(self, ledger: Ledger, interrupts: Interrupts) -> None:
        self._ledger = ledger
        self._interrupts = interrupts

    def __getattr__(self, name: str) -> object:
        self._interrupts.listen()
        return getattr(self._ledger, name)

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]], *, rehearsal: bool = False) -> T:
        async def until_the_commit(tx: Transaction) -> T:
            self._interrupts.listen()  # here too: this may be the second try
            result = await work(tx)
            self._interrupts.commit()
            return result

        self._interrupts.listen()
        try:
            result = await self._ledger.transaction(until_the_commit, rehearsal=rehearsal)
        except BaseException:
            self._interrupts.failed()
            raise
        self._interrupts.committed()
        return result


def heard(ledger: Ledger, interrupts: Interrupts) -> Ledger:
    """The ledger, whose work Ctrl-C may end."""
    return cast("Ledger", _Heard(ledger, interrupts))


def run(work: Callable[[Interrupts], Coroutine[object, object, T]]) -> T:
    """``asyncio.run``, ended by Ctrl-C with a ``KeyboardInterrupt`` that carries the line to print."""
    before = signal.getsignal(signal.SIGINT)
    interrupts = before if isinstance(before, Interrupts) else Interrupts()
    is_ours_to_set = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if is_ours_to_set:
        signal.signal(signal.SIGINT, interrupts)
    try:
        return asyncio.run(work(interrupts))
    finally:
        if is_ours_to_set and not interrupts.has_committed:  # else the command has yet to say what it did
            signal.signal(signal.SIGINT, before)


@contextmanager
def schema_work() -> Generator[None]:
    """Around work on the schema that Python's own handler interrupts: the ``KeyboardInterrupt`` carries the line."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_SCHEMA) from None


@contextmanager
def one_command() -> Generator[None]:
    """Around a whole command: afterwards Ctrl-C is what it was."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if isinstance(signal.getsignal(signal.SIGINT), Interrupts):
            signal.signal(signal.SIGINT, before)
