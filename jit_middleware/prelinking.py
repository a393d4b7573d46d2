"""What the core asks of a transaction about prelinks: whom an operator has tied to an account beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jit_middleware.model import IdentityLink, Prelink


class PrelinkVerbs(Protocol):
    """A part of :class:`~jit_middleware.ports.Transaction`."""

    async def find_prelinks(self, keys: Sequence[str]) -> Sequence[Prelink]:
        """The prelinks with these keys, used or not, in the order of the keys."""
        ...

    async def list_prelinks(
        self, *, batch: str | None = None, user_id: str | None = None, limit: int = 100_000
    ) -> Sequence[Prelink]:
        """Prelinks, used or not, oldest first; of one batch or of one user if that is given."""
        ...

    async def add_prelinks(self, wanted: Sequence[Prelink]) -> None:
        """Raises ``Conflict("prelink")`` when a key is there already."""
        ...

    async def use_prelink(self, key: str, at: int) -> bool:
        """Take it; true for the one caller that did, while it lasts. It is taken when the transaction commits."""
        ...

    async def drop_prelinks(self, keys: Sequence[str]) -> int:
        """Forget these; how many there were."""
        ...

    async def has_event(self, once: str) -> bool:
        """Whether an event with this ``once`` key is in the trail."""
        ...

    async def is_taken(self, purpose: str, key: str) -> bool:
        """Whether this one-use key was taken; only reads."""
        ...

    async def drop_link(self, link: IdentityLink) -> bool:
        """Untie this identity from its user; false when it was not tied."""
        ...
