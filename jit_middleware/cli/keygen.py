"""``keygen``: a fresh ``JIT_SECRET_KEY``."""

from __future__ import annotations

import argparse

from jit_middleware.cli.terminal import DONE, json_option, say, say_json
from jit_middleware.system import SystemTokens

NAME = "keygen"
HELP = "Print a fresh value for JIT_SECRET_KEY."


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    json_option(parser)
    parser.set_defaults(command=_keygen)


def _keygen(arguments: argparse.Namespace) -> int:
    key = SystemTokens()(32)
    if arguments.json:
        say_json({"secret_key": key})
    else:
        say(key)
    return DONE
