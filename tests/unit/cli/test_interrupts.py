"""Ctrl-C in the midst of a command: it ends at once, undone, and what it says of itself is true."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection

import jit_middleware_sqlalchemy.upgrade as room
from jit_middleware.cli import main
from jit_middleware.cli.conversation import converse
from jit_middleware.cli.interrupts import Interrupts, one_command, run
from jit_middleware.errors import StoreUnavailable
from jit_middleware.model import Profile
from jit_middleware.outside import open_ledger
from jit_middleware.ports import Ledger, Transaction
from jit_middleware.settings import Settings
from jit_middleware_sqlalchemy import schema_version
from jit_middleware_sqlalchemy.unit import Unit
from tests.architecture.sources import ROOT
from tests.unit.cli.test_ledger_commands import FIVE

pytestmark = pytest.mark.slow

T = TypeVar("T")

NOTHING = "Interrupted; nothing was changed."
SOMETHING = "Interrupted; what was committed before that stays."
UNKNOWN = "Interrupted during a commit; whether it was done is not known."
SCHEMA = (
    "Interrupted while the schema was looked at or changed; how much of it was changed is not known. The same"
    " command goes on from there. Nothing else was changed."
)


def press() -> None:
    """Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(params=["sqlite", "sqlite+aiosqlite"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    (tmp_path / "jit.db").touch()
    yield Settings.load(env=FIVE | {"JIT_DATABASE_URL": f"{request.param}:///{tmp_path / 'jit.db'}"})
    signal.signal(signal.SIGINT, before)


async def create(tx: Transaction, name: str = "alice") -> str:
    assert tx.users is not None
    return (await tx.users.create(Profile(f"key-{name}", name))).id


def people(settings: Settings) -> int:
    async def count(ledger: Ledger) -> int:
        return len(await ledger.list_users())

    return _without_interrupts(settings, count)


def _without_interrupts(settings: Settings, question: Callable[[Ledger], Awaitable[T]]) -> T:
    async def conversation() -> T:
        ledger = open_ledger(settings)
        try:
            await ledger.prepare()
            return await question(ledger)
        finally:
            await ledger.close()

    return asyncio.run(conversation())


def said(settings: Settings, question: Callable[[Ledger], Awaitable[object]]) -> str:
    """What Ctrl-C raises out of this conversation; afterwards it is heard as before."""
    with pytest.raises(KeyboardInterrupt) as interrupted, one_command():
        converse(settings, question)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return str(interrupted.value)


def test_work_under_way_is_rolled_back(settings: Settings) -> None:
    async def work(tx: Transaction) -> None:
        await create(tx)
        press()
        raise AssertionError("it goes on")

    assert said(settings, lambda ledger: ledger.transaction(work)) == NOTHING
    assert people(settings) == 0


def test_reading_ends_at_once(settings: Settings) -> None:
    pages: list[int] = []

    async def question(ledger: Ledger) -> None:
        for page in range(3):
            await ledger.list_audit(limit=10)
            pages.append(page)
            press()

    assert said(settings, question) == NOTHING
    assert pages == [0]


def test_waiting_for_something_else_ends_at_once(settings: Settings) -> None:
    async def question(_ledger: Ledger) -> None:
        asyncio.get_running_loop().call_later(0.01, press)
        await asyncio.Event().wait()

    assert said(settings, question) == NOTHING


def test_while_the_schema_is_made_it_is_not_said_that_nothing_was_changed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be made by then, as it is here."""
    with monkeypatch.context() as patch:
        upgraded = _then_press(patch)
        assert said(settings, lambda ledger: ledger.list_audit()) == SCHEMA
    assert upgraded == [True]
    assert schema_version(settings.database_url) is not None

    async def question(_ledger: Ledger) -> None:
        press()

    assert said(settings, question) == NOTHING, "once that is over"


def test_an_interrupted_migration_says_what_is_true(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (FIVE | {"JIT_DATABASE_URL": settings.database_url}).items():
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as patch:
        _then_press(patch)
        assert main(["migrate"]) == 130
    assert capsys.readouterr() == ("", f"{SCHEMA}\n")
    assert main(["migrate"]) == 0


def _then_press(patch: pytest.MonkeyPatch) -> list[bool]:
    """Ctrl-C once the schema has been made."""
    upgrade = room._upgrade
    upgraded: list[bool] = []

    def pressed(connection: Connection) -> list[str]:
        steps = upgrade(connection)
        upgraded.append(bool(steps))
        press()
        return steps

    patch.setattr(room, "_upgrade", pressed)
    return upgraded


def test_a_commit_under_way_is_finished_and_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Unit.commit

    def pressed(unit: Unit) -> None:
        press()
        commit(unit)

    monkeypatch.setattr(Unit, "commit", pressed)
    with one_command():
        assert converse(settings, lambda ledger: ledger.transaction(create))
        assert isinstance(signal.getsignal(signal.SIGINT), Interrupts), "until the command has told"
    assert people(settings) == 1


def test_what_a_command_did_is_said_before_it_ends(settings: Settings) -> None:
    with one_command():
        user_id = converse(settings, lambda ledger: ledger.transaction(create))
        press()  # between the answer and the line that tells it
        assert user_id
    assert people(settings) == 1


def test_after_a_commit_the_next_work_is_not_begun(settings: Settings) -> None:
    async def question(ledger: Ledger) -> None:
        await ledger.transaction(create)
        press()
        await ledger.transaction(lambda tx: create(tx, "bob"))

    assert said(settings, question) == SOMETHING
    assert people(settings) == 1


def test_the_next_work_is_undone_and_the_one_before_stays(settings: Settings) -> None:
    async def second(tx: Transaction) -> None:
        await create(tx, "bob")
        press()

    async def question(ledger: Ledger) -> None:
        await ledger.transaction(create)
        await ledger.transaction(second)

    assert said(settings, question) == SOMETHING
    assert people(settings) == 1


def test_the_second_one_is_heard_in_a_commit_that_hangs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(_unit: Unit) -> None:
        press()
        press()

    with monkeypatch.context() as patch:
        patch.setattr(Unit, "commit", hangs)
        assert said(settings, lambda ledger: ledger.transaction(create)) == UNKNOWN


def test_a_commit_that_fails_says_so_itself(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_unit: Unit) -> None:
        press()
        raise StoreUnavailable("disk_full")

    with monkeypatch.context() as patch:
        patch.setattr(Unit, "commit", fails)
        with pytest.raises(StoreUnavailable, match="disk_full"), one_command():
            converse(settings, lambda ledger: ledger.transaction(create))


def test_in_another_thread_nothing_is_set_and_everything_works(settings: Settings) -> None:
    ids: list[str] = []
    thread = threading.Thread(target=lambda: ids.append(converse(settings, lambda ledger: ledger.transaction(create))))
    thread.start()
    thread.join(30)
    assert len(ids) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_ignores_ctrl_c_goes_on_doing_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:

        async def work(_interrupts: Interrupts) -> int:
            press()
            return 7

        assert run(work) == 7
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_ends_with_130_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "jit.db").touch()
    for name, value in (FIVE | {"JIT_DATABASE_URL": f"sqlite:///{tmp_path / 'jit.db'}"}).items():
        monkeypatch.setenv(name, value)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr(Unit, "read", lambda *_: press())
        assert main(["users", "suspend", "alice"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr() == ("", f"{NOTHING}\n")


PROGRAM = """
import sys, time
sys.path[:0] = {path!r}
import jit_middleware_sqlalchemy.ledger as room
list_audit = room.SQLAlchemyLedger.list_audit
async def slow(self, **how):  # a driver that answers at once, and never gives an event loop its turn
    print("asked", flush=True)
    time.sleep(60)
    return await list_audit(self, **how)
room.SQLAlchemyLedger.list_audit = slow
from jit_middleware.cli import main
sys.exit(main(["audit", "export"]))
"""


def test_a_process_hears_it_while_a_driver_works(tmp_path: Path) -> None:
    (tmp_path / "jit.db").touch()
    environment = os.environ | FIVE | {"JIT_DATABASE_URL": f"sqlite:///{tmp_path / 'jit.db'}"}
    program = PROGRAM.format(path=[str(ROOT), str(ROOT / "adapters")])
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", f"{NOTHING}\n")
