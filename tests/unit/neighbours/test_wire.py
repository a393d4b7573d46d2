"""Addresses that cannot be used are refused at start, in words, without what they hold."""

from __future__ import annotations

import sys

import pytest

from jit_middleware.errors import ConfigurationError
from jit_middleware_redis import RedisNeighbours, problem_with
from tests.conftest import FakeClock

SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://u:{SECRET}@host:port",
        f"redis://u:{SECRET}@host?no_such_option=1",
        f"http://u:{SECRET}@host",
        f"redis://u:{SECRET}@cache..example.org",
        f"redis://u:{SECRET}@{'h' * 64}.example.org",
    ],
)
def test_an_address_that_cannot_be_used_names_the_setting_and_no_secret(url: str, fake_clock: FakeClock) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisNeighbours(url, channel="c", clock=fake_clock)
    assert [fault.setting for fault in caught.value.faults] == ["JIT_REDIS_URL"]
    assert SECRET not in str(caught.value)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, fake_clock: FakeClock) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'jit-middleware\[redis\]'"):
        RedisNeighbours("redis://host", channel="c", clock=fake_clock)


@pytest.mark.parametrize("url", ["unix:///no/such/socket", "redis://127.0.0.1:1", "rediss://127.0.0.1:1"])
def test_a_server_that_is_away_is_named_by_the_kind_of_failure(url: str, fake_clock: FakeClock) -> None:
    RedisNeighbours(url, channel="c", clock=fake_clock).close()
    assert problem_with(url, "c") == "ConnectionError"
