"""``audit``: what happened, for people (``list``) and for other programs (``export``, JSON lines)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from jit_middleware.audit import EVENT_TYPES
from jit_middleware.audit.export import to_line
from jit_middleware.cli.conversation import converse
from jit_middleware.cli.terminal import DONE, WrongUse, columns, json_option, positive, say, time_text
from jit_middleware.model import AuditEvent
from jit_middleware.ports import Ledger
from jit_middleware.settings import Settings
from jit_middleware.settings.values import one_of

NAME = "audit"
HELP = "List the audit trail, or export it as JSON lines."
_PAGE = 1000


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    sentence = "List events, in the order they were recorded; --json prints one JSON line for each."
    listing = verbs.add_parser("list", help="List events.", description=sentence)
    _selection(listing)
    listing.add_argument("--limit", type=positive, default=100, help="at most so many (100)")
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
    parser.add_argument("--user", metavar="ID", help="only events about this user")


def _list(arguments: argparse.Namespace) -> int:
    events: list[AuditEvent] = []
    limit: int = arguments.limit
    _read(arguments, limit, events.append)
    if arguments.json:
        say(*map(to_line, events))
        return DONE
    rows = [
        (event.id, time_text(event.at), event.type, event.outcome, event.user_id or "", event.reason or "")
        for event in events
    ]
    say(*columns(("id", "at", "type", "outcome", "user", "reason"), rows))
    return DONE


def _export(arguments: argparse.Namespace) -> int:
    output: Path | None = arguments.output
    if output is None:
        _read(arguments, None, lambda event: say(to_line(event)))
        sys.stdout.flush()
        return DONE
    try:
        with output.open("a", encoding="ascii", newline="\n") as file:
            _read(arguments, None, lambda event: print(to_line(event), file=file))
    except OSError as broken:
        raise WrongUse(f"{output} cannot be written ({broken.strerror}).") from broken
    return DONE


def _read(arguments: argparse.Namespace, limit: int | None, take: Callable[[AuditEvent], object]) -> None:
    """Hand over the events that were asked for, page by page; ``None`` is all of them."""
    kind: str | None = arguments.type
    if kind is not None and kind not in EVENT_TYPES:
        raise WrongUse(f"There are no events of the type {kind!r}{_meant(kind)}")
    user: str | None = arguments.user

    async def question(ledger: Ledger) -> None:
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
                return
            after = page[-1].id
            left = None if left is None else left - size

    converse(Settings.load(), question)


def _meant(kind: str) -> str:
    """What may have been meant, as the end of a sentence."""
    near = get_close_matches(kind, sorted(EVENT_TYPES), n=1)
    near = near or sorted(known for known in EVENT_TYPES if known.partition(".")[0] == kind.partition(".")[0])
    return f": did you mean {one_of(near)}?" if near else f". There are: {', '.join(sorted(EVENT_TYPES))}."
