"""Writes held back until the unit of work ends, and the fewest statements that carry them.

Theory of operation. A :class:`Queue` collects rows and folds later changes of a row into it. ``drain`` turns it into
:class:`Write` objects: a *shape* (which statement) and its parameters. A shape is built with SQLAlchemy Core once and
kept. PostgreSQL gets all shapes of a drain as data-modifying CTEs of ONE statement, which is its own transaction; the
other databases get them one after another.

A *guarded* write must find the account in the status this transaction has read, and one that moves the account also
what it goes back to: an account may have been moved away and back. When it does not, somebody changed the account
meanwhile and the whole unit is run again: on PostgreSQL the statement itself fails (a division by the number of rows
found), so that nothing of it is kept; elsewhere the row count tells, before the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import (
    CTE,
    ClauseElement,
    Column,
    ColumnElement,
    Delete,
    Engine,
    Insert,
    Integer,
    Table,
    Update,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from jit_middleware_sqlalchemy.lean import Lean, Prepared
from jit_middleware_sqlalchemy.queries import FAR_AHEAD
from jit_middleware_sqlalchemy.schema import (
    audit,
    grants,
    identity_links,
    marks,
    metadata,
    once_keys,
    sessions,
    tombstones,
    users,
)

Kind: TypeAlias = Literal[
    "insert", "insert_new", "insert_latest", "insert_guarded", "update_guarded", "update", "delete"
]
Parameters: TypeAlias = dict[str, object]
Dml: TypeAlias = Insert | Update | Delete
# By user, role and source; no row: the grant goes.
GrantRows: TypeAlias = dict[tuple[str, str, str], Parameters | None]

_BATCHES_KEPT: Final = 512
_NAMES_KEPT: Final = 1024


class Shape(NamedTuple):
    """Which statement: the ``columns`` an update sets, the number of ``rows`` an insert has."""

    kind: Kind
    table: str
    rows: int = 1
    columns: tuple[str, ...] = ()

    @property
    def guarded(self) -> bool:
        """Whether it must find its account unchanged."""
        return self.kind in {"insert_guarded", "update_guarded"}


class Write(NamedTuple):
    """One statement to send: the parameters of its ``rows`` are named ``<row number>_<name>``."""

    shape: Shape
    rows: tuple[Parameters, ...]


@dataclass(slots=True)
class UserChange:
    """New values for one account, valid while its status is still ``seen`` and, where they move it, what it goes back
    to is ``held`` (empty: nothing)."""

    seen: str
    held: str
    values: Parameters


@dataclass(slots=True)
class Queue:
    """What a unit of work has written so far and not yet sent."""

    once: list[Parameters] = field(default_factory=list[Parameters])
    users: dict[str, Parameters] = field(default_factory=dict[str, Parameters])
    accounts: dict[str, Parameters] = field(default_factory=dict[str, Parameters])
    user_changes: dict[str, UserChange] = field(default_factory=dict[str, UserChange])
    links: dict[str, Parameters] = field(default_factory=dict[str, Parameters])
    link_changes: dict[str, Parameters] = field(default_factory=dict[str, Parameters])
    grants: GrantRows = field(default_factory=dict[tuple[str, str, str], Parameters | None])
    tombstones: dict[str, Parameters] = field(default_factory=dict[str, Parameters])
    sessions: list[tuple[Parameters, str | None]] = field(default_factory=list[tuple[Parameters, str | None]])
    audit: list[Parameters] = field(default_factory=list[Parameters])

    def touches(self, tables: frozenset[Table]) -> bool:
        """Whether a read of these tables would miss something held back."""
        return bool(
            ((self.users or self.accounts or self.user_changes) and users in tables)
            or ((self.links or self.link_changes) and identity_links in tables)
            or (self.grants and grants in tables)
            or (self.tombstones and tombstones in tables)
            or (self.sessions and sessions in tables)
        )

    def drain(self) -> list[Write]:
        """Everything, in the order the foreign keys and the clearest error want it, and an empty queue."""
        writes: list[Write] = []
        _add_inserts(writes, "insert", once_keys, self.once)
        _add_inserts(writes, "insert", users, list(self.users.values()))
        _add_inserts(writes, "insert_new", users, list(self.accounts.values()))
        writes.extend(_user_change(user_id, change) for user_id, change in self.user_changes.items())
        _add_inserts(writes, "insert", identity_links, list(self.links.values()))
        for key, values in self.link_changes.items():
            shape = Shape("update", identity_links.name, columns=tuple(values))
            writes.append(Write(shape, ({"identity_key": key} | _new(values),)))
        for user_id, role, source in (key for key, row in self.grants.items() if row is None):
            gone: Parameters = {"user_id": user_id, "role": role, "source": source}
            writes.append(Write(Shape("delete", grants.name), (gone,)))
        _add_inserts(writes, "insert_new", grants, [row for row in self.grants.values() if row is not None])
        _add_inserts(writes, "insert_new", tombstones, list(self.tombstones.values()))
        plain = [row for row, seen in self.sessions if seen is None or row["user_id"] in self.user_changes]
        _add_inserts(writes, "insert", sessions, plain)
        for row, seen in self.sessions:
            if seen is not None and row["user_id"] not in self.user_changes:
                writes.append(Write(Shape("insert_guarded", sessions.name), ({**row, "seen": seen},)))
        _add_inserts(writes, "insert", audit, self.audit)
        self._clear()
        return writes

    def _clear(self) -> None:
        for part in (self.once, self.sessions, self.audit):
            part.clear()
        for kept in (self.users, self.accounts, self.links, self.link_changes, self.grants, self.tombstones):
            kept.clear()
        self.user_changes.clear()


class Statements:
    """The write statements for one kind of database, each built when it is first needed."""

    def __init__(self, kind: str, engine: Engine) -> None:
        self.kind = kind
        self.lean = Lean(engine)
        self._single: dict[Shape, Prepared] = {}
        self._batches: dict[tuple[Shape, ...], Prepared] = {}

    def single(self, write: Write) -> tuple[Prepared, Parameters]:
        """The statement for one write."""
        prepared = self._single.get(write.shape)
        if prepared is None:
            if len(self._single) >= _BATCHES_KEPT:
                self._single.clear()
            prepared = self._single[write.shape] = self.lean.prepare(_build(self.kind, write.shape, ""))
        parameters: Parameters = {}
        _add_parameters(parameters, "", write)
        return prepared, parameters

    def combined(self, writes: Sequence[Write]) -> tuple[Prepared, Parameters]:
        """One PostgreSQL statement for all of them."""
        shapes = tuple([write.shape for write in writes])
        prepared = self._batches.get(shapes)
        if prepared is None:
            if len(self._batches) >= _BATCHES_KEPT:
                self._batches.clear()
            prepared = self._batches[shapes] = self.lean.prepare(_combine(shapes))
        parameters: Parameters = {}
        for number, write in enumerate(writes):
            _add_parameters(parameters, f"w{number}_", write)
        return prepared, parameters


def batches(writes: Sequence[Write]) -> list[list[Write]]:
    """Split for PostgreSQL: the parts of one statement run in any order, so a long insert goes on in the next one."""
    split: list[list[Write]] = []
    tables: set[str] = set()
    for write in writes:
        again = write.shape.kind == "insert" and write.shape.table in tables
        if again or not split:
            split.append([])
            tables.clear()
        if write.shape.kind == "insert":
            tables.add(write.shape.table)
        split[-1].append(write)
    return split


def _user_change(user_id: str, change: UserChange) -> Write:
    row: Parameters = {"id": user_id, "seen": change.seen} | _new(change.values)
    if "held_from" in change.values:
        row["held"] = change.held
    return Write(Shape("update_guarded", users.name, columns=tuple(change.values)), (row,))


def _new(values: Parameters) -> Parameters:
    return {f"new_{name}": value for name, value in values.items()}


def _add_inserts(writes: list[Write], kind: Kind, table: Table, rows: list[Parameters]) -> None:
    # Fifty rows a statement: far below every database's limit of parameters.
    for start in range(0, len(rows), 50):
        part = tuple(rows[start : start + 50])
        writes.append(Write(Shape(kind, table.name, rows=len(part)), part))


def _add_parameters(parameters: Parameters, prefix: str, write: Write) -> None:
    for number, row in enumerate(write.rows):
        parameters.update(zip(_names(prefix, number, tuple(row)), row.values(), strict=True))


@lru_cache(maxsize=_NAMES_KEPT)
def _names(prefix: str, row_number: int, names: tuple[str, ...]) -> tuple[str, ...]:
    """These names as those of parameters: a statement has dozens, and they are the same in each login."""
    return tuple([f"{prefix}{row_number}_{name}" for name in names])


def _combine(shapes: tuple[Shape, ...]) -> ClauseElement:
    parts: list[CTE] = []
    guards: list[CTE] = []
    for number, shape in enumerate(shapes):
        statement = _build("postgresql", shape, f"w{number}_")
        if shape.guarded and not isinstance(statement, Delete):
            guards.append(statement.returning(literal_column("1", Integer).label("found")).cte(f"w{number}"))
        else:
            parts.append(statement.cte(f"w{number}"))
    found = [
        literal_column("1", Integer) / select(func.count()).select_from(guard).scalar_subquery() for guard in guards
    ]
    return select(literal_column("1", Integer), *found).add_cte(*parts)


def _build(kind: str, shape: Shape, prefix: str) -> Dml:
    table = metadata.tables[shape.table]
    match shape.kind:
        case "insert":
            return insert(table).values(_rows(table, shape, prefix)).inline()
        case "insert_new":
            return _insert_new(kind, table, _rows(table, shape, prefix))
        case "insert_latest":
            return _insert_latest(kind, _rows(table, shape, prefix))
        case "insert_guarded":
            return _insert_session(prefix)
        case "update_guarded":
            change = (
                _update(table, shape, prefix)
                .where(users.c.id == bindparam(f"{prefix}0_id", type_=users.c.id.type))
                .where(users.c.status == bindparam(f"{prefix}0_seen", type_=users.c.status.type))
            )
            if "held_from" not in shape.columns:
                return change
            held = bindparam(f"{prefix}0_held", type_=users.c.held_from.type)
            return change.where(func.coalesce(users.c.held_from, "") == held)
        case "update":
            key = identity_links.c.identity_key
            return _update(table, shape, prefix).where(key == bindparam(f"{prefix}0_identity_key", type_=key.type))
        case "delete":
            same = [column == bindparam(f"{prefix}0_{column.name}", type_=column.type) for column in table.primary_key]
            return delete(table).where(*same)


def _columns(table: Table) -> list[Column[object]]:
    return [column for column in table.columns if column.name != "seq"]


def _rows(table: Table, shape: Shape, prefix: str) -> list[dict[str, object]]:
    return [
        {column.name: bindparam(f"{prefix}{number}_{column.name}", type_=column.type) for column in _columns(table)}
        for number in range(shape.rows)
    ]


def _update(table: Table, shape: Shape, prefix: str) -> Update:
    return update(table).values(
        {name: bindparam(f"{prefix}0_new_{name}", type_=table.c[name].type) for name in shape.columns}
    )


def _insert_new(kind: str, table: Table, rows: list[dict[str, object]]) -> Insert:
    """An insert for which a row that is there already is no error; it stays as it is."""
    match kind:
        case "postgresql":
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table).values(rows).on_conflict_do_nothing().inline()
        case "sqlite":
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table).values(rows).on_conflict_do_nothing().inline()
        case _:
            from sqlalchemy.dialects import mysql

            # Not INSERT IGNORE, which would swallow every other error too.
            key = next(iter(table.primary_key))
            return mysql.insert(table).values(rows).on_duplicate_key_update({key.name: key}).inline()


def _insert_latest(kind: str, rows: list[dict[str, object]]) -> Insert:
    """Marks, each with the later times of those that are there and its own, or its own where those are far ahead."""
    match kind:
        case "postgresql":
            from sqlalchemy.dialects import postgresql

            row = postgresql.insert(marks).values(rows)
            later = dict(_later(row.excluded.at, row.excluded.until))
            return row.on_conflict_do_update(index_elements=[marks.c.mark], set_=later).inline()
        case "sqlite":
            from sqlalchemy.dialects import sqlite

            new = sqlite.insert(marks).values(rows)
            later = dict(_later(new.excluded.at, new.excluded.until))
            return new.on_conflict_do_update(index_elements=[marks.c.mark], set_=later).inline()
        case _:
            from sqlalchemy.dialects import mysql

            given = mysql.insert(marks).values(rows)
            return given.on_duplicate_key_update(_later(given.inserted.at, given.inserted.until)).inline()


def _later(at: ColumnElement[int], until: ColumnElement[int]) -> list[tuple[str, ColumnElement[int]]]:
    # In this order: MariaDB sets one after the other, and compares with what it has set already.
    far_ahead = marks.c.at - FAR_AHEAD > at
    return [
        ("until", case((far_ahead, until), (marks.c.until < until, until), else_=marks.c.until)),
        ("at", case((far_ahead, at), (marks.c.at < at, at), else_=marks.c.at)),
    ]


def _insert_session(prefix: str) -> Insert:
    """A session only for an account whose status is still the one read.

    The share lock orders it against a transition: either the transition sees this session and ends it, or this insert
    waits, finds another status, and the login is run again.
    """
    columns = _columns(sessions)
    values = [bindparam(f"{prefix}0_{column.name}", type_=column.type) for column in columns]
    account = (
        select(*(value.label(column.name) for value, column in zip(values, columns, strict=True)))
        .select_from(users)
        .where(
            users.c.id == bindparam(f"{prefix}0_user_id", type_=users.c.id.type),
            users.c.status == bindparam(f"{prefix}0_seen", type_=users.c.status.type),
        )
        .with_for_update(read=True)
    )
    return insert(sessions).from_select([column.name for column in columns], account)
