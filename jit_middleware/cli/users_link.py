"""``users link``: an invitation by which a person ties their identity to an account."""

from __future__ import annotations

import argparse
from typing import Final

from jit_middleware.audit import event_id
from jit_middleware.cli.connections import connection_argument, duration, named_connection
from jit_middleware.cli.conversation import actor, converse
from jit_middleware.cli.finding import outside_store, user_argument
from jit_middleware.cli.terminal import DONE, NO, complain, say, say_json, time_text
from jit_middleware.keyring import Keyring
from jit_middleware.model import User
from jit_middleware.ports import Ledger, Transaction
from jit_middleware.provisioning.batches import look_up
from jit_middleware.provisioning.invitations import PURPOSE, Invitation, Invitations, invite, revoke
from jit_middleware.settings import Settings
from jit_middleware.system import SystemClock, SystemTokens

_HELP: Final = "Print a link by which whoever opens it first ties their identity to the user, once."
_DAY: Final = 86_400
_SENTENCES: Final = {
    "user_unknown": "There is no such user in the connection's tenant.",
    "already_linked": "The user has an identity of this connection already.",
}


def declare(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the verb."""
    linking = verbs.add_parser("link", help=_HELP, description=_HELP)
    user_argument(linking)
    connection_argument(linking)
    linking.add_argument("--valid", type=duration, default=_DAY, metavar="TIME", help="how long it holds (24h)")
    linking.add_argument("--revoke", action="store_true", help="take the user's open invitations back instead")
    linking.set_defaults(command=_link)


def _link(arguments: argparse.Namespace) -> int:
    settings = Settings.load()
    connection = named_connection(settings, arguments.connection)
    clock, tokens = SystemClock(), SystemTokens()
    now, event = clock.now(), event_id(clock, tokens)
    invitation = Invitation(tokens(24), connection.name, now + arguments.valid)

    async def work(tx: Transaction, user: User) -> str | int:
        if arguments.revoke:
            return await revoke(tx, user, connection.name, actor=actor(), at=now, event_id=event)
        return await invite(tx, user, invitation, tenant=connection.tenant, actor=actor(), at=now, event_id=event)

    async def question(ledger: Ledger) -> tuple[User | None, str | int]:
        store = outside_store(settings)

        async def in_ledger(tx: Transaction) -> tuple[User | None, str | int]:
            users = tx.users
            found = () if users is None else (await look_up(users, [arguments.user]))[arguments.user]
            user = _the_one(found, arguments)
            return (None, user) if isinstance(user, str) else (user, await work(tx, user))

        if store is None:
            return await ledger.transaction(in_ledger)
        user = _the_one((await look_up(store, [arguments.user]))[arguments.user], arguments)
        if isinstance(user, str):
            return None, user
        return user, await ledger.transaction(lambda tx: work(tx, user))

    user, answer = converse(settings, question)
    if isinstance(answer, int) and user is not None:
        return _report_revoked(arguments, user, answer)
    if answer or user is None:
        complain(_SENTENCES.get(str(answer), f"This cannot be done: {answer}."))
        return NO
    token = Invitations(Keyring(settings.secret_keys).signature(PURPOSE)).token(invitation)
    url = settings.public_url.join(f"{settings.endpoint_prefix}/link?invitation={token}")
    if arguments.json:
        say_json({"user": user.id, "connection": connection.name, "until": time_text(invitation.until), "url": url})
    else:
        say(url)
        complain(f"Whoever opens it first gets the account of {user.username}, until {time_text(invitation.until)}.")
    return DONE


def _the_one(found: tuple[User, ...], arguments: argparse.Namespace) -> User | str:
    wanted = [user for user in found if user.id == arguments.user] if arguments.id else list(found)
    if not wanted:
        return "user_unknown"
    return wanted[0] if len(wanted) == 1 else "it may be one of several users; name one by --id"


def _report_revoked(arguments: argparse.Namespace, user: User, count: int) -> int:
    if arguments.json:
        say_json({"user": user.id, "revoked": count})
    else:
        say(f"{count} open invitations of {user.username} were taken back.")
    return DONE
