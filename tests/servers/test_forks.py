"""After a fork: nothing that the parent has open is used by its children, and what they know is kept fresh by each."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contract.conftest import new_url
from tests.peers.oidc_provider import Provider
from tests.servers.conftest import KINDS, PATIENCE, Kind, Server, serving, wait_until

WORKERS = 3
_COMMAND = [
    part.replace("jit_middleware.wrapped:wsgi", "tests.servers.preloaded:application")
    for part in KINDS["gunicorn-preload"].command
]
PRELOADED = Kind("preloaded", "wsgi", [str(WORKERS) if part == "2" else part for part in _COMMAND], workers=WORKERS)


def ask(server: Server) -> dict[str, int]:
    """Who served, by which connection; on a connection of its own, so that the workers take turns."""
    answer = server.get("/")
    assert answer.status == 200, (answer.status, answer.text, server.said())
    told: dict[str, int] = json.loads(answer.body)
    return told


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mariadb+pymysql"])
def test_forked_workers_share_no_connection_and_each_keeps_the_feed(
    driver: str, request: pytest.FixtureRequest, provider: Provider, tmp_path: Path
) -> None:
    known = tmp_path / "preloaded.json"
    changes = {"JIT_DATABASE_URL": new_url(driver, request, tmp_path), "PRELOADED": str(known)}
    with serving(PRELOADED, provider, tmp_path, **changes) as server:
        parent = json.loads(known.read_text())
        name, _, value = parent["cookie"].partition("=")
        server.jar.store(server.url, [f"{name}={value}; Path=/; HttpOnly; SameSite=Lax"])
        by_worker: dict[int, set[int]] = {}

        def all_have_served() -> bool:
            with ThreadPoolExecutor(8) as threads:
                for told in threads.map(lambda _: ask(server), range(24)):
                    by_worker.setdefault(told["pid"], set()).add(told["connection"])
            return len(by_worker) == WORKERS

        assert wait_until(all_have_served), by_worker
        connections = [number for numbers in by_worker.values() for number in numbers]
        assert len(connections) == len(set(connections)), by_worker
        assert parent["connection"] not in connections
        assert parent["pid"] not in by_worker
        session = server.get("/_jit/session")
        assert session.status == 200
        with server.command("sessions", "revoke", "--user", session.json()["user"]["id"]) as command:
            assert command.wait(PATIENCE) == 0
        time.sleep(1.0)  # the bound
        statuses = {server.get("/").status for _ in range(8 * WORKERS)}
        assert statuses == {302}, "every worker knows, though the session was in its memory from birth"
        assert "Traceback" not in server.said(), server.said()
