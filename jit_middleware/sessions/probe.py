"""The refresh probe: the provider is asked now and then, by a refresh token, whether the person is still welcome.

Theory of operation. The token of the login lies sealed in the session's row, with the time from which on the provider
is to be asked. The first request that loads the session after that time is served, and puts the question into the
:class:`~jit_middleware.sessions.line.Line` of its connection. What stands there is asked beside the requests, so that
a provider that hangs holds up nobody, and nobody who leaves takes the answer along. A question is taken by a
conditional write: one worker asks. Providers may replace the token at each use and take a second use for theft (RFC
9700 §4.14.2), so what they answer is kept in one write, which is tried until it is done, and the old token is not used
again.

A refusal ends the session: by the feed, within its bound. A provider that does not answer, or not by the protocol, is
forgiven for the grace period; while it does not, it is asked one question at a time, and who waits meanwhile is
forgiven along with the one who asked. The grace is that of one outage: for a session it counts anew after an answer
about it, and after a time in which nobody asked. It ends with a question that failed: one about the session itself, or
one about another, when the provider has given this worker no answer for as long as the grace. What the provider says
about the person is not read: a probe changes no user.

A process that stops finishes what is under way; what waits is left for the next request that loads the session.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, Literal, TypeAlias

from jit_middleware.audit import AuditTrail
from jit_middleware.errors import AdapterError, ProviderRefused, ProviderUnavailable, VerificationError
from jit_middleware.keyring import Envelope
from jit_middleware.model import SessionRecord, VerifiedIdentity
from jit_middleware.ports import Background, Clock, Ledger, Transaction
from jit_middleware.records import dataclass, record
from jit_middleware.sessions.line import Line, Question, Seat

log = logging.getLogger("jit_middleware.sessions")

#: Returns after so many seconds.
Pause: TypeAlias = Callable[[float], Awaitable[None]]

_LEASE: Final = 60  # longer than asking can take; after that another worker may ask
_SKEW: Final = 60  # so far the clocks of two hosts may be apart
_MEANWHILE: Final = 5
_ASK_AGAIN: Final = 60
_SAME_OUTAGE: Final = 600
_WRITE_AGAIN: Final = 1.0
_A_MOMENT: Final = 0.05
_LAST_MOMENTS: Final = 200
_LAST_WRITES: Final = 10
_MOST_UNWRITTEN: Final = 1_000
#: RFC 6749 §5.2, and the errors of OIDC Core §3.1.2.6 by which providers say that the person has to come themself.
_GONE: Final = frozenset(
    {"invalid_grant", "interaction_required", "login_required", "consent_required", "account_selection_required"}
)


@dataclass(frozen=True, slots=True)
class Probe:
    """How one connection is asked: every so many seconds, forgiven for ``grace`` seconds.

    ``refresh`` uses a refresh token and returns the one that takes its place, ``None`` when it stays. It raises
    ``ProviderRefused``, ``ProviderUnavailable`` or ``VerificationError``.
    """

    every: int
    grace: int
    refresh: Callable[[str], Awaitable[str | None]]


@record(frozen=True, slots=True)
class Beginning:
    """How a new session begins: its sealed token, the time of the first question, and the end that it must have."""

    refresh_token: str | None = None
    probe_at: int | None = None
    ends_by: float = math.inf


class RefreshProbes:
    """Asks for the sessions of those connections that have a probe.

    It is done in ``background``, where ``pause`` lets time pass; ``is_ending`` tells whether the process waits for it
    in order to end.
    """

    def __init__(
        self,
        probes: Mapping[str, Probe],
        *,
        ledger: Ledger,
        envelope: Envelope,
        audit: AuditTrail,
        clock: Clock,
        background: Background,
        pause: Pause,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self._probes = probes
        self._lines = {name: Line(clock, forgotten_after=_forgotten_after(each)) for name, each in probes.items()}
        self._ledger = ledger
        self._envelope = envelope
        self._audit = audit
        self._clock = clock
        self._background = background
        self._pause = pause
        self._is_ending = is_ending
        # What the provider gave and the ledger has not taken, by session: with the lease under which it was asked.
        self._unwritten: dict[str, tuple[int, str]] = {}

    def begin(self, identity: VerifiedIdentity, now: int) -> Beginning:
        """What a session of this identity takes along. One that cannot be asked about lasts as long as an answer."""
        probe = self._probes.get(identity.connection)
        if probe is None:
            return Beginning()
        if identity.refresh_token is None:
            log.warning(
                "connection=%s gave no refresh token: the session ends in %ds", identity.connection, probe.every
            )
            return Beginning(ends_by=now + probe.every)
        return Beginning(self._envelope.seal(identity.refresh_token, now), now + probe.every)

    def look(self, session: SessionRecord) -> float:
        """For how many seconds the session may be served without another look. If it is time, asking begins."""
        probe, now, due = self._probes.get(session.connection), self._clock.now(), session.probe_at
        if probe is None or session.refresh_token is None or due is None:
            return math.inf
        # One that lies further ahead than any that is set now, even by a host whose clock is somewhat ahead: a clock
        # was wrong, or the interval is shorter by now.
        if now < due <= now + max(probe.every, _LEASE) + _SKEW:
            return due - now
        self._lines[session.connection].add(Question(session, due, session.refresh_token))
        self._begin(session.connection)
        return _MEANWHILE

    async def finish(self) -> None:
        """Let what is being asked come to its end, for some seconds; for a server that stops."""
        for line in self._lines.values():
            line.take_all()
        for _ in range(_LAST_MOMENTS):
            if not any(line.is_asking for line in self._lines.values()):
                return
            await self._pause(_A_MOMENT)

    # --- asking, beside the requests ----------------------------------------------------------------------------

    def _begin(self, connection: str) -> None:
        """Have somebody ask, unless enough are at it already."""
        line = self._lines[connection]
        seat = line.take_seat() if line else None
        if seat is not None and not self._background(partial(self._serve, connection, seat)):
            line.leave_seat(seat)

    async def _serve(self, connection: str, seat: Seat) -> None:
        line = self._lines[connection]
        try:
            while line.keep_seat(seat) and (question := line.take()) is not None:
                await self._ask(question, self._probes[connection], line)
                if self._is_ending():
                    return
                self._begin(connection)  # there may be room for one more now
        except AdapterError as error:
            # A database that can be read but not written ends no session that is alive. Those who wait come again.
            line.take_all()
            log.warning("sessions are not asked about: %s", error)
        finally:
            line.leave_seat(seat)
        self._begin(connection)  # for those who came while this one left

    async def _ask(self, question: Question, probe: Probe, line: Line) -> None:
        lease = await self._claim(question)
        if lease is None:
            return
        sealed = self._token_of(question)
        token = self._envelope.open(sealed, now=self._clock.now())
        if token is None:
            await self._end(question.session, lease, "refresh_refused")
            return
        try:
            renewed = await probe.refresh(token)
        except ProviderRefused as refusal:
            if refusal.reason in _GONE:
                line.answered()
                await self._end(question.session, lease, "refresh_refused")
                return
            _tell(question, refusal.reason)
            await self._forgive(question, probe, lease)
        except ProviderUnavailable as error:
            line.failed()
            _tell(question, error.reason)
            await self._forgive(question, probe, lease)
            await self._forgive_others(probe, line)
        except (AdapterError, VerificationError) as error:
            _tell(question, error.reason)
            await self._forgive(question, probe, lease)
        else:
            line.answered()
            now = self._clock.now()
            kept = sealed if renewed is None else self._envelope.seal(renewed, now)
            await self._keep(question.session, kept, lease, probe_at=now + probe.every, failing_since=None)

    async def _claim(self, question: Question) -> int | None:
        """Take the question: until when it is ours; ``None`` when it is somebody else's."""
        lease = self._clock.now() + _LEASE
        if lease == question.due:  # by a clock that was put back; everybody could take what does not change
            lease += 1
        claimed = await self._ledger.claim_probe(question.session.id, due=question.due, lease=lease)
        return lease if claimed else None

    def _token_of(self, question: Question) -> str:
        """The sealed token to ask with: one that could not be written, if nobody has asked since, else the row's."""
        lease, sealed = self._unwritten.get(question.session.id, (None, ""))
        return sealed if lease == question.due else question.sealed

    async def _forgive(self, question: Question, probe: Probe, lease: int) -> None:
        now = self._clock.now()
        since = _failing_since(question, probe, now)
        if now >= since + probe.grace:
            await self._end(question.session, lease, "refresh_unreachable")
            return
        again = max(now + 1, min(now + min(probe.every, _ASK_AGAIN), since + probe.grace))
        await self._keep(question.session, self._token_of(question), lease, probe_at=again, failing_since=since)

    async def _forgive_others(self, probe: Probe, line: Line) -> None:
        """Those who waited while the provider did not answer are not asked about one after another."""
        if self._is_ending():
            return
        for question in line.take_all():
            now = self._clock.now()
            if now >= _failing_since(question, probe, now) + probe.grace and line.failing_for < probe.grace:
                line.add(question)  # it has answered for others meanwhile: this session does not end unasked
                continue
            lease = await self._claim(question)
            if lease is not None:
                await self._forgive(question, probe, lease)
            if self._is_ending():
                return

    # --- what came of it ----------------------------------------------------------------------------------------

    async def _keep(
        self, session: SessionRecord, sealed: str, lease: int, *, probe_at: int, failing_since: int | None
    ) -> None:
        self._unwritten.pop(session.id, None)  # so that it comes last, as the newest
        for oldest in list(self._unwritten)[: max(0, len(self._unwritten) - _MOST_UNWRITTEN + 1)]:
            self._unwritten.pop(oldest, None)
        self._unwritten[session.id] = lease, sealed
        settle = partial(
            self._ledger.settle_probe,
            session.id,
            lease=lease,
            probe_at=probe_at,
            failing_since=failing_since,
            refresh_token=sealed,
        )
        if await self._insist(settle, lease):
            self._unwritten.pop(session.id, None)

    async def _end(
        self, session: SessionRecord, lease: int, cause: Literal["refresh_refused", "refresh_unreachable"]
    ) -> None:
        async def end(tx: Transaction) -> None:
            for ended in await tx.end_sessions(self._clock.now(), session_id=session.id):
                await tx.append_audit(self._audit.session_ended(ended, cause=cause))

        await self._insist(partial(self._ledger.transaction, end), lease)

    async def _insist(self, write: Callable[[], Awaitable[object]], lease: int) -> bool:
        """Write, as often as it takes within the lease, a few times when the process is to end; when that is over, the
        question comes up again."""
        left = _LAST_WRITES
        while True:
            try:
                await write()
            except AdapterError as error:
                left -= self._is_ending()
                is_last = left <= 0 or self._clock.now() + _WRITE_AGAIN >= lease
                said = "given up" if is_last else "tried again"
                log.warning("what the provider said of a session is not written yet (%s): %s", said, error)
                if is_last:
                    return False
            else:
                return True
            await self._pause(_WRITE_AGAIN)


def _tell(question: Question, reason: str) -> None:
    name = question.session.connection
    log.warning("connection=%s does not say whether people are still welcome: %s", name, reason)


def _forgotten_after(probe: Probe) -> int:
    """How many seconds without a question make two outages of one: with fewer, somebody whose requests are far apart
    would have a grace period for each."""
    return max(probe.grace, _SAME_OUTAGE)


def _failing_since(question: Question, probe: Probe, now: int) -> int:
    """Since when this session's provider has not answered, now included. A time ahead was set by a wrong clock."""
    since = question.session.probe_failing_since
    return now if since is None or now - question.due > _forgotten_after(probe) else min(since, now)
