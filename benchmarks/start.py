"""Start and size: what importing the core takes, what it does to the network, and what an idle worker weighs."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measure import H_MICROSECONDS, ROOT
from benchmarks.subject import open_ledger
from benchmarks.table import Part, Row

_MODULES = ("jit_middleware.wsgi", "jit_middleware.asgi")
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)")
_WORST = 10
_IMPORT_BUDGET = 150 / H_MICROSECONDS  # kH, from ms

_IMPORT = """
import json, sys, time
events = []
sys.addaudithook(lambda name, args: events.append(name) if name.startswith("socket.") else None)
wall, cpu = time.perf_counter(), time.process_time()
import {module}
spent = time.process_time() - cpu, time.perf_counter() - wall
from benchmarks.measure import unit_now
print(json.dumps({{"cpu": spent[0], "wall": spent[1], "h": unit_now() / 1e9, "socket": events}}))
"""

# The bare worker has what any worker has: a threaded server of the standard library, logging, TLS and the app.
_BARE = """
import json, logging, ssl, socketserver, sqlite3, wsgiref.simple_server, wsgiref.headers, urllib.parse, threading
from benchmarks.loops import bare_wsgi as app, wsgi
from benchmarks.traffic import with_others
"""
_WRAPPED = """
from benchmarks.subject import settings
from jit_middleware.wsgi import JITMiddleware
app, cookie = JITMiddleware(app, settings("sqlite:///{path}")), {cookie!r}
"""
_WEIGH = """
wsgi(app, [with_others(cookie)], calls=100).run()
import gc; gc.collect()
kept = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(json.dumps({"kB": int(kept["VmRSS"].split()[0])}))
"""


class Interpreters:
    """Fresh interpreters whose compiled modules are kept for the run, as those of installed packages are."""

    def __init__(self, bytecode: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._environment = {**kept, "PYTHONPYCACHEPREFIX": str(bytecode)}

    def result(self, program: str) -> Any:
        """What the program prints as JSON."""
        return json.loads(self._run("-c", program).stdout)

    def imports(self, module: str) -> Sequence[tuple[str, int, int]]:
        """What it brings, dearest first: name, microseconds alone, microseconds with what that imports in turn."""
        said = self._run("-X", "importtime", "-c", f"import {module}").stderr.splitlines()
        found = [(line[4], int(line[1]), int(line[2])) for line in map(_LINE.match, said) if line]
        return sorted(found, key=lambda one: -one[2])

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self._environment, cwd=ROOT)
        if done.returncode != 0:
            raise SystemExit(f"a fresh interpreter failed: {done.stderr[-2000:]}")
        return done


def run(*, quick: bool) -> list[Part]:
    """Fresh interpreters, one for each figure and round."""
    rounds = 5 if quick else 11
    rows: list[Row] = []
    notes: list[str] = []
    with TemporaryDirectory(prefix="jit-bench-") as made:
        directory = Path(made)
        python = Interpreters(directory / "bytecode")
        for module in _MODULES:
            seen = [python.result(_IMPORT.format(module=module)) for _ in range(rounds + 1)][1:]
            cpu = statistics.median(one["cpu"] for one in seen) * 1e3
            in_kh = statistics.median(one["cpu"] / one["h"] for one in seen) / 1e3
            rows.append(Row(f"import {module}, CPU", cpu, "ms", in_kh, "kH", at_most=_IMPORT_BUDGET))
            rows.append(Row(f"import {module}, elapsed", statistics.median(one["wall"] for one in seen) * 1e3, "ms"))
            rows.append(Row("socket events meanwhile", max(len(one["socket"]) for one in seen), "", at_most=0))
        rows += _weights(directory, python, rounds)
        found = python.imports(_MODULES[0])
        foreign = [one for one in found if not one[0].startswith("jit_middleware")]
        ours = sum(alone for name, alone, _ in found if name.startswith("jit_middleware")) / 1e3
        notes.append(
            f"{len(found)} modules, of which ours take {ours:.1f} ms by themselves; the dearest others, in ms:"
        )
        notes += [f"  {name:<40} {alone / 1e3:6.1f} {whole / 1e3:7.1f}" for name, alone, whole in foreign[:_WORST]]
    return [Part("Start and size", rows, notes)]


def _weights(directory: Path, python: Interpreters, rounds: int) -> list[Row]:
    """Median resident megabytes of a fresh worker after a hundred requests, without and with the middleware."""
    # The schema is made beforehand, as it is for every worker but the very first.
    ledger = open_ledger(directory / "jit.db")
    wrapped = _WRAPPED.format(path=ledger.path, cookie=ledger.cookie(ledger.session_id))
    bare, whole = (
        statistics.median(python.result(_BARE + setup + _WEIGH)["kB"] / 1000 for _ in range(rounds + 1))
        for setup in ("\ncookie = 'jit=none'\n", wrapped)
    )
    return [
        Row("a bare worker, resident", bare, "MB"),
        Row("added by the middleware, signed in and idle", whole - bare, "MB", at_most=25),
    ]
