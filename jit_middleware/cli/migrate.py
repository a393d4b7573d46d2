"""``migrate``: bring the database's schema up to this version."""

from __future__ import annotations

import argparse

from jit_middleware.cli.interrupts import schema_work
from jit_middleware.cli.terminal import DONE, json_option, say, say_json
from jit_middleware.settings import Settings

NAME = "migrate"
HELP = "Bring the database's schema up to this version; safe to repeat."


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    json_option(parser)
    parser.set_defaults(command=_migrate)


def _migrate(arguments: argparse.Namespace) -> int:
    from jit_middleware_sqlalchemy import migrate

    settings = Settings.load()
    with schema_work():
        applied = migrate(settings.database_url)
    if arguments.json:
        say_json({"database": settings.database_label, "applied": applied})
    elif applied:
        say(*(f"applied {each}" for each in applied))
    else:
        say(f"The schema in {settings.database_label} is current.")
    return DONE
