"""What is said of a database that does not serve: the setting, the file or server, and what to do; never a password."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jit_middleware.errors import StoreUnavailable
from jit_middleware.settings import Settings
from jit_middleware.settings.database import database_fault, database_file
from tests.unit.settings.test_load import FIVE

SERVER = "postgresql+psycopg://jit:hunter2@db.example.org:5432/jit?sslmode=require"


def said(url: str, reason: str) -> str:
    settings = Settings.load({**FIVE, "JIT_DATABASE_URL": url})
    return str(database_fault(settings, StoreUnavailable(reason, "OperationalError 14")))


def test_a_directory_that_is_not_there_is_told_from_one_that_may_not_be_written(tmp_path: Path) -> None:
    assert said(f"sqlite:///{tmp_path}/no/jit.db", "cannot_open") == (
        f"JIT_DATABASE_URL: {tmp_path}/no/jit.db cannot be opened: there is no directory {tmp_path}/no "
        "(cannot_open: OperationalError 14). Fix: create it, or correct the path."
    )
    there = said(f"sqlite+aiosqlite:///{tmp_path}/jit.db?timeout=3", "cannot_open")
    assert f"{tmp_path}/jit.db cannot be opened (" in there
    assert f"write in its directory {tmp_path}." in there


def test_a_relative_path_is_said_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"JIT_DATABASE_URL: {os.getcwd()}/jit.db is no database" in said("sqlite:///jit.db", "corrupt")


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("unreachable", "host and port"),
        ("connection_lost", "own log"),
        ("no_answer", "load and locks"),
        ("login_refused", "user and password"),
        ("database_missing", "create it"),
        ("read_only", "primary"),
        ("too_many_connections", "fewer workers"),
        ("disk_full", "room"),
        ("schema_locked", "docs/errors.md"),
    ],
)
def test_each_failure_of_a_server_has_its_fix_and_no_password(reason: str, fix: str) -> None:
    text = said(SERVER, reason)
    assert text.startswith("JIT_DATABASE_URL: postgresql+psycopg://db.example.org:5432/jit ")
    assert fix in text.partition("Fix: ")[2]
    assert reason in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///jit.db", "jit.db"),
        ("sqlite+aiosqlite:///data/jit.db?timeout=3", "data/jit.db"),
        ("sqlite:////srv/jit.db", "/srv/jit.db"),
        ("sqlite:///file:data/jit%2520x.db?mode=ro&uri=true", "data/jit x.db"),
        ("sqlite:///file:jit.db", "file:jit.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///file:jit?mode=memory&uri=true", None),
        ("postgresql://u:p@h/jit", None),
        ("mariadb://u:p@h/jit", None),
    ],
)
def test_the_file_of_a_database_is_found_from_the_working_directory(
    url: str, file: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert database_file(url) == (None if file is None else tmp_path / file)
