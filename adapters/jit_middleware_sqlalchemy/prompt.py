"""psycopg with a deadline for each statement, which libpq has only for the network and not for the server behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import TypeVar, cast

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow
from sqlalchemy import Dialect
from sqlalchemy.pool import ConnectionPoolEntry

T = TypeVar("T")

_WAKE_SECONDS = 0.1


def prompt_connection(seconds: float) -> Callable[..., psycopg.Connection[TupleRow]]:
    """What makes connections on which no statement waits longer than that for an answer: SQLAlchemy's ``do_connect``.

    One that does is closed, and raises ``OperationalError`` from a ``TimeoutError``.
    """

    class Prompt(psycopg.Connection[TupleRow]):
        def wait(self, gen: PQGen[T], interval: float = _WAKE_SECONDS, timeout: float | None = None) -> T:
            if timeout is not None:
                return super().wait(gen, interval, timeout)
            try:
                return super().wait(_within(gen, seconds), interval)
            except NoAnswer:
                self.pgconn.finish()
                raise

    make = cast("Callable[..., psycopg.Connection[TupleRow]]", Prompt.connect)

    def connect(
        _dialect: Dialect, _record: ConnectionPoolEntry, arguments: Sequence[str], options: Mapping[str, object]
    ) -> psycopg.Connection[TupleRow]:
        return make(*arguments, **options)

    return connect


class NoAnswer(psycopg.OperationalError):
    """The server has not answered in time."""


def _within(gen: PQGen[T], seconds: float) -> PQGen[T]:
    """The same exchange, given up when nothing is ready at its end: what has arrived meanwhile is still taken."""
    end = monotonic() + seconds
    try:
        ready = yield next(gen)
        while True:
            if not ready and monotonic() > end:
                raise NoAnswer("the server does not answer") from TimeoutError()
            ready = yield gen.send(ready)
    except StopIteration as done:
        answer: T = done.value
        return answer
