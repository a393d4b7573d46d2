"""Everybody of a connection is signed out by one word, which every worker hears, and nobody of another."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from jit_middleware.bridge import step
from jit_middleware.cli import main
from tests.client import Client
from tests.scenarios.conftest import Stage, StageBuilder
from tests.worlds import Outgoing

BOUND = 1.0


def revoke(stage: Stage, *command: str) -> None:
    """``jit-middleware sessions revoke …``, with the settings of the app."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("JIT_")]:
            patch.delenv(name)
        for name, value in stage.env.items():
            patch.setenv(name, value)
        assert main(["sessions", "revoke", *command, "--json"]) == 0


def with_another_connection(stage: Stage, directory: Path) -> Client:
    """One more worker, of an application with two connections."""
    config = directory / "both.toml"
    config.write_text(
        f'[connections.other]\nprotocol = "oidc"\nissuer = "{stage.provider.issuer}"\nclient_id = "x"\n'
        'client_secret = "y"\n'
    )
    return stage.worker(JIT_CONFIG=str(config))


def signed_in(stage: Stage, who: str) -> Client:
    client = stage.client.another()
    assert stage.sign_in(stage.person(who), client=client).status == 200
    return client


def as_if_begun_at(stage: Stage, connection: str, client: Client) -> None:
    session = client.get("/").json()["session"]["id"]
    ledger: Any = stage.ledger
    with ledger.database.engine.connect() as database:
        moved = text("UPDATE jit_sessions SET connection = :name WHERE id = :id")
        database.execute(moved, {"name": connection, "id": session})


def at(worker: Client, client: Client) -> Outgoing:
    """The request of this browser, which the worker has just served, and serves from memory now."""
    worker.jar = client.jar
    assert b'"session"' in worker.get("/").body
    return worker.prepare("GET", "/")


def said(stage: Stage) -> Sequence[tuple[str, str]]:
    """What the feed has told since people have signed in."""
    return [(each.kind, each.key) for each in step(stage.ledger.read_feed(0)).entries]


@pytest.mark.parametrize(
    ("command", "feed", "left"),
    [
        (["--connection", "oidc"], [("connection", "oidc")], {"carol"}),
        (["--all", "--yes"], [("connection", "oidc"), ("connection", "other")], set()),
    ],
    ids=["connection", "all"],
)
def test_who_is_signed_out_with_a_connection_is_out_in_every_worker_and_nobody_else(
    racing_world: StageBuilder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    feed: list[tuple[str, str]],
    left: set[str],
) -> None:
    stage = racing_world()
    people = {who: signed_in(stage, who) for who in ("alice", "bob", "carol", "dave")}
    as_if_begun_at(stage, "other", people["carol"])
    worker = with_another_connection(stage, tmp_path)
    requests = {who: at(worker, client) for who, client in people.items()}
    assert said(stage) == []
    revoke(stage, *command)
    assert json.loads(capsys.readouterr().out) == {"ended": len(people) - len(left)}
    assert said(stage) == feed, "however many sessions there were"
    stage.clock.advance(BOUND)
    answers = dict(zip(requests, worker.together(*requests.values()), strict=True))
    assert {who for who, answer in answers.items() if b'"session"' in answer.body} == left
    assert len(stage.events("session.ended")) == len(people) - len(left), "the trail names each of them"
    stage.clock.advance(1)
    back = signed_in(stage, "erin")
    assert at(worker, back), "who signs in since is let in"
    stage.clock.advance(BOUND)
    assert b'"session"' in back.get("/").body
