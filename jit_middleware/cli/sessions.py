"""``sessions``: who is signed in, and signing them out everywhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from jit_middleware.audit import event_id, session_ended
from jit_middleware.cli.conversation import actor, converse
from jit_middleware.cli.terminal import DONE, NO, columns, complain, json_option, positive, say, say_json, time_text
from jit_middleware.model import JSON, SessionRecord
from jit_middleware.ports import Ledger, Transaction
from jit_middleware.settings import Settings
from jit_middleware.system import SystemClock, SystemTokens

NAME = "sessions"
HELP = "List live sessions, or end them."


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="List live sessions.", description="List live sessions, newest first.")
    listing.add_argument("--user", metavar="ID", help="only this user's")
    listing.add_argument("--limit", type=positive, default=1000, help="at most so many (1000)")
    json_option(listing)
    listing.set_defaults(command=_list)
    sentence = "End sessions; every worker refuses them within JIT_REVOCATION_MAX_STALENESS."
    revoking = verbs.add_parser("revoke", help="End sessions.", description=sentence)
    which = revoking.add_mutually_exclusive_group(required=True)
    which.add_argument("--user", metavar="ID", help="all sessions of this user")
    which.add_argument("--session", metavar="ID", help="this session")
    which.add_argument("--all", action="store_true", help="all sessions of everybody")
    json_option(revoking)
    revoking.set_defaults(command=_revoke)


def _list(arguments: argparse.Namespace) -> int:
    user: str | None = arguments.user
    limit: int = arguments.limit

    async def work(tx: Transaction) -> Sequence[SessionRecord]:
        return await tx.list_sessions(user_id=user, limit=limit)

    async def question(ledger: Ledger) -> Sequence[SessionRecord]:
        return await ledger.transaction(work)

    found = converse(Settings.load(), question)
    if arguments.json:
        say_json([_session_json(session) for session in found])
        return DONE
    rows = [
        (each.id, each.user_id, each.connection, time_text(each.last_seen_at), time_text(each.expires_at))
        for each in found
    ]
    say(*columns(("id", "user", "connection", "last seen", "ends"), rows))
    return DONE


def _revoke(arguments: argparse.Namespace) -> int:
    user: str | None = arguments.user
    session: str | None = arguments.session
    clock, tokens = SystemClock(), SystemTokens()

    async def record(tx: Transaction, ended: Sequence[SessionRecord]) -> None:
        for each in ended:
            event = session_ended(each, id=event_id(clock, tokens), at=clock.now(), cause="revoked", by=actor())
            await tx.append_audit(event)

    async def end_matching(tx: Transaction) -> int:
        ended = await tx.end_sessions(clock.now(), user_id=user, session_id=session)
        await record(tx, ended)
        return len(ended)

    async def end_some_of_all(tx: Transaction) -> int:
        live = await tx.list_sessions()
        count = 0
        for connection in sorted({each.connection for each in live}):
            ended = await tx.end_sessions(clock.now(), connection=connection)
            await record(tx, ended)
            count += len(ended)
        return count

    async def question(ledger: Ledger) -> int:
        if not arguments.all:
            return await ledger.transaction(end_matching)
        total = 0
        while count := await ledger.transaction(end_some_of_all):
            total += count
        return total

    count = converse(Settings.load(), question)
    is_done = bool(count) or bool(arguments.all)
    if arguments.json:
        say_json({"ended": count})
    elif is_done:
        say("1 session was ended." if count == 1 else f"{count} sessions were ended.")
    if not is_done:
        complain("No live session matches.")
    return DONE if is_done else NO


def _session_json(session: SessionRecord) -> dict[str, JSON]:
    return {
        "id": session.id,
        "user": session.user_id,
        "tenant": session.tenant,
        "connection": session.connection,
        "created_at": time_text(session.created_at),
        "last_seen_at": time_text(session.last_seen_at),
        "expires_at": time_text(session.expires_at),
    }
