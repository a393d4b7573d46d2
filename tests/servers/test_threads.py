"""Threads that all use one worker's sessions: nothing breaks, and nothing is served after the bound."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.servers.conftest import ROOT


def test_no_thread_serves_an_ended_session_after_the_bound() -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.servers.hammer"],
        env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert (told["failures"], told["wrong"]) == ([], []), told
    assert done.returncode == 0
    assert told["open"] == 0
    assert told["cached"] <= 64
    for what in ("admitted", "found", "watched", "broken off", "revoked"):
        assert told[what] > 0, told
