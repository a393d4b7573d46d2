"""Threads of our own: what they promise by themselves, and that the application's threads cannot hold up a request."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import pytest

from jit_middleware.asgi import JITMiddleware
from jit_middleware.bridge import ledger_face, users_face
from jit_middleware.errors import Conflict, StoreUnavailable
from jit_middleware.own_threads import NoThread, OwnThreads
from jit_middleware.ports import Ledger
from jit_middleware.settings import Settings
from jit_middleware_sqlalchemy import SQLAlchemyLedger
from tests.architecture.sources import ROOT
from tests.conftest import FakeClock
from tests.edges.test_faces import ALICE, FakeLedger, SyncStore

NAME = "jit-middleware-test"


def alive(name: str = NAME) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def have_ended(*threads: threading.Thread) -> bool:
    for thread in threads or alive():
        thread.join(5)
    return not any(thread.is_alive() for thread in threads or alive())


@contextmanager
def no_new_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The operating system gives none, as when a container's limit of processes is reached."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


@pytest.fixture
def threads() -> Iterator[OwnThreads]:
    made = OwnThreads(NAME, most=2)
    yield made
    made.close()
    assert have_ended()


@pytest.fixture
def hold() -> Iterator[threading.Event]:
    """Set at the end of the test at the latest, so that no thread waits for ever."""
    event = threading.Event()
    yield event
    event.set()


def waiting(threads: OwnThreads, hold: threading.Event) -> Future[bool]:
    """Work that has begun, and goes on until ``hold`` is set."""
    began = threading.Event()

    def work() -> bool:
        began.set()
        return hold.wait(30)

    future = threads.submit(work)
    assert began.wait(5)
    return future


# --- by themselves ------------------------------------------------------------------------------------------------


def test_results_and_errors_come_back_from_a_named_daemon(threads: OwnThreads) -> None:
    thread = threads.submit(threading.current_thread).result(5)
    assert thread.name.startswith(NAME)
    assert thread.daemon
    error = Conflict("identity")

    def fail() -> None:
        raise error

    assert threads.submit(fail).exception(5) is error
    assert threads.submit(lambda: sys.exit(3)).exception(5).__class__ is SystemExit
    assert threads.submit(lambda: 1).result(5) == 1
    assert len(alive()) == 1, "a thread that is free is used again"


def test_no_more_than_so_many_work_at_once_and_the_others_wait_for_their_turn(
    threads: OwnThreads, hold: threading.Event
) -> None:
    first, second = waiting(threads, hold), waiting(threads, hold)
    third = [threads.submit(lambda: 3) for _ in range(5)]
    assert len(alive()) == 2
    hold.set()
    assert (first.result(5), second.result(5)) == (True, True)
    assert [future.result(5) for future in third] == [3] * 5
    hold.clear()
    again = [waiting(threads, hold), waiting(threads, hold)]  # both threads are still there for work
    hold.set()
    assert [future.result(5) for future in again] == [True, True]


def test_work_that_was_cancelled_in_the_queue_is_not_done(threads: OwnThreads, hold: threading.Event) -> None:
    done: list[int] = []
    busy = [waiting(threads, hold), waiting(threads, hold)]
    given_up = threads.submit(lambda: done.append(1))
    assert given_up.cancel()
    hold.set()
    assert all(future.result(5) for future in busy)
    threads.submit(lambda: done.append(2)).result(5)
    assert done == [2]


def test_closed_they_end_when_their_work_is_done_and_later_work_gets_new_ones(
    threads: OwnThreads, hold: threading.Event
) -> None:
    busy = [waiting(threads, hold), waiting(threads, hold)]
    queued = threads.submit(lambda: "queued before")
    threads.close()
    assert threads.submit(lambda: "later").result(5) == "later"
    hold.set()
    assert [future.result(5) for future in busy] == [True, True]
    assert queued.result(5) == "queued before"
    threads.close()
    threads.close()
    assert have_ended()


def test_forgotten_they_end() -> None:
    threads = OwnThreads(NAME, most=2)
    threads.submit(lambda: 1).result(5)
    del threads
    gc.collect()
    assert have_ended()


def test_a_result_is_not_kept_until_the_next_work(threads: OwnThreads) -> None:
    class Large: ...

    def work() -> None:
        raise Conflict("identity")

    threads.submit(work).exception(5)
    threads.submit(Large).result(5)
    threads.submit(lambda: 1).result(5)
    gc.collect()
    assert [each for each in gc.get_objects() if isinstance(each, Large)] == []


def test_when_no_thread_can_be_started_the_ones_there_do_the_work(
    threads: OwnThreads, hold: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = waiting(threads, hold)
    with no_new_threads(monkeypatch):
        queued = [threads.submit(lambda: 1) for _ in range(3)]
    second = waiting(threads, hold)  # and as soon as one can be started, it is
    assert len(alive()) == 2
    hold.set()
    assert (busy.result(5), second.result(5)) == (True, True)
    assert [future.result(5) for future in queued] == [1] * 3


def test_without_any_thread_work_is_refused_and_forgotten(threads: OwnThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    with no_new_threads(monkeypatch):
        for _ in range(5):
            with pytest.raises(NoThread, match="can't start new thread"):
                threads.submit(lambda: done.append(1))
    threads.submit(lambda: done.append(2)).result(5)
    assert done == [2]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_its_own(threads: OwnThreads, hold: threading.Event) -> None:
    busy = [waiting(threads, hold), waiting(threads, hold)]
    child = os.fork()
    if child == 0:
        try:
            os._exit(threads.submit(lambda: 7).result(10))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    hold.set()
    assert all(future.result(5) for future in busy)


def test_two_threads_that_are_the_first_to_ask_share_one_crew(hold: threading.Event) -> None:
    threads = OwnThreads(NAME, most=1)

    class Overtaken(dict[int, Any]):
        """Looked into by one thread while another one has its crew made."""

        def get(self, pid: int, default: Any = None) -> Any:
            found = super().get(pid, default)
            if found is None and not overtakers:
                overtakers.append(threading.Thread(target=lambda: waiting(threads, hold)))
                overtakers[0].start()
                overtakers[0].join(5)
            return found

    overtakers: list[threading.Thread] = []
    threads._crews = Overtaken()
    last = threads.submit(lambda: "after it")
    assert len(alive()) == 1, "no more than one was asked for"
    hold.set()
    assert last.result(5) == "after it"
    threads.close()
    assert have_ended()


def test_a_process_ends_without_waiting_for_them() -> None:
    program = f"""
