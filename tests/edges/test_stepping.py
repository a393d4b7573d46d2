"""The bridge: coroutines stepped to their end, locks of both worlds, and starting once."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import weakref
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from jit_middleware.bridge import StartOnce, TaskLocks, ThreadLocks, step
from jit_middleware.errors import ConfigurationError, Fault, JITError, LoginError, StoreUnavailable


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


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_thread_lock_held_during_a_fork_is_free_in_the_child() -> None:
    lock = ThreadLocks()()

    async def enter() -> int:
        async with lock:
            return 7

    entered, leave = threading.Event(), threading.Event()

    async def stay() -> None:
        async with lock:
            entered.set()
            leave.wait(30)

    holder = threading.Thread(target=lambda: step(stay()))
    holder.start()
    assert entered.wait(5)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # one that hangs is a failure
        try:
            os._exit(step(enter()))
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    leave.set()
    holder.join(5)
    assert step(enter()) == 7


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_who_forks_inside_a_thread_lock_gives_back_in_the_child_what_it_took() -> None:
    lock = ThreadLocks()()
    entered, leave = threading.Event(), threading.Event()

    async def stay() -> None:
        async with lock:
            entered.set()
            leave.wait(30)

    async def fork() -> int:
        async with lock:
            child = os.fork()
            if child == 0:  # somebody else is inside in the child, by the child's own lock
                signal.alarm(20)
                threading.Thread(target=lambda: step(stay()), daemon=True).start()
                entered.wait(5)
            return child

    async def enter() -> None:
        async with lock:
            pass

    parent = os.getpid()
    try:
        child = step(fork())
        if child == 0:
            late = threading.Thread(target=lambda: step(enter()), daemon=True)
            late.start()
            late.join(0.2)
            was_kept_out = late.is_alive()
            leave.set()
            late.join(5)
            os._exit(0 if was_kept_out and not late.is_alive() else 1)
    finally:
        if os.getpid() != parent:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    step(enter())


def test_threads_that_meet_a_thread_lock_first_after_a_fork_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = ThreadLocks()()
    inside: list[int] = []
    most: list[int] = []
    pid, turns = os.getpid(), threading.Barrier(8)

    def getpid() -> int:  # every thread has looked where it is before any goes on
        turns.wait(5)
        return pid + 1

    monkeypatch.setattr("jit_middleware.bridge.os", SimpleNamespace(getpid=getpid))

    async def work() -> None:
        async with lock:
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.005)
            inside.pop()

    threads = [threading.Thread(target=lambda: step(work()), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert most == [1] * 8


def test_a_task_lock_keeps_no_loop_that_was_closed() -> None:
    lock = TaskLocks()()
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def contend() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))

        async def hold() -> None:
            async with lock:
                await asyncio.sleep(0)

        await asyncio.gather(hold(), hold())

    for _ in range(5):
        asyncio.run(contend())
    gc.collect()
    assert [loop() for loop in loops[:-1]] == [None] * 4


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


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_tries_by_itself_what_failed_in_its_parent() -> None:
    tries = 0

    async def start() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StoreUnavailable("down")

    once = StartOnce(start, Clock(), "wsgi")
    with pytest.raises(StoreUnavailable):
        step(once())
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):  # nothing of the parent's tests goes on in here
            step(once())
            code = 0 if once.is_done() else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.raises(StoreUnavailable):
        step(once())
    assert tries == 1, "here, the pause is not over"


def test_nobody_waits_for_the_one_who_tries_to_start_again() -> None:
    async def story() -> None:
        clock, held, tries = Clock(), asyncio.Event(), 0

        async def start() -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise StoreUnavailable("down")
            await held.wait()

        once = StartOnce(start, clock, "asgi")
        with pytest.raises(StoreUnavailable):
            await once()
        clock.at += 1
        trying = asyncio.create_task(once())
        await asyncio.sleep(0)
        others = await asyncio.wait_for(asyncio.gather(*(once() for _ in range(5)), return_exceptions=True), 10)
        assert [type(other) for other in others] == [StoreUnavailable] * 5
        assert tries == 2
        held.set()
        await trying
        await once()

    asyncio.run(story())


def test_a_failed_start_is_told_again_and_keeps_no_request() -> None:
    class Request:
        cookie = "secret"

    fault = Fault("JIT_DATABASE_URL", "the schema is old.", "migrate.")

    async def start() -> None:
        try:
            raise ZeroDivisionError
        except ZeroDivisionError as cause:
            raise ConfigurationError([fault]) from cause

    once = StartOnce(start, Clock(), "wsgi")

    async def serve(request: Request) -> JITError:
        try:
            await once()
        except JITError as failure:
            return failure
        raise AssertionError(request)

    kept: list[weakref.ref[Request]] = []
    for _ in range(3):
        request = Request()
        kept.append(weakref.ref(request))
        told = step(serve(request))
        assert isinstance(told, ConfigurationError)
        assert (told.reason, told.faults, str(told)) == ("configuration", (fault,), str(ConfigurationError([fault])))
        del told
    del request
    gc.collect()
    assert [each() for each in kept] == [None] * 3


def test_a_start_with_a_bug_is_not_remembered_as_done() -> None:
    async def start() -> None:
        raise ZeroDivisionError

    once = StartOnce(start, Clock(), "wsgi")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            step(once())
    assert not once.is_done()
