"""``check --live`` and the database: it is asked as a request asks it, and is given no more time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from jit_middleware.cli.live import check_database
from jit_middleware.cli.step import Step
from jit_middleware.model import FeedPage
from jit_middleware.settings import Settings
from jit_middleware_sqlalchemy import PROMPT, SQLAlchemyLedger, Waits, migrate

ENV = {
    "JIT_PUBLIC_URL": "https://app.example.org/shop",
    "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
    "JIT_OIDC_ISSUER": "https://login.example.org",
    "JIT_OIDC_CLIENT_ID": "app",
    "JIT_OIDC_CLIENT_SECRET": "from the provider",
}


@pytest.fixture
def silent_port() -> Generator[int]:
    """A server that takes connections and says nothing, until it hangs up at the end of the test."""
    listener, taken = socket.create_server(("127.0.0.1", 0)), list[socket.socket]()

    def accept() -> None:
        with suppress(OSError):
            while True:
                taken.append(listener.accept()[0])

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for connection in taken:
        connection.close()


@pytest.mark.parametrize("driver", ["mysql+pymysql", "mysql+aiomysql"])
def test_a_server_that_says_nothing_is_given_up(silent_port: int, driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jit_middleware_sqlalchemy.upgrade.PROMPT", Waits(answer=0.3, use=0.3, idle=1))
    settings = Settings.load({**ENV, "JIT_DATABASE_URL": f"{driver}://jit:hunter2@127.0.0.1:{silent_port}/jit"})
    steps: list[Step] = []
    asking = threading.Thread(target=lambda: steps.append(check_database(settings)), daemon=True)
    asking.start()
    asking.join(20)
    assert len(steps) == 1, "it waits for ever"
    assert not steps[0].ok
    assert "JIT_DATABASE_URL" in steps[0].fix
    assert "hunter2" not in steps[0].detail + steps[0].fix


def test_the_ledger_is_asked_with_the_patience_of_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load({**ENV, "JIT_DATABASE_URL": f"sqlite:///{tmp_path / 'jit.db'}"})
    (tmp_path / "jit.db").touch()
    assert check_database(settings).detail.endswith("the first start will make the schema")
    migrate(settings.database_url)
    seen: list[Waits] = []
    plain = SQLAlchemyLedger.read_feed

    async def read_feed(self: SQLAlchemyLedger, after: int | None, limit: int = 1000) -> FeedPage:
        seen.append(self.database.waits)
        return await plain(self, after, limit)

    monkeypatch.setattr(SQLAlchemyLedger, "read_feed", read_feed)
    assert check_database(settings).ok
    assert seen == [PROMPT]


def test_a_file_that_cannot_be_opened_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "jit.db").mkdir()
    step = check_database(Settings.load({**ENV, "JIT_DATABASE_URL": f"sqlite:///{tmp_path}/jit.db"}))
    assert not step.ok
    assert f"{tmp_path}/jit.db cannot be opened (cannot_open" in step.detail
    assert step.fix.startswith("JIT_DATABASE_URL: let the user of this process")
    assert f"its directory {tmp_path}." in step.fix
