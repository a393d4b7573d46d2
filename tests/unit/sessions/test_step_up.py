"""Which demand a path makes, whether a session meets it, and that the hot path never lets one through that does not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.bridge import step
from jit_middleware.http.messages import Admission
from jit_middleware.model import Session, StepUp, User
from jit_middleware.sessions import StepUpRules
from jit_middleware.sessions.step_up import NOBODY
from jit_middleware.settings import StepUpRule
from jit_middleware.testing.login import login_as
from jit_middleware.wsgi import JITMiddleware
from tests.conftest import FakeClock
from tests.unit.sessions.conftest import settings_at

NOW = 1_800_000_000
ADMIN = StepUpRule(("/admin/*",), acr=("phr", "phrh"))
KEYS = StepUpRule(("/admin/keys", "/pay/*"), acr=("phrh",), max_age=300)


@dataclass
class Standing:
    admission: Admission
    auth_time: float


def standing(acr: str | None = None, auth_time: float = -math.inf, connection: str = "oidc") -> Standing:
    moment = datetime.fromtimestamp(NOW, UTC)
    session = Session("s", "u", connection, moment, moment, acr)
    return Standing(Admission(User("u", "u"), session, {}, {}), auth_time)


@pytest.mark.parametrize(
    ("path", "demand"),
    [
        ("/", None),
        ("", None),
        ("/administrators", None),
        ("/admin", StepUp(("phr", "phrh"))),
        ("/admin/x", StepUp(("phr", "phrh"))),
        ("/ADMIN/X", StepUp(("phr", "phrh"))),
        ("/admin/keys", StepUp(("phrh",), 300)),
        ("/admin/keys/", StepUp(("phrh",), 300)),
        ("/admin/keys/1", StepUp(("phr", "phrh"))),
        ("/pay", StepUp(("phrh",), 300)),
        ("/x/../pay", StepUp(("phrh",), 300)),
        ("/x;y", StepUp(("phrh",), 300)),
    ],
)
def test_a_path_demands_what_all_its_rules_ask(path: str, demand: StepUp | None) -> None:
    rules = StepUpRules([ADMIN, KEYS], {})
    assert [rules.demand(path) for _ in range(2)] == [demand] * 2


def test_rules_that_exclude_each_other_meet_on_an_ambiguous_path_and_nobody_passes() -> None:
    rules = StepUpRules([StepUpRule(("/a",), ("x",)), StepUpRule(("/b",), ("y",))], {})
    assert rules.demand("//a") is NOBODY
    for acr in ("x", "y", "", None):
        assert rules.unmet("//a", standing(acr, NOW), NOW) is NOBODY


@pytest.mark.parametrize(
    ("acr", "age", "met"),
    [
        ("phrh", 0, True),
        ("phrh", 330, True),
        ("phrh", 331, False),
        ("phr", 0, False),
        (None, 0, False),
        ("phrh", math.inf, False),
    ],
)
def test_class_and_age_both_have_to_do_within_the_skew(acr: str | None, age: float, met: bool) -> None:
    rules = StepUpRules([KEYS], {"oidc": 30})
    assert (rules.unmet("/pay", standing(acr, NOW - age), NOW) is None) is met


def test_the_skew_is_that_of_the_sessions_own_connection() -> None:
    rules = StepUpRules([KEYS], {"oidc": 30, "strict": 0})
    assert rules.unmet("/pay", standing("phrh", NOW - 310, "strict"), NOW) is not None


def test_paths_are_remembered_up_to_a_limit() -> None:
    rules = StepUpRules([ADMIN], {})
    for number in range(10_000):
        rules.demand(f"/p{number}")
    rules.demand("/admin/" + "x" * 1000)
    assert len(rules.known) <= 2_048
    assert all(len(path) <= 256 for path in rules.known)


@given(st.text(max_size=30))
def test_whatever_an_app_could_read_as_the_guarded_path_is_guarded(tail: str) -> None:
    rules = StepUpRules([StepUpRule(("/admin/*",), max_age=60)], {})
    for path in (f"/admin/{tail}", f"/Admin/{tail}", f"//admin/{tail}", f"/x/../admin/{tail}"):
        assert rules.demand(path) == StepUp((), 60)


# --- the hot path -----------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path: Path, fake_clock: FakeClock) -> Iterator[Callable[..., JITMiddleware]]:
    made: list[JITMiddleware] = []

    def make(*rules: dict[str, object]) -> JITMiddleware:
        rule = {"JIT_STEP_UP": json.dumps(rules)} if rules else {}
        settings = settings_at(tmp_path, JIT_REVOCATION_MAX_STALENESS="1h", **rule)
        made.append(JITMiddleware(lambda environ, start_response: [], settings, clock=fake_clock))
        return made[-1]

    yield make
    for middleware in made:
        step(middleware.gate.close())


def test_the_hot_path_admits_to_a_guarded_path_only_while_the_session_meets_it(
    guarded: Callable[..., JITMiddleware], fake_clock: FakeClock
) -> None:
    middleware = guarded({"paths": ["/admin/*"], "acr": ["phr"], "max_age": "2m"})
    gate = middleware.gate
    strong = login_as(middleware, "s1", preferred_username="alice", acr="phr", auth_time=fake_clock.now())
    weak = login_as(middleware, "s2", preferred_username="bob", acr="low", auth_time=fake_clock.now())
    for cookie in (strong, weak):
        assert step(gate.house.sessions.find(cookie)) is not None
    for _ in range(2):  # a path first seen, and one that is remembered
        assert [gate.admit(path, weak) is not None for path in ("/page", "/admin")] == [True, False]
        assert [gate.admit(path, strong) is not None for path in ("/page", "/admin")] == [True, True]
    fake_clock.advance(120 + 60)
    assert gate.admit("/admin", strong) is not None
    fake_clock.advance(1)
    assert [gate.admit(path, strong) is not None for path in ("/page", "/admin")] == [True, False]


class CountedRules:
    """How often the session has been compared with a demand."""

    def __init__(self, rules: StepUpRules) -> None:
        self.count = 0
        self._lasting = rules.lasting
        rules.lasting = self  # type: ignore[method-assign]

    def __call__(self, demand: StepUp, session: Any, now: int) -> float:
        self.count += 1
        return self._lasting(demand, session, now)


def test_a_demand_that_is_met_is_remembered_until_it_is_not(
    guarded: Callable[..., JITMiddleware], fake_clock: FakeClock
) -> None:
    middleware = guarded({"paths": ["/admin/*"], "acr": ["phr"], "max_age": "2m"})
    gate, rules = middleware.gate, middleware.gate.house.sessions.step_up
    assert rules is not None
    cookie = login_as(middleware, "s1", preferred_username="alice", acr="phr", auth_time=fake_clock.now())
    assert step(gate.house.sessions.find(cookie)) is not None
    counted = CountedRules(rules)
    for path in ("/admin", "/admin/users", "/Admin/"):
        assert [gate.admit(path, cookie) is not None for _ in range(5)] == [True] * 5
    assert counted.count == 3, "once for each path; what several ask alike is one demand"
    assert [gate.admit(path, cookie) is not None for path in ("/admin", "/admin/users", "/Admin/")] == [True] * 3
    fake_clock.advance(120 + 59)
    assert gate.admit("/admin", cookie) is not None
    assert counted.count == 3
    for seconds, admitted in ((1, True), (1, False), (1, False)):
        fake_clock.advance(seconds)
        assert (gate.admit("/admin", cookie) is not None) is admitted
    assert gate.admit("/page", cookie) is not None
    assert counted.count == 6, "once more in the last second, and each time after it"


def test_what_one_demand_has_shown_serves_no_other(
    guarded: Callable[..., JITMiddleware], fake_clock: FakeClock
) -> None:
    middleware = guarded(
        {"paths": ["/reports/*"], "max_age": "1h"},
        {"paths": ["/admin/*"], "acr": ["phr"]},
        {"paths": ["/pay"], "max_age": "1m"},
    )
    gate = middleware.gate
    weak = login_as(middleware, "s1", preferred_username="alice", acr="low", auth_time=fake_clock.now() - 200)
    strong = login_as(middleware, "s2", preferred_username="bob", acr="phr", auth_time=fake_clock.now())
    for cookie in (weak, strong):
        assert step(gate.house.sessions.find(cookie)) is not None
    paths = ("/reports/1", "/admin", "/pay", "/reports/../admin", "//pay")
    for _ in range(3):
        assert [gate.admit(path, weak) is not None for path in paths] == [True, False, False, False, False]
        assert [gate.admit(path, strong) is not None for path in paths] == [True, True, True, True, True]
    fake_clock.advance(200)
    for _ in range(3):
        assert [gate.admit(path, strong) is not None for path in paths] == [True, True, False, False, False]


def test_a_login_anew_is_judged_anew(guarded: Callable[..., JITMiddleware], fake_clock: FakeClock) -> None:
    middleware = guarded({"paths": ["/admin/*"], "max_age": "2m"})
    gate = middleware.gate
    before = login_as(middleware, "s1", preferred_username="alice", auth_time=fake_clock.now())
    assert step(gate.house.sessions.find(before)) is not None
    assert gate.admit("/admin", before) is not None
    fake_clock.advance(181)
    after = login_as(middleware, "s1", preferred_username="alice", auth_time=fake_clock.now())
    assert step(gate.house.sessions.find(after)) is not None
    assert (gate.admit("/admin", before), gate.admit("/admin", after) is not None) == (None, True)


def test_without_rules_nothing_is_looked_up(guarded: Callable[..., JITMiddleware]) -> None:
    gate = guarded().gate
    assert gate.house.sessions.step_up is None
    assert "demand" not in getattr(gate.admit, "__name__", "")
