"""One conversation with the ledger: open, prepare, ask, close."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable
from typing import TypeVar

from jit_middleware.cli.interrupts import Interrupts, heard, run
from jit_middleware.ports import Ledger
from jit_middleware.settings import Settings

T = TypeVar("T")


def converse(settings: Settings, question: Callable[[Ledger], Awaitable[T]], *, patient: bool = True) -> T:
    """What the ledger of these settings answers. Works with ledgers that answer at once and with those that wait.

    A ``patient`` one gives the database the time it takes; else it has as long as for a request.
    Raises ``ConfigurationError`` when the schema is too old, ``StoreUnavailable`` when the database cannot be asked.
    """

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


def actor() -> str:
    """Who the audit trail says did it: the account of the operating system."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError, ImportError):  # a container's user id without a name
        return "cli"