import sys, threading
sys.path[:0] = [{str(ROOT)!r}]
from jit_middleware.own_threads import OwnThreads
threads, began = OwnThreads("stuck", most=1), threading.Event()
threads.submit(lambda: (began.set(), threading.Event().wait(120)))
began.wait()
print("done")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


# --- in a process with an application -------------------------------------------------------------------------------


async def with_a_busy_app(story: Callable[[], Any]) -> Any:
    """What comes of the story while the application keeps every thread of the loop's executor busy."""
    loop, hold, began = asyncio.get_running_loop(), threading.Event(), threading.Semaphore(0)
    executor = ThreadPoolExecutor(2)
    loop.set_default_executor(executor)

    def work() -> None:
        began.release()
        hold.wait(30)

    jobs = [asyncio.create_task(asyncio.to_thread(work)) for _ in range(2)]
    await asyncio.sleep(0)
    assert all(began.acquire(timeout=5) for _ in jobs)
    try:
        return await asyncio.wait_for(story(), 10)
    finally:
        hold.set()
        await asyncio.gather(*jobs)


def test_an_app_that_fills_the_loops_executor_keeps_neither_ledger_nor_user_store_waiting() -> None:
    async def story() -> tuple[object, object]:
        ledger = ledger_face(cast("Ledger", FakeLedger("at once")), "asgi")
        return await users_face(SyncStore(), "asgi").get("7"), await ledger.read_feed(4)

    assert asyncio.run(with_a_busy_app(story)) == (ALICE, ("read_feed", (4, 1000), {}))


