from __future__ import annotations

from dataclasses import is_dataclass, replace
from typing import Any

import pytest

import jit_middleware
from jit_middleware.model import Account, Grant, OnceKey, SessionRecord, SessionView, VerifiedIdentity


def test_a_record_is_a_value() -> None:
    one, same, other = (OnceKey("state", "a", until) for until in (1, 1, 2))
    assert one == same != other
    assert {one: "found"}[same] == "found"
    assert replace(one, until=2) == other
    assert not hasattr(one, "__dict__")


def test_a_record_shows_no_secret() -> None:
    identity = VerifiedIdentity("oidc", "https://idp", "s", {}, logout_hint="ID-TOKEN", refresh_token="REFRESH")
    assert "ID-TOKEN" not in repr(identity)
    assert "REFRESH" not in repr(identity)


PUBLIC = [value for name in jit_middleware.__all__ if is_dataclass(value := getattr(jit_middleware, name))]


@pytest.mark.parametrize("kind", [*PUBLIC, Account, Grant, SessionRecord, SessionView])
def test_what_applications_stores_and_caches_hold_is_frozen_at_run_time(kind: Any) -> None:
    assert kind.__dataclass_params__.frozen


def test_applications_see_data() -> None:
    assert {jit_middleware.User, jit_middleware.Session} <= set(PUBLIC)
