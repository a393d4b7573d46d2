"""Behind real servers: CPU of the server's processes per request, guarded over bare, by the kernel's accounting.

Between two requests a server reads, parses and writes, and the kernel does its share: what the next one needs is no
longer in the processor's caches, and how much that costs is the machine's. So the budget, 3 µs where a bare request of
granian takes 19, is judged as a share of the bare request; whether it is held in time as well is said beside it, and
what the least that knows who is there takes on the same machine.
"""

from __future__ import annotations

import math
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.measure import ROOT, cpu_of_tree
from benchmarks.served import BARE, GUARDED, LEAST
from benchmarks.subject import open_ledger
from benchmarks.table import Part, Row
from benchmarks.traffic import PATH, environ, with_others

_CONNECTIONS = 4
_PATIENCE = 30.0

_SERVERS = {
    "granian": ("wsgi", ["granian", "--interface", "wsgi", "--workers", "1", "--no-ws", "--log-level", "error"]),
    "gunicorn": ("wsgi", ["gunicorn", "--workers", "1", "--threads", "2", "--log-level", "error"]),
    "uvicorn": ("asgi", ["uvicorn", "--log-level", "error", "--no-access-log"]),
}
_REQUESTS = {"granian": 4_320, "gunicorn": 2_160, "uvicorn": 4_320}
_PIECES = 4
_BUDGET = 3.0 / 19.0
#: The budget as it is stated, in microseconds over bare; nothing that could be measured where there is no figure.
_STATED = {"granian": 3.0, "gunicorn": None, "uvicorn": None}


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    pid: int
    port: int


class Cost(NamedTuple):
    """Nanoseconds per request: of the bare application, and what the guarded one and the least one take over it."""

    bare: float
    over: float
    least: float


def run(*, quick: bool) -> list[Part]:
    """One server of each kind with both applications in it, asked in turn."""
    rounds = 11 if quick else 25
    rows: list[Row] = []
    notes: list[str] = []
    with TemporaryDirectory(prefix="jit-bench-") as made:
        database = Path(made) / "jit.db"
        ledger = open_ledger(database)
        cookie = ledger.cookie(ledger.session_id)
        for name in _SERVERS:
            with _serving(name, database) as served:
                for query in (BARE, GUARDED, LEAST):
                    _load(served.port, _message(cookie, query), 1_000)
                costs = [_round(served, cookie, _REQUESTS[name]) for _ in range(rounds)]
            rows += ratios(name, costs)
            notes += remarks(name, costs)
    return [Part("Behind real servers: CPU per authenticated request", rows, notes)]


def ratios(name: str, costs: Sequence[Cost]) -> list[Row]:
    """The figures of a server. Ours is judged, as a share of the bare request, unless the machine decides nothing."""
    bare, over, least = _medians(costs)
    at_most = _BUDGET if _is_decided(costs) else None
    return [
        Row(f"{name}, bare", bare / 1e3, "µs"),
        Row(f"{name}, over bare", over / 1e3, "µs", over / bare, "x bare", at_most=at_most),
        Row(f"{name}, over bare, a cookie looked up in a dict", least / 1e3, "µs", least / bare, "x bare"),
    ]


def remarks(name: str, costs: Sequence[Cost]) -> list[str]:
    """Whether the budget is held as it is stated, in time; and what the machine does not decide."""
    _, over, least = _medians(costs)
    doubt = _doubt([each.over for each in costs])
    stated = _STATED[name]
    limit, words = (stated, f"≤ {stated:g} µs") if stated is not None else (doubt / 1e3, "not measurable")
    verdict = "held" if over / 1e3 <= limit else "MISSED"
    measured = f"{over / 1e3:.1f} ± {doubt / 1e3:.1f} µs over bare (a look-up alone {least / 1e3:.1f})"
    found = [f"{name}, in time: {measured}; stated is {words}: {verdict}"]
    if not _is_decided(costs):
        beyond = _doubt([each.over - _BUDGET * each.bare for each in costs])
        found.append(f"{name}: ± {beyond / 1e3:.1f} µs on this machine now, which decides nothing about the ratio")
    return found


def _medians(costs: Sequence[Cost]) -> Cost:
    return Cost(*(statistics.median(column) for column in zip(*costs, strict=True)))


def _is_decided(costs: Sequence[Cost]) -> bool:
    """Whether the ratio is clear of its budget: inside the scatter, one is neither kept nor broken."""
    beyond = [over - _BUDGET * bare for bare, over, _ in costs]
    return abs(statistics.median(beyond)) > _doubt(beyond)


def _doubt(values: Sequence[float]) -> float:
    """Twice the standard error of a median, from the middle half of the rounds: others on the machine make a few of
    them useless."""
    low, _, high = statistics.quantiles(values, n=4)
    return 2.5 * (high - low) / 1.35 / math.sqrt(len(values))


def _round(served: Served, cookie: str, requests: int) -> Cost:
    """One round, in turn and in short pieces."""
    spent = {BARE: 0, GUARDED: 0, LEAST: 0}
    pieces = (*spent, *reversed(spent)) * _PIECES
    for query in pieces:
        before = cpu_of_tree(served.pid)
        _load(served.port, _message(cookie, query), requests // len(pieces))
        spent[query] += cpu_of_tree(served.pid) - before
    count = requests / len(spent)
    return Cost(spent[BARE] / count, (spent[GUARDED] - spent[BARE]) / count, (spent[LEAST] - spent[BARE]) / count)


def _load(port: int, message: bytes, requests: int) -> None:
    """So many requests over a few connections that are kept alive. Raises ``RuntimeError`` for an answer but 200."""
    connections = [socket.create_connection(("127.0.0.1", port), _PATIENCE) for _ in range(_CONNECTIONS)]
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for _ in range(requests // _CONNECTIONS):
            for connection in connections:
                connection.sendall(message)
            for connection in connections:
                _read_answer(connection)
    finally:
        for connection in connections:
            connection.close()


def _read_answer(connection: socket.socket) -> None:
    received = b""
    while not received.endswith(b"\r\n\r\nok") and not received.endswith(b"\r\n2\r\nok\r\n0\r\n\r\n"):
        part = connection.recv(65_536)
        if not part:
            raise RuntimeError("the server closed the connection")
        received += part
        if not received.startswith(b"HTTP/1.1 200"[: len(received)]):
            raise RuntimeError(f"the server answered {received[:200]!r}")


def _message(cookie: str, query: str) -> bytes:
    headers: Sequence[tuple[str, object]] = [
        (name.removeprefix("HTTP_").replace("_", "-").title(), value)
        for name, value in environ(with_others(cookie)).items()
        if name.startswith("HTTP_")
    ]
    lines = [f"GET {PATH}?{query} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode()


@contextmanager
def _serving(name: str, database: Path) -> Iterator[Served]:
    interface, command = _SERVERS[name]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    where = ["--bind", f"127.0.0.1:{port}"] if name == "gunicorn" else ["--host", "127.0.0.1", "--port", str(port)]
    program = Path(sys.executable).with_name(command[0])
    environment = {
        **os.environ,
        "JIT_BENCH_DATABASE": str(database),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    process = subprocess.Popen(
        [str(program), *command[1:], *where, f"benchmarks.served:{interface}"], env=environment, cwd=ROOT
    )
    try:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"{name} did not start") from None
                time.sleep(0.05)
        yield Served(process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
