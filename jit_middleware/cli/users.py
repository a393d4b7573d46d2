"""``users``: who has an account, and letting them in or keeping them out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from jit_middleware.cli import users_lifecycle, users_link, users_roles
from jit_middleware.cli.conversation import converse
from jit_middleware.cli.finding import find_account, roles_of, user_argument
from jit_middleware.cli.terminal import DONE, NO, columns, complain, json_option, positive, say, say_json, time_text
from jit_middleware.model import JSON, Account, IdentityLink, SessionRecord, Status
from jit_middleware.ports import Ledger, Transaction
from jit_middleware.records import dataclass
from jit_middleware.settings import Settings

NAME = "users"
HELP = "List and show users, let them in or keep them out, give them roles or take them."


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="List users.", description="List users, in the order of their ids.")
    listing.add_argument("--limit", type=positive, default=1000, help="at most so many (1000)")
    listing.add_argument("--after", metavar="ID", help="begin after this user id")
    statuses = [status.value for status in Status]
    listing.add_argument("--status", choices=statuses, metavar="STATUS", help=f"only these: {', '.join(statuses)}")
    json_option(listing)
    listing.set_defaults(command=_list)
    showing = verbs.add_parser("show", help="Show one user.", description="Show a user, their identities and sessions.")
    user_argument(showing)
    showing.set_defaults(command=_show)
    users_lifecycle.declare(verbs)
    users_roles.declare(verbs)
    users_link.declare(verbs)


def _list(arguments: argparse.Namespace) -> int:
    limit: int = arguments.limit
    after: str | None = arguments.after
    status = None if arguments.status is None else Status(arguments.status)

    async def question(ledger: Ledger) -> Sequence[Account]:
        return await ledger.list_users(limit=limit, after=after, status=status)

    accounts = converse(Settings.load(), question)
    if arguments.json:
        say_json([_account_json(account) for account in accounts])
        return DONE
    rows = [
        (account.user_id, _username(account), account.status.value, " ".join(roles_of(account)), account.tenant)
        for account in accounts
    ]
    say(*columns(("id", "username", "status", "roles", "tenant"), rows))
    return DONE


@dataclass(frozen=True, slots=True)
class _Found:
    account: Account
    links: Sequence[IdentityLink]
    sessions: Sequence[SessionRecord]


def _show(arguments: argparse.Namespace) -> int:
    async def work(tx: Transaction) -> _Found | str:
        account = await find_account(tx, arguments.user, only_id=arguments.id)
        if isinstance(account, str):
            return account
        links = await tx.list_links(account.user_id)
        return _Found(account, links, await tx.list_sessions(user_id=account.user_id))

    async def question(ledger: Ledger) -> _Found | str:
        return await ledger.transaction(work)

    found = converse(Settings.load(), question)
    if isinstance(found, str):
        complain(found)
        return NO
    if arguments.json:
        say_json(_found_json(found))
        return DONE
    account = found.account
    say(f"id        {account.user_id}", f"username  {_username(account) or '-'}", f"status    {account.status.value}")
    if account.user is not None:
        say(f"e-mail    {account.user.email or '-'}", f"name      {account.user.display_name or '-'}")
    say(f"tenant    {account.tenant}")
    for grant in account.grants:
        say(f"role      {grant.role} ({grant.source})")
    for link in found.links:
        say(f"identity  {link.connection}: {link.subject} at {link.issuer}")
    for session in found.sessions:
        say(f"session   {session.id} by {session.connection}, until {time_text(session.expires_at)}")
    return DONE


def _username(account: Account) -> str:
    return "" if account.user is None else account.user.username


def _account_json(account: Account) -> dict[str, JSON]:
    user = account.user
    return {
        "id": account.user_id,
        "username": None if user is None else user.username,
        "email": None if user is None else user.email,
        "display_name": None if user is None else user.display_name,
        "status": account.status.value,
        "tenant": account.tenant,
        "grants": [{"role": grant.role, "source": grant.source} for grant in account.grants],
    }


def _found_json(found: _Found) -> dict[str, JSON]:
    return {
        **_account_json(found.account),
        "identities": [
            {"connection": link.connection, "issuer": link.issuer, "subject": link.subject} for link in found.links
        ],
        "sessions": [
            {"id": session.id, "connection": session.connection, "expires_at": time_text(session.expires_at)}
            for session in found.sessions
        ],
    }
