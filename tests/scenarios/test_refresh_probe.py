"""The provider is asked by a refresh token whether a person is still welcome, and what comes of its answer."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from sqlite3 import connect
from typing import Any

import pytest

from jit_middleware.bridge import step
from tests.adversarial.wire import Reply
from tests.client import Client
from tests.scenarios.bent import BentStage, answered, session_id
from tests.scenarios.conftest import Stage, StageBuilder
from tests.worlds import Answer, AsgiWorld

Make = Callable[..., BentStage]
EVERY = 15 * 60
GRACE = 3600
PROBED = {"JIT_OIDC_REFRESH_PROBE": "15m", "JIT_SESSION_IDLE": "10h"}
OFFLINE = {**PROBED, "JIT_OIDC_SCOPES": "openid email profile offline_access", "JIT_OIDC_PROMPT": "consent"}


def token_calls(stage: Stage) -> int:
    """How often the real provider's token endpoint was asked since the last time."""
    return sum(asked == "POST /token" for asked in stage.provider.requests())


def at_once(*clients: Client) -> list[Answer]:
    """Eight requests to each of these workers, all together."""

    def ask(client: Client) -> list[Answer]:
        return client.together(*(client.prepare("GET", f"/{number}") for number in range(8)))

    with ThreadPoolExecutor(len(clients)) as threads:
        return [answer for answers in threads.map(ask, clients) for answer in answers]


def row(stage: BentStage, client: Client | None = None) -> dict[str, Any]:
    """The session's row as it lies in the database."""
    path = stage.env["JIT_DATABASE_URL"].removeprefix("sqlite:///")
    with closing(connect(path)) as connection:
        names = "refresh_token", "probe_at", "probe_failing_since", "ended_at"
        found = connection.execute(
            f"SELECT {', '.join(names)} FROM jit_sessions WHERE id = ?", [session_id(client or stage.client)]
        ).fetchone()
    return dict(zip(names, found, strict=True))


# --- with the real provider ------------------------------------------------------------------------------------------


def test_the_provider_is_asked_when_it_is_time_and_each_token_once(build: StageBuilder) -> None:
    """This provider replaces the token at each use, and takes everything back when an old one is shown."""
    stage = build(**OFFLINE)
    stage.sign_in(stage.person("alice"))
    token_calls(stage)
    for _ in range(3):
        stage.clock.advance(EVERY - 60)
        assert stage.client.get("/").status == 200
        assert token_calls(stage) == 0
        stage.clock.advance(61)
        assert stage.client.get("/").status == 200
        answered(stage.client)
        assert token_calls(stage) == 1
    stage.provider.events()
    assert stage.events("session.ended") == []


def test_a_grant_that_was_taken_back_ends_the_session_everywhere(build: StageBuilder) -> None:
    stage = build(**OFFLINE)
    alice = stage.person("alice")
    stage.sign_in(alice)
    other = stage.worker()
    other.jar = stage.client.jar
    assert other.get("/").status == 200
    stage.provider.withdraw(alice)
    stage.clock.advance(EVERY - 60)
    assert [client.get("/").status for client in (stage.client, other)] == [200, 200]
    stage.clock.advance(61)
    assert stage.client.get("/").status == 200, "nobody waits for the provider"
    answered(stage.client)
    stage.clock.advance(1)
    assert [client.get("/").status for client in (stage.client, other)] == [302, 302], "within the bound of the feed"
    [ended] = stage.events("session.ended")
    assert ended.reason == "refresh_refused"
    assert token_calls(stage) >= 1


def test_two_workers_ask_once_for_a_session_they_share(build: StageBuilder) -> None:
    stage = build(**OFFLINE)
    stage.sign_in(stage.person("alice"))
    other = stage.worker()
    other.jar = stage.client.jar
    token_calls(stage)
    for _ in range(2):
        stage.clock.advance(EVERY + 1)
        assert {answer.status for answer in at_once(stage.client, other)} == {200}
        answered(stage.client, other)
        assert token_calls(stage) == 1


def test_a_login_without_a_refresh_token_lasts_as_long_as_an_answer_would(build: StageBuilder) -> None:
    stage = build(**PROBED)  # the scope offline_access is the operator's to ask for
    stage.sign_in(stage.person("alice"))
    stage.clock.advance(EVERY - 60)
    assert stage.client.get("/").status == 200
    stage.clock.advance(61)
    assert stage.client.get("/").status == 302


