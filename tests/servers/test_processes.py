"""What only several processes show: revocation in all of them, a clean end, and a start that is refused in words."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.peers.oidc_provider import Provider
from tests.servers.conftest import KINDS, Server, environment, free_port, is_alive, serving, start, wait_until

BOUND = 1.0
TURNS = 10


@contextmanager
def revoked(server: Server, session: str, meanwhile: Callable[[], object]) -> Iterator[float]:
    """Revoke by the command line; the moment at which the database has it, a few milliseconds exact."""
    file = server.env["JIT_DATABASE_URL"].removeprefix("sqlite:///")
    with (
        closing(sqlite3.connect(file)) as database,
        server.command("sessions", "revoke", "--session", session) as command,
    ):
        ended = "SELECT COUNT(*) FROM jit_sessions WHERE id = ? AND ended_at IS NOT NULL"
        while not database.execute(ended, (session,)).fetchone()[0]:
            assert command.poll() in {None, 0}
            meanwhile()
            time.sleep(0.002)
        yield time.monotonic()
        assert command.stdout is not None
        assert command.stdout.read().strip() == "1 session was ended."
    assert command.returncode == 0


@pytest.mark.parametrize("name", ["gunicorn", "uvicorn"])
def test_a_revoked_session_is_refused_by_every_worker_within_the_bound(
    name: str, provider: Provider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = KINDS[name]
    delays: list[float] = []
    with serving(kind, provider, tmp_path) as server:
        who = server.person("alice")
        workers = server.sign_in(who) and server.pids(2)
        for turn in range(TURNS):
            browser = server.another()
            session = browser.sign_in(who, "/page").json()["session"]["id"]
            assert browser.pids(2) == workers, "both workers know the session"
            is_busy = turn % 2 == 0
            with revoked(server, session, meanwhile=partial(browser.get, "/pid") if is_busy else int) as done:
                if not is_busy:
                    # Nobody asks meanwhile: the very first request after the bound is refused.
                    time.sleep(max(0.0, done + BOUND - time.monotonic()))
                last_served = 0.0
                while (sent := time.monotonic()) < done + BOUND + 0.5:
                    answer = browser.get("/pid")
                    if answer.status == 200:
                        last_served = sent - done
                        assert last_served < BOUND, f"served {last_served:.3f} s after the revocation, in turn {turn}"
                    else:
                        assert answer.status == 302
                    time.sleep(0.005)
            if is_busy:
                delays.append(last_served)
            browser.jar.drop()
    with capsys.disabled():
        shown = " ".join(f"{delay:.3f}" for delay in delays)
        print(f"\n{name}, 2 workers, last request served after a revocation (s): {shown}")


@pytest.mark.parametrize("name", sorted(KINDS))
def test_sigterm_leaves_nothing_behind(name: str, provider: Provider, tmp_path: Path) -> None:
    with serving(KINDS[name], provider, tmp_path) as server:
        server.sign_in(server.person("alice"))
        began = time.monotonic()
        os.kill(server.process.pid, signal.SIGTERM)
        assert wait_until(lambda: server.process.poll() is not None, 15), server.said()
        assert wait_until(lambda: not is_alive(server.process.pid), 5), "a worker was left behind"
        assert time.monotonic() - began < 15
        assert "Traceback" not in server.said(), server.said()
        with pytest.raises(OSError, match="refused"):
            server.get("/_jit/health")


@pytest.mark.parametrize("name", ["gunicorn", "gunicorn-preload", "uvicorn-alone", "waitress", "wsgiref"])
@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({"JIT_SECRET_KEY": "short"}, ("JIT_SECRET_KEY", "Fix:")),
        (
            {"JIT_PUBLIC_URL": "app.example.org", "JIT_SESSION_IDLE": "soon"},
            ("JIT_PUBLIC_URL", "JIT_SESSION_IDLE", "2 faults"),
        ),
        ({"JIT_APP": "no_such_module:app"}, ("JIT_APP", "no_such_module", "Fix:")),
        ({"JIT_PUBLIC_PATH": "/x"}, ("JIT_PUBLIC_PATH", "JIT_PUBLIC_PATHS")),
    ],
    ids=["key", "two faults", "app", "misspelt"],
)
def test_a_broken_setting_ends_the_start_with_the_setting_and_the_fix(
    name: str, changes: dict[str, str], sentences: tuple[str, ...], provider: Provider, tmp_path: Path
) -> None:
    kind = KINDS[name.removesuffix("-alone")]
    if name == "uvicorn-alone":
        # Its supervisor would start the workers again and again; one process says it once.
        kind = type(kind)("uvicorn-alone", "asgi", [part for part in kind.command if part not in {"--workers", "2"}])
    port = free_port()
    env = environment(provider, port, tmp_path, kind.world, **changes)
    process = start(kind, port, env, tmp_path / "log")
    try:
        assert wait_until(lambda: process.poll() is not None, 30), "it runs"
    finally:
        if is_alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    assert process.returncode != 0
    said = (tmp_path / "log").read_text(errors="replace")
    for sentence in sentences:
        assert sentence in said, said[-2000:]
    assert json.dumps(env["JIT_OIDC_CLIENT_SECRET"])[1:-1] not in said, "no secret is shown"
