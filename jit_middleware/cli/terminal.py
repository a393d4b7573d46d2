"""How commands speak: plain lines for people, JSON for programs, complaints apart."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Final

from jit_middleware.model import JSON

DONE: Final = 0
NO: Final = 1
WRONG_USE: Final = 2
INTERRUPTED: Final = 130


class WrongUse(Exception):
    """The command was asked for something that cannot be meant; the text says what to do instead."""


def json_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` to a command."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def say(*lines: str) -> None:
    """Print lines to standard output. Raises ``WrongUse`` where it cannot be written, ``BrokenPipeError`` where nobody
    reads any more."""
    with _written():
        for line in lines:
            print(plain(line))


def say_json(value: JSON) -> None:
    """Print one JSON value, in ASCII, so that nothing in it can drive the terminal. Raises as :func:`say`."""
    with _written():
        print(json.dumps(value, ensure_ascii=True, indent=2).replace("\x7f", "\\u007f"))


def finish() -> None:
    """Write what has been said and waits to be written. Raises as :func:`say`."""
    with _written():
        sys.stdout.flush()


@contextmanager
def _written() -> Generator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as broken:
        # Python itself tries once more at the end, and would say it in its own words.
        with suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        raise WrongUse(f"Standard output cannot be written ({broken.strerror}).") from broken


def complain(*lines: str) -> None:
    """Print lines to standard error."""
    for line in lines:
        print(plain(line), file=sys.stderr)


def plain(text: str) -> str:
    """The text without what could drive a terminal: names come from outside (CWE-150)."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows under their head, in columns as wide as what they hold."""
    lines = [tuple(head), *(tuple(plain(cell) or "-" for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def time_text(at: int | None) -> str:
    """Seconds since the epoch as RFC 3339 in UTC."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def positive(text: str) -> int:
    """An ``argparse`` type: a whole number above zero."""
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0 and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)
