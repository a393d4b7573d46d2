"""``sessions``: who is signed in, and signing them out everywhere."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Final, NoReturn, Unpack, cast

from jit_middleware.audit import event_id, session_ended
from jit_middleware.cli.conversation import actor, converse
from jit_middleware.cli.finding import find_user_id
from jit_middleware.cli.terminal import DONE, NO, columns, complain, json_option, positive, say, say_json, time_text
from jit_middleware.model import JSON, SessionChoice, SessionRecord
from jit_middleware.overtaking import (
    connection_mark,
    identity_mark,
    own_session_mark,
    remembered_until,
    session_mark,
)
from jit_middleware.ports import Ledger, Transaction
from jit_middleware.settings import Settings
from jit_middleware.system import SystemClock, SystemTokens

NAME = "sessions"
HELP = "List live sessions, or end them."
_WITHOUT_PROVIDER: Final = "argument --idp-session: names a session of one provider; add --connection"


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    sentence = "List the live sessions that match everything named, newest first."
    listing = verbs.add_parser("list", help="List live sessions.", description=sentence)
    _declare_selectors(listing)
    listing.add_argument("--limit", type=positive, default=1000, help="at most so many (1000)")
    json_option(listing)
    listing.set_defaults(command=_list, wrong=listing.error)
    sentence = (
        "End the sessions that match everything named; every worker refuses them within JIT_REVOCATION_MAX_STALENESS."
    )
    revoking = verbs.add_parser("revoke", help="End sessions.", description=sentence)
    _declare_selectors(revoking)
    revoking.add_argument("--all", action="store_true", help="all sessions of everybody (with --yes)")
    revoking.add_argument("--yes", action="store_true", help="mean it")
    json_option(revoking)
    revoking.set_defaults(command=_revoke, wrong=revoking.error)


def _declare_selectors(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--session", metavar="ID", help="this session")
    parser.add_argument("--user", metavar="USER", help="this user's: an id, or a name or address only one has")
    parser.add_argument("--connection", metavar="NAME", help="sessions that began at this connection")
    parser.add_argument("--idp-session", metavar="ID", help="what the provider calls so (with --connection)")


def _list(arguments: argparse.Namespace) -> int:
    session: str | None = arguments.session
    user: str | None = arguments.user
    connection: str | None = arguments.connection
    idp_session: str | None = arguments.idp_session
    limit: int = arguments.limit
    if idp_session is not None and connection is None:
        cast("Callable[[str], NoReturn]", arguments.wrong)(_WITHOUT_PROVIDER)

    async def question(ledger: Ledger) -> Sequence[SessionRecord] | str:
        user_id, problem = (None, "") if user is None else await find_user_id(ledger, user)
        if problem:
            return problem
        return await ledger.transaction(
            lambda tx: tx.list_sessions(
                session_id=session, user_id=user_id, connection=connection, idp_session=idp_session, limit=limit
            )
        )

    found = converse(Settings.load(), question)
    if isinstance(found, str):
        complain(found)
        return NO
    if arguments.json:
        say_json([_session_json(session) for session in found])
        return DONE
    rows = [
        (each.id, each.user_id, each.connection, *map(time_text, (each.created_at, each.last_seen_at, each.expires_at)))
        for each in found
    ]
    say(*columns(("id", "user", "connection", "created", "last seen", "expires"), rows))
    return DONE


def _revoke(arguments: argparse.Namespace) -> int:
    selectors: SessionChoice = {
        "session_id": cast("str | None", arguments.session),
        "user_id": cast("str | None", arguments.user),
        "connection": cast("str | None", arguments.connection),
        "idp_session": cast("str | None", arguments.idp_session),
    }
    problem = _wrong_use(arguments, [name for name, value in selectors.items() if value is not None])
    if problem is not None:
        cast("Callable[[str], NoReturn]", arguments.wrong)(problem)
    clock, tokens, by = SystemClock(), SystemTokens(), actor()

    async def end(tx: Transaction, **which: Unpack[SessionChoice]) -> int:
        ended = await tx.end_sessions(clock.now(), **which)
        for each in ended:
            event = session_ended(each, id=event_id(clock, tokens), at=clock.now(), cause="revoked", by=by)
            await tx.append_audit(event)
        return len(ended)

    async def end_some_of_all(tx: Transaction) -> int:
        live = await tx.list_sessions()
        return sum([await end(tx, connection=name) for name in sorted({each.connection for each in live})])

    settings = Settings.load()

    async def mark(tx: Transaction) -> None:
        # For those of whom it is meant and who are signing in just now; committed before the sessions are looked for.
        now = clock.now()
        everywhere = [connection_mark(each.name) for each in settings.connections] if arguments.all else ()
        marks = everywhere or await _marks(
            tx, selectors["user_id"], selectors["connection"], selectors["idp_session"], selectors["session_id"]
        )
        await tx.leave_marks(marks, at=now, until=remembered_until(now, idle=settings.session.idle))

    async def question(ledger: Ledger) -> int | str:
        if selectors["user_id"] is not None:
            selectors["user_id"], problem = await find_user_id(ledger, selectors["user_id"])
            if problem:
                return problem
        await ledger.transaction(mark)
        if not arguments.all:
            return await ledger.transaction(lambda tx: end(tx, **selectors))
        total = 0
        while count := await ledger.transaction(end_some_of_all):
            total += count
        return total

    count = converse(settings, question)
    if isinstance(count, str):
        complain(count)
        return NO
    is_done = bool(count) or bool(arguments.all)
    if arguments.json:
        say_json({"ended": count})
    elif is_done:
        say("1 session was ended." if count == 1 else f"{count} sessions were ended.")
    if not is_done:
        complain("No live session matches.")
    return DONE if is_done else NO


async def _marks(
    tx: Transaction, user_id: str | None, connection: str | None, idp_session: str | None, session_id: str | None
) -> Sequence[str]:
    """What those answer to who are signing in just now, and whose session would have been one of these."""
    if session_id is not None:
        return ()
    if user_id is None:
        if connection is None:
            return ()
        return [connection_mark(connection) if idp_session is None else session_mark(connection, idp_session)]
    links = [link for link in await tx.list_links(user_id) if connection in {None, link.connection}]
    people = [identity_mark(link.connection, link.issuer, link.subject) for link in links]
    return people if idp_session is None else [own_session_mark(who, idp_session) for who in people]


def _wrong_use(arguments: argparse.Namespace, named: Sequence[str]) -> str | None:
    """What is wrong with the choice of sessions, ``None`` when it is clear."""
    if arguments.all:
        if named:
            return "argument --all: not allowed with anything that names some of them"
        return None if arguments.yes else "argument --all: ends every session of everybody; add --yes"
    if not named:
        return "one of the arguments --session --user --connection --idp-session --all is required"
    if "idp_session" in named and "connection" not in named:
        return _WITHOUT_PROVIDER
    return None


def _session_json(session: SessionRecord) -> dict[str, JSON]:
    return {
        "id": session.id,
        "user": session.user_id,
        "tenant": session.tenant,
        "connection": session.connection,
        "idp_session": session.idp_session,
        "created_at": time_text(session.created_at),
        "last_seen_at": time_text(session.last_seen_at),
        "expires_at": time_text(session.expires_at),
    }
