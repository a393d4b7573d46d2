"""``audit``: what happened, for people (``list``) and for other programs (``export``, JSON lines)."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path

from jit_middleware.audit import EVENT_TYPES
from jit_middleware.audit.export import to_line
from jit_middleware.cli.conversation import converse
from jit_middleware.cli.finding import find_user_id
from jit_middleware.cli.terminal import DONE, NO, WrongUse, columns, complain, json_option, positive, say, time_text
from jit_middleware.model import AuditEvent
from jit_middleware.ports import Ledger
from jit_middleware.settings import Settings
from jit_middleware.settings.values import one_of

NAME = "audit"
HELP = "List the audit trail, or export it as JSON lines."
_PAGE = 1000
_LISTED = 100


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    sentence = "List events, in the order they were recorded; --json prints one JSON line for each."
    listing = verbs.add_parser("list", help="List events.", description=sentence)
    _selection(listing)
    count = listing.add_mutually_exclusive_group()
    count.add_argument("--limit", type=positive, help=f"at most so many ({_LISTED})")
    count.add_argument("--last", type=positive, metavar="N", help="the newest ones, so many")
    json_option(listing)
    listing.set_defaults(command=_list)
    sentence = "Print every event as one JSON line; go on later with --after and the last id."
    exporting = verbs.add_parser("export", help="Export events as JSON lines.", description=sentence)
    _selection(exporting)
    exporting.add_argument("--output", metavar="FILE", type=Path, help="append to this file instead of printing")
    exporting.add_argument("--json", action="store_true", help="no difference: the export is JSON lines")
    exporting.set_defaults(command=_export)


def _selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--after", metavar="ID", help="begin after this event")
    parser.add_argument("--type", metavar="TYPE", help="only events of this type, as user.created")
    parser.add_argument("--user", metavar="USER", help="only about this user: an id, or a name or address only one has")


def _list(arguments: argparse.Namespace) -> int:
    last: int | None = arguments.last
    limit: int = arguments.limit or _LISTED
    events: deque[AuditEvent] = deque(maxlen=None if last is None else last + 1)
    problem = _read(arguments, limit + 1 if last is None else None, events.append)  # one more than is shown
    if problem:
        complain(problem)
        return NO
    has_more = len(events) > (last or limit)
    if has_more:
        events.pop() if last is None else events.popleft()
    _show(events, as_lines=arguments.json)
    if has_more and last is None:
        complain(f"There are more events: --after {events[-1].id} goes on, --last {limit} shows the newest.")
    elif has_more:
        complain("There are older events: raise --last.")
    return DONE


def _show(events: Iterable[AuditEvent], *, as_lines: bool) -> None:
    if as_lines:
        say(*map(to_line, events))
        return
    rows = [
        (event.id, time_text(event.at), event.type, event.outcome, event.user_id or "", event.reason or "")
        for event in events
    ]
    say(*columns(("id", "at", "type", "outcome", "user", "reason"), rows))


def _export(arguments: argparse.Namespace) -> int:
    output: Path | None = arguments.output
    if output is None:
        problem = _read(arguments, None, lambda event: say(to_line(event)))
    else:
        try:
            with output.open("a", encoding="ascii", newline="\n") as file:
                problem = _read(arguments, None, lambda event: print(to_line(event), file=file))
        except OSError as broken:
            raise WrongUse(f"{output} cannot be written ({broken.strerror}).") from broken
    complain(*([problem] if problem else []))
    return NO if problem else DONE


def _read(arguments: argparse.Namespace, limit: int | None, take: Callable[[AuditEvent], object]) -> str:
    """Hand over the events that were asked for, page by page; ``None`` is all of them. The answer is empty, or says why
    nobody can be meant."""
    kind: str | None = arguments.type
    if kind is not None and kind not in EVENT_TYPES:
        raise WrongUse(f"There are no events of the type {kind!r}{_meant(kind)}")

    async def question(ledger: Ledger) -> str:
        user, problem = await _whose(ledger, arguments.user)
        if problem:
            return problem
        after: str | None = arguments.after
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            try:
                page = await ledger.list_audit(after=after, type=kind, user_id=user, limit=size)
            except LookupError:
                raise WrongUse(f"--after: there is no event {after!r}.") from None
            for event in page:
                take(event)
            if len(page) < size:
                return ""
            after = page[-1].id
            left = None if left is None else left - size
        return ""

    return converse(Settings.load(), question)


async def _whose(ledger: Ledger, wanted: str | None) -> tuple[str | None, str]:
    """The id of the user who is meant, and what is wrong with the choice. The trail also knows those who are no
    more."""
    if wanted is None:
        return None, ""
    user, problem = await find_user_id(ledger, wanted)
    is_known = not problem or bool(await ledger.list_audit(user_id=wanted, limit=1))
    return user or wanted, "" if is_known else problem


def _meant(kind: str) -> str:
    """What may have been meant, as the end of a sentence."""
    near = get_close_matches(kind, sorted(EVENT_TYPES), n=1)
    near = near or sorted(known for known in EVENT_TYPES if known.partition(".")[0] == kind.partition(".")[0])
    return f": did you mean {one_of(near)}?" if near else f". There are: {', '.join(sorted(EVENT_TYPES))}."
