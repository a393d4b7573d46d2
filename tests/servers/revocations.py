"""Waves of revocations: who is still served on old knowledge, by which worker, and how long after the commit.

Nobody may be who asks later than the bound after the revocation was committed. What is judged is the time at which the
request arrived at the worker, compared with the time after the commit had returned: a slow machine can make the first
earlier and the second later than what they stand for, and never the other way round.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from statistics import median, quantiles
from typing import assert_never

from tests.servers.crowd import Crowd, Line, Seen, Visitor, at_once, command, newcomers, push_logout

ROLE, PRIVILEGED = "auditor", "chief"
PAUSE, PATIENCE = 0.1, 60.0


class How(Enum):
    """By what somebody's access changes."""

    SESSION = "command"
    USER = "command, all of a user"
    SID = "back-channel, sid"
    SUB = "back-channel, sub"
    GRANT = "role given"
    TAKE = "role taken"
    RISE = "privileged role given"


#: One wave: a hundred people.
WAVE = {How.SESSION: 28, How.USER: 12, How.SID: 16, How.SUB: 14, How.GRANT: 10, How.TAKE: 10, How.RISE: 10}


@dataclass
class Case:
    """One revocation: of whom, when it was committed, and what each worker has shown of it."""

    visitor: Visitor
    how: How
    session: str = ""
    user: str = ""
    begun: float = math.inf
    committed: float = math.inf
    #: By worker: the last request that was served on old knowledge, when it arrived and when the app had it.
    last_old: dict[int, tuple[float, float]] = field(default_factory=dict)
    new: set[int] = field(default_factory=set)

    def look(self, seen: Seen) -> None:
        """Note what this answer shows. Raises ``AssertionError`` for what must never be."""
        who = f"{self.how.value}: {self.visitor.subject}, worker {seen.worker}"
        if self._is_old(seen):
            assert seen.worker not in self.new, f"{who}: let in again after it was refused"
            self.last_old[seen.worker] = seen.arrived, seen.told["served"]
        else:
            assert time.monotonic() >= self.begun, f"{who}: {seen.status} before anything had changed"
            self.new.add(seen.worker)

    def _is_old(self, seen: Seen) -> bool:
        match self.how:
            case How.GRANT:
                assert seen.status == 200
                return ROLE not in seen.told["roles"]
            case How.TAKE:
                assert seen.status == 200
                return ROLE in seen.told["roles"]
            case How.SESSION | How.USER | How.SID | How.SUB | How.RISE:
                assert seen.status in {200, 302}
                assert seen.status == 302 or PRIVILEGED not in seen.told["roles"], "an old session has risen"
                return seen.status == 200
            case _:
                assert_never(self.how)

    def revoke(self, line: Line, crowd: Crowd) -> None:
        """Do it; the time is taken when it is acknowledged."""
        self.begun = time.monotonic()
        match self.how:
            case How.SESSION:
                done = command("sessions", "revoke", "--session", self.session) == 0
            case How.USER:
                done = command("sessions", "revoke", "--user", self.user) == 0
            case How.SID:
                done = push_logout(line, crowd.logout_token(sid=self.visitor.sid)).status == 200
            case How.SUB:
                done = push_logout(line, crowd.logout_token(sub=self.visitor.subject)).status == 200
            case How.GRANT:
                done = command("users", "grant", "--id", self.user, ROLE) == 0
            case How.TAKE:
                done = command("users", "revoke-role", "--id", self.user, ROLE) == 0
            case How.RISE:
                done = command("users", "grant", "--id", self.user, PRIVILEGED) == 0
            case _:
                assert_never(self.how)
        assert done, self.how.value
        self.committed = time.monotonic()

    def delays(self) -> list[tuple[float, float]]:
        """For each worker that served it after the commit: how long after it the last request arrived, and was with
        the app."""
        ends = self.committed
        return [(arrived - ends, served - ends) for arrived, served in self.last_old.values() if served > ends]


def gather(lines: Sequence[Line], crowd: Crowd, prepare: Callable[[Case], None]) -> list[Case]:
    """A wave of people, signed in, whom every worker has just served as they are."""
    hows = [how for how, number in WAVE.items() for _ in range(number)]
    cases = [Case(visitor, how) for how, visitor in zip(hows, newcomers(len(hows)), strict=True)]

    def welcome(mine: Sequence[Case], line: Line) -> None:
        for case in mine:
            landed = case.visitor.sign_in(line, crowd)
            assert landed.status == 303, (landed.status, landed.body)
            told = line.ask("GET", "/", case.visitor.cookie).told
            case.session, case.user = told["session"], told["user"]
            prepare(case)

    def show(line: Line) -> None:
        for case in cases:
            seen = line.ask("GET", "/", case.visitor.cookie)
            assert seen.status == 200, (case.how.value, seen.status)
            assert (ROLE in seen.told["roles"]) is (case.how is How.TAKE)

    at_once(partial(welcome, cases[number :: len(lines)], line) for number, line in enumerate(lines))
    if any(case.how is How.TAKE for case in cases):
        time.sleep(1.1)  # the role that is taken away later was given just now
    at_once(partial(show, line) for line in lines)
    return cases


def ask_on(line: Line, cases: Sequence[Case], bound: float, *, meanwhile: bool) -> None:
    """Ask for each until the first request that is sent after the bound; ``meanwhile``: all the time. Otherwise this
    line is silent until the bound is over for everybody."""
    waiting, end = list(cases), time.monotonic() + PATIENCE
    last = math.inf
    while waiting:
        assert time.monotonic() < end, "the revocations take too long"
        if not meanwhile:
            last = max(case.committed for case in cases)
        for case in list(waiting):
            is_due = time.monotonic() >= (case.committed if meanwhile else last) + bound
            if is_due or meanwhile:
                case.look(line.ask("GET", "/", case.visitor.cookie))
            if is_due:
                waiting.remove(case)
        time.sleep(PAUSE)


def wave(
    lines: Sequence[Line], more: Line, cases: Sequence[Case], crowd: Crowd, bound: float, *, meanwhile: bool
) -> None:
    """Revoke all of them, by the command line and by the provider at the same time, while every worker is asked."""
    pushed = [case for case in cases if case.how in {How.SID, How.SUB}]
    typed = [case for case in cases if case.how not in {How.SID, How.SUB}]

    def revoke(mine: Sequence[Case]) -> None:
        for case in mine:
            case.revoke(more, crowd)

    asking = [partial(ask_on, line, cases, bound, meanwhile=meanwhile) for line in lines]
    at_once([partial(revoke, pushed), partial(revoke, typed), *asking])
    for case in cases:
        late = [arrived for arrived, _ in case.last_old.values() if arrived >= case.committed + bound]
        assert late == [], f"{case.how.value}: served {late[0] - case.committed:.3f} s after the commit"
        assert len(case.new) == len(lines), f"{case.how.value}: some worker never heard of it"


def distribution(cases: Sequence[Case], workers: int) -> str:
    """When workers served the last request on old knowledge (s after the commit), as one line."""
    delays = sorted(served for case in cases for _, served in case.delays())
    told = f"{len(cases):4d} revocations x {workers} workers, {len(delays):4d} times served after it"
    if len(delays) < 2:
        return told
    at = quantiles(delays, n=100, method="inclusive")
    return f"{told}: min {delays[0]:.3f} median {median(delays):.3f} p99 {at[98]:.3f} max {delays[-1]:.3f} s"