def test_a_part_of_the_app_that_asks_its_own_server_from_a_thread_is_answered() -> None:
    async def story() -> list[object]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        ledger = ledger_face(cast("Ledger", FakeLedger("at once")), "asgi")

        def ask() -> object:
            return asyncio.run_coroutine_threadsafe(ledger.read_feed(4), loop).result(10)

        return await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(2)))

    assert asyncio.run(story()) == [("read_feed", (4, 1000), {})] * 2


def test_a_user_store_that_hangs_keeps_no_session_from_being_checked(hold: threading.Event) -> None:
    class Hanging(SyncStore):
        def get(self, user_id: str) -> None:
            hold.wait(30)

    async def story() -> object:
        users, ledger = users_face(Hanging(), "asgi"), ledger_face(cast("Ledger", FakeLedger("at once")), "asgi")
        logins = [asyncio.create_task(users.get("7")) for _ in range(40)]
        await asyncio.sleep(0)
        answer = await asyncio.wait_for(ledger.read_feed(4), 10)
        hold.set()
        await asyncio.gather(*logins)
        return answer

    assert asyncio.run(story()) == ("read_feed", (4, 1000), {})


def test_without_a_thread_to_be_had_the_store_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        ledger = ledger_face(cast("Ledger", FakeLedger("at once")), "asgi")
        for ask in (lambda: ledger.read_feed(4), lambda: users_face(SyncStore(), "asgi").get("7")):
            with pytest.raises(StoreUnavailable, match="no_thread"):
                await ask()

    with no_new_threads(monkeypatch):
        asyncio.run(story())


def test_the_middleware_lets_its_threads_go_with_the_server(tmp_path: Any, fake_clock: FakeClock) -> None:
    settings = Settings.load(
        env={
            "JIT_PUBLIC_URL": "https://app.example.com",
            "JIT_SECRET_KEY": "wsP0CMVVUUltTtDbIJ3Et1yKWWKRDvKB5sMNEagY9Q751pcknWiq4WeHVJIO1ZIR",
            "JIT_DATABASE_URL": f"sqlite:///{tmp_path / 'jit.db'}",
            "JIT_OIDC_ISSUER": "https://idp.example.com",
            "JIT_OIDC_CLIENT_ID": "c",
            "JIT_OIDC_CLIENT_SECRET": "s" * 32,
        }
    )

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})

    middleware = JITMiddleware(app, settings, users=SyncStore())
    users = middleware.gate.house.users
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    others, ours = set(alive("jit-middleware-")), list[threading.Thread]()

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        if message["type"] == "lifespan.startup.complete" and users is not None:
            await users.get("7")
            ours.extend(thread for thread in alive("jit-middleware-") if thread not in others)

    asyncio.run(middleware({"type": "lifespan"}, receive, send))
    assert sorted(thread.name for thread in ours) == ["jit-middleware-ledger-0", "jit-middleware-users-0"]
    assert have_ended(*ours)


def test_the_ledger_works_on_after_the_server_closed_it(tmp_path: Any) -> None:
    tokens = iter(map(str, range(100)))
    own = SQLAlchemyLedger(f"sqlite:///{tmp_path / 'jit.db'}", clock=FakeClock(), tokens=lambda _=32: next(tokens))
    ledger = ledger_face(own, "asgi")

    async def story() -> int:
        others = set(alive("jit-middleware-ledger"))
        await ledger.prepare()
        ours = [thread for thread in alive("jit-middleware-ledger") if thread not in others]
        await ledger.close()
        assert len(ours) == 1
        assert have_ended(*ours)
        try:
            return (await ledger.read_feed(None)).position
        finally:
            await ledger.close()

    assert asyncio.run(story()) == 0
