"""What must be true of the records and of every worker when the turmoil is over, whatever was killed when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, func, select

from jit_middleware.bridge import step
from jit_middleware_sqlalchemy import SQLAlchemyLedger
from jit_middleware_sqlalchemy.schema import audit, feed, feed_head, grants, identity_links, sessions, users
from tests.servers.crowd import Line, Visitor, at_once
from tests.servers.turmoil import ROLE, Signed, Turmoil


class Records:
    """The tables, read straight."""

    def __init__(self, ledger: SQLAlchemyLedger) -> None:
        self._ledger = ledger

    def rows(self, statement: Select[Any]) -> list[Any]:
        def read(connection: Connection) -> list[Any]:
            return list(connection.execute(statement).all())

        return step(self._ledger.database.use(read))  # type: ignore[arg-type]

    def column(self, statement: Select[Any]) -> list[Any]:
        return [row[0] for row in self.rows(statement)]

    def of_events(self, kind: str) -> list[tuple[str | None, str | None]]:
        """User and session of each event of a type."""
        return [tuple(row) for row in self.rows(select(audit.c.user_id, audit.c.session).where(audit.c.type == kind))]

    @property
    def open_intents(self) -> list[str]:
        """The subjects for whom a user was about to be made."""
        return self.column(select(identity_links.c.subject).where(identity_links.c.user_id.is_(None)))


def assert_same(some: Iterable[object], others: Iterable[object], what: str) -> None:
    """Raises ``AssertionError`` naming what is not equally often in both, with how often it is in each."""
    one, other = Counter(iter(some)), Counter(iter(others))
    differing = {each: (one[each], other[each]) for each in {*one, *other} if one[each] != other[each]}
    if differing:
        raise AssertionError(f"{what}; of {len(one)} and {len(other)} differ {len(differing)}: {differing}")


def judge_people(records: Records) -> None:
    """Nobody is there twice, and each was made exactly once, as the audit trail has it."""
    people = records.column(select(users.c.id))
    links = records.rows(select(identity_links.c.subject, identity_links.c.user_id))
    settled = [user for _, user in links if user is not None]
    assert_same(settled, people, "a user for each identity, and an identity for each user")
    assert len({subject for subject, _ in links}) == len(links)
    created = [user for user, _ in records.of_events("user.created")]
    assert_same(created, people, "user.created exactly once for each user")


def judge_sessions(records: Records, turmoil: Turmoil) -> None:
    """Each session has its login in the trail; what was told to be there is there, what was told to have ended has."""
    rows = records.rows(select(sessions.c.id, sessions.c.user_id, sessions.c.ended_at))
    known = {session: ended for session, _, ended in rows}
    logins = [session for _, session in records.of_events("login.succeeded")]
    assert_same(logins, known, "login.succeeded exactly once for each session")
    missing = [one.id for one in turmoil.signed if one.id not in known]
    assert missing == [], f"{missing}: somebody was signed in, and the records do not know"
    alive = [one.id for one in turmoil.signed if one.ended < float("inf") and known[one.id] is None]
    assert alive == [], f"{alive}: a session lives that was ended"
    over = {session for session, ended in known.items() if ended is not None}
    unasked = over - {one.id for one in turmoil.signed if one.attempted < float("inf")}
    told = {one.id for one in turmoil.signed}
    assert unasked & told == set(), f"{unasked & told}: a session has ended that nobody has ended"
    ended_events = [session for _, session in records.of_events("session.ended")]
    assert_same(ended_events, over, "session.ended exactly once for each session that has ended")
    # By the feed every worker has heard of each of them: by itself, or with all of its user.
    entries = set(map(tuple, records.rows(select(feed.c.kind, feed.c.entry_key))))
    owner = {session: user for session, user, _ in rows}
    assert [one for one in over if not {("session", one), ("user", owner[one])} & entries] == []


def judge_feed(records: Records) -> None:
    """No position is missing, and none beyond the head."""
    positions = records.column(select(feed.c.position).order_by(feed.c.position))
    ((head, pruned),) = records.rows(select(feed_head.c.position, feed_head.c.pruned))
    assert pruned == 0
    assert positions == list(range(1, head + 1))


def judge_roles(records: Records, turmoil: Turmoil) -> None:
    """Who was told to hold the role holds it, and who was told not to does not."""
    holders = set(records.column(select(grants.c.user_id).where(grants.c.role == ROLE)))
    doubled = select(grants.c.user_id).group_by(grants.c.user_id, grants.c.role, grants.c.source)
    assert records.rows(doubled.having(func.count() > 1)) == []
    told = {user: holds for user, holds in turmoil.roles.items() if holds is not None}
    assert_same(((user, user in holders) for user in told), told.items(), "roles as they were told")


def judge_workers(lines: Sequence[Line], signed: Sequence[Signed], turmoil: Turmoil) -> None:
    """Every worker refuses what has ended, and serves what nobody has set about ending, with its roles."""

    def ask(line: Line) -> None:
        for one in signed:
            seen = line.ask("GET", "/", one.visitor.cookie)
            if one.ended < float("inf"):
                assert seen.status == 302, f"{one.id} is served by worker {seen.worker}"
            elif one.attempted == float("inf"):
                assert seen.status == 200, f"{one.id} is refused by worker {seen.worker}: {seen.status}"
                holds = turmoil.roles.get(one.user, False)
                assert holds is None or (ROLE in seen.told["roles"]) is holds

    at_once(partial(ask, line) for line in lines)


def sign_all_in(lines: Sequence[Line], turmoil: Turmoil) -> dict[str, str]:
    """Everybody who was ever there signs in anew; their users by subject."""
    found: dict[str, str] = {}

    def some(number: int, line: Line) -> None:
        for subject in sorted(turmoil.subjects)[number :: len(lines)]:
            visitor = Visitor(subject, f"again-{subject}")
            landed = visitor.sign_in(line, turmoil.crowd)
            assert landed.status == 303, (subject, landed.status, landed.body)
            found[subject] = line.ask("GET", "/", visitor.cookie).told["user"]

    at_once(partial(some, number, line) for number, line in enumerate(lines))
    assert len(set(found.values())) == len(found) == len(turmoil.subjects)
    before = {one.visitor.subject: one.user for one in turmoil.signed}
    assert before.items() <= found.items(), "somebody has become somebody else"
    return found
