"""Real workers under load, with a Valkey beside them that is killed, frozen and emptied: no harm of it shows."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from jit_middleware.bridge import step
from jit_middleware.model import SessionRecord
from jit_middleware.outside import open_ledger
from jit_middleware.ports import Ledger
from jit_middleware.settings import Settings
from tests.client import NAVIGATION
from tests.peers.oidc_provider import Provider
from tests.peers.valkey import Valkey
from tests.servers.conftest import KINDS, PATIENCE, Server, serving, wait_until
from tests.servers.test_live import Response, websocket

pytestmark = pytest.mark.real

BOUND = 1.0
SECONDS = 16.0
#: Between two requests of a client: whatever is wrong shows in any of them, and each takes its time from the others.
PAUSE = 0.01
#: Who is still signed in, and who was within the last seconds.
LATEST = 60


@dataclass
class Session:
    """Somebody's cookie, and the moment before which and after which the ledger had it ended."""

    cookie: str
    id: str
    ended: float | None = None


@dataclass
class Load:
    """What several clients at once have seen."""

    server: Server
    sessions: list[Session]
    over: threading.Event = field(default_factory=threading.Event)
    statuses: dict[int, int] = field(default_factory=dict)
    served_late: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    broken: list[BaseException] = field(default_factory=list)

    def ask(self) -> None:
        """Ask with every cookie in turn and, between them, with the latest, until it is over."""
        try:
            for turn in itertools.count():
                if self.over.is_set():
                    return
                those = self.sessions[-LATEST:] if turn % 2 else self.sessions
                self._ask(those[turn // 2 % len(those)])
                time.sleep(PAUSE)
        except Exception as error:  # noqa: BLE001 - shown by the test, whatever it is
            self.broken.append(error)

    def _ask(self, session: Session) -> None:
        """One request, on a connection of its own."""
        sent, ended = time.monotonic(), session.ended
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            connection.request("GET", "/pid", headers={**NAVIGATION, "Cookie": session.cookie})
            status = connection.getresponse().status
        finally:
            connection.close()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 200 and ended is not None and sent >= ended + BOUND:
            self.served_late.append(sent - ended)
        if status != 200 and ended is None and session.ended is None:
            self.lost.append(session.id)


def hurt(server: Valkey, over: threading.Event, harms: list[str]) -> None:
    """Kill, start, freeze, thaw and empty it, again and again; away for longer than the bound."""
    harm: Iterator[tuple[str, Callable[[], object], float]] = itertools.cycle(
        [
            ("kill", server.kill, 2.5),
            ("start", server.start, 1.0),
            ("flush", lambda: server.say("FLUSHALL"), 0.2),
            ("freeze", server.freeze, 2.5),
            ("thaw", server.thaw, 1.0),
            ("cut", lambda: server.say("CLIENT", "KILL", "TYPE", "pubsub"), 0.3),
        ]
    )
    for name, each, pause in harm:
        each()
        harms.append(name)
        if over.wait(pause):
            break
    if not server.is_running:
        server.start()
    server.thaw()


@contextmanager
def in_threads(*work: Callable[[], object]) -> Iterator[None]:
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


def signed_in(server: Server, who: str) -> Session:
    browser = server.another()
    seen = browser.sign_in(who, "/page")
    assert seen.status == 200, (seen.status, seen.text)
    return Session(browser.jar.header(server.url), seen.json()["session"]["id"])


def live(ledger: Ledger) -> list[SessionRecord]:
    return list(step(ledger.transaction(lambda tx: tx.list_sessions())))


def end_session(ledger: Ledger, session_id: str) -> list[str]:
    now = int(time.time())
    ended = step(ledger.transaction(lambda tx: tx.end_sessions(now, session_id=session_id)))
    return [each.id for each in ended]


@pytest.mark.parametrize("name", ["gunicorn", "uvicorn"])
def test_no_revoked_session_is_served_after_the_bound_and_no_live_one_is_lost(
    name: str, provider: Provider, tmp_path: Path, own_valkey: Valkey
) -> None:
    """Also: nobody gets an error because Redis is away, and nobody who signs in meanwhile is turned away."""
    with serving(KINDS[name], provider, tmp_path, JIT_REDIS_URL=own_valkey.url) as server:
        who = server.person("alice")
        harms: list[str] = []
        load = Load(server, [signed_in(server, who) for _ in range(12)])
        with_redis = open_ledger(Settings.load(server.env))
        without = open_ledger(Settings.load({k: v for k, v in server.env.items() if k != "JIT_REDIS_URL"}))
        try:
            with in_threads(load.ask, load.ask, load.ask, lambda: hurt(own_valkey, load.over, harms)):
                try:
                    revoke_and_sign_in(load, who, [with_redis, without])
                finally:
                    load.over.set()
            assert load.broken == []
            assert load.served_late == []
            assert load.lost == [], "a session that nobody ended"
            assert set(load.statuses) <= {200, 302}, load.statuses
            assert min(load.statuses[200], load.statuses[302]) > 20, "hardly any load"
            assert sum(session.ended is not None for session in load.sessions) > 4, "hardly any revocation"
            assert len(harms) > 6, "hardly any harm"
            kept = {session.id for session in load.sessions if session.ended is None}
            assert kept == {session.id for session in live(without)}
        finally:
            step(with_redis.close())
            step(without.close())
        assert "Traceback" not in server.said()


def revoke_and_sign_in(load: Load, who: str, ledgers: list[Ledger]) -> None:
    """End one session after the other, by a writer with Redis and one without, and sign in again for each."""
    end = time.monotonic() + SECONDS
    for turn, ledger in zip(itertools.count(), itertools.cycle(ledgers)):
        if time.monotonic() > end:
            return
        victim = next(each for each in load.sessions if each.ended is None)
        # Until the commit has returned nothing can be said of this session: it counts as neither.
        victim.ended = float("inf")
        assert end_session(ledger, victim.id) == [victim.id], turn
        victim.ended = time.monotonic()
        load.sessions.append(signed_in(load.server, who))
        time.sleep(PAUSE)


@pytest.mark.parametrize("name", ["gunicorn", "gunicorn-preload", "uvicorn"])
def test_every_worker_hears_of_a_revocation_long_before_the_bound(
    name: str, provider: Provider, tmp_path: Path, valkey_server: Valkey
) -> None:
    """With a bound of an hour only a hint can have told them; each worker listens by itself, also after a fork."""
    changes = {"JIT_REDIS_URL": valkey_server.url, "JIT_REVOCATION_MAX_STALENESS": "1h"}
    with serving(KINDS[name], provider, tmp_path, **changes) as server:
        who = server.person("alice")
        for verb in ("--session", "--user"):
            browser = server.another()
            seen = browser.sign_in(who, "/page").json()
            assert browser.pids(2)
            channel = f"jit:{server.url}"
            assert wait_until(lambda channel=channel: valkey_server.listeners(channel) == 2)  # type: ignore[misc]
            wanted = seen["session"]["id"] if verb == "--session" else seen["user"]["id"]
            with server.command("sessions", "revoke", verb, wanted) as command:
                assert command.wait(30) == 0
            refused = [0]

            def all_refuse(browser: Server = browser, refused: list[int] = refused) -> bool:
                refused[0] = refused[0] + 1 if browser.get("/pid").status == 302 else 0
                return refused[0] >= 20

            assert wait_until(all_refuse), "some worker still serves it"
    assert wait_until(lambda: valkey_server.listeners(channel) == 0), "a listener was left behind"


@pytest.mark.parametrize("name", ["uvicorn", "granian-asgi", "gunicorn-threads"])
def test_what_is_open_ends_with_its_session_though_the_bound_is_far(
    name: str, provider: Provider, tmp_path: Path, valkey_server: Valkey
) -> None:
    changes = {"JIT_REDIS_URL": valkey_server.url, "JIT_REVOCATION_MAX_STALENESS": "1h"}
    kind = KINDS[name]
    with serving(kind, provider, tmp_path, **changes) as server:
        browser = server.another()
        session = browser.sign_in(server.person("alice"), "/page").json()["session"]["id"]
        assert browser.pids(kind.workers)
        assert wait_until(lambda: valkey_server.listeners(f"jit:{server.url}") == kind.workers)
        revoke = ("sessions", "revoke", "--session", session)
        if kind.world == "wsgi":
            with closing(Response(browser, "/endless")) as response:
                with server.command(*revoke) as command:
                    assert command.wait(PATIENCE) == 0
                response.read_to_the_end()
                assert not response.looks_whole()
        else:
            with websocket(browser, "/ws/silent") as ours:
                assert str(ours.recv(PATIENCE)).startswith("alice")
                with server.command(*revoke) as command:
                    assert command.wait(PATIENCE) == 0
                with pytest.raises(ConnectionClosed) as closed:
                    ours.recv(PATIENCE)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1008
