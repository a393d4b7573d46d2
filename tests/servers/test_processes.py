"""What only several processes show: revocation in all of them, a clean end, and a start that is refused in words."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from jit_middleware.bridge import step
from jit_middleware.model import Grant
from jit_middleware.outside import open_ledger
from jit_middleware.settings import Settings
from tests.peers.databases import DatabaseServer
from tests.peers.oidc_provider import Provider
from tests.servers.conftest import KINDS, environment, free_port, is_alive, serving, start, wait_until
from tests.servers.crowd import SERVERS, Line, a_line_to_each, crowded
from tests.servers.revocations import PRIVILEGED, ROLE, Case, How, distribution, gather, wave

BOUND = 1.0
WAVES = 5


@pytest.mark.parametrize("name", SERVERS)
def test_a_revoked_session_is_refused_by_every_worker_within_the_bound(
    name: str,
    postgresql_server: DatabaseServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A thousand revocations for both servers together, each known to every worker before; also changes of roles."""
    kind = SERVERS[name]
    database = f"{name}-{uuid.uuid4().hex}"
    postgresql_server.new_database(database)
    settings = {
        "JIT_DATABASE_URL": f"postgresql+psycopg://postgres@/{database}?host={postgresql_server.socket}",
        "JIT_REVOCATION_MAX_STALENESS": f"{BOUND:g}s",
        "JIT_PRIVILEGED_ROLES": PRIVILEGED,
    }
    done: list[Case] = []
    with (
        crowded(kind, tmp_path, **settings) as (server, crowd),
        a_line_to_each(server) as workers,
        ExitStack() as stack,
    ):
        for setting, value in server.env.items():
            if setting.startswith("JIT_"):
                monkeypatch.setenv(setting, value)
        ledger = open_ledger(Settings.load(server.env))
        stack.callback(lambda: step(ledger.close()))
        more = Line(server.port)
        stack.callback(more.close)

        def prepare(case: Case) -> None:
            if case.how is How.TAKE:
                given = [Grant(ROLE, "manual")]
                step(ledger.transaction(lambda tx: tx.change_grants(case.user, add=given, remove=())))

        for number in range(WAVES):
            cases = gather(list(workers.values()), crowd, prepare)
            wave(list(workers.values()), more, cases, crowd, BOUND, meanwhile=number != WAVES - 1)
            done += cases
        assert "Traceback" not in server.said(), server.said()
    assert len(done) == 500
    assert sum(len(case.delays()) for case in done) > 100, "hardly anything was asked before it was known"
    for how in How:
        told = distribution([case for case in done if case.how is how], kind.workers)
        record_property(f"{name}: {how.value}", told)
        with capsys.disabled():
            print(f"\n{name:8} {how.value:22} {told}", end="")
    told = distribution(done, kind.workers)
    record_property(name, told)
    with capsys.disabled():
        print(f"\n{name:8} {'all':22} {told}")


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
