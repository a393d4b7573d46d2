"""``adopt``: bring the people of an existing application under single sign-on."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from jit_middleware.audit import event_id
from jit_middleware.cli.adopt_files import read_people, read_rows, read_users
from jit_middleware.cli.connections import Connection, connection_argument, duration, named_connection
from jit_middleware.cli.conversation import actor, converse
from jit_middleware.cli.finding import outside_store
from jit_middleware.cli.terminal import (
    DONE,
    NO,
    WrongUse,
    columns,
    complain,
    json_option,
    say,
    say_json,
    time_text,
)
from jit_middleware.model import JSON, Account, Prelink, User
from jit_middleware.overtaking import identity_mark, remembered_until
from jit_middleware.ports import Ledger, Transaction, Users
from jit_middleware.provisioning.adoption import COLLISIONS, Finding, KnownUser, Terms, Verdict, report
from jit_middleware.provisioning.batches import (
    Judged,
    Place,
    Undone,
    add_batch,
    find_batch,
    judge_rows,
    look_up,
    undo_batch,
)
from jit_middleware.settings import OIDCConnection, Settings
from jit_middleware.system import SystemClock, SystemTokens

NAME = "adopt"
HELP = "Bring the users of an existing application under single sign-on: report, prelink, undo, list."
_PAGE: Final = 500
_MONTH: Final = 30 * 86_400

MEANINGS: Final[Mapping[Finding, str]] = {
    "linked": "has an identity of this connection already",
    "closed": "is not active",
    "excluded": "has a role that is never taken over by an address",
    "no_address": "has no e-mail address",
    "address_unusable": "has an address that is not one plain ASCII address",
    "same_address": "has the same address as another user",
    "looks_alike": "has an address or name that looks like another user's",
    "several_at_provider": "has an address that several people at the provider have",
    "foreign_domain": "has an address outside the connection's verified domains",
    "not_at_provider": "has an address that nobody at the provider has",
    "unverified": "has an address that nobody has verified",
    "would_confirm": "would be asked for a password, or for who signs in otherwise",
    "would_match": "would be matched",
    "new": "is at the provider, and nobody here",
}


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    reporting = verbs.add_parser("report", help="Say who would be matched, and what stands in the way.")
    connection_argument(reporting)
    reporting.add_argument("--idp", metavar="FILE", help="the provider's export of its people, CSV or JSON")
    reporting.add_argument("--users", metavar="FILE", help="the application's users, where its store cannot list them")
    reporting.set_defaults(command=_report)
    prelinking = verbs.add_parser("prelink", help="Tie people at the provider to users, by a list; a dry run at first.")
    prelinking.add_argument("file", metavar="FILE", help="CSV or JSON with user, and subject or email")
    connection_argument(prelinking)
    prelinking.add_argument("--batch", metavar="NAME", help="how to call this list (by default, its time)")
    prelinking.add_argument("--valid", type=duration, default=_MONTH, metavar="TIME", help="how long it holds (30d)")
    prelinking.set_defaults(command=_prelink)
    undoing = verbs.add_parser("undo", help="Take back what nobody has used of a list; a dry run at first.")
    undoing.add_argument("batch", metavar="BATCH")
    undoing.add_argument("--unlink", action="store_true", help="untie those too who have signed in, and end it")
    undoing.set_defaults(command=_undo)
    for changing in (prelinking, undoing):
        changing.add_argument("--apply", action="store_true", help="do it, and not only say what would be done")
    listing = verbs.add_parser("list", help="List the batches and invitations that there are.")
    listing.set_defaults(command=_list)
    for each in (reporting, prelinking, undoing, listing):
        json_option(each)


# --- report -------------------------------------------------------------------------------------------------------


def _report(arguments: argparse.Namespace) -> int:
    settings = Settings.load()
    connection = named_connection(settings, arguments.connection)
    people = None if arguments.idp is None else read_people(arguments.idp)
    given = None if arguments.users is None else read_users(arguments.users)
    policy = connection.provisioning

    async def question(ledger: Ledger) -> list[KnownUser]:
        users = await _everybody(ledger, settings, connection) if given is None else given
        return await _with_links(ledger, users, connection)

    users = converse(settings, question)
    verdicts = report(users, people, Terms(connection.verified_domains, policy.never_taken_over))
    counts = Counter(verdict.finding for verdict in verdicts)
    if arguments.json:
        say_json(
            {
                "connection": connection.name,
                "counts": {finding: counts[finding] for finding in MEANINGS if counts[finding]},
                "verdicts": [_verdict_json(verdict) for verdict in verdicts],
            }
        )
    else:
        rows = [
            (verdict.user_id or f"line {verdict.line}", verdict.username, verdict.finding, " ".join(verdict.others))
            for verdict in verdicts
        ]
        say(*columns(("user", "username", "finding", "with"), rows), "")
        say(*(f"{counts[finding]:6} {finding}: {text}" for finding, text in MEANINGS.items() if counts[finding]))
    return NO if COLLISIONS.intersection(counts) else DONE


async def _everybody(ledger: Ledger, settings: Settings, connection: Connection) -> list[KnownUser]:
    """All users of the connection's tenant. Raises ``WrongUse`` for a store that cannot list them."""
    store = outside_store(settings)
    users: list[KnownUser] = []
    after: str | None = None
    while True:
        page: Sequence[User]
        if store is None:
            accounts = await ledger.list_users(after=after, limit=_PAGE)
            page, last = [_with_roles(account) for account in accounts], accounts[-1].user_id if accounts else None
        elif store.lists_users:
            page = await store.list_users(after=after, limit=_PAGE)
            last = page[-1].id if page else None
        else:
            raise WrongUse("The user store cannot list its users: give them with --users FILE.")
        if last is None or last == after:
            return users
        after = last
        users += [await _known(user, store) for user in page if user.id and user.tenant == connection.tenant]


