"""``jit-middleware demo``: the whole middleware to touch, on this machine alone, without a setting.

Two applications, an identity provider with three people, and a database that is gone afterwards. Nothing here is meant
to be reached from another machine: everything listens on loopback, and the passwords are on the login page.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence

from jit_middleware.demo.report import Broken, Report
from jit_middleware.demo.stage import Stage, set_up
from jit_middleware.demo.walk import walk
from jit_middleware.errors import ConfigurationError, JITError

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the demo. 0: done; 1: a step of ``--once`` failed; 2: it could not be started like this."""
    parser = argparse.ArgumentParser(prog="jit-middleware demo", description="Try single sign-on on this machine.")
    parser.add_argument("--once", action="store_true", help="sign in by itself, tell what happened, and end")
    parser.add_argument(
        "--database", metavar="URL", help="keep users and sessions there instead of in a temporary file"
    )
    parser.add_argument("--port", type=_port, default=8080, help="first of three ports (8080); taken ones are replaced")
    parser.add_argument("--json", action="store_true", help="with --once: tell it as JSON")
    try:
        options = parser.parse_args(argv)
    except SystemExit as ended:
        return 2 if ended.code else 0
    if options.json and not options.once:
        print("jit-middleware demo: --json goes with --once", file=sys.stderr)
        return 2
    report = Report(sys.stdout, as_json=options.json)
    try:
        with set_up(database_url=options.database, port=options.port) as stage:
            _introduce(stage, report, kept=options.database is not None)
            return _once(stage, report) if options.once else _stay(report)
    except ConfigurationError as error:
        print(f"jit-middleware demo: {error}", file=sys.stderr)
        return 2


def _introduce(stage: Stage, report: Report, *, kept: bool) -> None:
    report.say(
        f"""jit-middleware demo, on this machine alone

   {stage.legacy.url}    a notes board, plain WSGI; it knows only REMOTE_USER
   {stage.modern.url}    a bare ASGI application
   {stage.provider.issuer}    the identity provider
   database                 {"as given" if kept else "SQLite, temporary"}

   people     """
        + "\n              ".join(_person(stage))
    )


def _person(stage: Stage) -> list[str]:
    notes = {"alice": "staff and ops: gets the role operator", "mallory": "not of the staff: is not let in"}
    return [
        f"{user.username:<8} {user.password:<13} {notes.get(user.username, 'staff')}" for user in stage.provider.users
    ]


def _once(stage: Stage, report: Report) -> int:
    # Refusals are part of the walk and told there; the log would only tell them twice.
    logger = logging.getLogger("jit_middleware")
    quiet = logging.NullHandler()
    logger.addHandler(quiet)
    try:
        walk(stage, report)
    except Broken:
        report.say("\nThe walk ends here: the next step needs this one.")
    except (JITError, OSError) as error:
        report.step("Stopped").check(type(error).__name__, error, ok=False)
    finally:
        logger.removeHandler(quiet)
    return 0 if report.close() else 1


def _stay(report: Report) -> int:
    report.say("\nOpen the first address in a browser. Control-C ends the demo.")
    report.say('To be somebody else, sign out; after a refusal, press "Sign in as somebody else".')
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the temporary files go then, too
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        report.say("\nGone.")
    return 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65_533):
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65533")
    return int(text)
