"""Marks of revocations: left for logins that are on their way, and read with what a login and a session are read by.

A mark whose time is more than an hour ahead was left by a clock that was wrong. It would keep people out until that
time, so whoever reads passes it over, and whoever leaves the same mark with the right time puts that in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from jit_middleware.model import Marks
from jit_middleware_sqlalchemy.queries import FAR_AHEAD
from jit_middleware_sqlalchemy.rows import is_plain, number
from jit_middleware_sqlalchemy.schema import marks as table
from jit_middleware_sqlalchemy.unit import Unit
from jit_middleware_sqlalchemy.writes import Parameters, Shape, Write

#: Rows of one insert: far below every database's limit of parameters.
_AT_ONCE: Final = 50
_LONGEST: Final = 64
_NOBODYS: Final = Marks("", "")


class MarkVerbs:
    """The verbs of a transaction that know marks; :class:`~jit_middleware_sqlalchemy.transaction.Tx` has them."""

    unit: Unit

    async def leave_marks(self, marks: Sequence[str], *, at: int, until: int) -> None:
        """Leave these, or renew them, in one statement for fifty: between two, a mark that is over could be swept away.

        The later time of both stays, unless it is far ahead of ``at``. In the order of their text, so that two who do
        it wait for each other once.
        """
        wanted = sorted({mark for mark in marks if is_plain(mark, _LONGEST)})
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            rows: tuple[Parameters, ...] = tuple({"mark": mark, "at": at, "until": until} for mark in part)
            self.unit.write_alone(Write(Shape("insert_latest", table.name, rows=len(rows)), rows))


def asked(marks: Marks | None, now: int) -> Mapping[str, object]:
    """The parameters of ``queries.FIND_LINK`` for these marks; a name that nobody has asks for nothing."""
    marks = marks or _NOBODYS
    return {
        "latest": now + FAR_AHEAD,
        "connection_mark": marks.connection,
        "identity_mark": marks.identity,
        "session_mark": marks.session or "",
        "own_session_mark": marks.own_session or "",
        "person_mark": marks.person or "",
        "email_mark": marks.email or "",
    }


def latest(times: Sequence[object], now: int) -> int | None:
    """The latest of those that are there, and not far ahead."""
    there = [number(each) for each in times if each is not None]
    return max((each for each in there if each <= now + FAR_AHEAD), default=None)
