"""Which connection is meant, and how long something is to hold."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from jit_middleware.cli.terminal import WrongUse
from jit_middleware.settings import OIDCConnection, SAMLConnection, Settings
from jit_middleware.settings.values import BadValue, seconds

Connection: TypeAlias = OIDCConnection | SAMLConnection

_LONGEST = 366 * 86_400


def connection_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--connection``, which may be left out where there is one."""
    parser.add_argument("--connection", metavar="NAME", help="the connection (not needed where there is one)")


def named_connection(settings: Settings, name: str | None) -> Connection:
    """The connection of that name, or the only one. Raises ``WrongUse``."""
    known = {connection.name: connection for connection in settings.connections}
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name is None or name not in known:
        meant = "Say which one by --connection" if name is None else f"There is no connection {name!r}; there is"
        raise WrongUse(f"{meant}: {', '.join(known)}.")
    return known[name]


def duration(text: str) -> int:
    """An ``argparse`` type: whole seconds, as ``24h`` or ``30d``, up to a year."""
    try:
        number = seconds(text)
    except BadValue as bad:
        raise argparse.ArgumentTypeError(f"{bad.problem} Fix: {bad.fix}") from bad
    if not 1 <= number <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1s and 366d")
    return int(number)
