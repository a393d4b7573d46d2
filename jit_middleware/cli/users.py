"""``users``: who has an account, and letting them in or keeping them out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from jit_middleware.audit import event_id
from jit_middleware.cli.conversation import actor, converse
from jit_middleware.cli.terminal import DONE, NO, columns, complain, json_option, positive, say, say_json, time_text
from jit_middleware.model import JSON, Account, IdentityLink, SessionRecord, Status
from jit_middleware.ports import Ledger, Transaction
from jit_middleware.provisioning.lifecycle import change_status
from jit_middleware.settings import Settings
from jit_middleware.system import SystemClock, SystemTokens

NAME = "users"
HELP = "List and show users, suspend, resume or deactivate them."
_VERBS = {
    "suspend": (Status.SUSPENDED, "Keep a user out, for now; ends their sessions."),
    "resume": (Status.ACTIVE, "Let a user in again."),
    "deactivate": (Status.DEPROVISIONED, "Keep a user out who has left; ends their sessions."),
}


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="List users.", description="List users, in the order of their ids.")
    listing.add_argument("--limit", type=positive, default=1000, help="at most so many (1000)")
    listing.add_argument("--after", metavar="ID", help="begin after this user id")
    json_option(listing)
    listing.set_defaults(command=_list)
    showing = verbs.add_parser("show", help="Show one user.", description="Show a user, their identities and sessions.")
    _user_argument(showing)
    showing.set_defaults(command=_show)
    for verb, (status, sentence) in _VERBS.items():
        changing = verbs.add_parser(verb, help=sentence, description=sentence)
        _user_argument(changing)
        changing.set_defaults(command=_change, to=status)


def _user_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="the user's id, or username or e-mail address if only one has it")
    parser.add_argument("--id", action="store_true", help="USER is an id, and nothing else")
    json_option(parser)


def _list(arguments: argparse.Namespace) -> int:
    limit: int = arguments.limit
    after: str | None = arguments.after

    async def question(ledger: Ledger) -> Sequence[Account]:
        return await ledger.list_users(limit=limit, after=after)

    accounts = converse(Settings.load(), question)
    if arguments.json:
        say_json([_account_json(account) for account in accounts])
        return DONE
    rows = [
        (account.user_id, _username(account), account.status.value, " ".join(_roles(account)), account.tenant)
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
        account = await _find(tx, arguments.user, only_id=arguments.id)
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


def _change(arguments: argparse.Namespace) -> int:
    to: Status = arguments.to
    clock, tokens = SystemClock(), SystemTokens()

    async def work(tx: Transaction) -> tuple[Account, bool] | str:
        account = await _find(tx, arguments.user, only_id=arguments.id)
        if isinstance(account, str):
            return account
        if account.status is to:
            return account, True
        event = event_id(clock, tokens)
        return account, await change_status(tx, account.user_id, to, actor=actor(), at=clock.now(), event_id=event)

    settings = Settings.load()

    async def question(ledger: Ledger) -> tuple[Account, bool] | str:
        answer = await ledger.transaction(work)
        if not isinstance(answer, str) and answer[1]:
            await _tell_outside(settings, answer[0].user_id, active=to is Status.ACTIVE)
        return answer

    answer = converse(settings, question)
    if isinstance(answer, str):
        complain(answer)
        return NO
    account, is_done = answer
    if arguments.json:
        now = (to if is_done else account.status).value
        say_json({"user": account.user_id, "was": account.status.value, "status": now, "done": is_done})
    elif is_done:
        say(f"{_username(account) or account.user_id} was {account.status.value} and is {to.value} now.")
    if not is_done:
        complain(f"A user who is {account.status.value} cannot become {to.value}.")
    return DONE if is_done else NO


async def _tell_outside(settings: Settings, user_id: str, *, active: bool) -> None:
    """Tell the app's own user store, where there is one, so that the app's other doors are shut (or open) too."""
    from jit_middleware.assembly import named_user_store
    from jit_middleware.bridge import users_face

    store = named_user_store(settings)
    if store is not None:
        await users_face(store, "asgi").set_active(user_id, active)


async def _find(tx: Transaction, wanted: str, *, only_id: bool) -> Account | str:
    """The one account that is meant, or the sentence that says why there is none."""
    by_id = await tx.find_account(wanted)
    ids = set[str]() if by_id is None else {by_id.user_id}
    if tx.users is not None and not only_id:
        named = [*await tx.users.find(username=wanted), *await tx.users.find(email=wanted)]
        ids.update(user.id for user in named)
    if not ids:
        return f"There is no user {wanted!r}."
    if len(ids) > 1:
        return f"{wanted!r} may be one of several users; name one by --id: {', '.join(sorted(ids))}."
    account = await tx.find_account(ids.pop())
    return f"There is no user {wanted!r}." if account is None else account


def _username(account: Account) -> str:
    return "" if account.user is None else account.user.username


def _roles(account: Account) -> list[str]:
    return sorted({grant.role for grant in account.grants})


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
