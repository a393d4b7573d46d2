"""The figures of a run: one row each, judged against its budget, printed as a table or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. The budget speaks of ``ratio`` where there is one, else of ``value``; a row without a budget informs.

    ``of`` says what the ratio is of: ``"H"`` makes ``0.9 H``, ``"x bare"`` makes ``1.2 x bare``.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    of: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def verdict(self) -> str:
        """``within``, ``OVER``, or nothing for a row without a budget."""
        judged = self.value if self.ratio is None else self.ratio
        if self.at_most is None and self.at_least is None:
            return ""
        too_much = self.at_most is not None and judged > self.at_most
        too_little = self.at_least is not None and judged < self.at_least
        return "OVER" if too_much or too_little else "within"

    @property
    def budget(self) -> str:
        """The budget in words, in the unit of what it judges."""
        unit = self.unit if self.ratio is None else self.of
        if self.at_most is not None:
            return f"≤ {_number(self.at_most)} {unit}"
        return "" if self.at_least is None else f"≥ {_number(self.at_least)} {unit}"

    @property
    def judged(self) -> str:
        """What the budget speaks of, in words."""
        return f"{_number(self.value)} {self.unit}" if self.ratio is None else f"{_number(self.ratio)} {self.of}"

    def cells(self) -> tuple[str, str, str, str, str]:
        ratio = "" if self.ratio is None else self.judged
        return self.name, f"{_number(self.value)} {self.unit}", ratio, self.budget, self.verdict

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "ratio": self.ratio,
            "of": self.of,
            "at_most": self.at_most,
            "at_least": self.at_least,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one part of the run, under its title; ``notes`` say what the figures do not."""

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, object]:
        return {"title": self.title, "rows": [row.as_dict() for row in self.rows], "notes": list(self.notes)}

    def text(self) -> str:
        head = ("", "measured", "ratio", "budget", "")
        lines = [head, *(row.cells() for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        body = [table[0], "-" * len(table[0]), *table[1:], *(f"  {note}" for note in self.notes)]
        return "\n".join([f"\n{self.title}", *(line.rstrip() for line in body)])


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}".replace(",", " ")
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
