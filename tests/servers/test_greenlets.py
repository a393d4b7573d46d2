"""gevent: monkey-patched, many greenlets in one thread, on a driver whose waiting lets others go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import new_url
from tests.scenarios.conftest import SECRET
from tests.servers.conftest import ROOT

SCRIPT = """
from gevent import monkey
monkey.patch_all()
import json, os
import gevent
from jit_middleware.bridge import step
from jit_middleware.settings import Settings
from jit_middleware.testing.login import login_as
from jit_middleware.wsgi import JITMiddleware
from sqlalchemy import event
from tests.conftest import FakeClock
from tests.worlds import Outgoing, call_wsgi, environ_of

clock, inside, most = FakeClock(), [], []

def app(environ, start_response):
    inside.append(1)
    most.append(len(inside))
    gevent.sleep(0.01)
    inside.pop()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REMOTE_USER"].encode()]

middleware = JITMiddleware(app, Settings.load(os.environ), clock=clock)
cookies = {name: login_as(middleware, name, preferred_username=name) for name in ("alice", "bob", "carol", "dave")}
reads = []

@event.listens_for(middleware.gate.house.ledger.database.engine, "before_cursor_execute")
def note(connection, cursor, statement, *rest):
    if "jit_feed" in statement:
        reads.append(statement)

def ask(name):
    request = Outgoing("GET", "http://localhost:8000/", (("Cookie", cookies[name]),))
    answer = call_wsgi(middleware, environ_of(request))
    return answer.status[:3], answer.body.decode()

rounds = []
for turn in range(5):
    clock.advance(1)
    before = len(reads)
    answers = [job.get(20) for job in [gevent.spawn(ask, name) for name in cookies for _ in range(25)]]
    assert sorted(set(answers)) == [("200", name) for name in sorted(cookies)], set(answers)
    rounds.append(len(reads) - before)

accounts = step(middleware.gate.house.ledger.list_users())
bob = next(each.user_id for each in accounts if each.user.username == "bob")
step(middleware.gate.house.ledger.transaction(lambda tx: tx.end_sessions(clock.now(), user_id=bob)))
clock.advance(1)
after = [job.get(20) for job in [gevent.spawn(ask, name) for name in cookies for _ in range(25)]]
print(json.dumps({
    "rounds": rounds, "most": max(most), "refused": sum(status == "302" or status == "401" for status, _ in after),
    "served": sorted({body for status, body in after if status == "200"}),
}))
"""


@pytest.mark.parametrize("driver", ["sqlite", "mariadb+pymysql", "postgresql+psycopg"])
def test_greenlets_share_one_reading_and_no_lock_is_held_while_the_app_works(
    driver: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}",
        "JIT_PUBLIC_URL": "http://localhost:8000",
        "JIT_SECRET_KEY": SECRET,
        "JIT_OIDC_ISSUER": "https://login.example.org",
        "JIT_OIDC_CLIENT_ID": "app",
        "JIT_OIDC_CLIENT_SECRET": "secret",
        "JIT_DATABASE_URL": new_url(driver, request, tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rounds"] == [1] * 5, "one small read for each bound, whatever the number of requests"
    assert told["most"] > 50, "the app's waiting holds up nobody"
    assert told["refused"] == 25
    assert told["served"] == ["alice", "carol", "dave"]
