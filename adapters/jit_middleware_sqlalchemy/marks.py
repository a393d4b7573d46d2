"""Marks of revocations: left for logins that are on their way, and read with what a login and a session are read by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import bindparam, update

from jit_middleware.model import Marks
from jit_middleware_sqlalchemy.rows import is_plain, number
from jit_middleware_sqlalchemy.schema import marks as table
from jit_middleware_sqlalchemy.unit import Unit
from jit_middleware_sqlalchemy.writes import Parameters, Shape, Write

#: Rows of one insert: far below every database's limit of parameters.
_AT_ONCE: Final = 50
_LONGEST: Final = 64
_RENEW: Final = (
    update(table)
    .where(table.c.mark == bindparam("known"), table.c.at < bindparam("now"))
    .values(at=bindparam("now"), until=bindparam("later"))
)


class MarkVerbs:
    """The verbs of a transaction that know marks; :class:`~jit_middleware_sqlalchemy.transaction.Tx` has them."""

    unit: Unit

    async def leave_marks(self, marks: Sequence[str], *, at: int, until: int) -> None:
        """Leave these, or renew them. In the order of their text, so that two who do it wait for each other once."""
        wanted = sorted({mark for mark in marks if is_plain(mark, _LONGEST)})
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            row: Parameters = {}
            for place, mark in enumerate(part):
                row |= {f"{place}_mark": mark, f"{place}_at": at, f"{place}_until": until}
            self.unit.write_alone(Write(Shape("insert_new", table.name, rows=len(part)), row))
        for mark in wanted:
            self.unit.write_now(_RENEW, {"known": mark, "now": at, "later": until})


def asked(marks: Marks | None) -> Mapping[str, object]:
    """The parameters of ``queries.FIND_LINK`` for these marks; a name that nobody has asks for nothing."""
    if marks is None:
        return _NOTHING
    return {
        "connection_mark": marks.connection,
        "identity_mark": marks.identity,
        "session_mark": marks.session or "",
        "own_session_mark": marks.own_session or "",
        "person_mark": marks.person or "",
        "email_mark": marks.email or "",
    }


_NOTHING: Final = asked(Marks("", ""))


def latest(times: Sequence[object]) -> int | None:
    """The latest of those that are there."""
    return max((number(each) for each in times if each is not None), default=None)