def _with_roles(account: Account) -> User:
    """The profile with the roles granted; somebody who was erased has none, and is left out by the empty id."""
    if account.user is None:
        return User("", "")
    return replace(account.user, roles=tuple(sorted({*account.user.roles, *(grant.role for grant in account.grants)})))


async def _known(user: User, store: Users | None) -> KnownUser:
    return KnownUser(
        id=user.id,
        username=user.username,
        email=user.email,
        email_verified=user.email_verified,
        status=user.status,
        roles=user.roles,
        has_password=None if store is None else await store.has_password(user.id),
    )


async def _with_links(ledger: Ledger, users: Sequence[KnownUser], connection: Connection) -> list[KnownUser]:
    async def work(tx: Transaction, part: Sequence[KnownUser]) -> list[KnownUser]:
        found: list[KnownUser] = []
        for user in part:
            connections = {link.connection for link in await tx.list_links(user.id)}
            account = await tx.find_account(user.id)
            roles = user.roles if account is None else (*user.roles, *(grant.role for grant in account.grants))
            found.append(
                replace(
                    user,
                    status=user.status if account is None else account.status,
                    roles=tuple(sorted(set(roles))),
                    linked=connection.name in connections,
                    linked_elsewhere=bool(connections - {connection.name}),
                )
            )
        return found

    found: list[KnownUser] = []
    for start in range(0, len(users), _PAGE):
        part = users[start : start + _PAGE]
        found += await ledger.transaction(lambda tx, part=part: work(tx, part))  # type: ignore[misc]
    return found


def _verdict_json(verdict: Verdict) -> JSON:
    return {
        "user": verdict.user_id,
        "username": verdict.username or None,
        "line": verdict.line,
        "finding": verdict.finding,
        "with": list(verdict.others),
    }


# --- prelink ------------------------------------------------------------------------------------------------------


def _prelink(arguments: argparse.Namespace) -> int:
    settings = Settings.load()
    connection = named_connection(settings, arguments.connection)
    rows = read_rows(arguments.file)
    clock = SystemClock()
    now = clock.now()
    place = Place(
        connection=connection.name,
        tenant=connection.tenant,
        issuer=connection.issuer if isinstance(connection, OIDCConnection) else None,
        verified_domains=connection.verified_domains,
        batch=arguments.batch or f"{time_text(now)}-{SystemTokens()(4)}",
        at=now,
        until=now + arguments.valid,
    )
    if not place.batch.isprintable() or not 0 < len(place.batch) <= 64:
        raise WrongUse("a batch is called by up to 64 characters.")
    event = event_id(clock, SystemTokens())
    names = [row.user for row in rows]

    async def question(ledger: Ledger) -> list[Judged]:
        store = outside_store(settings)
        outside = None if store is None else await look_up(store, names)

        async def work(tx: Transaction) -> list[Judged]:
            if await tx.list_prelinks(batch=place.batch, limit=1):
                raise WrongUse(f"There is a batch {place.batch!r} already.")
            users = outside if tx.users is None else await look_up(tx.users, names)
            judged = await judge_rows(tx, rows, users or {}, place)
            if arguments.apply and not any(each.reason for each in judged):
                await add_batch(tx, judged, place, actor=actor(), event_id=event)
            return judged

        return await ledger.transaction(work)

    judged = converse(settings, question)
    refused = [each for each in judged if each.reason]
    done = bool(arguments.apply) and not refused
    if arguments.json:
        say_json(
            {
                "batch": place.batch,
                "connection": place.connection,
                "until": time_text(place.until),
                "rows": len(judged),
                "refused": [{"line": each.row.line, "reason": each.reason} for each in refused],
                "done": done,
            }
        )
        return NO if refused else DONE
    complain(*(f"line {each.row.line}: {each.reason}" for each in refused))
    if refused:
        rows_are = "row is" if len(judged) == 1 else "rows are"
        complain(f"{len(refused)} of {len(judged)} {rows_are} refused, so nothing is written.")
    elif done:
        users_wait = "1 user waits" if len(judged) == 1 else f"{len(judged)} users wait"
        say(f"Batch {place.batch}: {users_wait} for their first sign-in until {time_text(place.until)}.")
    else:
        good = "The row is good." if len(judged) == 1 else f"All {len(judged)} rows are good."
        say(f"{good} Say --apply to write {'it' if len(judged) == 1 else 'them'}.")
    return NO if refused else DONE


