"""Cookies this process has already verified: the whole cost of an authenticated request.

Plain dicts, bounded, without a lock: each operation on them is one atomic step. A session is found by the whole Cookie
header that came last, which a browser rarely changes, or else by the value of our own cookie in it. Whole headers are
long, so fewer of them are remembered than sessions. An entry answers until its ``deadline`` on the monotonic clock;
dropping an entry moves its deadline into the past first, so that nobody who still holds it is let in by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Set
from typing import Final

from jit_middleware.http.messages import Admission, PassThrough
from jit_middleware.model import StepUp

_LONGEST_HEADER: Final = 1_024
_MOST_HEADERS: Final = 4_096
_NOTHING_MET: Final[tuple[StepUp | None, float]] = (None, -math.inf)


class CachedSession:
    """A verified cookie and what follows from it. ``header`` is the whole Cookie header it is remembered under;
    ``auth_time`` when the person authenticated, minus infinity where the provider did not tell it. ``met`` is the
    step-up demand that it was last seen to meet, and until when it does (monotonic): one value, since threads share
    it."""

    __slots__ = ("admission", "auth_time", "deadline", "header", "met", "session_id", "user_id")

    def __init__(
        self, admission: Admission, session_id: str, user_id: str, deadline: float, auth_time: float = -math.inf
    ) -> None:
        self.admission = admission
        self.session_id = session_id
        self.user_id = user_id
        self.deadline = deadline
        self.auth_time = auth_time
        self.met = _NOTHING_MET
        self.header: str | bytes = ""

    def pass_with(self, cookie: str) -> PassThrough:
        """The pass-through with this rest of the Cookie header."""
        return PassThrough(self.admission, cookie, self)


class SessionCache:
    """At most ``limit`` entries; the oldest make room."""

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._by_cookie: dict[str, CachedSession] = {}
        #: What :meth:`put_header` keeps; for reading.
        self.by_header: dict[str | bytes, tuple[CachedSession, PassThrough]] = {}
        self.get = self._by_cookie.get

    def __len__(self) -> int:
        return len(self._by_cookie)

    def put(self, cookie: str, entry: CachedSession) -> None:
        """Keep the entry under the value of its cookie."""
        if len(self._by_cookie) >= self._limit:
            # A sixteenth at a time, so that a full cache does not pay for each newcomer.
            self._drop(list(self._by_cookie)[: self._limit // 16 + 1])
        # Two threads may have loaded the same session: the entry that makes room is dropped like any other, never just
        # replaced. Otherwise nobody would find it when its session ends, and its header would still lead to it.
        while self._by_cookie.setdefault(cookie, entry) is not entry:
            self.drop(cookie)

    def put_header(
        self, header: str | bytes, entry: CachedSession, passed: PassThrough
    ) -> tuple[CachedSession, PassThrough]:
        """Find the entry and this pass-through by the whole header too, in place of the one it came with before."""
        known = entry, passed
        if len(header) > _LONGEST_HEADER:
            return known
        if len(self.by_header) >= _MOST_HEADERS:
            self.by_header.clear()
        self.by_header.pop(entry.header, None)
        entry.header = header
        self.by_header[header] = known
        if entry.deadline == -math.inf:
            # Dropped by another thread, perhaps before it could find it here: nobody would ever replace it.
            self.by_header.pop(header, None)
        return known

    def drop(self, cookie: str) -> None:
        """Forget the entry under this cookie."""
        self._drop((cookie,))

    def drop_all_of(self, *, sessions: Set[str], users: Set[str], connections: Set[str] = frozenset()) -> None:
        """Forget these sessions, and every session of these users and connections, in one pass however many they
        are."""
        kept = list(self._by_cookie.items())
        gone = [cookie for cookie, entry in kept if entry.session_id in sessions or entry.user_id in users]
        if connections:
            gone += [cookie for cookie, entry in kept if entry.admission.session.connection in connections]
        self._drop(gone)

    def clear(self) -> None:
        self._drop(list(self._by_cookie))
        self.by_header.clear()

    def _drop(self, cookies: Iterable[str]) -> None:
        for cookie in cookies:
            entry = self._by_cookie.pop(cookie, None)
            if entry is not None:
                entry.deadline = -math.inf
                self.by_header.pop(entry.header, None)
