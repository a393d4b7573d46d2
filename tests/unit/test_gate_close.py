"""Letting go of everything when the server stops, also where one part fails or the server has no patience."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from jit_middleware.bridge import step
from jit_middleware.gate import Gate


class Parts:
    """The parts that a gate closes; what they do is noted."""

    def __init__(self, fails: str = "", hangs: bool = False) -> None:
        self.closed: list[str] = []
        self._fails = fails
        self._hangs = hangs
        settings = SimpleNamespace(
            endpoint_prefix="/_jit",
            paths=None,
            insecure=(),
            public_url=SimpleNamespace(origin="https://app.example.org"),
        )
        sessions = SimpleNamespace(finish=self._finish, admitter=lambda prefix: None, watch=None)
        house: Any = SimpleNamespace(settings=settings, sessions=sessions, ledger=self._part("ledger"))
        scrubber: Any = None
        transport: Any = self._part("transport")
        self.gate = Gate(house, scrubber=scrubber, transport=transport, let_go=lambda: self.closed.append("threads"))

    async def _finish(self) -> None:
        if self._hangs:
            await asyncio.Event().wait()
        self.closed.append("sessions")

    def _part(self, name: str) -> SimpleNamespace:
        async def close() -> None:
            self.closed.append(name)
            if name == self._fails:
                raise OSError(name)

        return SimpleNamespace(close=close)


def test_everything_is_let_go_in_order() -> None:
    parts = Parts()
    step(parts.gate.close())
    assert parts.closed == ["sessions", "ledger", "transport", "threads"]


@pytest.mark.parametrize("fails", ["ledger", "transport"])
def test_a_part_that_fails_keeps_the_others_from_nothing(fails: str) -> None:
    parts = Parts(fails)
    with pytest.raises(OSError, match=fails):
        step(parts.gate.close())
    assert parts.closed == ["sessions", "ledger", "transport", "threads"]


def test_a_server_without_patience_lets_go_of_everything_else() -> None:
    async def story() -> None:
        parts = Parts(hangs=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(parts.gate.close(), 0.01)
        assert parts.closed == ["ledger", "transport", "threads"]

    asyncio.run(story())
