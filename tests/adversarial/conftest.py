"""One server for all hostile providers of a run, and a fresh provider for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.adversarial.judging import assert_signed_in
from tests.adversarial.provider import HostileProvider
from tests.adversarial.stage import Stage
from tests.adversarial.wire import Wire
from tests.client import Edge

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def wire() -> Iterator[Wire]:
    with Wire() as server:
        yield server
        assert server.failures == []


@pytest.fixture(params=["wsgi", "asgi"])
def edge(request: pytest.FixtureRequest) -> Edge:
    edge: Edge = request.param
    return edge


@pytest.fixture
def make_provider(wire: Wire) -> Callable[..., HostileProvider]:
    """Makes a provider, honest so far, at a place of its own."""

    def make(**how: Any) -> HostileProvider:
        return HostileProvider(wire, f"p{next(_NUMBERS)}", **how)

    return make


@pytest.fixture
def provider(make_provider: Callable[..., HostileProvider]) -> HostileProvider:
    return make_provider()


@pytest.fixture
def stage(edge: Edge, tmp_path: Path, provider: HostileProvider) -> Iterator[Stage]:
    """An app that trusts the one provider."""
    with Stage(edge, tmp_path, provider) as stage:
        yield stage
    assert provider.complaints == []


@pytest.fixture
def signed_in(stage: Stage) -> Stage:
    """The browser of the stage is signed in."""
    assert_signed_in(stage, stage.log_in())
    return stage