# --- with one that bends ---------------------------------------------------------------------------------------------


def due(stage: BentStage, seconds: float = EVERY + 1) -> int:
    """What a request gets after the provider was asked; the one that has it asked is served."""
    stage.clock.advance(seconds)
    assert stage.client.get("/").status == 200
    answered(stage.client)
    stage.clock.advance(1)
    return stage.client.get("/").status


def test_a_probe_is_off_unless_it_is_configured(bent: Make) -> None:
    stage = bent(JIT_SESSION_IDLE="10h")
    stage.sign_in()
    assert row(stage)["refresh_token"] is None
    calls = len(stage.provider.calls)
    assert due(stage) == 200
    assert stage.provider.calls[calls:] == []


def test_the_token_lies_sealed_and_goes_with_the_session(bent: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stage = bent(**PROBED)
    stage.sign_in()
    sealed = [row(stage)["refresh_token"]]
    assert due(stage) == 200
    sealed.append(row(stage)["refresh_token"])
    tokens = list(stage.provider.refresh_tokens)
    assert len(tokens) == 2
    assert sealed[0] != sealed[1]
    told = json.dumps([str(event) for event in stage.events()]) + caplog.text + "".join(sealed) + repr(stage.live())
    assert all(token not in told for token in tokens)
    assert all(text not in repr(stage.live()) for text in sealed)
    stage.client.post("/_jit/logout")
    [ended] = stage.events("session.ended")
    assert ended.reason == "logout"
    path = stage.env["JIT_DATABASE_URL"].removeprefix("sqlite:///")
    with closing(connect(path)) as connection:
        assert connection.execute("SELECT refresh_token FROM jit_sessions").fetchall() == [(None,)]


def test_a_provider_that_keeps_its_tokens_is_asked_with_the_same_one(bent: Make) -> None:
    stage = bent(**PROBED)
    stage.provider.rotates = False
    stage.sign_in()
    sealed = row(stage)["refresh_token"]
    assert [due(stage) for _ in range(3)] == [200] * 3
    assert row(stage)["refresh_token"] == sealed
    assert len(stage.provider.refresh_tokens) == 1


@pytest.mark.parametrize("code", ["invalid_grant", "interaction_required", "login_required"])
def test_a_refusal_ends_the_session(bent: Make, code: str) -> None:
    stage = bent(**PROBED)
    stage.sign_in()
    stage.provider.on_refresh.append(lambda document: document.update(error=code))
    assert due(stage) == 302
    [ended] = stage.events("session.ended")
    assert ended.reason == "refresh_refused"
    assert stage.live() == []


def broken(raw: socket.socket) -> None:
    raw.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


BENDS: dict[str, Callable[[Reply], Reply]] = {
    "500": lambda _: Reply(500, b"{}"),
    "429": lambda _: Reply(429, b"{}"),
    "garbage": lambda _: Reply(200, b"<html>maintenance</html>"),
    "an array": lambda _: Reply(200, b"[]"),
    "no token": lambda _: Reply(200, b"{}"),
    "a broken answer": lambda _: Reply(raw=broken),
    "our own fault": lambda _: Reply(401, b'{"error": "invalid_client"}'),
    "a redirect": lambda _: Reply(302, b"", (("Location", "http://127.0.0.1:1/"),)),
}


@pytest.mark.parametrize("bend", BENDS.values(), ids=BENDS)
def test_a_provider_that_does_not_answer_is_forgiven_for_the_grace_and_no_longer(
    bent: Make, bend: Callable[[Reply], Reply]
) -> None:
    stage = bent(**PROBED)
    stage.provider.rotates = False
    stage.sign_in()
    stage.provider.on_reply["token"] = [bend]
    assert due(stage) == 200
    since = row(stage)["probe_failing_since"]
    assert since == stage.clock.now() - 1
    calls = len(stage.provider.calls)
    assert due(stage, 30) == 200
    assert stage.provider.calls[calls:] == [], "not asked again at once"
    assert due(stage, 31) == 200
    assert stage.provider.calls[calls:] == ["token"]
    assert row(stage)["probe_failing_since"] == since
    assert due(stage, GRACE - 75) == 200
    assert due(stage, 10) == 302
    [ended] = stage.events("session.ended")
    assert ended.reason == "refresh_unreachable"


def test_a_provider_that_answers_again_in_time_is_forgiven_for_good(bent: Make) -> None:
    stage = bent(**PROBED)
    stage.provider.rotates = False
    stage.sign_in()
    stage.provider.on_reply["token"] = [BENDS["500"]]
    assert due(stage) == 200
    stage.provider.on_reply["token"] = []
    assert due(stage, GRACE - 10) == 200
    kept = row(stage)
    assert (kept["probe_failing_since"], kept["probe_at"]) == (None, stage.clock.now() - 1 + EVERY)


def test_with_no_grace_the_first_failure_ends_the_session(bent: Make) -> None:
    stage = bent(**PROBED, JIT_OIDC_REFRESH_PROBE_GRACE="0s")
    stage.sign_in()
    stage.provider.on_reply["token"] = [BENDS["500"]]
    assert due(stage) == 302
    [ended] = stage.events("session.ended")
    assert ended.reason == "refresh_unreachable"


def test_while_the_provider_is_waited_for_everybody_is_served(bent: Make) -> None:
    stage = bent(**PROBED)
    stage.sign_in()
    other, asking, answer = stage.worker(), threading.Event(), threading.Event()
    other.jar = stage.client.jar
    assert other.get("/").status == 200

    def slowly(reply: Reply) -> Reply:
        asking.set()
        assert answer.wait(10)
        return reply

    stage.provider.on_reply["token"] = [slowly]
    stage.clock.advance(EVERY + 1)
    calls = len(stage.provider.calls)
    assert stage.client.get("/").status == 200, "the request that has it asked does not wait either"
    end = time.monotonic() + 10
    while not asking.is_set():
        assert time.monotonic() < end
        stage.client.get("/_jit/health")  # under ASGI what is beside the requests goes on with one
        time.sleep(0.005)
    assert [client.get("/").status for client in (other, stage.client) for _ in range(3)] == [200] * 6
    answer.set()
    answered(stage.client, other)
    assert stage.provider.calls[calls:] == ["token"]
    assert due(stage, EVERY + 1) == 200
    assert stage.provider.calls[calls:] == ["token"] * 2


def test_a_server_that_stops_waits_for_the_answer(bent: Make) -> None:
    stage = bent(**PROBED)
    stage.sign_in()
    asking = threading.Event()

    def slowly(reply: Reply) -> Reply:
        asking.set()
        time.sleep(0.3)
        return reply

    stage.provider.on_reply["token"] = [slowly]
    sealed = row(stage)["refresh_token"]
    stage.clock.advance(EVERY + 1)
    assert stage.client.get("/").status == 200
    end = time.monotonic() + 10
    while not asking.is_set():
        assert time.monotonic() < end
        stage.client.get("/_jit/health")
        time.sleep(0.005)
    close = stage.client.middleware.gate.close
    if isinstance(stage.client.world, AsgiWorld):
        stage.client.world._runner.run(close())
    else:
        step(close())
    assert row(stage)["refresh_token"] != sealed


def test_a_worker_that_dies_while_it_asks_leaves_the_question_to_another(bent: Make) -> None:
    stage = bent(**PROBED)
    stage.provider.rotates = False
    stage.sign_in()
    stage.clock.advance(EVERY + 1)
    path = stage.env["JIT_DATABASE_URL"].removeprefix("sqlite:///")
    with closing(connect(path)) as connection:  # as the dead one has left it
        connection.execute("UPDATE jit_sessions SET probe_at = ?", [stage.clock.now() + 60])
        connection.commit()
    calls = len(stage.provider.calls)
    assert stage.client.get("/").status == 200
    assert stage.provider.calls[calls:] == []
    assert due(stage, 61) == 200
    assert stage.provider.calls[calls:] == ["token"]


def test_a_token_that_this_key_did_not_seal_ends_the_session(bent: Make) -> None:
    stage = bent(**PROBED)
    stage.sign_in()
    path = stage.env["JIT_DATABASE_URL"].removeprefix("sqlite:///")
    with closing(connect(path)) as connection:
        connection.execute("UPDATE jit_sessions SET refresh_token = 'something else'")
        connection.commit()
    assert due(stage) == 302
    [ended] = stage.events("session.ended")
    assert ended.reason == "refresh_refused"


def test_a_token_outlives_the_rotation_of_our_own_secret(bent: Make) -> None:
    stage = bent(**PROBED)
    stage.sign_in()
    new = "Tq7fX1uJm9Zc4RkWv2Yb8Ns5Gd0Lh3PeAi6oKxEtQzU"
    rotated = stage.worker(JIT_SECRET_KEY=f"{new},{stage.env['JIT_SECRET_KEY']}")
    rotated.jar = stage.client.jar
    calls = len(stage.provider.calls)
    for _ in range(2):  # sealed by the old key, then by the new one
        stage.clock.advance(EVERY + 1)
        assert rotated.get("/").status == 200
        answered(rotated)
    assert stage.provider.calls[calls:].count("token") == 2
    retired = stage.worker(JIT_SECRET_KEY=new)
    retired.jar = stage.client.jar
    assert retired.get("/").status == 302, "with the old key goes its cookie"
    assert stage.events("session.ended") == []


def test_a_probe_changes_nothing_about_the_person(bent: Make) -> None:
    stage = bent(**PROBED, JIT_OIDC_USERINFO="always")
    stage.sign_in()
    before = stage.client.get("/").json()["user"]
    stage.provider.person |= {"name": "Somebody Else", "groups": ["admins"]}
    stage.provider.on_refresh.append(lambda document: document.update(id_token="not.looked.at"))
    assert due(stage) == 200
    assert stage.client.get("/").json()["user"] == before
    assert stage.events("user.updated", "roles.changed") == []


# --- ceilings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ceiling", "told", "lasts"),
    [
        ("provider", {}, 3600),
        ("id_token", {}, 300),
        ("id_token", {"session_expiry": 100}, 100),
        ("id_token", {"session_expiry": 900}, 300),
        ("provider", {"session_expiry": 900}, 900),
    ],
)
def test_the_provider_bounds_the_session_as_the_operator_chose(
    bent: Make, ceiling: str, told: dict[str, int], lasts: int
) -> None:
    stage = bent(JIT_OIDC_SESSION_CEILING=ceiling, JIT_SESSION_ABSOLUTE="1h", JIT_SESSION_IDLE="1h")
    now = stage.clock.now
    stage.told |= {name: (lambda value=value: now() + value) for name, value in told.items()}
    stage.sign_in()
    stage.clock.advance(lasts - 5)
    assert stage.client.get("/").status == 200
    stage.clock.advance(6)
    assert stage.client.get("/").status == 302


