"""Cookies this process has already verified: the whole cost of an authenticated request.

A plain dict, bounded, without a lock: each operation on it is one atomic step. An entry answers until its ``deadline``
on the monotonic clock, which lies no further away than the session's end or the next note of activity.
"""

from __future__ import annotations

from collections.abc import Iterable

from jit_middleware.http.messages import Admission, PassThrough


class CachedSession:
    """A verified cookie and what follows from it. ``passed`` is the last pass-through made, reused while it fits."""

    __slots__ = ("admission", "deadline", "passed", "session_id", "user_id")

    def __init__(self, admission: Admission, session_id: str, user_id: str, deadline: float) -> None:
        self.admission = admission
        self.session_id = session_id
        self.user_id = user_id
        self.deadline = deadline
        self.passed = PassThrough(admission, "")

    def pass_with(self, cookie: str) -> PassThrough:
        """The pass-through with this rest of the Cookie header."""
        passed = self.passed
        if passed.cookie != cookie:
            passed = self.passed = PassThrough(self.admission, cookie)
        return passed


class SessionCache:
    """At most ``limit`` entries; the oldest make room."""

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._entries: dict[str, CachedSession] = {}
        self.get = self._entries.get

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, cookie: str, entry: CachedSession) -> None:
        if len(self._entries) >= self._limit:
            # A sixteenth at a time, so that a full cache does not pay for each newcomer.
            for oldest in list(self._entries)[: self._limit // 16 + 1]:
                self._entries.pop(oldest, None)
        self._entries[cookie] = entry

    def drop(self, cookie: str) -> None:
        self._entries.pop(cookie, None)

    def drop_session(self, session_id: str) -> None:
        self._drop(cookie for cookie, entry in list(self._entries.items()) if entry.session_id == session_id)

    def drop_user(self, user_id: str) -> None:
        self._drop(cookie for cookie, entry in list(self._entries.items()) if entry.user_id == user_id)

    def clear(self) -> None:
        self._entries.clear()

    def _drop(self, cookies: Iterable[str]) -> None:
        for cookie in cookies:
            self._entries.pop(cookie, None)
