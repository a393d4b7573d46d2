"""People sign in and out, operators end sessions and change roles, while workers and the database are killed.

A database that is a file (``database`` is ``None``) dies with the workers that are in the middle of writing it.

What a client was told is written down; what it was not told stays in doubt. Afterwards every word that was given must
hold: that is the whole of the judgement (``tests.servers.aftermath``).
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path

from tests.peers.databases import DatabaseServer
from tests.servers.conftest import Server
from tests.servers.crowd import Crowd, Line, Seen, Visitor, at_once, command, push_logout

BOUND = 1.0
#: A worker that could not start tries again after a second, and a client may have waited for that answer.
RECOVERY = 3.0
ROLE = "auditor"
#: However slow the machine is, this much happens; and it never takes longer than that (s).
ENOUGH = {
    "login": 30,
    "logout": 3,
    "back-channel": 3,
    "revoke": 3,
    "grant": 2,
    "database killed": 3,
    "worker killed": 6,
}
LONGEST = 240.0


@dataclass
class Signed:
    """A session that somebody was given."""

    id: str
    user: str
    visitor: Visitor
    #: When somebody set about ending it, and when they were told that it has ended.
    attempted: float = float("inf")
    ended: float = float("inf")


@dataclass
class Turmoil:
    """All that goes on at once. ``seed`` makes the choices, as far as threads let it."""

    server: Server
    crowd: Crowd
    database: DatabaseServer | None
    seed: int
    seconds: float
    bridged: bool
    signed: list[Signed] = field(default_factory=list)
    subjects: set[str] = field(default_factory=set)
    #: By subject: until when all sessions of that person were being ended.
    swept: dict[str, float] = field(default_factory=dict)
    #: By user: whether they were told to hold the role, ``None`` while that is in doubt.
    roles: dict[str, bool | None] = field(default_factory=dict)
    away: list[tuple[float, float]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[float, float, str]] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Until the time is over; the database is there and all clients are gone then."""
        works: list[Callable[[random.Random, Line], None]] = [self._sign_in] * 3
        works += [self._ask] * 2 + [self._sign_out, self._command]
        clients = [partial(self._client, work, number) for number, work in enumerate(works)]
        at_once([*clients, self._havoc])

    def is_away(self, sent: float, answered: float) -> bool:
        """Whether an answer in that time may be that the database is away."""
        return any(answered >= began and sent <= ended + RECOVERY for began, ended in self.away)

    def judge_failures(self) -> list[str]:
        """The failures for which no crash of the database is an excuse."""
        return [
            f"{what}, sent {[round(sent - began, 3) for began, _ in self.away]} s after the crashes, which were over"
            f" {[round(sent - ended, 3) for _, ended in self.away]} s before"
            for sent, answered, what in self.failed
            if not self.is_away(sent, answered)
        ]

    # --- clients ----------------------------------------------------------------------------------------------------

    def _client(self, work: Callable[[random.Random, Line], None], number: int) -> None:
        choices, line = random.Random(f"{self.seed}-{number}"), Line(self.server.port)
        try:
            while not self.over.is_set():
                try:
                    work(choices, line)
                except (OSError, HTTPException):
                    self.done["cut off"] += 1
                    time.sleep(0.02)
        finally:
            self.over.set()  # when it ends by an error, so do the others
            line.close()

    def _note(self, seen: Seen, what: str) -> Seen:
        answered = time.monotonic()
        with self._lock:
            self.statuses[seen.status] += 1
        if seen.status >= 500:
            # In the middle of a crash its end is not known yet: judged afterwards.
            self.failed.append((seen.sent, answered, f"{what}: {seen.status} by worker {seen.worker}"))
            time.sleep(0.02)
        return seen

    def _sign_in(self, choices: random.Random, line: Line) -> None:
        # Ever more people, each of them several times, and some of them in two places at once.
        subject = f"person{choices.randrange(5 + len(self.signed) // 3)}-{self.seed}"
        self.subjects.add(subject)
        began = time.monotonic()
        visitor = Visitor(subject, f"sid-{choices.getrandbits(64):x}")
        landed = self._note(visitor.sign_in(line, self.crowd), "login")
        # It is begun anew, once, at the provider: this browser goes there no more.
        if landed.status in {302, 403} and self.swept.get(subject, 0) < began - 1:
            self.odd.append(f"a login was overtaken, and nobody had ended all sessions of {subject}")
        if landed.status != 303:
            return
        if "jit" not in visitor.cookies:
            self.odd.append(f"a login without a session: {landed.headers}")
            return
        cookie = visitor.cookie
        for _ in range(100):  # it has been told: whoever asks afterwards is told who it is
            try:
                seen = self._note(line.ask("GET", "/", cookie), "first request")
            except (OSError, HTTPException):
                seen = None
            if seen is not None and seen.status == 200:
                break
            if seen is not None and seen.status < 500:
                if self.swept.get(subject, 0) < began:
                    self.lost.append(f"{seen.status} just after the login of {subject}")
                return
            time.sleep(0.1)
        else:
            self.odd.append("no answer for ten seconds")
            return
        told = seen.told
        with self._lock:
            one = Signed(told["session"], told["user"], visitor)
            if self.swept.get(subject, 0) >= began:
                one.attempted = time.monotonic()  # it may have been one of all that were ended
            self.signed.append(one)
        self.done["login"] += 1

    def _ask(self, choices: random.Random, line: Line) -> None:
        if not self.signed:
            time.sleep(0.05)
            return
        one = choices.choice(self.signed)
        ended = one.ended
        seen = self._note(line.ask("GET", "/", one.visitor.cookie), "request")
        is_bridged = self.bridged and self.is_away(seen.arrived - BOUND, seen.arrived)
        if seen.status == 200 and seen.arrived >= ended + BOUND and not is_bridged:
            self.late.append(f"{seen.arrived - ended:.3f} s after the end of {one.id}")
        if seen.status == 302 and one.attempted == float("inf"):
            self.lost.append(f"{one.id} of {one.visitor.subject}")
        time.sleep(0.002)

    def _choose(self, choices: random.Random) -> Signed | None:
        """A session that nobody has set about ending, some of the time."""
        if len(self.signed) < 5:
            time.sleep(0.05)
            return None
        with self._lock:
            one = choices.choice(self.signed)
            if one.attempted != float("inf"):
                return None
            one.attempted = time.monotonic()
            return one

    def _sign_out(self, choices: random.Random, line: Line) -> None:
        one = self._choose(choices)
        if one is None:
            return
        if choices.random() < 0.5:
            is_done = self._note(one.visitor.sign_out(line), "logout").status == 303
            what = "logout"
        else:
            token = self.crowd.logout_token(sid=one.visitor.sid)
            is_done = self._note(push_logout(line, token), "back-channel logout").status == 200
            what = "back-channel"
        if is_done:
            one.ended = time.monotonic()
            self.done[what] += 1
        time.sleep(0.03)

    def _command(self, choices: random.Random, _line: Line) -> None:
        time.sleep(0.03)
        one = self._choose(choices)
        if one is None:
            return
        match choices.randrange(4):
            case 0:
                self._sweep(one.user, one.visitor.subject)
            case 1:
                one.attempted = float("inf")
                holders = [user for user, holds in self.roles.items() if holds]
                self._change_role(choices.choice(holders) if holders and choices.random() < 0.5 else one.user)
            case _:
                if command("sessions", "revoke", "--session", one.id) == 0:
                    one.ended = time.monotonic()
                    self.done["revoke"] += 1

    def _sweep(self, user: str, subject: str) -> None:
        """End all sessions of somebody, who may be about to begin one more."""
        with self._lock:
            self.swept[subject] = float("inf")
            those = [each for each in self.signed if each.user == user]
            for each in those:
                each.attempted = min(each.attempted, time.monotonic())
        if command("sessions", "revoke", "--user", user) == 0:
            now = time.monotonic()
            for each in those:
                each.ended = min(each.ended, now)
            self.done["all of a user"] += 1
        self.swept[subject] = time.monotonic()

    def _change_role(self, user: str) -> None:
        """Give the role to who has it not, take it from who has."""
        is_given = not self.roles.get(user)
        self.roles[user] = None
        verb = "grant" if is_given else "revoke-role"
        if command("users", verb, "--id", user, ROLE) == 0:
            self.roles[user] = is_given
            self.done[verb] += 1

    # --- havoc ------------------------------------------------------------------------------------------------------

    def _havoc(self) -> None:
        choices, began = random.Random(self.seed), time.monotonic()
        # A worker is on its feet again before the next one dies, most of the time.
        pace = 4 / self.server.kind.workers
        turn = 0
        try:
            while time.monotonic() < began + self.seconds or self.lacks:
                assert time.monotonic() < began + LONGEST, f"too little has happened, not even {self.lacks}"
                # On a slow machine, where it takes longer than planned, they get ever more time to get up.
                patience = max(1.0, (time.monotonic() - began) / self.seconds)
                if self.over.wait(pace * patience * choices.uniform(0.3, 1.2)):
                    break
                turn += 1
                if turn % 4 == 0 and self.database is not None:
                    self._crash_database(self.database, choices.uniform(0.1, 1.5))
                else:
                    self._crash_worker(choices)
        finally:
            self.over.set()

    @property
    def lacks(self) -> list[str]:
        """What has hardly happened yet, so that the end would prove nothing."""
        wanted = ENOUGH if self.database is not None else {**ENOUGH, "database killed": 0}
        return [what for what, number in wanted.items() if self.done[what] < number]

    def _crash_database(self, database: DatabaseServer, pause: float) -> None:
        self.away.append((time.monotonic(), float("inf")))
        database.kill()
        self.done["database killed"] += 1
        time.sleep(pause)
        database.start()
        self.away[-1] = (self.away[-1][0], time.monotonic())

    def _crash_worker(self, choices: random.Random) -> None:
        found = workers(self.server.process.pid)
        if not found:
            return
        try:
            os.kill(choices.choice(found), signal.SIGKILL)
        except ProcessLookupError:
            return
        self.done["worker killed"] += 1


def workers(master: int) -> list[int]:
    """The processes that serve, by the one that started them."""
    found = []
    for child in Path(f"/proc/{master}/task/{master}/children").read_text().split():
        try:
            command_line = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if command_line and b"resource_tracker" not in command_line:
            found.append(int(child))
    return found
