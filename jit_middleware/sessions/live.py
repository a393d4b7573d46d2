"""Open connections: websockets and responses that go on being sent, which outlive the look at their session.

Theory of operation. A connection stands on a session that was live when its request was admitted. The feed *names*
what changes: a session it names has ended, a user it names may have. :class:`Watch` tells which connections have to
end: those whose session is over by the feed, by the ledger (asked once for each session that is in doubt) or by its
absolute limit, and all of them when nobody knows any more. Who holds the connections asks it, about as often as the
bound wants; nothing here waits or runs by itself.

The idle limit neither ends an open connection nor is it put off by one: bytes that an app pushes are no activity of
the person. A change of the user's roles ends nothing: the app was told who is there when the connection began.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Collection, Sequence, Set
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from jit_middleware.errors import AdapterError, StoreUnavailable
from jit_middleware.http.messages import Basis
from jit_middleware.ports import Clock

if TYPE_CHECKING:
    from jit_middleware.sessions.feed import RevocationFeed

log = logging.getLogger("jit_middleware.sessions")

#: Why a connection must end: its session is over, or nobody can tell.
Ending: TypeAlias = Literal["session_ended", "unavailable"]

#: What follows within this time (seconds) belongs to what it follows: an answer to its head, and to the app's return.
AT_ONCE: Final = 0.1

_MANY = 20
_SHORTEST_PAUSE = 0.1
_LONGEST_LEAD = 1.0


class LiveConnection:
    """One open connection. ``began_at`` is the provider connection that its session began at. ``unsure``: the session
    must be looked up; ``gone``: it is over; ``due``: look it up again at this time (monotonic)."""

    __slots__ = ("began_at", "due", "expires_at", "gone", "named", "session_id", "unsure", "user_id")

    def __init__(self, session_id: str, user_id: str, expires_at: float, due: float, began_at: str = "") -> None:
        self.session_id = session_id
        self.user_id = user_id
        self.began_at = began_at
        self.expires_at = expires_at
        self.due = due
        self.unsure = True
        self.named = False
        self.gone = False


class LiveConnections:
    """The open connections of this process. Without a lock: each operation on the dict is one atomic step."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[LiveConnection, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: LiveConnection) -> None:
        self._open[connection] = None

    def remove(self, connection: LiveConnection) -> None:
        self._open.pop(connection, None)

    def name(self, *, sessions: Set[str], users: Set[str], connections: Set[str] = frozenset()) -> None:
        """These sessions are over; these users have changed, and sessions that began at these connections."""
        for connection in list(self._open):
            if connection.session_id in sessions:
                connection.gone = True
            elif connection.user_id in users or connection.began_at in connections:
                connection.named = True

    def name_all(self) -> None:
        """Anything may have changed."""
        for connection in list(self._open):
            connection.named = True


