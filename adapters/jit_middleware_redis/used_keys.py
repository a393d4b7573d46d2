"""The one-use keys that this process knows to be taken."""

from __future__ import annotations


class UsedKeys:
    """At most ``limit`` keys, each until the ledger may forget it; the oldest make room.

    Plain dict operations, each one atomic step, so that any thread may ask and add.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._until: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._until)

    def add(self, key: str, until: int) -> None:
        """Remember a key that a commit has taken."""
        if len(self._until) >= self._limit:
            for old in list(self._until)[: self._limit // 16 + 1]:
                self._until.pop(old, None)
        self._until[key] = until

    def holds(self, key: str, now: int) -> bool:
        """Whether the key is known to be taken; false says nothing."""
        until = self._until.get(key)
        return until is not None and now <= until
