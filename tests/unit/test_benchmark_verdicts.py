"""What the benchmark behind real servers says of its figures."""

from __future__ import annotations

import pytest

from benchmarks.server import Cost, ratios, remarks


def rounds(over: float, bare: float, scatter: float = 100.0) -> list[Cost]:
    """Nanoseconds of the bare application and over it, in eleven rounds around them."""
    return [Cost(bare, over + step * scatter, over / 2) for step in range(-5, 6)]


def test_ratio_that_is_within_does_not_hide_a_budget_missed_in_time() -> None:
    costs = rounds(4_000, 60_000)
    assert ratios("granian", costs)[1].verdict == "within"
    said = "granian, in time: 4.0 ± 0.3 µs over bare (a look-up alone 2.0); stated is ≤ 3 µs: MISSED"
    assert remarks("granian", costs) == [said]


def test_budget_held_in_time_does_not_hide_a_ratio_that_is_over() -> None:
    costs = rounds(2_900, 10_000)
    assert ratios("granian", costs)[1].verdict == "OVER"
    said = "granian, in time: 2.9 ± 0.3 µs over bare (a look-up alone 1.4); stated is ≤ 3 µs: held"
    assert remarks("granian", costs) == [said]


@pytest.mark.parametrize("name", ["gunicorn", "uvicorn"])
def test_what_is_stated_as_not_measurable_is_held_within_the_scatter_alone(name: str) -> None:
    assert remarks(name, rounds(300, 60_000))[0].endswith("stated is not measurable: held")
    assert remarks(name, rounds(400, 60_000))[0].endswith("stated is not measurable: MISSED")


def test_ratio_inside_the_scatter_is_not_judged_and_a_remark_says_so() -> None:
    costs = rounds(9_400, 60_000, scatter=2_000)
    assert ratios("granian", costs)[1].verdict == ""
    assert remarks("granian", costs)[-1].endswith("which decides nothing about the ratio")
