"""Data that one request makes and drops: frozen to the type checkers, and plain at run time.

A frozen dataclass sets each of its fields by a call, which takes a login longer than the signature of an ID token. What
the app, a cache or another thread gets to see is frozen at run time as well: that is ``dataclass``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    def record(*, frozen, slots):
        """A dataclass that is compared and hashed by value, as a frozen one is."""
        return dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["record"]
