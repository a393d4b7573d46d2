"""Every promise of ``ports.Neighbours``, over a real Valkey that is killed, frozen and emptied."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from jit_middleware_redis import RedisNeighbours, problem_with
from tests.conftest import FakeClock
from tests.peers.valkey import Valkey

pytestmark = pytest.mark.real

KEY = "0123456789abcdef" * 4
PATIENCE = 30.0
_channels = itertools.count()


def until(true: Callable[[], object]) -> None:
    """Return when it is so; what never comes to pass is a failure."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "never came to pass"
        time.sleep(0.005)


class Worker:
    """One process's worth of neighbours, and how often it was made to hurry."""

    def __init__(self, street: Street, url: str) -> None:
        self.hurries = 0
        self.neighbours = RedisNeighbours(url, channel=street.channel, clock=street.clock)

    def listen(self) -> Worker:
        self.neighbours.listen(self._hurry)
        self.neighbours.attend()
        return self

    def _hurry(self) -> None:
        self.hurries += 1

    def tell(self, *keys: str, until: int = 10**11) -> None:
        self.neighbours.tell(access_changed=not keys, used=[(key, until) for key in keys])


class Street:
    """A channel of its own, and the workers that live there."""

    def __init__(self, server: Valkey, closing: ExitStack) -> None:
        self.server = server
        self.clock = FakeClock()
        self.channel = f"street {next(_channels)}"
        self._closing = closing

    def worker(self, url: str | None = None) -> Worker:
        worker = Worker(self, url or self.server.url)
        self._closing.callback(worker.neighbours.close)
        return worker

    def listeners(self, count: int = 1) -> list[Worker]:
        """Workers that are heard to listen."""
        workers = [self.worker().listen() for _ in range(count)]
        self.all_listen(count)
        until(lambda: all(worker.hurries for worker in workers))
        for worker in workers:
            worker.hurries = 0
        return workers

    def all_listen(self, count: int) -> None:
        until(lambda: self.server.listeners(self.channel) == count)


@pytest.fixture
def street(valkey_server: Valkey) -> Iterator[Street]:
    with ExitStack() as closing:
        yield Street(valkey_server, closing)


@pytest.fixture
def rough_street(own_valkey: Valkey) -> Iterator[Street]:
    """One whose server may be hurt."""
    with ExitStack() as closing:
        yield Street(own_valkey, closing)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("jit-middleware-")}


# --- while all is well ----------------------------------------------------------------------------------------------


def test_a_change_is_heard_by_every_worker(street: Street) -> None:
    first, second, third = street.listeners(3)
    first.tell()
    until(lambda: second.hurries)
    until(lambda: third.hurries)
    assert first.hurries, "who says it need not wait to hear it"


def test_who_only_says_hears_nothing_and_holds_no_listener(street: Street) -> None:
    (worker,) = street.listeners()
    command = street.worker()
    command.neighbours.attend()
    command.tell()
    until(lambda: worker.hurries)
    assert command.hurries == 0
    assert street.server.listeners(street.channel) == 1


def test_a_used_key_is_known_to_every_worker_until_the_ledger_may_forget_it(street: Street) -> None:
    first, second = street.listeners(2)
    now = street.clock.now()
    first.tell(KEY, until=now + 60)
    assert first.neighbours.have_used(KEY)
    until(lambda: second.neighbours.have_used(KEY))
    assert not second.neighbours.have_used(KEY[::-1])
    assert second.hurries == 0, "nobody's access has changed"
    street.clock.advance(61)
    assert not first.neighbours.have_used(KEY)
    assert not second.neighbours.have_used(KEY)


def test_nothing_to_say_is_not_said(street: Street) -> None:
    worker = street.worker()
    worker.neighbours.tell(access_changed=False, used=())
    worker.neighbours.attend()
    assert not threads()


def test_many_changes_in_a_moment_are_few_reasons_to_ask(street: Street) -> None:
    first, second = street.listeners(2)
    keys = [f"{number:064x}" for number in range(400)]
    for key in keys:
        first.tell()
        first.tell(key)
    until(lambda: second.neighbours.have_used(keys[-1]))
    assert all(second.neighbours.have_used(key) for key in keys)
    assert 0 < second.hurries < 100