def test_an_id_token_at_its_end_begins_no_session_that_it_would_end(bent: Make) -> None:
    stage = bent(JIT_OIDC_SESSION_CEILING="id_token")
    stage.told["exp"] = lambda: stage.clock.now() - 1
    page = stage.through(stage.client.get("/"))
    assert page.status == 403
    [event] = stage.events("login.refused")
    assert event.reason == "token_expired"


@pytest.mark.parametrize("past", [0, 1, 20, 59])
def test_a_session_that_has_ended_at_the_provider_begins_none_here(bent: Make, past: int) -> None:
    """IPSIE SL1: the skew is for clocks; by our own clock such a session would be over before its cookie is set."""
    stage = bent(JIT_OIDC_CLOCK_SKEW="60s")
    stage.told["session_expiry"] = lambda: stage.clock.now() - past
    page = stage.through(stage.client.get("/"))
    assert (page.status, page.header("location")) == (403, None)
    assert [line for line in page.all("set-cookie") if line.startswith("jit=")] == []
    [event] = stage.events("login.refused")
    assert event.reason == "session_ended"
    assert stage.events("login.succeeded") == []


def test_a_session_with_two_seconds_left_is_served_for_them_and_then_refused(bent: Make) -> None:
    """No loop, and no page that blames the cookies: the provider's next answer says itself that it is over."""
    stage = bent()
    ends = stage.clock.now() + 2
    stage.told["session_expiry"] = ends
    landed = stage.through(stage.client.get("/"))
    assert landed.status == 303
    [cookie] = [line for line in landed.all("set-cookie") if line.startswith("jit=")]
    assert "; Max-Age=2;" in cookie
    stage.clock.advance(1)
    assert stage.client.get(landed.location).status == 200
    stage.clock.advance(1)
    page = stage.through(stage.client.get(landed.location))
    assert page.status == 403
    assert [event.reason for event in stage.events("login.refused")] == ["session_ended"]
    assert len(stage.events("login.succeeded")) == 1
