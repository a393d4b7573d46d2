"""Stories with Redis beside the ledger: revocations at once while it is there, within the bound when it is not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from itertools import count

import pytest

from jit_middleware.bridge import step
from jit_middleware.outside import neighbours_channel, open_ledger
from jit_middleware.settings import Settings
from tests.client import Client
from tests.peers.valkey import Valkey
from tests.scenarios.conftest import Stage, StageBuilder
from tests.worlds import Outgoing

pytestmark = pytest.mark.real

NEVER = "12h"
PATIENCE = 30.0
AWAY = "unix:///no/such/socket"
_mounts = count(1)


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "never came to pass"
        time.sleep(0.005)


def staged(build: StageBuilder, url: str, *, bound: str = NEVER) -> Stage:
    """A stage with a channel of its own: the workers of one application meet at its public URL."""
    return build(mount=f"/app{next(_mounts)}", JIT_REDIS_URL=url, JIT_REVOCATION_MAX_STALENESS=bound)


def also_at(stage: Stage, client: Client) -> tuple[Client, Outgoing]:
    """Another worker that knows the session of this browser, and the request that it serves from memory."""
    other = stage.worker()
    other.jar = client.jar
    assert other.get("/").status == 200
    return other, other.prepare("GET", "/")


def all_listen(stage: Stage, server: Valkey, workers: int) -> None:
    channel = neighbours_channel(stage.settings)
    until(lambda: server.listeners(channel) == workers)


def is_out(client: Client, request: Outgoing) -> bool:
    (answer,) = client.together(request)
    assert answer.status in {200, 302}, answer.text
    return answer.status == 302


# --- while it is there -----------------------------------------------------------------------------------------------


def test_signing_out_at_one_worker_ends_the_session_at_every_other_at_once(
    any_world: StageBuilder, valkey_server: Valkey
) -> None:
    """The bound is half a day, and no time passes: only a hint can have told them."""
    stage = staged(any_world, valkey_server.url)
    stage.sign_in(stage.person("alice"))
    others = [also_at(stage, stage.client) for _ in range(2)]
    all_listen(stage, valkey_server, 3)
    for other, request in others:
        assert not is_out(other, request)
    assert stage.client.post("/_jit/logout").status == 303
    for other, request in others:
        until(lambda other=other, request=request: is_out(other, request))  # type: ignore[misc]


def test_a_revocation_by_command_is_known_at_once(build: StageBuilder, own_valkey: Valkey) -> None:
    stage = staged(build, own_valkey.url)
    seen = stage.sign_in(stage.person("alice")).json()
    request = stage.client.prepare("GET", "/")
    all_listen(stage, own_valkey, 1)
    command = open_ledger(stage.settings)
    step(command.transaction(lambda tx: tx.end_sessions(stage.clock.now(), user_id=seen["user"]["id"])))
    step(command.close())
    until(lambda: is_out(stage.client, request))


def test_nobody_else_is_signed_out_by_a_hint(build: StageBuilder, valkey_server: Valkey) -> None:
    stage = staged(build, valkey_server.url)
    stage.sign_in(stage.person("alice"))
    bob = stage.client.another()
    stage.sign_in(stage.person("bob"), client=bob)
    other, alices = also_at(stage, stage.client)
    other.jar = bob.jar
    bobs = other.prepare("GET", "/")
    all_listen(stage, valkey_server, 2)
    assert stage.client.post("/_jit/logout").status == 303
    until(lambda: is_out(other, alices))
    assert not is_out(other, bobs)


def test_an_answer_used_at_one_worker_is_refused_by_another(build: StageBuilder, valkey_server: Valkey) -> None:
    stage = staged(build, valkey_server.url)
    departure = stage.depart(stage.client, stage.agent(stage.person("alice")))
    other = stage.worker()
    stolen = stage.callback_request(stage.client, departure)
    other.get("/public")
    assert stage.come_back(stage.client, departure).status == 303
    (answer,) = other.together(stolen)
    assert answer.status in {400, 403}, answer.text
    assert len(step(stage.ledger.transaction(lambda tx: tx.list_sessions()))) == 1


# --- when it is not --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [AWAY, "redis://127.0.0.1:1"])
def test_without_it_everything_is_as_before(build: StageBuilder, url: str) -> None:
    stage = staged(build, url, bound="1s")
    stage.sign_in(stage.person("alice"))
    other, request = also_at(stage, stage.client)
    assert stage.client.get("/_jit/ready").status == 200
    assert stage.client.post("/_jit/logout").status == 303
    stage.clock.advance(1.0)
    assert is_out(other, request)


def test_a_writer_without_it_is_known_within_the_bound(build: StageBuilder, valkey_server: Valkey) -> None:
    """The worker hears perfectly well, and nothing is said: it asks the ledger all the same."""
    stage = staged(build, valkey_server.url, bound="1s")
    seen = stage.sign_in(stage.person("alice")).json()
    request = stage.client.prepare("GET", "/")
    all_listen(stage, valkey_server, 1)
    without = {name: value for name, value in stage.env.items() if name != "JIT_REDIS_URL"}
    command = open_ledger(Settings.load(without))
    step(command.transaction(lambda tx: tx.end_sessions(stage.clock.now(), user_id=seen["user"]["id"])))
    step(command.close())
    stage.clock.advance(1.0)
    assert is_out(stage.client, request)


@pytest.mark.parametrize("harm", ["kill", "freeze", "flush"])
def test_the_bound_holds_whatever_befalls_it(build: StageBuilder, own_valkey: Valkey, harm: str) -> None:
    stage = staged(build, own_valkey.url, bound="1s")
    alice = stage.person("alice")
    stage.sign_in(alice)
    other, request = also_at(stage, stage.client)
    all_listen(stage, own_valkey, 2)
    {"kill": own_valkey.kill, "freeze": own_valkey.freeze, "flush": lambda: own_valkey.say("FLUSHALL")}[harm]()
    assert stage.client.get("/_jit/ready").status == 200
    assert stage.client.post("/_jit/logout").status == 303
    stage.clock.advance(1.0)
    assert is_out(other, request)
    assert stage.sign_in(alice).status == 200, "logins go on"
    if harm == "freeze":
        own_valkey.thaw()


def test_when_it_comes_back_revocations_are_known_at_once_again(
    build: StageBuilder, own_valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jit_middleware.redis")
    stage = staged(build, own_valkey.url)
    alice = stage.person("alice")
    stage.sign_in(alice)
    all_listen(stage, own_valkey, 1)
    own_valkey.kill()
    other, request = also_at(stage, stage.client)
    assert stage.client.post("/_jit/logout").status == 303
    assert not is_out(other, request), "within the bound"
    own_valkey.start()
    all_listen(stage, own_valkey, 2)
    until(lambda: is_out(other, request))
    stage.sign_in(alice)
    other.jar = stage.client.jar
    assert other.get("/").status == 200
    request = other.prepare("GET", "/")
    assert stage.client.post("/_jit/logout").status == 303
    until(lambda: is_out(other, request))
    assert {record.name for record in caplog.records if "Redis" in record.message} == {"jit_middleware.redis"}


def test_no_log_line_holds_the_password(build: StageBuilder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stage = staged(build, "redis://user:hunter2@127.0.0.1:1")
    stage.sign_in(stage.person("alice"))
    until(lambda: any("not reached" in record.message for record in caplog.records))
    assert "hunter2" not in caplog.text
    assert "hunter2" not in repr(stage.settings)
