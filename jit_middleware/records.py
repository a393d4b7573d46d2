"""Dataclasses that are quickly made, and those of one request, whose objects are.

The standard ``dataclass`` writes and compiles six methods for each class, and there are more than a hundred: half of
the time to import this package. Comparing, hashing and showing need no code of their own, which saves a third of that.

``record`` is for data that one request makes and drops: frozen to the type checkers, and plain at run time. A frozen
dataclass sets each of its fields by a call, which takes a login longer than the signature of an ID token. What the app,
a cache or another thread gets to see is frozen at run time as well: that is ``dataclass``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass as compiled
    from dataclasses import fields
    from operator import attrgetter

    def dataclass(*, frozen=False, slots=False, eq=True):
        """The standard one, as far as it is used here: what a class compares by is what it is hashed by."""
        return lambda cls: _with_methods(compiled(frozen=frozen, slots=slots, eq=False, repr=False)(cls), eq, frozen)

    def record(*, frozen, slots):
        """A dataclass that is compared and hashed by value, as a frozen one is."""
        return lambda cls: _with_methods(compiled(slots=slots, eq=False, repr=False)(cls), True, frozen)

    def _with_methods(cls, is_compared, is_hashed):
        shown = [field.name for field in fields(cls) if field.repr]
        compared = [field.name for field in fields(cls) if field.compare]

        def __repr__(self):
            values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
            return f"{type(self).__qualname__}({values})"

        if "__repr__" not in vars(cls):
            cls.__repr__ = __repr__
        if is_compared and "__eq__" not in vars(cls):
            values_of = attrgetter(*compared) if compared else type

            def __eq__(self, other):
                return values_of(self) == values_of(other) if other.__class__ is self.__class__ else NotImplemented

            cls.__eq__ = __eq__
            cls.__hash__ = (lambda self: hash(values_of(self))) if is_hashed else None
        return cls


__all__ = ["dataclass", "record"]
