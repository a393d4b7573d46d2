"""``demo``: a whole single sign-on on this machine, to look at before anything is configured."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from typing import cast

NAME = "demo"
HELP = "Try it: an app, an identity provider and this middleware, all on this machine."


def declare(_parser: argparse.ArgumentParser) -> None:
    """Only to be listed: :func:`demo` is called before arguments are read."""


def demo(arguments: Sequence[str]) -> int:
    """Run the demo with its own arguments."""
    module = importlib.import_module("jit_middleware.demo")  # only now: it brings an identity provider along
    run = cast("Callable[[Sequence[str]], int]", module.main)
    return run(arguments)
