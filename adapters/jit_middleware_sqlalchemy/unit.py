"""One unit of work on one connection: reads at once, writes held back and sent together when it ends.

Reads before the first write need no transaction at the isolation we use (read committed): what they saw is checked
again by the unique keys and the status guards of the writes. SQLite is the exception: there a writer takes the one
write lock first, so that nothing it reads can change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, Executable, Table, insert
from sqlalchemy.exc import DBAPIError

from jit_middleware.errors import Conflict
from jit_middleware.ports import Clock
from jit_middleware_sqlalchemy import queries
from jit_middleware_sqlalchemy.lean import Fixed, Prepared
from jit_middleware_sqlalchemy.schema import feed
from jit_middleware_sqlalchemy.writes import Parameters, Queue, Statements, Write, batches

_BEGIN: Final = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN", "mariadb": "START TRANSACTION"}


class Unit:
    """One try. ``may_be_committed`` once something was sent whose lost answer would leave the outcome open.

    ``is_hopeful`` while nothing speaks against it that what is written finds its keys free, which the commit tells.
    """

    def __init__(
        self, connection: Connection, statements: Statements, clock: Clock, *, is_hopeful: bool = False
    ) -> None:
        self.queue = Queue()
        self.feed: dict[tuple[str, str], None] = {}
        self.may_be_committed = False
        self.is_hopeful = is_hopeful
        self._connection = connection
        self._statements = statements
        self._clock = clock
        self._begun = False
        self._has_read = False
        #: What the other workers hear of once it is committed.
        self.access_changed = False
        self.used: list[tuple[str, int]] = []

    def read(
        self, statement: Executable | Fixed, parameters: Mapping[str, object], tables: frozenset[Table]
    ) -> Sequence[Sequence[object]]:
        """Rows, after sending what is held back for these tables."""
        if self.queue.touches(tables):
            self.flush()
        if isinstance(statement, Fixed):
            rows = self._statements.lean.read(self._connection, statement, parameters)
        else:
            rows = self._connection.execute(statement, parameters).all()
        self._has_read = True
        return rows

    def write_now(self, statement: Executable, parameters: Mapping[str, object]) -> int:
        """How many rows a write that cannot wait has changed."""
        self.flush()
        self.begin()
        return self._connection.execute(statement, parameters).rowcount

    def write_alone(self, write: Write) -> None:
        """Send one write inside the transaction, before what is held back: for locks, which come first."""
        self.begin()
        self._write(self._statements.single(write))

    def begin(self) -> None:
        """Open the transaction, unless it is open."""
        if not self._begun:
            self._connection.exec_driver_sql(_BEGIN[self._statements.kind])
            self._begun = True

    def flush(self) -> None:
        """Send everything held back, inside the transaction."""
        writes = self.queue.drain()
        if writes:
            self._send(writes)

    def commit(self) -> None:
        """Send the rest and make all of it visible."""
        # One statement is a transaction by itself. Only on a connection that has just answered: were it dead, a lost
        # answer to this write could not be told from a lost write.
        if self._statements.kind == "postgresql" and not self._begun and not self.feed and self._has_read:
            self._commit_in_one(self.queue.drain())
            return
        self.flush()
        self._send_feed()
        self._commit()

    def abandon(self, error: BaseException) -> None:
        """Undo everything; a connection in doubt is thrown away."""
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return
        if not isinstance(error, Exception):
            # Cancelled in the middle of a statement: the driver may still be reading the answer.
            self._connection.invalidate()
            return
        if not self._begun:
            return
        try:
            self._connection.exec_driver_sql("ROLLBACK")
        except DBAPIError:
            self._connection.invalidate()

    def _commit_in_one(self, writes: list[Write]) -> None:
        split = batches(writes)
        if len(split) > 1:
            self._send(writes)
            self._commit()
            return
        for batch in split:
            statement = self._statements.combined(batch)
            self.may_be_committed = True
            self._write(statement)

    def _commit(self) -> None:
        if self._begun:
            self.may_be_committed = True
            self._connection.exec_driver_sql("COMMIT")
            self._begun = False

    def _send(self, writes: list[Write]) -> None:
        self.begin()
        if self._statements.kind == "postgresql":
            for batch in batches(writes):
                self._write(self._statements.combined(batch))
            return
        for write in writes:
            found = self._write(self._statements.single(write))
            if write.shape.guarded and found != 1:
                raise Conflict("status")

    def _write(self, statement: tuple[Prepared, Parameters]) -> int:
        return self._statements.lean.write(self._connection, *statement)

    def _send_feed(self) -> None:
        """Take the next positions under the lock of the one counter row, which is held until the commit."""
        if not self.feed:
            return
        self.begin()
        self._connection.execute(queries.ADVANCE_FEED, {"count": len(self.feed)})
        last = self._connection.execute(queries.FEED_POSITION).scalar_one()
        first = last - len(self.feed) + 1
        now = self._clock.now()
        rows = [
            {"position": first + number, "kind": kind, "entry_key": key, "at": now}
            for number, (kind, key) in enumerate(self.feed)
        ]
        self._connection.execute(insert(feed), rows)
        self.access_changed = True
        self.feed.clear()
