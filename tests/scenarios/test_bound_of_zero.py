"""``JIT_REVOCATION_MAX_STALENESS=0s``: each request asks, so that the very next one knows, at whatever worker."""

from __future__ import annotations

import pytest

from jit_middleware.bridge import step
from jit_middleware.model import Grant
from tests.scenarios.conftest import StageBuilder

pytestmark = pytest.mark.real


def test_the_next_request_at_every_worker_knows_what_has_just_been_committed(any_world: StageBuilder) -> None:
    stage = any_world(JIT_REVOCATION_MAX_STALENESS="0s")
    user = stage.sign_in(stage.person("alice")).json()["user"]["id"]
    other = stage.worker()
    other.jar = stage.client.jar
    workers = (stage.client, other)
    for _ in range(3):
        assert [client.get("/").json()["user"]["roles"] for client in workers] == [[], []]
    step(stage.ledger.transaction(lambda tx: tx.change_grants(user, add=[Grant("auditor", "manual")], remove=())))
    assert [client.get("/").json()["user"]["roles"] for client in workers] == [["auditor"], ["auditor"]]
    step(stage.ledger.transaction(lambda tx: tx.end_sessions(stage.clock.now(), user_id=user)))
    assert [client.get("/").status for client in workers] == [302, 302]