# --- undo ---------------------------------------------------------------------------------------------------------


def _undo(arguments: argparse.Namespace) -> int:
    batch: str = arguments.batch
    clock = SystemClock()
    event = event_id(clock, SystemTokens())

    async def work(tx: Transaction) -> Undone | None:
        found = await find_batch(tx, batch)
        if found is not None and arguments.apply:
            await undo_batch(tx, batch, found, unlink=arguments.unlink, actor=actor(), at=clock.now(), event_id=event)
        return found

    settings = Settings.load()

    async def mark(tx: Transaction) -> None:
        # For those who are signing in by these identities just now; committed before their sessions are looked for.
        found, now = await find_batch(tx, batch), clock.now()
        links = () if found is None else found.links
        marks = [identity_mark(link.connection, link.issuer, link.subject) for link in links]
        await tx.leave_marks(marks, at=now, until=remembered_until(now, idle=settings.session.idle))

    async def question(ledger: Ledger) -> Undone | None:
        if arguments.apply and arguments.unlink:
            await ledger.transaction(mark)
        return await ledger.transaction(work)

    found = converse(settings, question)
    if found is None:
        complain(f"There is no batch {batch!r}.")
        return NO
    done = bool(arguments.apply)
    if arguments.json:
        say_json(
            {
                "batch": batch,
                "unused": [prelink.user_id for prelink in found.unused],
                "used": [prelink.user_id for prelink in found.used],
                "unlinked": [link.user_id for link in found.links] if arguments.unlink else [],
                "done": done,
            }
        )
        return DONE
    verb = "" if done else "would be "
    say(f"{len(found.unused)} unused prelinks {verb}dropped.")
    for prelink in found.used:
        say(f"used by {prelink.user_id} at {time_text(prelink.used_at)}{f', {verb}untied' if arguments.unlink else ''}")
    if not done:
        say("Say --apply to do it.")
    return DONE


# --- list ---------------------------------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    async def question(ledger: Ledger) -> Sequence[Prelink]:
        return await ledger.transaction(lambda tx: tx.list_prelinks())

    groups: dict[tuple[str, str], list[Prelink]] = {}
    for prelink in converse(Settings.load(), question):
        named = f"invitation of {prelink.user_id}" if prelink.kind == "invitation" else prelink.batch
        groups.setdefault((named, prelink.connection), []).append(prelink)
    now = SystemClock().now()
    rows = [(batch, connection, _counted(group, now)) for (batch, connection), group in groups.items()]
    if arguments.json:
        say_json([{"batch": batch, "connection": connection, **counts} for batch, connection, counts in rows])
        return DONE
    head = ("batch", "connection", "made", "until", "waiting", "used", "over")
    say(*columns(head, ((batch, connection, *map(str, counts.values())) for batch, connection, counts in rows)))
    return DONE


def _counted(group: Sequence[Prelink], now: int) -> dict[str, JSON]:
    used = sum(prelink.used_at is not None for prelink in group)
    waiting = sum(prelink.used_at is None and prelink.until > now for prelink in group)
    return {
        "made": time_text(min(prelink.created_at for prelink in group)),
        "until": time_text(max(prelink.until for prelink in group)),
        "waiting": waiting,
        "used": used,
        "over": len(group) - used - waiting,
    }
