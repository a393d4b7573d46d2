"""One conversation with the ledger: open, prepare, ask, close."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from jit_middleware.cli.interrupts import Interrupts, heard, run
from jit_middleware.errors import ConfigurationError, Fault
from jit_middleware.ports import Ledger
from jit_middleware.settings import Settings
from jit_middleware.settings.database import database_file

T = TypeVar("T")


def converse(settings: Settings, question: Callable[[Ledger], Awaitable[T]], *, patient: bool = True) -> T:
    """What the ledger of these settings answers. Works with ledgers that answer at once and with those that wait.

    A ``patient`` one gives the database the time it takes; else it has as long as for a request.
    A SQLite file that is not there is not made: in another directory than the service's, or without its settings, an
    answer of a new and empty one would be a lie, such as that nobody is signed in.

    Raises ``ConfigurationError`` when the schema is too old or there is no such file, ``StoreUnavailable`` when the
    database cannot be asked.
    """
    absent = absent_file(settings)
    if absent is not None:
        fix = (
            "give the command with the service's settings (in its directory, if JIT_DATABASE_URL is relative); "
            "`jit-middleware migrate` makes a new database."
        )
        raise ConfigurationError([Fault("JIT_DATABASE_URL", f"there is no database {absent}.", fix)])

    from jit_middleware.outside import open_ledger  # only now: it brings every room of the house along

    async def conversation(interrupts: Interrupts) -> T:
        ledger = open_ledger(settings, patient=patient)
        try:
            with interrupts.preparing():
                await ledger.prepare()
            return await question(heard(ledger, interrupts))
        finally:
            await ledger.close()

    return run(conversation)


def absent_file(settings: Settings) -> Path | None:
    """The SQLite file that the settings name, if it is not there."""
    file = database_file(settings.database_url)
    return None if file is None or file.exists() else file


def actor() -> str:
    """Who the audit trail says did it: the account of the operating system."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError, ImportError):  # a container's user id without a name
        return "cli"