def test_applications_do_not_hear_each_other(valkey_server: Valkey) -> None:
    with ExitStack() as closing:
        one, other = Street(valkey_server, closing), Street(valkey_server, closing)
        (near,), (far,) = one.listeners(), other.listeners()
        one.worker().tell()
        one.worker().tell(KEY)
        until(lambda: near.hurries and near.neighbours.have_used(KEY))
        other.worker().tell()
        until(lambda: far.hurries)
        assert far.hurries == 1
        assert not far.neighbours.have_used(KEY)


def test_foreign_noise_on_the_channel_is_borne(street: Street) -> None:
    (worker,) = street.listeners()
    for noise in ("", "nonsense", "used x 1", "access " * 10, "\n" * 1000, "ä"):
        street.server.say("PUBLISH", street.channel, noise)
    assert worker.hurries == 0
    street.worker().tell()
    until(lambda: worker.hurries)


# --- beginning and end ----------------------------------------------------------------------------------------------


def test_nothing_starts_before_it_is_needed(street: Street) -> None:
    worker = street.worker()
    worker.neighbours.listen(int)
    assert not threads()
    worker.neighbours.attend()
    assert threads() == {"jit-middleware-hears"}
    worker.tell()
    assert threads() == {"jit-middleware-hears", "jit-middleware-says"}


def test_close_ends_both_threads_and_both_connections(street: Street) -> None:
    (worker,) = street.listeners()
    worker.tell()
    worker.neighbours.close()
    assert not threads()
    street.all_listen(0)
    worker.neighbours.close()


def test_close_says_what_is_left_to_say(street: Street) -> None:
    """A command ends right after its commit."""
    (worker,) = street.listeners()
    for turn in range(1, 20):
        command = street.worker()
        command.tell()
        command.neighbours.close()
        until(lambda turn=turn: worker.hurries >= turn)  # type: ignore[misc]


def test_after_close_it_begins_anew(street: Street) -> None:
    (worker,) = street.listeners()
    worker.neighbours.close()
    worker.hurries = 0
    worker.neighbours.attend()
    street.all_listen(1)
    street.worker().tell()
    until(lambda: worker.hurries >= 2)


def test_whoever_begins_to_listen_asks_the_ledger_once(street: Street) -> None:
    """What was said before was not heard."""
    early = street.worker()
    early.tell()
    early.neighbours.close()
    worker = street.worker().listen()
    until(lambda: worker.hurries)
    assert worker.hurries == 1


def test_a_forked_child_hears_and_says_by_itself(street: Street) -> None:
    """The parent listens already: its threads and sockets are of no use to the child, and stay the parent's."""
    (parent,) = street.listeners()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child leaves by _exit alone
        try:
            parent.hurries = 0
            parent.neighbours.attend()
            until(lambda: parent.hurries)
            os.write(writing, b"+")
            until(lambda: parent.neighbours.have_used(KEY))
            parent.tell()
            parent.neighbours.close()
            os._exit(0)
        finally:
            os._exit(9)
    assert os.read(reading, 1) == b"+"
    os.close(reading)
    os.close(writing)
    street.all_listen(2)
    street.worker().tell(KEY)
    until(lambda: parent.hurries)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    street.all_listen(1)
    parent.hurries = 0
    street.worker().tell()
    until(lambda: parent.hurries)


@pytest.mark.parametrize(
    "option", ["decode_responses=true", "health_check_interval=1", "encoding=utf-16", "protocol=3"]
)
def test_no_option_in_the_address_makes_a_worker_deaf(
    street: Street, caplog: pytest.LogCaptureFixture, option: str
) -> None:
    (usual,) = street.listeners()
    worker = street.worker(f"{street.server.url}?{option}").listen()
    street.all_listen(2)
    until(lambda: worker.hurries)
    time.sleep(2.5)  # so long that it has asked for a sign of life
    heard = worker.hurries
    usual.tell()
    until(lambda: worker.hurries > heard)
    worker.tell(KEY)
    until(lambda: usual.neighbours.have_used(KEY))
    assert heard == 1, "it has stayed connected"
    assert caplog.records == []
    assert problem_with(f"{street.server.url}?{option}", street.channel) is None


# --- when Redis is away ---------------------------------------------------------------------------------------------


def test_a_server_that_was_never_there_is_no_error_and_holds_nobody_up(street: Street) -> None:
    worker = street.worker("unix:///no/such/socket").listen()
    for _ in range(1_000):
        worker.tell()
        worker.tell(KEY)
    assert worker.neighbours.have_used(KEY)
    worker.neighbours.close()
    assert not threads()


