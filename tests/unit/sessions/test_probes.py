"""Asking the provider beside the requests: what is lost when somebody leaves or the database fails, and who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from jit_middleware.audit import AuditTrail
from jit_middleware.bridge import step
from jit_middleware.errors import ProviderRefused, ProviderUnavailable, StoreUnavailable
from jit_middleware.keyring import Keyring
from jit_middleware.model import AuditEvent, SessionRecord
from jit_middleware.offload import Pauses, ToTheEnd
from jit_middleware.sessions import Probe, RefreshProbes
from tests.conftest import FakeClock
from tests.fakes import CountedTokens

EVERY, GRACE, LEASE = 900, 3600, 60
Work = Callable[[], Coroutine[object, object, None]]


class Rows:
    """The sessions of a ledger, in memory. ``failures`` are raised by the next writes, one each."""

    def __init__(self) -> None:
        self.rows: dict[str, SessionRecord] = {}
        self.ended: list[AuditEvent] = []
        self.failures: list[StoreUnavailable] = []
        self.claims_fail = False
        self.claims = 0

    async def claim_probe(self, session_id: str, *, due: int, lease: int) -> bool:
        self.claims += 1
        if self.claims_fail:
            raise StoreUnavailable("read_only")
        return self._write(session_id, due, probe_at=lease)

    async def settle_probe(
        self, session_id: str, *, lease: int, probe_at: int, failing_since: int | None, refresh_token: str
    ) -> bool:
        self._fail()
        values = {"probe_failing_since": failing_since, "refresh_token": refresh_token}
        return self._write(session_id, lease, probe_at=probe_at, **values)

    async def transaction(self, work: Callable[[Any], Awaitable[None]]) -> None:
        self._fail()
        await work(self)

    async def end_sessions(self, at: int, *, session_id: str) -> list[SessionRecord]:
        row = self.rows[session_id]
        self.rows[session_id] = replace(row, ended_at=at)
        return [] if row.ended_at is not None else [row]

    async def append_audit(self, event: AuditEvent) -> None:
        self.ended.append(event)

    def _write(self, session_id: str, at: int, **values: Any) -> bool:
        row = self.rows[session_id]
        if row.probe_at != at or row.ended_at is not None:
            return False
        self.rows[session_id] = replace(row, **values)
        return True

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


class IdP:
    """Replaces the token at each use, and refuses one that was used before."""

    def __init__(self) -> None:
        self.good: dict[str, str] = {}
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def refresh(self, token: str) -> str | None:
        self.asked.append(token)
        who = token.partition("-")[0]
        if self.failure is not None:
            if self.meanwhile is not None:
                await self.meanwhile()
            raise self.failure
        if self.good.setdefault(who, token) != token:
            raise ProviderRefused("invalid_grant", "reuse")
        self.good[who] = f"{who}-{len(self.asked)}"
        if self.meanwhile is not None:
            await self.meanwhile()
        return self.good[who]


class Stage:
    """A worker, the only one or ``beside`` another."""

    def __init__(
        self,
        clock: FakeClock,
        background: Any = None,
        pause: Any = None,
        every: int = EVERY,
        beside: Stage | None = None,
    ) -> None:
        self.clock = clock
        self.rows, self.idp = (Rows(), IdP()) if beside is None else (beside.rows, beside.idp)
        self.works: list[Work] = []
        self.has_threads, self.is_ending = True, False
        self.envelope = Keyring([b"x" * 32]).envelope("refresh-token", CountedTokens())
        self.pauses = 0
        self.probes = RefreshProbes(
            {"oidc": Probe(every, GRACE, self.idp.refresh)},
            ledger=self.rows,  # type: ignore[arg-type]
            envelope=self.envelope,
            audit=AuditTrail(clock=clock, tokens=CountedTokens()),
            clock=clock,
            background=background or self._begin,
            pause=pause or self._pause,
            is_ending=lambda: self.is_ending,
        )

    def _begin(self, work: Work) -> bool:
        if self.has_threads:
            self.works.append(work)
        return self.has_threads

    async def _pause(self, seconds: float) -> None:
        self.pauses += 1
        self.clock.advance(seconds)

    def session(self, name: str = "s", due_in: int = EVERY) -> str:
        now = self.clock.now()
        sealed = self.envelope.seal(f"{name}-0", now)
        self.rows.rows[name] = SessionRecord(
            name, "u", "default", "oidc", "i", "s", now, now + 36_000, now, now,
            refresh_token=sealed, probe_at=now + due_in,
        )  # fmt: skip
        return name

    def look(self, name: str = "s") -> float:
        return self.probes.look(self.rows.rows[name])

    def work(self) -> None:
        """Do what was begun beside the requests."""
        while self.works:
            step(self.works.pop(0)())

    def token(self, name: str = "s") -> str | None:
        sealed = self.rows.rows[name].refresh_token
        return None if sealed is None else self.envelope.open(sealed, now=self.clock.now())

    def fail(self, name: str, *, since: int, due: int) -> None:
        """As a worker has left the row whose question has failed."""
        self.rows.rows[name] = replace(self.rows.rows[name], probe_failing_since=since, probe_at=due)

    def ask(self, *names: str) -> None:
        for name in names:
            self.look(name)
        self.work()

    def reasons(self) -> list[str]:
        return [str(event.reason) for event in self.rows.ended]


# --- a token that was replaced is not lost --------------------------------------------------------------------------


def test_a_request_that_is_cancelled_takes_no_answer_along(fake_clock: FakeClock) -> None:
    async def story() -> None:
        stage = Stage(fake_clock, ToTheEnd("asgi"), Pauses("asgi"))
        stage.session()
        fake_clock.advance(EVERY + 1)
        replaced, arrived = asyncio.Event(), asyncio.Event()

        async def on_its_way() -> None:
            replaced.set()
            await arrived.wait()

        stage.idp.meanwhile = on_its_way

        async def request() -> None:
            stage.look()
            await asyncio.Event().wait()

        asked = asyncio.create_task(request())
        await asyncio.wait_for(replaced.wait(), 10)
        asked.cancel()
        await asyncio.wait([asked])
        arrived.set()
        await stage.probes.finish()
        assert stage.token() == stage.idp.good["s"] == "s-1"
        stage.idp.meanwhile = None
        fake_clock.advance(EVERY + 1)
        stage.look()
        await asyncio.sleep(0)
        await stage.probes.finish()
        assert stage.token() == "s-2"
        assert stage.reasons() == []

    asyncio.run(story())


def test_a_new_token_is_written_as_soon_as_the_database_takes_it(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    stage.session()
    fake_clock.advance(EVERY + 1)
    stage.rows.failures = [StoreUnavailable("locked")] * 5
    stage.look()
    stage.work()
    assert stage.pauses == 5
    assert stage.token() == stage.idp.good["s"]
    assert stage.idp.asked == ["s-0"]


def test_a_new_token_that_could_not_be_written_is_the_next_one_to_be_used(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    stage.session()
    fake_clock.advance(EVERY + 1)
    stage.rows.failures = [StoreUnavailable("locked")] * 1_000
    stage.look()
    stage.work()
    assert stage.token() == "s-0", "given up when the lease is over"
    assert stage.pauses < LEASE
    stage.rows.failures = []
    fake_clock.advance(LEASE)
    for _ in range(2):
        stage.look()
        stage.work()
        assert stage.token() == stage.idp.good["s"]
        fake_clock.advance(EVERY + 1)
    assert stage.idp.asked == ["s-0", "s-1", "s-2"]
    assert stage.reasons() == []


def test_a_token_that_another_worker_has_written_since_goes_before_an_unwritten_one(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    stage.session()
    fake_clock.advance(EVERY + 1)
    stage.rows.failures = [StoreUnavailable("locked")] * 1_000
    stage.look()
    stage.work()
    stage.rows.failures = []
    now = fake_clock.now()
    theirs = stage.envelope.seal("s-theirs", now)
    stage.rows.rows["s"] = replace(stage.rows.rows["s"], probe_at=now + EVERY, refresh_token=theirs)
    stage.idp.good["s"] = "s-theirs"
    fake_clock.advance(EVERY + 1)
    stage.look()
    stage.work()
    assert stage.idp.asked[-1] == "s-theirs"


def test_an_end_that_could_not_be_written_is_tried_again(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    stage.session()
    stage.idp.good["s"] = "withdrawn"
    fake_clock.advance(EVERY + 1)
    stage.rows.failures = [StoreUnavailable("locked")] * 3
    stage.look()
    stage.work()
    assert stage.reasons() == ["refresh_refused"]


# --- nobody waits for a provider ------------------------------------------------------------------------------------


def test_a_provider_that_hangs_is_asked_once_for_all_who_wait(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    names = [stage.session(f"s{number}") for number in range(12)]
    fake_clock.advance(EVERY + 1)
    stage.idp.failure = ProviderUnavailable("deadline")
    for _ in range(3):
        assert [0 < stage.look(name) <= 5 for name in names] == [True] * 12
    assert len(stage.works) == 1, "and begun by one"
    stage.work()
    assert len(stage.idp.asked) == 1
    rows = stage.rows.rows.values()
    assert {row.probe_failing_since for row in rows} == {fake_clock.now()}
    assert {row.probe_at for row in rows} == {fake_clock.now() + 60}
    assert [stage.token(name) for name in names] == [f"{name}-0" for name in names]


def test_one_that_hangs_for_the_whole_grace_ends_everybody_by_it(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    names = [stage.session(f"s{number}") for number in range(12)]
    fake_clock.advance(EVERY + 1)
    stage.idp.failure = ProviderUnavailable("deadline")
    for _ in range(GRACE // 60 + 1):
        for name in names:
            stage.look(name)
        stage.work()
        fake_clock.advance(60)
    assert stage.reasons() == ["refresh_unreachable"] * 12
    assert len(stage.idp.asked) == GRACE // 60 + 1


def test_no_session_ends_unasked_while_the_provider_answers_for_others(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    for name in ("first", "second"):
        stage.session(name)
    fake_clock.advance(EVERY + 1)
    stage.ask("first")  # it answers
    fake_clock.advance(GRACE)
    stage.fail("second", since=fake_clock.now() - GRACE - 60, due=fake_clock.now() - 1)
    stage.idp.failure = ProviderUnavailable("deadline")

    async def and_recovers() -> None:
        stage.idp.failure = None

    async def fail_once() -> None:
        stage.idp.meanwhile = None
        await and_recovers()
        raise ProviderUnavailable("deadline")

    stage.idp.meanwhile = fail_once
    stage.look("first")
    stage.look("second")
    stage.work()
    assert [token.partition("-")[0] for token in stage.idp.asked] == ["first", "first", "second"]
    assert stage.reasons() == []
    assert stage.rows.rows["second"].probe_failing_since is None


def test_one_that_answers_is_asked_several_questions_at_once(fake_clock: FakeClock) -> None:
    async def story() -> None:
        stage = Stage(fake_clock, ToTheEnd("asgi"), Pauses("asgi"))
        names = [stage.session(f"s{number}") for number in range(30)]
        fake_clock.advance(EVERY + 1)
        at_once, most = 0, 0

        async def slowly() -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.001)
            at_once -= 1

        stage.idp.meanwhile = slowly
        for name in names:
            stage.look(name)
        while len(stage.idp.asked) < 30:
            await asyncio.sleep(0.001)
        await stage.probes.finish()
        assert most == 4
        assert [stage.token(name) for name in names] == [stage.idp.good[name] for name in names]

    asyncio.run(story())


def test_a_database_that_takes_no_writes_is_not_asked_by_everybody_who_waits(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    names = [stage.session(f"s{number}") for number in range(12)]
    fake_clock.advance(EVERY + 1)
    stage.rows.claims_fail = True
    for name in names:
        stage.look(name)
    stage.work()
    assert stage.rows.claims == 1
    assert stage.idp.asked == []
    stage.rows.claims_fail = False
    for name in names:
        stage.look(name)
    stage.work()
    assert len(stage.idp.asked) == 12


def test_who_asked_when_the_process_forked_is_not_waited_for_for_ever(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    stage.session()
    fake_clock.advance(EVERY + 1)
    stage.look()
    stage.works.clear()  # its thread is in the parent
    stage.look()
    assert stage.works == []
    fake_clock.advance(181)
    stage.look()
    stage.work()
    assert stage.token() == "s-1"


def test_a_time_that_a_wrong_clock_has_set_is_not_waited_for(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    stage.session(due_in=20 * 3600)
    stage.look()
    stage.work()
    assert stage.idp.asked == ["s-0"]
    assert stage.look() == EVERY


# --- whose grace it is ----------------------------------------------------------------------------------------------


def test_the_failure_of_yesterday_is_not_part_of_the_outage_of_today(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    stage.session()
    fake_clock.advance(EVERY + 1)
    stage.idp.failure = ProviderUnavailable("deadline")
    stage.ask("s")
    fake_clock.advance(14 * 3600)
    stage.ask("s")
    assert stage.reasons() == []
    assert stage.rows.rows["s"].probe_failing_since == fake_clock.now(), "the grace begins anew"
    for _ in range(GRACE // 60):
        fake_clock.advance(60)
        assert stage.reasons() == []
        stage.ask("s")
    assert stage.reasons() == ["refresh_unreachable"]


def test_requests_that_are_far_apart_do_not_each_have_a_grace_of_their_own(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    stage.session()
    fake_clock.advance(EVERY + 1)
    stage.idp.failure = ProviderUnavailable("deadline")
    for _ in range(2):
        stage.ask("s")
        assert stage.reasons() == []
        fake_clock.advance(GRACE // 2)
    stage.ask("s")
    assert stage.reasons() == ["refresh_unreachable"]


def test_a_failure_that_is_the_sessions_own_ends_it_although_others_are_answered(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    for name in ("s", "t"):
        stage.session(name)
    fake_clock.advance(EVERY + 1)
    for _ in range(GRACE // 60 + 1):
        stage.idp.failure = None
        stage.ask("t")
        stage.idp.failure = ProviderUnavailable("500")
        stage.ask("s")
        fake_clock.advance(60)
    assert stage.reasons() == ["refresh_unreachable"]
    assert stage.rows.rows["t"].ended_at is None


def test_a_worker_that_has_just_begun_ends_nobody_unasked(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    for name in ("first", "second"):
        stage.session(name)
        stage.fail(name, since=fake_clock.now() - GRACE, due=fake_clock.now() - 1)
    stage.idp.failure = ProviderUnavailable("deadline")

    async def for_the_last_time() -> None:
        stage.idp.failure = stage.idp.meanwhile = None
        raise ProviderUnavailable("deadline")

    stage.idp.meanwhile = for_the_last_time
    stage.ask("first", "second")
    assert stage.idp.asked == ["first-0", "second-0"]
    assert [name for name, row in stage.rows.rows.items() if row.ended_at is not None] == ["first"], "which was asked"
    assert stage.rows.rows["second"].probe_failing_since is None


def test_an_outage_that_lasts_as_long_as_the_grace_ends_those_who_wait_together(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    names = [stage.session(f"s{number}") for number in range(5)]
    fake_clock.advance(EVERY + 1)
    stage.idp.failure = ProviderUnavailable("deadline")
    for _ in range(GRACE // 60):
        stage.ask("s0")
        fake_clock.advance(60)
    for name in names:
        stage.fail(name, since=fake_clock.now() - GRACE, due=fake_clock.now() - 1)
    asked = len(stage.idp.asked)
    stage.ask(*names)
    assert stage.reasons() == ["refresh_unreachable"] * 5
    assert len(stage.idp.asked) == asked + 1


def test_a_time_of_failure_that_lies_ahead_makes_no_grace_longer(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    stage.session()
    stage.fail("s", since=fake_clock.now() + 36_000, due=fake_clock.now())
    stage.idp.failure = ProviderUnavailable("deadline")
    stage.ask("s")
    assert stage.rows.rows["s"].probe_failing_since == fake_clock.now()


# --- clocks of several hosts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [60, EVERY])
def test_what_a_worker_with_a_clock_ahead_has_asked_is_not_asked_again(fake_clock: FakeClock, every: int) -> None:
    stage = Stage(fake_clock, every=every)
    stage.session(due_in=every)
    fake_clock.advance(every + 1)
    theirs = Stage(FakeClock(fake_clock.seconds + 1), every=every, beside=stage)

    async def also_ours() -> None:
        assert stage.look() == 61, "they have it until a minute from now, on their clock"
        assert stage.works == []

    stage.idp.meanwhile = also_ours
    theirs.ask("s")
    assert stage.look() == every + 1
    assert stage.works == []
    assert stage.idp.asked == ["s-0"]


@pytest.mark.parametrize(("further", "asks"), [(0, False), (60, False), (61, True)])
def test_so_far_ahead_a_time_is_believed(fake_clock: FakeClock, further: int, asks: bool) -> None:
    stage = Stage(fake_clock)
    stage.session(due_in=EVERY + further)
    assert stage.look() == (5 if asks else EVERY + further)
    assert bool(stage.works) is asks


def test_a_question_is_nobodys_when_the_clock_was_put_back_by_a_lease(fake_clock: FakeClock) -> None:
    """Or taking it would change nothing, and everybody could."""
    stage = Stage(fake_clock)
    stage.session(due_in=0)
    stage.look()
    fake_clock.set_back(LEASE)
    due = stage.rows.rows["s"].probe_at

    async def look_at_it() -> None:
        assert stage.rows.rows["s"].probe_at != due

    stage.idp.meanwhile = look_at_it
    stage.work()
    assert stage.idp.asked == ["s-0"]
    assert stage.token() == "s-1"


# --- threads that cannot be had, and processes that end -------------------------------------------------------------


def test_a_seat_is_given_back_when_no_thread_can_be_started(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    stage.session()
    fake_clock.advance(EVERY + 1)
    stage.has_threads = False
    for _ in range(3):
        assert stage.look() == 5
    stage.has_threads = True
    stage.ask("s")
    assert stage.token() == "s-1"


def test_a_process_that_ends_finishes_what_is_under_way_and_begins_nothing(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    names = [stage.session(f"s{number}") for number in range(5)]
    fake_clock.advance(EVERY + 1)
    stage.is_ending = True
    stage.ask(*names)
    assert stage.idp.asked == ["s0-0"]
    assert stage.token("s0") == "s0-1"
    assert {stage.rows.rows[name].probe_at for name in names[1:]} == {fake_clock.now() - 1}, "left as they were"
    assert not stage.probes._lines["oidc"].is_asking


def test_a_process_that_ends_does_not_forgive_a_whole_line(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    names = [stage.session(f"s{number}") for number in range(5)]
    fake_clock.advance(EVERY + 1)
    stage.idp.failure = ProviderUnavailable("deadline")

    async def stopped() -> None:
        stage.is_ending = True

    stage.idp.meanwhile = stopped
    stage.ask(*names)
    assert stage.rows.rows["s0"].probe_failing_since == fake_clock.now()
    assert stage.rows.claims == 1


def test_a_process_that_ends_insists_on_a_write_for_some_seconds_only(fake_clock: FakeClock) -> None:
    stage = Stage(fake_clock)
    stage.session()
    fake_clock.advance(EVERY + 1)
    stage.rows.failures = [StoreUnavailable("locked")] * 1_000
    stage.is_ending = True
    stage.ask("s")
    assert stage.pauses == 9
    assert stage.token() == "s-0"


def test_of_too_many_tokens_that_could_not_be_written_the_oldest_goes_first(
    fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jit_middleware.sessions.probe._MOST_UNWRITTEN", 3)
    stage = Stage(fake_clock)
    stage.is_ending = True  # so that it gives up soon
    for name in ("a", "b", "c", "a", "d"):
        if name not in stage.rows.rows:
            stage.session(name, due_in=0)
        else:
            fake_clock.advance(LEASE)
        stage.rows.failures = [StoreUnavailable("locked")] * 10
        stage.ask(name)
    assert list(stage.probes._unwritten) == ["c", "a", "d"]
    stage.rows.failures = []
    stage.is_ending = False
    fake_clock.advance(LEASE)
    stage.ask("a", "b", "c", "d")
    assert sorted(stage.idp.asked[-4:]) == ["a-4", "b-0", "c-3", "d-5"]
