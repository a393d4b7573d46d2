"""Real parts for the tests: each starts on a port of its own, says when it is ready, and never outlives the tests.

A part that is not installed is a failure that names the fix, never a skipped test.
"""

from __future__ import annotations


class MissingPart(RuntimeError):
    """A real part the tests need is not installed on this machine."""

    def __init__(self, part: str, fix: str = "make setup") -> None:
        super().__init__(f"{part} is not installed on this machine. To install it, run: {fix}")
