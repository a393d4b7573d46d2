"""SQLite databases that have the schema already: to make it takes longer than many a test does."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from jit_middleware.bridge import step
from jit_middleware_sqlalchemy import SQLAlchemyLedger
from tests.conftest import FakeClock
from tests.fakes import CountedTokens


def prepared(path: Path) -> Path:
    """The path, with an empty database at it unless there is one."""
    if not path.exists():
        path.write_bytes(_template())
    return path


@cache
def _template() -> bytes:
    with TemporaryDirectory(prefix="jit-template-") as directory:
        path = Path(directory) / "template.db"
        ledger = SQLAlchemyLedger(f"sqlite:///{path}", clock=FakeClock(), tokens=CountedTokens())
        step(ledger.prepare())
        step(ledger.close())
        return path.read_bytes()
