"""Forgetting what nobody needs any more, five hundred rows at a time.

Each step is found, deleted by its keys and committed by itself: a sweep comes on the heels of a login, whose browser
waits for it, and must neither hold many rows nor be in vain when it does not come to its end. Each step has the
deadlines of a request; after two seconds none is begun, and the rest is left to the next sweep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, ColumnElement, Connection, bindparam, delete, func, select, update

from jit_middleware_sqlalchemy.rows import number
from jit_middleware_sqlalchemy.schema import feed, feed_head, marks, once_keys, prelinks, sessions
from jit_middleware_sqlalchemy.unit import Unit

#: Rows of one statement; SQLite before 3.32 takes no more than 999 parameters.
AT_ONCE: Final = 500
#: After so many seconds a sweep begins no further step. An hour of a worker leaves far less than is done by then.
LONGEST: Final = 2.0

_BEFORE: Final = bindparam("before", type_=once_keys.c.until.type)
_EARLIEST: Final = -(2**63)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Rows that are ``over``, walked ``along`` a column that an index has in order, from the ``least`` value on."""

    key: Column[str]
    along: Column[str] | Column[int]
    over: ColumnElement[bool]
    least: str | int = _EARLIEST


_KINDS: Final = (
    _Kind(once_keys.c.once_key, once_keys.c.until, once_keys.c.until < _BEFORE),
    _Kind(marks.c.mark, marks.c.until, marks.c.until < _BEFORE),
    _Kind(sessions.c.id, sessions.c.expires_at, sessions.c.expires_at < _BEFORE),
    # A used one tells which identities a batch has tied, so that the batch can be undone.
    _Kind(
        prelinks.c.prelink_key, prelinks.c.prelink_key, prelinks.c.used_at.is_(None) & (prelinks.c.until < _BEFORE), ""
    ),
    # No index tells which have ended, so this may be too slow for a very large table. They expire all the same.
    _Kind(sessions.c.id, sessions.c.id, sessions.c.ended_at < _BEFORE, ""),
)


class Walk:
    """All rows of one kind that are over, in steps. A step that failed may be taken again."""

    def __init__(self, kind: _Kind, before: int) -> None:
        reached = bindparam("reached", type_=kind.along.type)
        self._find = (
            select(kind.key, kind.along).where(kind.over, kind.along >= reached).order_by(kind.along).limit(AT_ONCE)
        )
        # Over still: one that was found may have been renewed since.
        keys = bindparam("keys", type_=kind.key.type, expanding=True)
        self._forget = delete(kind.key.table).where(kind.key.in_(keys), kind.over)
        self._before = before
        self._reached: object = kind.least
        self.is_at_its_end = False

    def step(self, connection: Connection) -> int:
        """Delete the next of them; how many went."""
        found = connection.execute(self._find, {"before": self._before, "reached": self._reached}).all()
        keys = [row[0] for row in found]
        gone = connection.execute(self._forget, {"before": self._before, "keys": keys}).rowcount if keys else 0
        self.is_at_its_end = len(found) < AT_ONCE
        if found:
            # Not from the start again, where the database finds all those that it has not cleared away yet.
            self._reached = found[-1][1]
        return gone


class FeedWalk:
    """The entries up to the last one that is old enough, in steps. A step that failed may be taken again."""

    def __init__(self, before: int) -> None:
        old = select(func.max(feed.c.position)).where(feed.c.at < before).scalar_subquery()
        self._bounds = select(func.min(feed.c.position), old)
        self._next: int | None = None
        self._last = 0
        self.is_at_its_end = False

    def step(self, unit: Unit) -> int:
        """Delete the next of them; how many went."""
        if self._next is None:
            first, last = unit.read(self._bounds, {}, frozenset())[0]
            if last is None:
                self.is_at_its_end = True
                return 0
            self._next, self._last = number(first), number(last)
        upto = min(self._next + AT_ONCE - 1, self._last)
        # The head first, as every writer of the feed takes it. Never back: a reader that missed one must be told.
        unit.write_now(update(feed_head).where(feed_head.c.pruned < upto).values(pruned=upto), {})
        gone = unit.write_now(delete(feed).where(feed.c.position <= upto), {})
        self._next = upto + 1
        self.is_at_its_end = upto == self._last
        return gone


def walks(before: int) -> Iterator[Walk]:
    """One for each kind of rows but the feed's."""
    return (Walk(kind, before) for kind in _KINDS)
