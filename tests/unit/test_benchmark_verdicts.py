"""What the benchmark behind real servers says of its figures."""

from __future__ import annotations

import pytest

from benchmarks.server import Cost, ratios, remarks


def rounds(over: float, h: float, scatter: float = 100.0) -> list[Cost]:
    """Nanoseconds over bare and for one H, in eleven rounds around them."""
    return [Cost(19_000, over + step * scatter, h) for step in range(-5, 6)]


@pytest.mark.parametrize("h", [0.0, -300.0])
def test_without_a_figure_for_h_there_is_no_ratio_and_a_plain_word(h: float) -> None:
    costs = rounds(4_000, h)
    assert [(row.ratio, row.verdict) for row in ratios("granian", costs)] == [(None, "")] * 3
    assert remarks("granian", costs)[-1].startswith("granian: one H cannot be told from nothing")


def test_ratio_that_is_within_does_not_hide_a_budget_missed_in_time() -> None:
    costs = rounds(4_000, 6_000)
    assert ratios("granian", costs)[-1].verdict == "within"
    assert remarks("granian", costs) == ["granian, in time: 4.0 ± 0.3 µs over bare; stated is ≤ 3 µs: MISSED"]


def test_budget_held_in_time_is_said_to_be_held() -> None:
    costs = rounds(2_900, 6_000)
    assert remarks("granian", costs) == ["granian, in time: 2.9 ± 0.3 µs over bare; stated is ≤ 3 µs: held"]


@pytest.mark.parametrize("name", ["gunicorn", "uvicorn"])
def test_what_is_stated_as_not_measurable_is_held_within_the_scatter_alone(name: str) -> None:
    assert remarks(name, rounds(300, 6_000))[0].endswith("stated is not measurable: held")
    assert remarks(name, rounds(400, 6_000))[0].endswith("stated is not measurable: MISSED")


def test_ratio_inside_the_scatter_is_not_judged_and_a_remark_says_so() -> None:
    costs = rounds(5_100, 2_900, scatter=2_000)
    assert ratios("granian", costs)[-1].verdict == ""
    assert remarks("granian", costs)[-1].endswith("which decides nothing about the ratio")
