"""Which user is meant: an id, or a username or e-mail address that only one user has."""

from __future__ import annotations

import argparse
import os
import sys

from jit_middleware.cli.terminal import json_option
from jit_middleware.model import Account
from jit_middleware.ports import Ledger, Transaction, Users
from jit_middleware.settings import Settings


def user_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``USER``, ``--id`` and ``--json`` to a command."""
    parser.add_argument("user", metavar="USER", help="the user's id, or username or e-mail address if only one has it")
    parser.add_argument("--id", action="store_true", help="USER is an id, and nothing else")
    json_option(parser)


async def find_account(tx: Transaction, wanted: str, *, only_id: bool) -> Account | str:
    """The one account that is meant, or the sentence that says why there is none."""
    by_id = await tx.find_account(wanted)
    ids = set[str]() if by_id is None else {by_id.user_id}
    if tx.users is not None and not only_id:
        named = [*await tx.users.find(username=wanted), *await tx.users.find(email=wanted)]
        ids.update(user.id for user in named)
    if not ids and tx.users is None:
        return f"There is no user with the id {wanted!r}; names are known to the application's own user store only."
    if not ids:
        return f"There is no user {wanted!r}."
    if len(ids) > 1:
        return f"{wanted!r} may be one of several users; name the id (`users` takes --id): {', '.join(sorted(ids))}."
    account = await tx.find_account(ids.pop())
    return f"There is no user {wanted!r}." if account is None else account


async def find_user_id(ledger: Ledger, wanted: str) -> tuple[str, str]:
    """The id of the one user who is meant, and what is wrong with the choice: one of the two is empty."""

    async def work(tx: Transaction) -> Account | str:
        exact = await find_account(tx, wanted, only_id=True)
        return await find_account(tx, wanted, only_id=False) if isinstance(exact, str) else exact

    found = await ledger.transaction(work)
    return ("", found) if isinstance(found, str) else (found.user_id, "")


def look_here() -> None:
    """Have the app's own modules found where the command is given, as gunicorn and uvicorn do."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def outside_store(settings: Settings) -> Users | None:
    """The app's own user store, where there is one, so that it can be told what has changed."""
    from jit_middleware.bridge import users_face
    from jit_middleware.outside import named_user_store

    look_here()
    store = named_user_store(settings)
    return None if store is None else users_face(store, "asgi")


def name_of(account: Account) -> str:
    """The username, or the id of an account whose profile is kept elsewhere."""
    return account.user_id if account.user is None else account.user.username


def roles_of(account: Account) -> list[str]:
    """The roles held for any reason."""
    return sorted({grant.role for grant in account.grants})
