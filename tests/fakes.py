"""Tokens that tests can foresee."""

from __future__ import annotations

from itertools import count


class CountedTokens:
    """Unique, long enough, URL-safe, and the same in every run."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def __call__(self, bytes_of_entropy: int = 32) -> str:
        return f"t{next(self._numbers):0{max(4, bytes_of_entropy)}d}"
