"""The buttons of a page that refuses something."""

from __future__ import annotations

from typing import Final

from jit_middleware.records import record


@record(frozen=True, slots=True)
class Ways:
    """Where a person can go on to: the paths of the buttons, ``None`` for no button.

    ``login`` signs in, ``retry`` tries the same again, ``someone_else`` lets the provider ask for another account, and
    ``home`` is the front page. ``leads_back`` says that the page wanted is known, and that ``retry`` ends there.
    """

    login: str | None = None
    retry: str | None = None
    someone_else: str | None = None
    home: str | None = None
    leads_back: bool = False

    @property
    def is_dead_end(self) -> bool:
        """Whether there is no button."""
        return self.login is None and self.retry is None and self.someone_else is None and self.home is None


DEAD_END: Final = Ways()