class Watch:
    """Judges open connections. One for each gate.

    ``is_served`` looks a session up; ``live_among`` says of many at once which of them nobody has ended. ``look_again``
    is after how many seconds even an unnamed one is looked up (for users that the app keeps and changes by itself).
    """

    def __init__(
        self,
        feed: RevocationFeed,
        *,
        clock: Clock,
        is_served: Callable[[str], Awaitable[bool]],
        live_among: Callable[[Sequence[str]], Awaitable[Sequence[str]]] | None = None,
        look_again: float = math.inf,
    ) -> None:
        self._feed = feed
        self._clock = clock
        self.monotonic = clock.monotonic
        self._is_served = is_served
        self._live_among = live_among
        self._look_again = look_again
        # So much earlier than requests need it, so that ending a connection is done within the bound as well.
        self._lead = min(feed.max_staleness / 4, _LONGEST_LEAD)

    def __len__(self) -> int:
        return len(self._feed.live)

    @property
    def fresh_until(self) -> float:
        """Until when (monotonic) what the feed has told is within the bound."""
        return self._feed.fresh_until

    def is_fresh(self, basis: Basis) -> bool:
        """Whether a request would be admitted on this now, without a look at anything."""
        now = self.monotonic()
        return now < basis.deadline and now < self._feed.fresh_until

    def open(self, basis: Basis) -> LiveConnection:
        """From now on the feed marks this connection. To be given to :meth:`close` when it has ended."""
        session = basis.admission.session
        due = self.monotonic() + self._look_again
        expires_at = session.expires_at.timestamp()
        connection = LiveConnection(session.id, basis.user_id, expires_at, due, session.connection)
        self._feed.live.add(connection)
        # Afterwards: what the feed said before it was added, it has said to the cache.
        connection.unsure = not self.is_fresh(basis)
        return connection

    def close(self, connection: LiveConnection) -> None:
        self._feed.live.remove(connection)

    async def ended(
        self, connections: Collection[LiveConnection], *, early: bool = False
    ) -> Sequence[tuple[LiveConnection, Ending]]:
        """Those of the connections that must end now, and why.

        ``early`` reads the feed somewhat sooner than a request would, for a caller that comes back by :meth:`pause`.
        """
        if not connections:
            return ()
        try:
            await self._feed.ensure_fresh(ahead=self._lead if early else 0.0)
        except StoreUnavailable:
            return [(connection, "unavailable") for connection in connections]
        now, measured = self._clock.now(), self.monotonic()
        over: list[tuple[LiveConnection, Ending]] = []
        in_doubt: dict[str, list[LiveConnection]] = {}
        for connection in connections:
            if connection.gone or now >= connection.expires_at:
                over.append((connection, "session_ended"))
            elif connection.named or connection.unsure or measured >= connection.due:
                in_doubt.setdefault(connection.session_id, []).append(connection)
        if len(in_doubt) >= _MANY and self._live_among is not None:
            over += await self._take_ended(in_doubt, self._live_among)
        for session_id, mine in in_doubt.items():
            over += await self._look_up(session_id, mine)
        return over

    def pause(self, connections: Collection[LiveConnection]) -> float:
        """How many seconds may pass until these are to be judged again."""
        now, measured = self._clock.now(), self.monotonic()
        ends = min((connection.expires_at for connection in connections), default=math.inf) - now
        due = min((connection.due for connection in connections), default=math.inf) - measured
        return max(_SHORTEST_PAUSE, min(self._feed.fresh_until - self._lead - measured, ends, due))

    async def _take_ended(
        self,
        in_doubt: dict[str, list[LiveConnection]],
        live_among: Callable[[Sequence[str]], Awaitable[Sequence[str]]],
    ) -> Sequence[tuple[LiveConnection, Ending]]:
        """Take those out whose sessions have been ended: when all of a provider connection are, to look each up would
        take longer than the bound."""
        try:
            live = await live_among(list(in_doubt))
        except AdapterError as error:
            log.debug("open connections are looked up one by one: %s", error)  # which judges the failure
            return ()
        gone = in_doubt.keys() - set(live)
        return [(connection, "session_ended") for session_id in gone for connection in in_doubt.pop(session_id)]

    async def _look_up(
        self, session_id: str, connections: Sequence[LiveConnection]
    ) -> Sequence[tuple[LiveConnection, Ending]]:
        for connection in connections:
            connection.named = False  # before the look: what is named meanwhile is looked up again
        try:
            is_served = await self._is_served(session_id)
        except AdapterError as error:
            # Whatever a user store says: the look at one session must not keep the others open.
            if self._feed.is_bridging:
                for connection in connections:
                    connection.unsure = True  # the grace period is for them too
                return ()
            log.warning("open connections end, their session cannot be looked up: %s", error)
            return [(connection, "unavailable") for connection in connections]
        if not is_served:
            return [(connection, "session_ended") for connection in connections]
        again = self.monotonic() + self._look_again
        for connection in connections:
            connection.unsure, connection.due = False, again
        return ()

    def tell_of_hurry(self, hear: Callable[[], None]) -> None:
        """Have ``hear`` called, on whatever thread, when open connections are to be judged at once."""
        self._feed.tell_of_hurry(hear)

    def tell_no_more(self, hear: Callable[[], None]) -> None:
        self._feed.tell_no_more(hear)
