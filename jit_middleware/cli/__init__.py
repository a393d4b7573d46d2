"""``jit-middleware``: what an operator does from a terminal.

Rule of the room: exit code 0 for done, 1 when the answer is no, 2 for wrong use (a configuration with faults is one,
and every fault is printed), 130 when Ctrl-C has ended it. ``--json`` everywhere. What is asked for goes to standard
output, complaints to standard error. One file for each group of commands.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from jit_middleware.cli import adopt, audit, check, demo, explain, keygen, migrate, run, sessions, users
from jit_middleware.cli.arguments import with_ids_protected
from jit_middleware.cli.interrupts import one_command
from jit_middleware.cli.terminal import DONE, INTERRUPTED, NO, WRONG_USE, WrongUse, complain, finish, say
from jit_middleware.errors import AdapterError, ConfigurationError

__all__ = ["main"]

_COMMANDS = (check, demo, run, keygen, migrate, explain, users, adopt, sessions, audit)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        if given[:1] == ["--version"]:
            say(f"jit-middleware {_version()}")
            return DONE
        if given[:1] == [demo.NAME]:
            return demo.demo(given[1:])
        arguments = _parser().parse_args(with_ids_protected(given))
        command: Callable[[argparse.Namespace], int] = arguments.command
        with one_command():
            code = command(arguments)
            finish()
            return code
    except SystemExit as ended:  # argparse has printed its help or its complaint
        return ended.code if isinstance(ended.code, int) else WRONG_USE
    except ConfigurationError as error:
        complain(*(str(fault) for fault in error.faults))
        return WRONG_USE
    except WrongUse as error:
        complain(str(error))
        return WRONG_USE
    except AdapterError as error:
        complain(f"{error.public} ({error})")
        return NO
    except KeyboardInterrupt as interrupted:
        complain(*map(str, interrupted.args))
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return NO


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jit-middleware",
        description="Single sign-on and just-in-time users in front of a WSGI or ASGI application.",
        epilog="Exit codes: 0 done, 1 the answer is no, 2 wrong use, 130 interrupted. "
        "Settings come from JIT_* variables.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and end")  # see main
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in _COMMANDS:
        group.declare(commands.add_parser(group.NAME, help=group.HELP, description=group.HELP))
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # here: it brings an e-mail parser and an unpacker

    try:
        return version("jit-middleware")
    except PackageNotFoundError:
        return "not installed as a package"
