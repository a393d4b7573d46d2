"""Who stands in line before a provider: everybody once, first come, first asked; and for how long it has been silent."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from jit_middleware.model import SessionRecord
from jit_middleware.sessions.line import Line, Question
from tests.conftest import FakeClock

FORGOTTEN = 600.0


def question(name: str, due: int = 1) -> Question:
    return Question(SessionRecord(name, "u", "default", "oidc", "i", "s", 0, 10, 0, 0), due, "sealed")


def names(questions: Sequence[Question | None]) -> list[str | None]:
    return [None if each is None else each.session.id for each in questions]


def test_first_come_first_asked_and_a_session_stands_in_it_once(fake_clock: FakeClock) -> None:
    line = Line(fake_clock, forgotten_after=FORGOTTEN)
    for name in ("a", "b", "a", "c"):
        line.add(question(name))
    assert len(line) == 3
    assert names([line.take(), line.take()]) == ["a", "b"]
    line.add(question("a"))
    assert names(line.take_all()) == ["c", "a"]
    assert not line
    assert line.take() is None
    assert line.take_all() == []


def test_a_full_line_turns_newcomers_away_and_nobody_who_stands_in_it(fake_clock: FakeClock) -> None:
    """A provider that hangs while everybody is due fills no memory; whoever is turned away comes again."""
    line = Line(fake_clock, forgotten_after=FORGOTTEN, longest=3)
    for name in ("a", "b", "c", "d", "a"):
        line.add(question(name))
    assert names([line.take()]) == ["a"]
    line.add(question("e"))
    assert names(line.take_all()) == ["b", "c", "e"]


def test_whoever_is_counted_can_be_taken(fake_clock: FakeClock) -> None:
    """Somebody who is in the line and whom nobody finds there would keep everybody busy looking for them."""
    line = Line(fake_clock, forgotten_after=FORGOTTEN)
    lost: list[int] = []

    def come_and_go(prefix: str) -> None:
        for number in range(3_000):
            line.add(question(f"{prefix}{number}"))
            if line.take() is None:  # one comes for each that goes, so there is always somebody
                lost.append(number)

    threads = [threading.Thread(target=come_and_go, args=(prefix,)) for prefix in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert lost == []
    assert len(line) == 0


def test_an_outage_is_as_long_as_it_was_asked_about_without_an_answer(fake_clock: FakeClock) -> None:
    line = Line(fake_clock, forgotten_after=FORGOTTEN)
    assert line.failing_for < 0
    line.failed()
    fake_clock.advance(FORGOTTEN)
    line.failed()
    fake_clock.advance(1)
    assert line.failing_for == FORGOTTEN + 1
    line.answered()
    assert line.failing_for < 0
    line.failed()
    assert line.failing_for == 0


def test_an_outage_that_nobody_has_asked_about_for_long_is_another_one(fake_clock: FakeClock) -> None:
    line = Line(fake_clock, forgotten_after=FORGOTTEN)
    line.failed()
    fake_clock.advance(FORGOTTEN + 1)
    line.failed()
    assert line.failing_for == 0


def test_a_wall_clock_that_jumps_makes_no_outage_longer(fake_clock: FakeClock) -> None:
    line = Line(fake_clock, forgotten_after=FORGOTTEN)
    line.failed()
    fake_clock.seconds += 7200
    line.failed()
    assert line.failing_for == 0
