"""Heavy work: done off the event loop, bounded in number and time; background work: begun and not waited for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from typing import Literal

import pytest

from jit_middleware.bridge import step
from jit_middleware.errors import Busy, VerificationError
from jit_middleware.offload import InBackground, InThisThread, InThreads, Pauses

seen: ContextVar[str] = ContextVar("seen", default="nothing")


def test_under_wsgi_work_is_done_by_the_thread_itself() -> None:
    assert step(InThisThread()(threading.get_ident)) == threading.get_ident()


def test_under_wsgi_a_failure_frees_its_turn() -> None:
    offload = InThisThread(most=1, deadline=0.05)

    def fail() -> None:
        raise VerificationError("digest_mismatch")

    for _ in range(3):
        with pytest.raises(VerificationError):
            step(offload(fail))
    assert step(offload(lambda: 1)) == 1


def test_under_wsgi_only_so_many_are_at_it_at_once() -> None:
    offload = InThisThread(most=1, deadline=0.05)
    began, over = threading.Event(), threading.Event()

    def long() -> None:
        began.set()
        over.wait(5)

    thread = threading.Thread(target=lambda: step(offload(long)))
    thread.start()
    assert began.wait(5)
    with pytest.raises(Busy, match="busy"):
        step(offload(lambda: 1))
    over.set()
    thread.join()
    assert step(offload(lambda: 1)) == 1


def test_under_asgi_work_is_done_elsewhere_with_its_context() -> None:
    async def flow() -> tuple[bool, str]:
        seen.set("here")
        return await InThreads()(lambda: (threading.current_thread() is threading.main_thread(), seen.get()))

    assert asyncio.run(flow()) == (False, "here")


def test_under_asgi_the_loop_goes_on_and_a_failure_comes_out_as_it_is() -> None:
    async def flow() -> None:
        over = threading.Event()
        offload = InThreads(most=2)
        long = asyncio.create_task(offload(lambda: over.wait(5)))
        await asyncio.sleep(0)
        with pytest.raises(VerificationError, match="digest_mismatch"):
            await offload(lambda: (_ for _ in ()).throw(VerificationError("digest_mismatch")))
        over.set()
        assert await long is True

    asyncio.run(flow())


def test_under_asgi_a_flood_is_refused_and_a_slow_one_is_not_waited_for() -> None:
    async def flow() -> None:
        over = threading.Event()
        offload = InThreads(most=1, waiting=1, deadline=0.05)
        first, second = (asyncio.create_task(offload(lambda: over.wait(5))) for _ in range(2))
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="busy"):
            await offload(lambda: 1)
        for slow in (first, second):
            with pytest.raises(Busy, match="deadline"):
                await slow
        with pytest.raises(Busy, match="deadline"):  # the second never began, the first is still at it
            await offload(lambda: 1)
        over.set()
        for _ in range(100):
            await asyncio.sleep(0.01)
            try:
                assert await offload(lambda: 1) == 1
            except Busy:
                continue
            return
        raise AssertionError("the pool never got free")

    asyncio.run(flow())


def refuse(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_under_asgi_work_for_which_no_thread_can_be_started_is_refused_and_counts_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[int] = []

    async def flow() -> None:
        offload = InThreads(most=2, waiting=1)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(5):
                with pytest.raises(Busy, match="can't start new thread"):
                    await offload(lambda: done.append(1))
        over = threading.Event()
        three = [asyncio.create_task(offload(lambda: over.wait(5))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="3 under way or waiting"):
            await offload(lambda: 1)
        over.set()
        assert await asyncio.gather(*three) == [True] * 3

    asyncio.run(flow())
    assert done == [], "what was refused is not done later"


def test_under_asgi_what_is_under_way_counts_on_when_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    over, done = threading.Event(), list[int]()

    async def flow() -> None:
        offload = InThreads(most=2, waiting=0)
        first = asyncio.create_task(offload(lambda: over.wait(5)))
        await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(Busy, match="can't start new thread"):
                await offload(lambda: done.append(1))
        second = asyncio.create_task(offload(lambda: over.wait(5)))
        await asyncio.sleep(0)
        for _ in range(2):
            with pytest.raises(Busy, match="2 under way or waiting"):
                await offload(lambda: done.append(2))
        over.set()
        assert await asyncio.gather(first, second) == [True] * 2
        # Nothing was given back twice: there is room for two, and not for a third.
        over.clear()
        two = [asyncio.create_task(offload(lambda: over.wait(5))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="2 under way or waiting"):
            await offload(lambda: done.append(3))
        over.set()
        await asyncio.gather(*two)

    asyncio.run(flow())
    assert done == [], "what was refused is not done later"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_under_asgi_a_forked_process_has_threads_and_places_of_its_own() -> None:
    over = threading.Event()

    async def flow() -> int:
        offload = InThreads(most=1, waiting=0)
        long = asyncio.create_task(offload(lambda: over.wait(5)))
        await asyncio.sleep(0)
        child = os.fork()
        if child == 0:
            code = 1
            with suppress(BaseException):  # nothing of the parent's tests goes on in here
                future = offload._begin(lambda: 7)
                code = future.result(5)
            os._exit(code)
        ended = await asyncio.to_thread(os.waitpid, child, 0)
        over.set()
        await long
        return os.waitstatus_to_exitcode(ended[1])

    assert asyncio.run(flow()) == 7


def test_under_wsgi_background_work_without_a_thread_is_left_and_the_request_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    began: list[int] = []

    async def work() -> None:
        began.append(1)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    InBackground("wsgi")(work)
    assert began == []
    assert "work in the background is left for later: can't start new thread" in caplog.text


def test_background_work_runs_in_both_worlds() -> None:
    done = threading.Event()

    async def work() -> None:
        done.set()

    InBackground("wsgi")(work)
    assert done.wait(5)

    async def flow() -> bool:
        ran = asyncio.Event()

        async def later() -> None:
            ran.set()

        InBackground("asgi")(later)
        return await asyncio.wait_for(ran.wait(), 5)

    assert asyncio.run(flow())


def test_background_work_that_fails_is_logged_without_the_words_of_a_foreign_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = threading.Event()

    async def work() -> None:
        try:
            raise RuntimeError("INSERT INTO users VALUES ('alice@example.org')")
        finally:
            done.set()

    def told() -> list[str]:
        return [each.getMessage() for each in caplog.records if "in the background failed" in each.getMessage()]

    InBackground("wsgi")(work)
    assert done.wait(5)
    for thread in threading.enumerate():
        if thread.name == "jit-middleware":
            thread.join(5)
    assert len(told()) == 1

    async def flow() -> None:
        InBackground("asgi")(work)
        while len(told()) < 2:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(flow(), 5))
    for said in told():
        assert said.startswith("work in the background failed: builtins.RuntimeError at ")
    assert "alice" not in caplog.text


LAST_WORDS = """
import sys, time
from jit_middleware.offload import {kind}

async def work():
    time.sleep(0.3)
    sys.stdout.write("written")

{kind}("wsgi")(work)
"""


@pytest.mark.parametrize(("kind", "said"), [("ToTheEnd", "written"), ("InBackground", "")])
def test_a_process_ends_only_after_what_must_not_be_lost(kind: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LAST_WORDS.format(kind=kind)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == said


@pytest.mark.parametrize("world", ["wsgi", "asgi"])
def test_a_pause_lasts_as_long_as_it_is_said_to(world: Literal["wsgi", "asgi"]) -> None:
    async def rest() -> float:
        began = time.monotonic()
        await Pauses(world)(0.02)
        return time.monotonic() - began

    assert (asyncio.run(rest()) if world == "asgi" else step(rest())) >= 0.02
