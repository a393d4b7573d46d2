"""The statements of every login and of every cookie first seen, handed to the driver without SQLAlchemy's execution.

SQLAlchemy compiles each of them once, keeps the connections, and says what a driver's error means. Left out is what it
does again for each execution of whatever statement: finding the compiled form, an execution context, the columns of the
result. That is more work than the rest of the login's own.

An engine that somebody listens to (tracing, a test that counts) is given every statement in SQLAlchemy's own way, and
shows it to whoever listens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar, cast

from sqlalchemy import ClauseElement, Connection, Dialect, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.engine.interfaces import DBAPIModule

Parameters: TypeAlias = Mapping[str, object]
Arranged: TypeAlias = "tuple[object, ...] | Parameters"
Rows: TypeAlias = Sequence[Sequence[object]]
T = TypeVar("T")

_PROBE: Final = "SELECT 1"
_CURSOR: Final = "jit_middleware_cursor"


class Cursor(Protocol):
    """What is used of a driver's cursor."""

    @property
    def rowcount(self) -> int: ...
    def execute(self, statement: str | bytes, parameters: Arranged, /) -> object: ...
    def fetchall(self) -> Rows: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """A statement that is made once and sent many times; its parameters have names and no values."""

    statement: ClauseElement


@dataclass(frozen=True, slots=True)
class Form:
    """A compiled statement, and its parameters by position, or by name where ``positions`` is ``None``.

    ``constants`` are those that the compiler adds (SQLite has no ``LIMIT`` without an ``OFFSET``).
    """

    sql: str
    positions: tuple[str, ...] | None
    constants: Parameters

    def arrange(self, parameters: Parameters) -> Arranged:
        """The parameters as the driver wants them."""
        if self.constants:
            parameters = {**self.constants, **parameters}
        return parameters if self.positions is None else tuple(map(parameters.__getitem__, self.positions))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement as SQLAlchemy sends it, and as the driver's lean cursor takes it.

    ``text`` is that of ``lean``: for psycopg it is bytes, which it would make anew, and hash, for each execution.
    """

    ordinary: Form
    lean: Form
    text: str | bytes


class Lean:
    """Sends prepared statements on connections of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = engine.dialect
        self._is_psycopg = engine.dialect.driver == "psycopg" and not engine.dialect.is_async
        self._fixed: dict[Fixed, Prepared] = {}

    def prepare(self, statement: ClauseElement) -> Prepared:
        """Compile it for this engine's driver."""
        ordinary = _compiled(statement, self._dialect)
        if not self._is_psycopg:
            return Prepared(ordinary, ordinary, ordinary.sql)
        # Placeholders of the server's own ($1): psycopg takes those apart from its own (%s) anew at each execution of
        # a statement with more than fifty.
        from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

        numbered = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
        lean = _compiled(statement, numbered)
        return Prepared(ordinary, lean, lean.sql.encode())

    def read(self, connection: Connection, fixed: Fixed, parameters: Parameters) -> Rows:
        """The rows. Raises as SQLAlchemy does."""
        prepared = self._fixed.get(fixed)
        if prepared is None:
            prepared = self._fixed[fixed] = self.prepare(fixed.statement)
        if self._is_watched():
            form = prepared.ordinary
            return cast("Rows", connection.exec_driver_sql(form.sql, form.arrange(parameters)).all())
        return self._sent(connection, prepared, parameters, _rows)

    def write(self, connection: Connection, prepared: Prepared, parameters: Parameters) -> int:
        """How many rows it changed. Raises as SQLAlchemy does."""
        if self._is_watched():
            form = prepared.ordinary
            return connection.exec_driver_sql(form.sql, form.arrange(parameters)).rowcount
        return self._sent(connection, prepared, parameters, _count)

    def _is_watched(self) -> bool:
        events = self._engine.dispatch
        return bool(events.before_cursor_execute or events.after_cursor_execute)

    def _sent(
        self, connection: Connection, prepared: Prepared, parameters: Parameters, taken: Callable[[Cursor], T]
    ) -> T:
        """What is ``taken`` from the answer: SQLite runs most of a statement only while its rows are fetched."""
        cursor: Cursor | None = None
        try:
            cursor = self._cursor(connection)
            cursor.execute(prepared.text, prepared.lean.arrange(parameters))
            answer = taken(cursor)
            if not self._is_psycopg:
                cursor.close()
        except Exception as error:
            # The error keeps this frame, and so an open cursor. Whoever lets go of it last resets its statement, and
            # SQLite waits for the connection then, which may be another thread's, waiting for this thread's lock.
            if cursor is not None:
                connection.info.pop(_CURSOR, None)
                _close(cursor)
            if isinstance(error, self._dialect.loaded_dbapi.Error):
                raise self._judged(connection, error, prepared.ordinary.sql) from error
            raise
        except BaseException:
            # Interrupted in the middle: the driver may still be reading the answer.
            connection.invalidate()
            raise
        return answer

    def _cursor(self, connection: Connection) -> Cursor:
        if not self._is_psycopg:
            return cast("Cursor", connection.connection.cursor())
        # Making one takes psycopg a tenth of what a statement takes, so each connection keeps its own. What SQLAlchemy
        # notes of a connection goes when that goes.
        kept = cast("dict[str, Cursor]", connection.info)
        cursor = kept.get(_CURSOR)
        if cursor is None:
            from psycopg import RawCursor

            driver_connection = cast("psycopg.Connection", connection.connection.driver_connection)
            cursor = kept[_CURSOR] = cast("Cursor", RawCursor(driver_connection))
        return cursor

    def _judged(self, connection: Connection, error: Exception, sql: str) -> Exception:
        """The driver's error as SQLAlchemy's, with the connection thrown away when it is lost."""
        dialect = self._dialect
        lost = dialect.is_disconnect(cast("DBAPIModule.Error", error), connection.connection, None)
        if lost:
            with suppress(DBAPIError):
                # SQLAlchemy has to see it too: it then distrusts whatever else is in the pool.
                connection.exec_driver_sql(_PROBE)
            connection.invalidate(error)
        return DBAPIError.instance(
            sql,
            None,
            error,
            dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=dialect,
        )


def _close(cursor: Cursor) -> None:
    with suppress(Exception):  # what went wrong is known already
        cursor.close()


def _rows(cursor: Cursor) -> Rows:
    return cursor.fetchall()


def _count(cursor: Cursor) -> int:
    return cursor.rowcount


def _compiled(statement: ClauseElement, dialect: Dialect) -> Form:
    compiled = statement.compile(dialect=dialect)
    if not isinstance(compiled, SQLCompiler):
        raise TypeError(type(compiled).__name__)
    positions = compiled.positiontup
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return Form(compiled.string, None if positions is None else tuple(positions), constants)