def test_a_server_that_was_killed_is_found_again_and_whoever_missed_something_asks(
    rough_street: Street, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jit_middleware.redis")
    first, second = rough_street.listeners(2)
    first.tell()
    until(lambda: second.hurries)
    rough_street.server.kill()
    first.tell()
    first.tell(KEY)
    until(lambda: sum("not reached" in record.message for record in caplog.records) == 3)
    heard = second.hurries
    rough_street.server.start()
    rough_street.all_listen(2)
    until(lambda: second.hurries > heard)
    first.tell(KEY)  # the first time it may have been said while nobody listened yet
    until(lambda: second.neighbours.have_used(KEY))
    until(lambda: sum("reached again" in record.message for record in caplog.records) == 3)


def test_a_frozen_server_is_left_and_found_again(rough_street: Street) -> None:
    """The connections stay open, so only silence tells."""
    first, second = rough_street.listeners(2)
    first.tell()
    until(lambda: second.hurries)
    rough_street.server.freeze()
    began = time.monotonic()
    for _ in range(1_000):
        first.tell()
    assert time.monotonic() - began < 5, "nobody waits for it"
    time.sleep(4)
    rough_street.server.thaw()
    second.hurries = 0
    rough_street.all_listen(2)
    until(lambda: second.hurries)
    second.hurries = 0
    first.tell()
    until(lambda: second.hurries)


def test_a_frozen_server_does_not_keep_a_command_from_ending(rough_street: Street) -> None:
    worker = rough_street.worker()
    worker.tell()
    rough_street.server.freeze()
    worker.tell()
    worker.neighbours.close()
    assert not threads()
    rough_street.server.thaw()


def test_a_server_that_is_emptied_has_lost_nothing(rough_street: Street) -> None:
    first, second = rough_street.listeners(2)
    first.tell(KEY)
    assert rough_street.server.say("DBSIZE") == b":0\r\n", "nothing is kept there"
    rough_street.server.say("FLUSHALL")
    until(lambda: second.neighbours.have_used(KEY))
    first.tell()
    until(lambda: second.hurries)


def test_a_connection_that_the_server_closed_is_replaced_without_a_word(
    rough_street: Street, caplog: pytest.LogCaptureFixture
) -> None:
    """As servers do with the idle ones (``timeout``)."""
    first, second = rough_street.listeners(2)
    first.tell()
    until(lambda: second.hurries)
    caplog.set_level(logging.INFO, "jit_middleware.redis")
    rough_street.server.say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    second.hurries = 0
    first.tell()
    until(lambda: second.hurries)
    assert [record.message for record in caplog.records] == []


def test_a_server_that_refuses_the_password_is_named_once(
    rough_street: Street, caplog: pytest.LogCaptureFixture
) -> None:
    rough_street.server.say("ACL", "SETUSER", "app", "on", ">sesame", "allchannels", "+@all")
    url = f"{rough_street.server.url}?username=app&password="
    worker = rough_street.worker(f"{url}guess").listen()
    worker.tell()
    until(lambda: len(caplog.records) == 2)
    time.sleep(1)
    assert [record.message.rpartition(": ")[2] for record in caplog.records] == ["AuthenticationError"] * 2
    assert problem_with(f"{url}guess", "c") == "AuthenticationError"
    assert problem_with(f"{url}sesame", "c") is None


def test_a_right_that_is_missing_is_no_loop(rough_street: Street, caplog: pytest.LogCaptureFixture) -> None:
    """The connection opens, and its first word is refused."""
    rough_street.server.say("ACL", "SETUSER", "mute", "on", ">sesame", "resetchannels", "-@all", "+client", "+ping")
    url = f"{rough_street.server.url}?username=mute&password=sesame"
    worker = rough_street.worker(url).listen()
    worker.tell()
    until(lambda: len([record for record in caplog.records if "NoPermissionError" in record.message]) == 2)
    before = int(rough_street.server.say("INFO", "stats").split(b"total_connections_received:")[1].split(b"\r\n")[0])
    time.sleep(1)
    after = int(rough_street.server.say("INFO", "stats").split(b"total_connections_received:")[1].split(b"\r\n")[0])
    assert after - before < 12
    assert problem_with(url, rough_street.channel) == "NoPermissionError"


# --- what check asks --------------------------------------------------------------------------------------------------


def test_the_check_is_heard_among_others(street: Street) -> None:
    (worker,) = street.listeners()
    assert problem_with(street.server.url, street.channel) is None
    assert worker.hurries == 0, "a check is no reason to hurry"
