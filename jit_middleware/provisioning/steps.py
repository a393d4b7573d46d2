"""What was asked on a login's way and what each rule said: for the audit trail, and for whoever wants to know why.

One login fills one record. It holds names of rules, fields, roles and groups, and never the value of a claim.
"""

from __future__ import annotations

from jit_middleware.records import record


@record(frozen=True, slots=True)
class Step:
    """One rule that was asked, its ``outcome`` in a stable word, and what a reader wants to know beside it."""

    rule: str
    outcome: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.outcome}{f' ({self.detail})' if self.detail else ''}"


class Steps:
    """The steps of one login, in order."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken: list[Step] = []

    def note(self, rule: str, outcome: str, detail: str = "") -> None:
        """Add a step."""
        self._taken.append(Step(rule, outcome, detail))

    def rewind(self, count: int) -> None:
        """Forget all but the first ``count``: a transaction that is run again begins where it began before."""
        del self._taken[count:]

    @property
    def taken(self) -> tuple[Step, ...]:
        """All of them so far."""
        return tuple(self._taken)

    def lines(self) -> tuple[str, ...]:
        """One line of text for each."""
        return tuple(str(step) for step in self._taken)
