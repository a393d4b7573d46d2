"""The bridge: coroutines stepped to their end, locks of both worlds, and starting once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from jit_middleware.bridge import StartOnce, TaskLocks, ThreadLocks, step
from jit_middleware.errors import LoginError, StoreUnavailable


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> int:
        return int(self.at)

    def monotonic(self) -> float:
        return self.at


async def finish(value: Any) -> Any:
    return value


async def wait_for_a_loop() -> None:
    await asyncio.sleep(0)


# --- step ---------------------------------------------------------------------------------------------------------


def test_step_returns_what_the_coroutine_returns() -> None:
    async def work() -> int:
        return await finish(41) + 1

    assert step(work()) == 42


def test_step_lets_exceptions_out_as_they_are() -> None:
    error = LoginError("named")

    async def work() -> None:
        raise error

    with pytest.raises(LoginError) as caught:
        step(work())
    assert caught.value is error


def test_step_closes_a_coroutine_that_waits_and_names_the_place() -> None:
    closed: list[bool] = []

    async def outer() -> None:
        try:
            await wait_for_a_loop()
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match=r"sleep0?.*tasks\.py|wait_for_a_loop.*test_bridge\.py:\d+"):
        step(coroutine := outer())
    assert closed == [True]
    assert coroutine.cr_frame is None


# --- locks --------------------------------------------------------------------------------------------------------


def test_a_thread_lock_admits_one_thread_at_a_time() -> None:
    lock = ThreadLocks()()
    inside: list[int] = []
    most: list[int] = []

    async def work() -> None:
        async with lock:
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.005)
            inside.pop()

    threads = [threading.Thread(target=lambda: step(work())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert most == [1] * 6


def test_a_thread_lock_is_free_again_after_an_exception_and_after_a_wait() -> None:
    lock = ThreadLocks()()

    async def fail() -> None:
        async with lock:
            raise LoginError("x")

    async def wait() -> None:
        async with lock:
            await wait_for_a_loop()

    async def enter() -> str:
        async with lock:
            return "free"

    with pytest.raises(LoginError):
        step(fail())
    with pytest.raises(RuntimeError):
        step(wait())
    assert step(enter()) == "free"


def test_a_task_lock_admits_one_task_at_a_time_on_each_of_several_loops() -> None:
    lock = TaskLocks()()

    async def story() -> list[int]:
        inside: list[int] = []
        most: list[int] = []

        async def work() -> None:
            async with lock:
                inside.append(1)
                most.append(len(inside))
                await asyncio.sleep(0.001)
                inside.pop()

        await asyncio.gather(*(work() for _ in range(6)))
        return most

    assert asyncio.run(story()) == [1] * 6
    assert asyncio.run(story()) == [1] * 6  # contended on a second loop, where one asyncio.Lock would raise


# --- starting -----------------------------------------------------------------------------------------------------


def test_a_failed_start_is_tried_again_after_a_pause() -> None:
    clock = Clock()
    tries: list[float] = []

    async def start() -> None:
        tries.append(clock.at)
        if len(tries) == 1:
            raise StoreUnavailable("down")

    once = StartOnce(start, clock, "wsgi")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            step(once())
    clock.at += 1
    step(once())
    step(once())
    assert tries == [100.0, 101.0]
    assert once.is_done()


def test_a_start_with_a_bug_is_not_remembered_as_done() -> None:
    async def start() -> None:
        raise ZeroDivisionError

    once = StartOnce(start, Clock(), "wsgi")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            step(once())
    assert not once.is_done()
