"""The end of a WSGI process while the provider is asked beside the requests: prompt, and no answer is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.servers.conftest import ROOT

SESSIONS = 400
SCRIPT = """
import atexit, json, threading, time
from jit_middleware.audit import AuditTrail
from jit_middleware.offload import Pauses, ToTheEnd
from jit_middleware.sessions import Probe, RefreshProbes
from jit_middleware.system import SystemClock, SystemTokens
from tests.unit.sessions.test_probes import Stage

clock, lasting, asked, is_busy = SystemClock(), ToTheEnd("wsgi"), [], threading.Event()

async def refresh(token):
    asked.append(token)
    if len(asked) == 8:
        is_busy.set()
    time.sleep(0.05)
    return token + " renewed"

stage = Stage(clock)
stage.probes = RefreshProbes(
    {"oidc": Probe(900, 3600, refresh)}, ledger=stage.rows, envelope=stage.envelope,
    audit=AuditTrail(clock=clock, tokens=SystemTokens()), clock=clock,
    background=lasting, pause=Pauses("wsgi"), is_ending=lasting.is_ending,
)
for number in range(SESSIONS):
    stage.look(stage.session(f"s{number}", due_in=0))
assert is_busy.wait(30)
assert not lasting.is_ending()
at_the_end = len(asked)

@atexit.register
def tell():
    written = sum(stage.token(name).endswith(" renewed") for name in stage.rows.rows)
    waiting = len(stage.probes._lines["oidc"])
    print(json.dumps({"at_the_end": at_the_end, "asked": len(asked), "written": written, "waiting": waiting}))
"""


def test_what_is_under_way_is_finished_and_what_waits_is_left_for_the_next_worker() -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("SESSIONS", str(SESSIONS))],
        env=env, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["written"] == told["asked"]
    assert told["asked"] <= told["at_the_end"] + 2 * 4, "each of four may have begun one more"
    assert told["waiting"] == SESSIONS - told["asked"]
    assert done.stderr == ""
